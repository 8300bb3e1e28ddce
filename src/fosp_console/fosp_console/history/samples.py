"""Rows of a timeline in bounded memory: a bag of a day takes as much as one of an hour. No ROS.

What does not fit is thinned: of two neighbours the one that a person should rather see stays.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fosp_core.bag.storage import Place


class Samples:
    """Values over time, at most `most` rows; of neighbours that become one the row of the largest first value stays."""

    def __init__(self, columns: int, most: int) -> None:
        self.times = array("d")
        """Log times, Unix time, s."""
        self.columns = [array("d") for _ in range(columns)]
        self._most = max(2, most)
        self._stride = 1
        self._waiting: tuple[float, ...] = ()
        """Time and values of the row that stands for its group so far; empty before the first of a group."""
        self._grouped = 0

    @property
    def thinned(self) -> bool:
        """True when rows were left out."""
        return self._stride > 1

    def add(self, time_s: float, *values: float) -> None:
        """Take in a row."""
        row = (time_s, *values)
        if not self._waiting or _rank(row[1]) > _rank(self._waiting[1]):
            self._waiting = row
        self._grouped += 1
        if self._grouped >= self._stride:
            self.close()

    def close(self) -> None:
        """Keep the row that waits for the end of its group."""
        if self._waiting:
            self.times.append(self._waiting[0])
            for column, value in zip(self.columns, self._waiting[1:], strict=True):
                column.append(value)
        self._waiting, self._grouped = (), 0
        if len(self.times) >= self._most:
            self._halve()

    def sort(self) -> None:
        """Put the rows in the order of time, once all are there."""
        order = sorted(range(len(self.times)), key=self.times.__getitem__)
        self.times = array("d", [self.times[i] for i in order])
        self.columns = [array("d", [column[i] for i in order]) for column in self.columns]

    def _halve(self) -> None:
        first = self.columns[0]
        last = len(first) - 1
        kept = [i if i == last or _rank(first[i]) >= _rank(first[i + 1]) else i + 1 for i in range(0, len(first), 2)]
        self.times = array("d", [self.times[i] for i in kept])
        self.columns = [array("d", [column[i] for i in kept]) for column in self.columns]
        self._stride *= 2


def _rank(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class MessageIndex:
    """Where the messages of one topic are, at most `most` of them: what one can go to."""

    def __init__(self, topic: str, most: int) -> None:
        self.topic = topic
        self.times = array("d")
        """Log times, Unix time, s."""
        self._files, self._positions, self._logged = array("q"), array("q"), array("q")
        self._most, self._stride, self._seen = max(2, most), 1, 0

    def __len__(self) -> int:
        return len(self.times)

    @property
    def thinned(self) -> bool:
        """True when messages were left out."""
        return self._stride > 1

    def add(self, time_s: float, place: Place, logged_ns: int) -> None:
        """Take in a message."""
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        for column, value in zip(self._columns(), (time_s, place.file, place.position, logged_ns), strict=True):
            column.append(value)
        if len(self.times) >= self._most:
            self.times = self.times[::2]
            self._files, self._positions, self._logged = self._files[::2], self._positions[::2], self._logged[::2]
            self._stride *= 2

    def sort(self) -> None:
        """Put the messages in the order of time, once all are there: a file need not hold them so."""
        order = sorted(range(len(self)), key=self.times.__getitem__)
        self.times = array("d", [self.times[i] for i in order])
        self._files, self._positions, self._logged = (
            array("q", [column[i] for i in order]) for column in self._columns()[1:]
        )

    def _columns(self) -> tuple[Any, ...]:
        return self.times, self._files, self._positions, self._logged

    def at(self, index: int) -> tuple[Place, int]:
        """Return place and log time, ns, of a message; IndexError when there is none of that number."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Place(self._files[index], self._positions[index]), self._logged[index]

    def before(self, time_s: float) -> int:
        """Return the index of the last message at or before a moment, else of the first one; -1 without any."""
        return min(max(bisect_right(self.times, time_s) - 1, 0), len(self) - 1)


@dataclass(frozen=True)
class Run:
    """Verdicts in a row of one decision, reason and driver, from `begin_s` on."""

    begin_s: float
    decision: int
    reason: int
    source: int
    """Who drove (fosp_core.decisions.WhoDrives)."""
    text: str
    """Text of the first of them."""


class Lane:
    """The runs of verdicts, at most `most` of them; of two that become one the more restrictive decision stays."""

    def __init__(self, most: int) -> None:
        self._runs: list[Run] = []
        self._most = max(2, most)
        self.thinned = False
        """True when runs were joined."""

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def sort(self) -> None:
        """Put the runs in the order of time, once all are there."""
        self._runs.sort(key=lambda run: run.begin_s)

    def add(self, time_s: float, decision: int, reason: int, source: int, text: str) -> None:
        """Take in a verdict."""
        last = self._runs[-1] if self._runs else None
        if last is not None and (last.decision, last.reason, last.source) == (decision, reason, source):
            return
        self._runs.append(Run(time_s, decision, reason, source, text))
        if len(self._runs) > self._most:
            pairs = [self._runs[i : i + 2] for i in range(0, len(self._runs), 2)]
            worst = [max(pair, key=lambda run: run.decision) for pair in pairs]
            self._runs = [replace(run, begin_s=pair[0].begin_s) for pair, run in zip(pairs, worst, strict=True)]
            self.thinned = True
