"""Experience on disk: rows appended as episodes end, and a ledger of which episode was there at which update.

    episodes.jsonl   one line per episode, written after its rows: it counts from then on
    images.bin, action.bin, ...   rows of all episodes, one after the other

A crash loses at most the episode that was being appended: what the ledger does not mention is cut off on opening. And
because the ledger holds at which update each episode came in, a run that is resumed from a checkpoint sees every
episode at the very update at which the run before it did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_learner.data.alignment import Episode
from fosp_learner.data.dataset import Dataset, EpisodeIndex

LEDGER = "episodes.jsonl"
_ARRAYS: dict[str, type[Any]] = {
    "images": np.uint8,
    "action": np.float32,
    "reward": np.float32,
    "cost": np.float32,
    "is_terminal": np.bool_,
    "marks": np.uint8,
}


@dataclass(frozen=True)
class Entry:
    """One episode of the buffer."""

    name: str
    digest: str
    """sha256 of the bag's files, and the number of the part: the same recording is taken in once."""
    start: int
    """Row."""
    length: int
    success: bool
    violates: bool
    changed: int
    """Steps at which the safety monitor let through another action than the proposed one."""
    overridden: int
    """Steps that an operator overrode."""
    held_out: bool
    """Never trained on: it judges candidates."""
    step: int
    """Updates that had been made when it came in."""


class OnlineBuffer:
    """Opened for one learner at a time; `images` is the shape of an observation, `action` the number of axes."""

    def __init__(self, directory: Path, images: tuple[int, int, int, int], action: int) -> None:
        self._directory = directory
        self._shapes: dict[str, tuple[int, ...]] = {"images": images, "action": (action,)}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.entries = self._read_ledger()
            self._cut_off(self.rows)
        except OSError as error:
            raise UserError(f"{directory}: {error.strerror or error}") from None

    @property
    def rows(self) -> int:
        """Of all episodes."""
        return sum(entry.length for entry in self.entries)

    def __contains__(self, digest: str) -> bool:
        return any(entry.digest == digest for entry in self.entries)

    def append(self, episode: Episode, marks: NDArray[np.uint8], digest: str, step: int, held_out: bool) -> Entry:
        """Take in one episode; it counts once this returns. UserError when the disk refuses.

        `step` may not be before that of an earlier episode: a resumed run lives through its past first.
        """
        step = max([step, *(entry.step for entry in self.entries[-1:])])
        entry = Entry(
            name=episode.name,
            digest=digest,
            start=self.rows,
            length=len(episode.reward),
            success=episode.success and not episode.violates,
            violates=episode.violates,
            changed=int((marks == 1).sum()),
            overridden=int((marks == 2).sum()),
            held_out=held_out,
            step=step,
        )
        try:
            for name, kind in _ARRAYS.items():
                rows = marks if name == "marks" else getattr(episode, name)
                if rows.shape != (entry.length, *self._shapes.get(name, ())):
                    raise UserError(f"{episode.name}: {name} of shape {rows.shape[1:]} do not fit the bundle's")
                _append(self._directory / f"{name}.bin", np.ascontiguousarray(rows, kind).tobytes())
            _append(self._directory / LEDGER, (json.dumps(asdict(entry)) + "\n").encode())
        except OSError as error:
            raise UserError(f"{self._directory}: experience cannot be kept: {error.strerror or error}") from None
        self.entries.append(entry)
        return entry

    def dataset(
        self, step: int, held_out: bool, rows_kept: int | None = None, outcomes: bool = False
    ) -> Dataset | None:
        """Episodes that were there at update `step`: the training or the held-out ones; None when there are none.

        At most the newest `rows_kept` rows, but the newest episode whole; `outcomes`: none that only ran out of time.
        """
        chosen: list[Entry] = []
        count = 0
        for entry in reversed(self.entries):
            if entry.step > step or entry.held_out != held_out:
                continue
            if outcomes and not (entry.success or entry.violates):
                continue
            count += entry.length
            if chosen and rows_kept is not None and count > rows_kept:
                break
            chosen.append(entry)
        if not chosen:
            return None
        arrays = {name: self._rows_of(name) for name in _ARRAYS if name != "marks"}
        index = tuple(EpisodeIndex(e.name, e.start, e.length, e.success, e.violates) for e in reversed(chosen))
        return Dataset(**arrays, episodes=index, key=index_key(chosen))

    def marks(self) -> NDArray[np.uint8]:
        """(rows,) 0: executed as proposed, 1: changed by the safety monitor, 2: overridden by an operator."""
        return np.array(self._rows_of("marks"))

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
        """Rows that no line of the ledger speaks of are of an episode that a crash interrupted."""
        for name, kind in _ARRAYS.items():
            path = self._directory / f"{name}.bin"
            size = rows * int(np.prod(self._shapes.get(name, ()), dtype=np.int64)) * np.dtype(kind).itemsize
            found = path.stat().st_size if path.exists() else 0
            if found < size:
                raise UserError(f"{path}: rows are missing; remove the folder {self._directory} and start the run anew")
            if found > size:
                os.truncate(path, size)


def index_key(entries: Iterable[Entry]) -> str:
    """What tells one choice of episodes from another."""
    return "+".join(sorted(entry.digest[:12] for entry in entries))


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
