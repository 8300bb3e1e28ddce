"""Splits a stream of serialised messages into one bag per episode, without ROS.

Feedback and frames of one moment arrive in any order. The recorder therefore remembers the newest messages: an episode
begins with the first message stamped at or after its first feedback, even if that message came earlier. After the last
feedback the bag stays open for a moment, for messages that are stamped before it and come later.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass
class _OpenEpisode:
    """The episode that is being recorded."""

    bag: BagWriter
    number: int
    end_ns: int | None = None
    """Stamp of its last feedback, once that has arrived."""

    def write(self, record: Record) -> None:
        topic = record.topic
        if topic.name not in self.bag.topics:
            self.bag.add_topic(topic.name, topic.type, [topic.qos])
        self.bag.write(topic.name, record.receipt_ns, record.data)


class EpisodeRecorder:
    """Writes `out`/episode_000000, episode_000001, ...; an episode without its last feedback becomes incomplete_N.

    Every method raises RecordingError when the disk refuses: the open bag is then removed, and the recorder takes no
    more messages.
    """

    def __init__(
        self,
        out: Path,
        topics: list[Topic],
        compress: bool = True,
        log: Callable[[str], None] = lambda line: None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`metadata` is written into every bag."""
        self._out, self._topics, self._compress, self._log, self._metadata = out, topics, compress, log, metadata
        self._recent: deque[Record] = deque()
        self._open: _OpenEpisode | None = None
        self._finished: Path | None = None
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
        """Record one more topic from now on."""
        self._topics.append(topic)

    def message(self, record: Record) -> None:
        """Take in a message of any recorded topic; feedback comes here first, then to `feedback`."""
        if self.failed:
            return
        self._recent.append(record)
        while self._recent[0].receipt_ns < record.receipt_ns - MEMORY_NS:
            self._recent.popleft()
        episode = self._open
        if episode is not None and (episode.end_ns is None or record.stamp_ns <= episode.end_ns):
            self._guard(lambda: episode.write(record))

    def feedback(self, stamp_ns: int, is_first: bool, is_last: bool, episode: int) -> None:
        """Begin or end an episode, as the feedback that was just given to `message` says."""
        if self.failed:
            return
        if is_first:
            self.close()
            self._guard(lambda: self._begin(stamp_ns, episode))
        if is_last and self._open is not None and self._open.end_ns is None:
            self._open.end_ns = stamp_ns

    def tick(self, now_ns: int) -> None:
        """Close an episode that ended more than GRACE_NS ago; call this a few times per second."""
        if self._open is not None and self._open.end_ns is not None and now_ns > self._open.end_ns + GRACE_NS:
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

    def _prepare(self) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        partial = self._out / PARTIAL_FOLDER
        partial.mkdir(exist_ok=True)
        left = sorted(partial.glob(f"{EPISODE_PREFIX}*"))
        if left:
            self._log(f"{partial} holds {len(left)} unfinished bags of a recorder that was killed; they are left alone")
        folders = (self._out, self._out / DISCARDED_FOLDER)
        prefixes = (EPISODE_PREFIX, INCOMPLETE_PREFIX)
        finished = (path for folder in folders for prefix in prefixes for path in folder.glob(f"{prefix}*"))
        numbers = (path.name.rpartition("_")[2] for path in (*left, *finished))
        taken = [int(number) for number in numbers if number.isdigit()]
        self._next = max(taken, default=-1) + 1

    def _begin(self, stamp_ns: int, episode: int) -> None:
        bag = BagWriter(self._out / PARTIAL_FOLDER / f"{EPISODE_PREFIX}{self._next:06d}", self._compress)
        self._open = _OpenEpisode(bag, self._next)
        self._lost_before = self.lost
        self._next += 1
        bag.note({**self._metadata, "episode": str(episode)})
        for topic in self._topics:
            bag.add_topic(topic.name, topic.type, [topic.qos])
        for record in self._recent:
            if record.stamp_ns >= stamp_ns:
                self._open.write(record)

    def _finish(self) -> None:
        assert self._open is not None
        bag, complete = self._open.bag, self._open.end_ns is not None
        bag.note({"complete": str(complete).lower()})
        if self.lost > self._lost_before:
            bag.note({"lost_messages": str(self.lost - self._lost_before)})
        folder = self._out / f"{EPISODE_PREFIX if complete else INCOMPLETE_PREFIX}{self._open.number:06d}"
        bag.finish(folder)
        self._finished, self._open = folder, None
        self._log(f"{folder}: {bag.messages} messages")

    def _put_aside(self) -> None:
        if self._finished is None:
            return
        folder = self._out / DISCARDED_FOLDER
        folder.mkdir(exist_ok=True)
        self._finished = self._finished.rename(folder / self._finished.name)
        self._log(f"discarded: {self._finished}")

    def _guard(self, action: Callable[[], object]) -> None:
        """Run `action`; on a disk error remove the open bag and raise RecordingError."""
        try:
            action()
        except OSError as error:
            self.failed = True
            episode, self._open = self._open, None
            if episode is not None:
                episode.bag.abort()
            raise RecordingError(
                f"recording stopped: {error.strerror or error} ({self._out}); "
                "free space or choose another folder, then activate the recorder again"
            ) from None
