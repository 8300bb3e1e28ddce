"""The folder of a fine-tuning run, and in it the lineage: one JSON line per event in the life of each bundle."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fosp_core.errors import UserError

LINEAGE = "lineage.jsonl"
EventKind = Literal[
    "start", "candidate", "no_candidate", "gave_up", "announced", "refused", "trial", "committed", "rolled_back"
]


@dataclass(frozen=True)
class LineageEvent:
    """One line of the lineage."""

    event: EventKind
    id: str
    """Id of the bundle; empty for an event without one."""
    time: str = ""
    """UTC."""
    details: dict[str, Any] = field(default_factory=dict)
    """Parent, path, gate, data and metrics of a candidate; the reason of a refusal, of a rollback, of a candidate that
    could not be made, or for giving up."""


class Lineage:
    """The events of one run, which are appended and never changed; several processes may append."""

    def __init__(self, run: Path) -> None:
        self.path = run / LINEAGE

    def append(self, event: EventKind, model_id: str, **details: Any) -> None:
        """Append one line, which is on the disk when this returns."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"event": event, "id": model_id, "time": stamp, "details": details}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def events(self) -> list[LineageEvent]:
        """Return the events of all whole lines; a line that a crash cut off is left out."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from None
        events = []
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            try:
                events.append(LineageEvent(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return events

    def candidate_ids(self) -> set[str]:
        """Return the ids of all candidates, tightened bundles among them."""
        return {event.id for event in self.events() if event.event == "candidate"}

    def running(self) -> tuple[str, str]:
        """Return id and path of the bundle that the robot is meant to run; ("", "") before the start.

        It is the newest candidate that passed the gate, unless the robot refused it or rolled it back.
        """
        chosen: list[tuple[str, str]] = []
        for event in self.events():
            if event.event == "start" or (event.event == "candidate" and event.details["gate"]["passed"]):
                chosen = [entry for entry in chosen if entry[0] != event.id]
                chosen.append((event.id, str(event.details["path"])))
            elif event.event in ("refused", "rolled_back") and len(chosen) > 1:
                chosen = [chosen[0], *(entry for entry in chosen[1:] if entry[0] != event.id)]
        return chosen[-1] if chosen else ("", "")


def rows(events: list[LineageEvent]) -> list[tuple[str, ...]]:
    """Return one row per bundle: time, id, parent, update, experience, figures of the gate, and outcome."""
    table: list[tuple[str, ...]] = []
    for event in events:
        if event.event == "start":
            table.append((event.time, event.id[:12], "", "0", "", "", "began with it"))
        elif event.event == "candidate":
            details = event.details
            data = details.get("data", {})
            experience = (
                f"{data.get('episodes', 0)} episodes, {data.get('violation_share', 0):.0%} violate, "
                f"{data.get('steps_overridden', 0)} steps overridden"
            )
            figures = "  ".join(f"{name} {value:.3g}" for name, value in details["gate"]["candidate"].items())
            outcome = "; ".join([_judged(details["gate"]), *_answers(events, event.id)])
            row = (event.time, event.id[:12], str(details.get("parent", ""))[:12], str(details.get("step", "")))
            table.append((*row, experience, figures, outcome))
        elif event.event in ("no_candidate", "gave_up"):
            step = str(event.details.get("step", ""))
            outcome = f"{event.event.replace('_', ' ')}: {event.details.get('reason', '')}"
            table.append((event.time, "", "", step, "", "", outcome))
    return table


def _judged(gate: dict[str, Any]) -> str:
    return "passed the gate" if gate["passed"] else f"kept: {', '.join(gate['reasons'])}"


def _answers(events: list[LineageEvent], model_id: str) -> list[str]:
    told = [e for e in events if e.id == model_id and e.event not in ("start", "candidate")]
    return [
        f"{e.event.replace('_', ' ')}" + (f" ({e.details['reason']})" if e.details.get("reason") else "") for e in told
    ]


def clear(run: Path) -> None:
    """Remove an earlier run from its folder, but for its candidates."""
    for name in ("buffer", "checkpoint", ".checkpoint.old", "tensorboard"):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("losses.csv", LINEAGE):
        (run / name).unlink(missing_ok=True)


def forget_after(losses: Path, step: int) -> None:
    """Remove the lines of updates after `step`, which a resumed run makes again."""
    if not losses.exists():
        return
    with losses.open(newline="") as stream:
        rows = list(csv.reader(stream))
    kept = [row for row in rows if row and (not row[0].isdigit() or int(row[0]) <= step)]
    staging = losses.with_suffix(".partial")
    with staging.open("w", newline="") as stream:
        csv.writer(stream).writerows(kept)
    staging.replace(losses)


def updates_made(run: Path) -> int:
    """Return the number of updates so far; the log that tells it has one line for every 25."""
    try:
        with (run / "losses.csv").open(newline="") as stream:
            return max((int(row[0]) for row in csv.reader(stream) if row and row[0].isdigit()), default=0)
    except OSError:
        return 0


def publish(candidate: Path, out: Path) -> None:
    """Copy a bundle to `out`, in one rename; UserError when the disk refuses."""
    staging = out.absolute().with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(candidate, staging)
        if out.is_dir():
            out.rmdir()
        staging.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot write the bundle: {error.strerror or error}") from None
