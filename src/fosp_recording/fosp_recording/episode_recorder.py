"""Splits a stream of serialised messages into one bag per episode, without ROS.

Feedback and frames of one moment arrive in any order. The recorder therefore remembers the newest messages: an episode
begins with the first message stamped at or after its first feedback, even if that message came earlier. After the last
feedback the bag stays open for a moment, for messages that are stamped before it and come later.

Time may be played: faster or slower than the machine's clock, in a loop, or standing still. So the memory forgets what
came before stamps went back, and an episode whose clock stands still after its end is closed by another clock.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from fosp_core.bag_types import BagWriter, typestore
from fosp_core.errors import UserError

EPISODE_PREFIX = "episode_"
INCOMPLETE_PREFIX = "incomplete_"
PARTIAL_FOLDER = ".partial"
DISCARDED_FOLDER = ".discarded"
"""A hidden folder: nothing is trained on what lies there, and a person empties it."""
MEMORY_NS = 500_000_000
"""How long messages are remembered for an episode that turns out to have begun."""
GRACE_NS = 250_000_000
"""How long after its last feedback an episode waits for messages stamped before it."""
STANDSTILL_NS = 3_000_000_000
"""How long an episode that has ended waits by the steady clock for a clock that stands still: a playback is over."""
BACK_NS = 250_000_000
"""Stamps of a topic that go back by more than this begin anew, as in a loop, or after the reset of a simulator."""
_SAME_MOMENT_NS = 50_000_000
"""Messages stamped up to this long after the one with which time went back may have come with it."""
LEAST_FREE_BYTES = 100_000_000
"""Free space below which no episode begins."""
LOW_MINUTES = 10.0
"""Time until the disk is full, by the measured rate, below which the operator is warned."""
_DISK_PERIOD_NS = 10_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FOREVER = QosTime(2**31 - 1, 2**32 - 1)


class RecordingError(UserError):
    """The disk refuses the recording, and the recorder takes no more messages."""


@dataclass(frozen=True)
class Topic:
    """A recorded topic: its resolved name, its type as 'package/msg/Name', and the QoS that its publishers offer."""

    name: str
    type: str
    reliable: bool = True
    latched: bool = False

    @property
    def qos(self) -> Qos:
        """The offered QoS as a bag lists it."""
        return Qos(
            QosHistory.KEEP_LAST,
            10,
            QosReliability.RELIABLE if self.reliable else QosReliability.BEST_EFFORT,
            QosDurability.TRANSIENT_LOCAL if self.latched else QosDurability.VOLATILE,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )


@dataclass(frozen=True)
class Record:
    """One serialised message."""

    topic: Topic
    data: bytes
    """CDR."""
    receipt_ns: int
    stamp_ns: int
    """The stamp of its header; `receipt_ns` for a type without one."""


@cache
def has_header(message_type: str) -> bool:
    """Return True if messages of the type begin with a std_msgs/Header; UserError when the type is not known."""
    try:
        fields = typestore().fielddefs[message_type][1]
    except KeyError:
        raise UserError(f"message type {message_type} cannot be recorded: it is neither Jazzy's nor fosp's") from None
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"


def stamp_of(data: bytes, message_type: str, receipt_ns: int) -> int:
    """Return the stamp, ns, in the header of a serialised message, or `receipt_ns` when it has none."""
    if not has_header(message_type) or len(data) < 12:
        return receipt_ns
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds * 1_000_000_000 + nanoseconds)


def minutes_left(free_bytes: int, written_bytes: int, seconds: float) -> float:
    """Return the time in minutes until the disk is full at the rate of `written_bytes` in `seconds`."""
    return free_bytes * seconds / written_bytes / 60.0 if written_bytes > 0 and seconds > 0.0 else float("inf")


@dataclass
class _OpenEpisode:
    """The episode that is being recorded."""

    bag: BagWriter
    number: int
    began_ns: int
    """When its first feedback came, on the steady clock; the stamp of it where nobody says that."""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of messages by topic."""
    end_ns: int | None = None
    """Stamp of its last feedback, once that has arrived."""
    ended_steady_ns: int | None = None
    """When that arrived, on the steady clock, where the caller says it."""

    def write(self, record: Record) -> None:
        topic = record.topic
        if topic.name not in self.bag.topics:
            self.bag.add_topic(topic.name, topic.type, [topic.qos])
        self.bag.write(topic.name, record.receipt_ns, record.data)
        self.counts[topic.name] += 1


class EpisodeRecorder:
    """Writes `out`/episode_000000, episode_000001, ...; an episode without its last feedback becomes incomplete_N.

    So does one without any message on a topic of `required`. Several recorders may write into one folder: each number
    is taken by one of them. A finished bag is never removed or replaced.
    Every method raises RecordingError when the disk refuses, and the recorder takes no more messages then. On a full
    disk the open bag is removed; after any other fault it is left in PARTIAL_FOLDER.
    """

    def __init__(
        self,
        out: Path,
        topics: list[Topic],
        compress: bool = True,
        log: Callable[[str], None] = lambda line: None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        required: Sequence[str] = (),
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """`metadata` is written into every bag; `warn`, by default `log`, tells what an operator has to mend."""
        self._out, self._compress, self._log, self._metadata = out, compress, log, metadata
        self._topics = {topic.name: topic for topic in topics}
        self._required, self._warn = tuple(required), warn or log
        self._recent: deque[Record] = deque()
        self._newest: dict[str, int] = {}
        """Newest stamp of each topic since time went back."""
        self._open: _OpenEpisode | None = None
        self._finished: Path | None = None
        self._largest_bytes = 0
        self._disk_due_ns = 0
        self.failed = False
        self.lost = 0
        """Number of messages that the caller could not hand over; the bag of an episode notes those of its time."""
        self._lost_before = 0
        self._guard(self._prepare)

    @property
    def recording(self) -> bool:
        """True while an episode is open."""
        return self._open is not None

    def add_topic(self, topic: Topic) -> None:
        """Record one more topic from now on, or one that is offered in another way."""
        self._topics[topic.name] = topic

    def message(self, record: Record) -> None:
        """Take in a message of any recorded topic; feedback comes here first, then to `feedback`."""
        if self.failed:
            return
        newest = self._newest.get(record.topic.name, record.stamp_ns)
        if record.stamp_ns < newest - BACK_NS:
            self._go_back(record.stamp_ns)
            newest = record.stamp_ns
        self._newest[record.topic.name] = max(newest, record.stamp_ns)
        self._recent.append(record)
        while abs(self._recent[0].receipt_ns - record.receipt_ns) > MEMORY_NS:
            self._recent.popleft()
        episode = self._open
        if episode is not None and (episode.end_ns is None or record.stamp_ns <= episode.end_ns):
            self._guard(lambda: episode.write(record))

    def feedback(
        self, stamp_ns: int, is_first: bool, is_last: bool, episode: int, steady_ns: int | None = None
    ) -> None:
        """Begin or end an episode, as the feedback that was just given to `message` says; it came at `steady_ns`."""
        if self.failed:
            return
        if is_first:
            self.close()
            self._guard(lambda: self._begin(stamp_ns, episode, steady_ns))
        if is_last and self._open is not None and self._open.end_ns is None:
            self._open.end_ns, self._open.ended_steady_ns = stamp_ns, steady_ns

    def tick(self, now_ns: int, steady_ns: int | None = None) -> None:
        """Close an episode that ended more than GRACE_NS ago; call this a few times per second.

        `now_ns` is the time of the stamps, which may be played: then `steady_ns`, of a clock that nobody sets, has a
        say. By that one an episode waits for GRACE_NS at least, and for STANDSTILL_NS at most.
        """
        self._watch_disk(now_ns if steady_ns is None else steady_ns)
        episode = self._open
        if episode is None or episode.end_ns is None:
            return
        over = now_ns > episode.end_ns + GRACE_NS
        if steady_ns is not None and episode.ended_steady_ns is not None:
            waited_ns = steady_ns - episode.ended_steady_ns
            over = waited_ns > (GRACE_NS if over else STANDSTILL_NS)
        if over:
            self.close()

    def discard(self) -> Path | None:
        """Move the open episode, or else the last finished one, to DISCARDED_FOLDER.

        Return its new folder, or None when there is no such episode.
        """
        self.close()
        self._guard(self._put_aside)
        discarded, self._finished = self._finished, None
        return discarded

    def close(self) -> None:
        """Finish the open episode, if any."""
        if self._open is not None:
            self._guard(self._finish)

    def _go_back(self, stamp_ns: int) -> None:
        """Forget what came before time went back to `stamp_ns`; nothing of the new pass belongs to an ended episode."""
        self._recent = deque(r for r in self._recent if r.stamp_ns <= stamp_ns + _SAME_MOMENT_NS)
        if self._open is not None and self._open.end_ns is not None:
            self.close()

    def _prepare(self) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        partial = self._out / PARTIAL_FOLDER
        partial.mkdir(exist_ok=True)
        left = len(list(partial.glob(f"{EPISODE_PREFIX}*")))
        if left:
            text = "of recorders that were killed or are still running; they are left alone"
            self._log(f"{partial} holds {left} unfinished bags {text}")

    def _reserve(self) -> tuple[BagWriter, int]:
        """Open a bag under a number that nobody has taken: of several recorders one can make its folder."""
        folders = (self._out / PARTIAL_FOLDER, self._out, self._out / DISCARDED_FOLDER)
        prefixes = (EPISODE_PREFIX, INCOMPLETE_PREFIX)
        found = (path.name for folder in folders for prefix in prefixes for path in folder.glob(f"{prefix}*"))
        digits = (name.rpartition("_")[2] for name in found)
        number = max((int(text) for text in digits if text.isdecimal()), default=-1) + 1
        while True:
            with contextlib.suppress(FileExistsError):
                bag = BagWriter(folders[0] / f"{EPISODE_PREFIX}{number:06d}", self._compress)
                if not any((folder / f"{p}{number:06d}").exists() for folder in folders[1:] for p in prefixes):
                    return bag, number
                bag.abort()  # another recorder finished this very number a moment ago
            number += 1

    def _begin(self, stamp_ns: int, episode: int, steady_ns: int | None) -> None:
        free = shutil.disk_usage(self._out).free
        if free < max(LEAST_FREE_BYTES, 2 * self._largest_bytes):
            text = f"{free / 1e6:.0f} MB are free, an episode took up to {self._largest_bytes / 1e6:.0f} MB"
            raise OSError(errno.ENOSPC, f"too little space for an episode: {text}")
        bag, number = self._reserve()
        self._open = _OpenEpisode(bag, number, stamp_ns if steady_ns is None else steady_ns)
        self._lost_before = self.lost
        bag.note({**self._metadata, "episode": str(episode)})
        for topic in self._topics.values():
            bag.add_topic(topic.name, topic.type, [topic.qos])
        for record in self._recent:
            # What is stamped far ahead is the end of a pass before time went back, and came late.
            if stamp_ns <= record.stamp_ns <= stamp_ns + MEMORY_NS:
                self._open.write(record)

    def _finish(self) -> None:
        episode = self._open
        assert episode is not None
        bag, missing = episode.bag, [topic for topic in self._required if not episode.counts[topic]]
        complete = episode.end_ns is not None and not missing
        bag.note({"complete": str(complete).lower(), **({"missing": " ".join(missing)} if missing else {})})
        if self.lost > self._lost_before:
            bag.note({"lost_messages": str(self.lost - self._lost_before)})
        folder = self._out / f"{EPISODE_PREFIX if complete else INCOMPLETE_PREFIX}{episode.number:06d}"
        self._largest_bytes = max(self._largest_bytes, bag.bytes_on_disk)
        bag.finish(folder)
        self._finished, self._open = folder, None
        self._log(f"{folder}: {bag.messages} messages")
        if missing:
            self._warn(f"{folder} is not complete: no message on {', '.join(missing)}")

    def _watch_disk(self, now_ns: int) -> None:
        """Warn when the disk will be full soon at the rate at which this episode grows."""
        episode = self._open
        if episode is None or now_ns < self._disk_due_ns:
            return
        self._disk_due_ns = now_ns + _DISK_PERIOD_NS
        with contextlib.suppress(OSError):  # the next message that is written tells
            free, written = shutil.disk_usage(self._out).free, episode.bag.bytes_on_disk
            left = minutes_left(free - LEAST_FREE_BYTES, written, (now_ns - episode.began_ns) * 1e-9)
            if left < LOW_MINUTES:
                self._warn(f"{self._out}: the disk is full in {max(left, 0.0):.1f} minutes of recording at this rate")

    def _put_aside(self) -> None:
        if self._finished is None:
            return
        folder = self._out / DISCARDED_FOLDER
        folder.mkdir(exist_ok=True)
        self._finished = self._finished.rename(folder / self._finished.name)
        self._log(f"discarded: {self._finished}")

    def _guard(self, action: Callable[[], object]) -> None:
        """Run `action`; on a disk error give up the open bag and raise RecordingError."""
        try:
            action()
        except OSError as error:
            self.failed = True
            episode, self._open = self._open, None
            kept = ""
            if episode is not None:
                full = error.errno in _FULL
                episode.bag.abort(keep=not full)
                kept = "" if full else f"; what was recorded of the episode is in {episode.bag.partial}"
            said = error.strerror or str(error)
            where = error.filename or self._out
            raise RecordingError(
                f"recording stopped: {said} ({where}){kept}; "
                "free space, see that the drive is there, or choose another folder, then activate the recorder again"
            ) from None
