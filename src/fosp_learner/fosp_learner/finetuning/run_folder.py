"""The folder of a fine-tuning run: what is made again is forgotten first, and a bundle leaves it in one rename."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from fosp_core.errors import UserError


def clear(run: Path) -> None:
    """Of an earlier run, all but its candidates."""
    for name in ("buffer", "checkpoint", "tensorboard"):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("losses.csv", "lineage.jsonl"):
        (run / name).unlink(missing_ok=True)


def forget_after(losses: Path, step: int) -> None:
    """Remove lines of updates after `step`: they are made again."""
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
    """As far as the log tells, which has a line for every 25."""
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
