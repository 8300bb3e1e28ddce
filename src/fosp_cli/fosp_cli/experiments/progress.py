"""The episodes of a deployment that were run so far, so that an interrupted trial goes on with the next one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_cli.experiments.simulated_operator import EpisodeCorrections
from fosp_cli.json_file import write_text

PROGRESS = "episodes.json"
BEGAN_WITH = "began_with"
"""Key of a trial for the id of the bundle that it begins with."""


@dataclass(frozen=True)
class Progress:
    """The part of one trial that was run."""

    trial: dict[str, Any]
    """The trial, as its figures have it: another one begins anew."""
    results: tuple[EpisodeResult, ...] = ()
    corrections: tuple[EpisodeCorrections, ...] = ()
    """Account of the simulated person in these episodes; empty without one."""
    wall_s: float = 0.0
    """Time that they took, starting and ending of the graph included, s."""
    calls: int = 1
    """Number of calls of the command over which the episodes are spread."""

    def write(self, folder: Path) -> None:
        """Write all of it or nothing; raise UserError when the disk refuses."""
        write_text(folder / PROGRESS, _ADAPTER.dump_json(self, indent=1).decode())


_ADAPTER = TypeAdapter(Progress)


def progress_in(folder: Path, trial: dict[str, Any]) -> Progress | None:
    """Return what was run of `trial` in `folder`; None where there is nothing, or something of another trial."""
    try:
        found = _ADAPTER.validate_json((folder / PROGRESS).read_bytes())
    except (OSError, ValidationError):
        return None
    begun = {key: value for key, value in trial.items() if key == BEGAN_WITH}  # earlier releases did not note it
    return found if {**begun, **found.trial} == trial else None
