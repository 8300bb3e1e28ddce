"""The order in which the messages of a bag arrived, and the places where a clock was set back in between.

Streams are aligned on their stamps, which is right only while the stamps go forward. A simulator that was reset, a
playback in a loop, a clock that was set back, a burst of frames from the future, or several recordings in one folder
make stamps return. There the bag is cut in parts, by the order of arrival, and no part knows of the others: messages of
different moments are never merged because their stamps are alike.

The order of arrival is that of the log times. Where these go back themselves, because the recorder's clock was set back
or its file goes on with another recording, it is the order in the file; also where the stamps go back less often in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

T = TypeVar("T")

_LOG_JITTER_NS = 20_000_000
"""Log times of a stream may go back by so much without a clock having been set back."""
_DOUBLE_WITHIN_NS = 250_000_000
"""Two messages of one stamp and content are one message, recorded twice, when they were logged so close together."""
_SHORTEST_PART_NS = 250_000_000
"""Between two cuts closer than this some streams have jumped and others have not: nothing of it is used."""


@dataclass
class Stream(Generic[T]):
    """The messages of one topic: stamps and log times in ns, places in the files, and contents."""

    topic: str
    stamps: list[int] = field(default_factory=list)
    logged: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    contents: list[T] = field(default_factory=list)
    doubles: int = 0
    """Messages that were there twice, and left out."""
    recorded: int = 0
    """Messages that were there, the unusable ones included."""

    def add(self, stamp_ns: int, logged_ns: int, place: int, content: T) -> None:
        self.stamps.append(stamp_ns)
        self.logged.append(logged_ns)
        self.places.append(place)
        self.contents.append(content)

    def take(self, chosen: NDArray[np.int64]) -> Stream[T]:
        """Return the messages of these indices, in their order."""
        return Stream(
            self.topic,
            [self.stamps[i] for i in chosen],
            [self.logged[i] for i in chosen],
            [self.places[i] for i in chosen],
            [self.contents[i] for i in chosen],
        )

    def stamps_ns(self) -> NDArray[np.int64]:
        return np.array(self.stamps, np.int64)

    def logged_ns(self) -> NDArray[np.int64]:
        return np.array(self.logged, np.int64)


@dataclass(frozen=True)
class Cut:
    """A place where stamps go back."""

    topic: str
    back_s: float
    after_s: float
    """Time since the topic's first message was logged."""

    def __str__(self) -> str:
        return f"stamps of {self.topic} go back by {self.back_s:.3f} s after {self.after_s:.2f} s"


@dataclass(frozen=True)
class Parts:
    """The streams of each part, and the cuts between them."""

    parts: list[list[Stream[object]]]
    cuts: list[Cut]
    between: int = 0
    """Number of parts left out because they lie between two cuts that belong together."""


def drop_doubles(
    stream: Stream[T], same: Callable[[T, T], bool], contradict: Callable[[T, T], bool] = lambda a, b: False
) -> Stream[T]:
    """Leave out each message that repeats the stamp and the content of one logged at nearly the same time.

    What comes again after later stamps is a second pass, not a double. UserError when two of one stamp contradict each
    other.
    """
    last: dict[int, int] = {}
    kept: list[int] = []
    newest = stream.stamps[0] if stream.stamps else 0
    for index, stamp in enumerate(stream.stamps):
        if newest - stamp > _DOUBLE_WITHIN_NS:
            last, newest = {}, stamp
        before, newest = last.get(stamp), max(newest, stamp)
        if before is not None and abs(stream.logged[index] - stream.logged[before]) <= _DOUBLE_WITHIN_NS:
            if same(stream.contents[before], stream.contents[index]):
                continue
            if contradict(stream.contents[before], stream.contents[index]):
                raise UserError(
                    f"two messages on {stream.topic} at {stamp * 1e-9:.3f} s contradict each other; let one node "
                    "publish it, and record again"
                )
        last[stamp] = index
        kept.append(index)
    result = stream.take(np.array(kept, np.int64)) if len(kept) < len(stream.stamps) else stream
    result.recorded = stream.recorded or len(stream.stamps)
    result.doubles = len(stream.stamps) - len(kept)
    return result


def in_parts(streams: Sequence[Stream[object]]) -> Parts:
    """Return the streams cut where the stamps of any of them go back; within a part stamps ascend in every stream."""
    ranks = _ranks(streams)
    found: list[tuple[int, int, Cut]] = []
    for stream, rank in zip(streams, ranks, strict=True):
        order = np.argsort(rank)
        stamps, logged, ranked = stream.stamps_ns()[order], stream.logged_ns()[order], rank[order]
        for i in np.flatnonzero(np.diff(stamps) < 0).tolist():
            after_s = int(logged[i] - logged[0]) * 1e-9
            cut = Cut(stream.topic, (int(stamps[i]) - int(stamps[i + 1])) * 1e-9, after_s)
            found.append((int(ranked[i]), int(ranked[i + 1]), cut))
    places, cuts = _stab(found)
    edges = [-1, *places, int(max((rank.max(initial=-1) for rank in ranks), default=-1)) + 1]
    parts = []
    between = 0
    for number, (begin, end) in enumerate(pairwise(edges)):
        part = []
        for stream, rank in zip(streams, ranks, strict=True):
            inside = np.flatnonzero((rank >= begin) & (rank < end))
            part.append(stream.take(inside[np.argsort(rank[inside])]))
        if 0 < number < len(edges) - 2 and _span_ns(part) < _SHORTEST_PART_NS:
            between += 1
            continue
        parts.append(part)
    return Parts(parts, cuts, between)


def in_order_of_log(streams: Sequence[Stream[object]]) -> bool:
    """Return False when the log times do not tell the order of arrival, since the recorder's clock was set back."""
    return not any(_overlap(stream.logged_ns(), _runs(stream)) for stream in streams)


def _stab(found: list[tuple[int, int, Cut]]) -> tuple[list[int], list[Cut]]:
    """Return the fewest ranks with one in each interval (after, until], and the first cut of each of them.

    One reset makes every stream go back, each between its last message before and its first message after it.
    """
    places: list[int] = []
    cuts: list[Cut] = []
    for after, until, cut in sorted(found, key=lambda entry: (entry[1], entry[0])):
        if not places or after >= places[-1]:
            places.append(until)
            cuts.append(cut)
    return places, cuts


def _span_ns(part: Sequence[Stream[object]]) -> int:
    """Return the longest time by the stamps of any stream of a part."""
    return max((stream.stamps[-1] - stream.stamps[0] for stream in part if stream.stamps), default=0)


def _ranks(streams: Sequence[Stream[object]]) -> list[NDArray[np.int64]]:
    """Return the rank of each message in the order of arrival of all messages of all streams."""
    place = np.concatenate([np.array(stream.places, np.int64) for stream in streams])
    stamps = np.concatenate([stream.stamps_ns() for stream in streams])
    if not in_order_of_log(streams):
        order = np.argsort(place, kind="stable")
    elif any(_runs(stream).max(initial=0) for stream in streams):
        # A file that was not written in the order of time, or whose first messages were logged by a clock before it was
        # set back, as that of a playback in a loop is: the stamps know.
        order = np.lexsort((place, stamps, np.concatenate([stream.logged_ns() for stream in streams])))
        if _times_back(streams, np.argsort(place, kind="stable")) < _times_back(streams, order):
            order = np.argsort(place, kind="stable")
    else:
        logged = np.concatenate([_ascending(stream) for stream in streams])
        order = np.lexsort((place, logged))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return np.split(ranks, np.cumsum([len(stream.stamps) for stream in streams])[:-1])


def _times_back(streams: Sequence[Stream[object]], order: NDArray[np.int64]) -> int:
    """Return how many times the stamps of any stream go back in an order of all messages of all streams."""
    stamps = np.concatenate([stream.stamps_ns() for stream in streams])[order]
    number = np.repeat(np.arange(len(streams)), [len(stream.stamps) for stream in streams])[order]
    return sum(int((np.diff(stamps[number == n]) < 0).sum()) for n in range(len(streams)))


def _by_place(stream: Stream[object]) -> NDArray[np.int64]:
    return np.argsort(np.array(stream.places, np.int64), kind="stable")


def _ascending(stream: Stream[object]) -> NDArray[np.int64]:
    """Return the log times without their jitter: none is before one that comes earlier in the file."""
    order = _by_place(stream)
    logged = stream.logged_ns()
    logged[order] = np.maximum.accumulate(logged[order]) if len(order) else logged[order]
    return logged


def _runs(stream: Stream[object]) -> NDArray[np.int64]:
    """Return for each message how many times the log times have gone back before it, in the order of the file."""
    order = _by_place(stream)
    back = np.diff(stream.logged_ns()[order], prepend=stream.logged_ns()[order][:1]) < -_LOG_JITTER_NS
    runs = np.empty(len(order), np.int64)
    runs[order] = np.cumsum(back)
    return runs


def _overlap(logged: NDArray[np.int64], runs: NDArray[np.int64]) -> bool:
    """Return True when two runs cover the same time: then the log times do not tell the order."""
    count = int(runs.max(initial=0)) + 1
    if count == 1:
        return False
    begin, end = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(begin, runs, logged)
    np.maximum.at(end, runs, logged)
    order = np.argsort(begin)
    return bool((begin[order][1:] < np.maximum.accumulate(end[order])[:-1]).any())
