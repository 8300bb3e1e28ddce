"""Experience on disk: the rows of all episodes, and a ledger that says at which update each episode came in.

    episodes.jsonl   one line per episode, written after its rows: the episode counts from then on
    images.bin, action.bin, ...   rows of all episodes, one after the other

A crash loses at most the episode that was being appended: rows that the ledger does not mention are cut off on opening.
A run that is resumed from a checkpoint sees every episode at the very update at which the run before it did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.notes import HAZARDS, SCENE_NOTE, SHOWS_NOTE
from fosp_core.errors import UserError
from fosp_learner.data.alignment import Episode
from fosp_learner.data.bags import content_of
from fosp_learner.data.dataset import Dataset, EpisodeIndex
from fosp_learner.finetuning.interventions import Intervention

LEDGER = "episodes.jsonl"
_INTERVENTIONS = "marks"
_ARRAYS: dict[str, type[Any]] = {
    "images": np.uint8,
    "action": np.float32,
    "reward": np.float32,
    "cost": np.float32,
    "is_terminal": np.bool_,
    _INTERVENTIONS: np.uint8,
}
"""Name of the file -> type of its values."""


@dataclass(frozen=True)
class Entry:
    """One episode of the buffer: a line of the ledger."""

    name: str
    digest: str
    """sha256 of the bag's files, and the number of the part: the same recording is taken in once."""
    start: int
    """Its first row."""
    length: int
    success: bool
    """The goal was reached without any violation."""
    violates: bool
    changed: int
    """Number of steps at which the safety monitor replaced the proposed action."""
    overridden: int
    """Number of steps at which an operator did."""
    held_out: bool
    """True if it is never trained on, and judges candidates."""
    step: int
    """Number of updates that had been made when it came in."""
    scene: str = ""
    """Kind of scenes, as the recorder was told; empty where nobody told."""
    shows_hazards: bool = False
    """True if contact was sought, slowly, to show what is dangerous (docs/show_hazards.md)."""


class OnlineBuffer:
    """The buffer of one learner; no two may have it open."""

    def __init__(self, directory: Path, images: tuple[int, int, int, int], action: int, gripper: bool = False) -> None:
        """Open or create it; `images` is the shape (cameras, H, W, 3) of an observation, `action` the number of values.

        With `gripper` the last of these is a gripper's. UserError when the files are damaged or the disk refuses.
        """
        self._directory, self._gripper = directory, gripper
        self._contents: dict[int, str] = {}
        """Hash of each episode that was asked for, by its first row."""
        self._shapes: dict[str, tuple[int, ...]] = {"images": images, "action": (action,)}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.entries = self._read_ledger()
            self._cut_off(self.rows)
        except OSError as error:
            raise UserError(f"{directory}: {error.strerror or error}") from None

    @property
    def rows(self) -> int:
        """Number of rows of all episodes."""
        return sum(entry.length for entry in self.entries)

    def __contains__(self, digest: str) -> bool:
        return any(entry.digest == digest for entry in self.entries)

    def same_as(self, episode: Episode) -> str:
        """Return the name of the episode here with the same images, actions, rewards and costs; empty without one.

        A recording that was copied or played again has files of its own, and could be trained on and held out at once.
        """
        for entry in self.entries:
            if entry.length == len(episode.reward) and all(
                np.array_equal(self._rows_of(name)[entry.start : entry.start + entry.length], getattr(episode, name))
                for name in ("reward", "cost", "action", "images")
            ):
                return entry.name
        return ""

    def append(
        self,
        episode: Episode,
        interventions: NDArray[np.uint8],
        digest: str,
        step: int,
        held_out: bool,
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> Entry:
        """Append an episode with its (L,) interventions at update `step`; it counts once this returns.

        `notes` are those of its bag, of which SCENE_NOTE and SHOWS_NOTE are kept.

        It cannot come before an earlier episode: a resumed run, at an earlier step, sees that one first. UserError when
        the disk refuses, or when the episode's shapes are not the bundle's.
        """
        step = max([step, *(entry.step for entry in self.entries[-1:])])
        entry = Entry(
            name=episode.name,
            digest=digest,
            start=self.rows,
            length=len(episode.reward),
            success=episode.success and not episode.violates,
            violates=episode.violates,
            changed=int((interventions == Intervention.MONITOR).sum()),
            overridden=int((interventions == Intervention.OPERATOR).sum()),
            held_out=held_out,
            step=step,
            scene=notes.get(SCENE_NOTE, ""),
            shows_hazards=notes.get(SHOWS_NOTE) == HAZARDS,
        )
        try:
            for name, kind in _ARRAYS.items():
                rows = interventions if name == _INTERVENTIONS else getattr(episode, name)
                if rows.shape != (entry.length, *self._shapes.get(name, ())):
                    raise UserError(f"{episode.name}: {name} of shape {rows.shape[1:]} do not fit the bundle's")
                _append(self._directory / f"{name}.bin", np.ascontiguousarray(rows, kind).tobytes())
            _append(self._directory / LEDGER, (json.dumps(asdict(entry)) + "\n").encode())
        except OSError as error:
            raise UserError(f"{self._directory}: experience cannot be kept: {error.strerror or error}") from None
        self.entries.append(entry)
        return entry

    def dataset(
        self,
        step: int,
        held_out: bool,
        rows_kept: int | None = None,
        outcomes: bool = False,
        intervention_cost: float | None = None,
    ) -> Dataset | None:
        """Return the episodes that were there at update `step`, held-out ones or the others; None without any.

        They have at most `rows_kept` rows, the newest, but the newest episode is there in full. `outcomes` leaves out
        episodes that ran out of time, but for those in which an operator drove. `intervention_cost` is added to the
        cost of each row at which an operator began to drive: it arrives with the policy's last action.
        """
        chosen: list[Entry] = []
        count = 0
        for entry in reversed(self.entries):
            if entry.step > step or entry.held_out != held_out:
                continue
            if outcomes and not (entry.success or entry.violates or entry.overridden):
                continue
            count += entry.length
            if chosen and rows_kept is not None and count > rows_kept:
                break
            chosen.append(entry)
        if not chosen:
            return None
        arrays = {name: self._rows_of(name) for name in _ARRAYS if name != _INTERVENTIONS}
        operated = self.interventions() == Intervention.OPERATOR
        if intervention_cost is not None:
            begins = operated & ~np.concatenate([[True], operated[:-1]])
            begins[[entry.start for entry in self.entries]] = False  # nobody drove before
            arrays["cost"] = arrays["cost"] + np.float32(intervention_cost) * begins
        index = tuple(
            EpisodeIndex(
                e.name,
                e.start,
                e.length,
                e.success,
                e.violates,
                shows_hazards=e.shows_hazards,
                content=self._content(e),
            )
            for e in reversed(chosen)
        )
        key = "+".join(sorted(entry.digest[:12] for entry in chosen))
        return Dataset(**arrays, episodes=index, key=key, corrected=operated, gripper=self._gripper)

    def _content(self, entry: Entry) -> str:
        if entry.start not in self._contents:
            rows = (
                self._rows_of(name)[entry.start : entry.start + entry.length]
                for name in ("images", "action", "reward", "cost")
            )
            self._contents[entry.start] = content_of(*rows)
        return self._contents[entry.start]

    def intervention_share(self, step: int, episodes: int) -> float:
        """Return the share of steps of the newest `episodes` at update `step` that an operator drove; 0 without any."""
        newest = [entry for entry in self.entries if entry.step <= step][-episodes:]
        return sum(entry.overridden for entry in newest) / max(1, sum(entry.length - 1 for entry in newest))

    def interventions(self) -> NDArray[np.uint8]:
        """Return the Intervention of each row, (rows,)."""
        return np.array(self._rows_of(_INTERVENTIONS))

    def _rows_of(self, name: str) -> NDArray[Any]:
        shape = (self.rows, *self._shapes.get(name, ()))
        return np.memmap(self._directory / f"{name}.bin", _ARRAYS[name], "r", shape=shape)

    def _read_ledger(self) -> list[Entry]:
        path = self._directory / LEDGER
        if not path.exists():
            return []
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            entries = [Entry(**json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError):
            raise UserError(f"{path}: damaged; remove the folder {self._directory} and start the run anew") from None
        if len(whole) != len(content):
            os.truncate(path, len(whole))
        return entries

    def _cut_off(self, rows: int) -> None:
        """Cut off the rows of an episode that a crash interrupted: no line of the ledger mentions them."""
        for name, kind in _ARRAYS.items():
            path = self._directory / f"{name}.bin"
            size = rows * int(np.prod(self._shapes.get(name, ()), dtype=np.int64)) * np.dtype(kind).itemsize
            found = path.stat().st_size if path.exists() else 0
            if found < size:
                raise UserError(f"{path}: rows are missing; remove the folder {self._directory} and start the run anew")
            if found > size:
                os.truncate(path, size)


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
