"""Serialised messages to rosbag2 MCAP folders, one per episode. No ROS node in here.

Feedback and frames of one moment arrive in any order. So the newest messages are remembered: an episode begins with the
first message stamped at or after its first feedback, even if that came earlier; and after its last feedback the bag
stays open for a moment, for what is stamped before it and comes later.
"""

from __future__ import annotations

import shutil
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError

EPISODE_PREFIX = "episode_"
INCOMPLETE_PREFIX = "incomplete_"
PARTIAL_FOLDER = ".partial"
DISCARDED_FOLDER = ".discarded"
"""Hidden, so that nothing is trained on what lies there; emptied by hand."""
MEMORY_NS = 500_000_000
"""How long messages are remembered for an episode that turns out to have begun."""
GRACE_NS = 250_000_000
"""How long after its last feedback an episode waits for messages stamped before it."""
_FOREVER = QosTime(2**31 - 1, 2**32 - 1)


class RecordingError(UserError):
    """The disk does not take the recording; nothing more can be recorded here."""


@dataclass(frozen=True)
class Topic:
    """A recorded topic: its resolved name, its type as 'package/msg/Name', and what its publisher offers."""

    name: str
    type: str
    reliable: bool = True
    latched: bool = False

    @property
    def qos(self) -> Qos:
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
    """One serialised message: CDR bytes, when it was received and (from its header, else the same) stamped, ns."""

    topic: Topic
    data: bytes
    receipt_ns: int
    stamp_ns: int


@cache
def has_header(message_type: str) -> bool:
    """Whether messages of the type begin with a std_msgs/Header; UserError when the type is not known."""
    try:
        fields = typestore().fielddefs[message_type][1]
    except KeyError:
        raise UserError(f"message type {message_type} cannot be recorded: it is neither Jazzy's nor fosp's") from None
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"


def stamp_of(data: bytes, message_type: str, receipt_ns: int) -> int:
    """Stamp, ns, in the header of a serialised message; `receipt_ns` when it has none."""
    if not has_header(message_type) or len(data) < 12:
        return receipt_ns
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds * 1_000_000_000 + nanoseconds)


class EpisodeBag:
    """One episode on its way to disk, in a folder that gets its name only when it is complete."""

    def __init__(
        self, out: Path, index: int, episode: int, topics: list[Topic], compress: bool, metadata: Mapping[str, str]
    ) -> None:
        self.index, self.episode = index, episode
        self.messages = 0
        self.end_ns: int | None = None
        """Stamp of the last feedback, once it is known."""
        self._out = out
        self._partial = out / PARTIAL_FOLDER / f"{EPISODE_PREFIX}{index:06d}"
        self._writer = Writer(self._partial, version=9, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        for key, value in {**metadata, "episode": str(episode)}.items():
            self._writer.set_custom_data(key, value)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        for topic in topics:
            self._connect(topic)

    def write(self, record: Record) -> None:
        connection = self._connections.get(record.topic.name) or self._connect(record.topic)
        self._writer.write(connection, record.receipt_ns, record.data)
        self.messages += 1

    def close(self) -> Path:
        """Finish the bag and give it its name: episode_N, or incomplete_N when its last feedback never came."""
        complete = self.end_ns is not None
        self._writer.set_custom_data("complete", str(complete).lower())
        self._writer.close()
        target = self._out / f"{EPISODE_PREFIX if complete else INCOMPLETE_PREFIX}{self.index:06d}"
        self._partial.rename(target)
        return target

    def abort(self) -> None:
        """Give up: remove what has been written."""
        self._writer.abort()
        shutil.rmtree(self._partial, ignore_errors=True)

    def _connect(self, topic: Topic) -> Connection:
        connection = self._writer.add_connection(
            topic.name, topic.type, typestore=typestore(), offered_qos_profiles=[topic.qos]
        )
        self._connections[topic.name] = connection
        return connection


class EpisodeRecorder:
    """Splits a stream of serialised messages into one bag per episode.

    Every method raises RecordingError when the disk refuses; what was being written is then removed, and the recorder
    takes no more.
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
        self._bag: EpisodeBag | None = None
        self._finished: Path | None = None
        self.failed = False
        self._guard(self._prepare)

    @property
    def recording(self) -> bool:
        """Whether an episode is open."""
        return self._bag is not None

    def add_topic(self, topic: Topic) -> None:
        """Record one more topic from now on."""
        self._topics.append(topic)

    def message(self, record: Record) -> None:
        """A message of any recorded topic, feedback included (before `feedback` is told of it)."""
        if self.failed:
            return
        self._recent.append(record)
        while self._recent[0].receipt_ns < record.receipt_ns - MEMORY_NS:
            self._recent.popleft()
        bag = self._bag
        if bag is not None and (bag.end_ns is None or record.stamp_ns <= bag.end_ns):
            self._guard(lambda: bag.write(record))

    def feedback(self, stamp_ns: int, is_first: bool, is_last: bool, episode: int) -> None:
        """An episode feedback has arrived (and been given to `message`)."""
        if self.failed:
            return
        if is_first:
            self.close()
            self._guard(lambda: self._begin(stamp_ns, episode))
        if is_last and self._bag is not None and self._bag.end_ns is None:
            self._bag.end_ns = stamp_ns

    def tick(self, now_ns: int) -> None:
        """Close the episode whose end lies far enough behind; call it a few times per second."""
        if self._bag is not None and self._bag.end_ns is not None and now_ns > self._bag.end_ns + GRACE_NS:
            self.close()

    def discard(self) -> Path | None:
        """Put the open episode aside, or else the one that was finished last; where it lies now, None without any."""
        self.close()
        self._guard(self._put_aside)
        discarded, self._finished = self._finished, None
        return discarded

    def close(self) -> None:
        """Finish the open episode, if any."""
        if self._bag is not None:
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
        self._bag = EpisodeBag(self._out, self._next, episode, self._topics, self._compress, self._metadata)
        self._next += 1
        for record in self._recent:
            if record.stamp_ns >= stamp_ns:
                self._bag.write(record)

    def _finish(self) -> None:
        assert self._bag is not None
        self._finished, messages = self._bag.close(), self._bag.messages
        self._bag = None
        self._log(f"{self._finished}: {messages} messages")

    def _put_aside(self) -> None:
        if self._finished is None:
            return
        folder = self._out / DISCARDED_FOLDER
        folder.mkdir(exist_ok=True)
        self._finished = self._finished.rename(folder / self._finished.name)
        self._log(f"discarded: {self._finished}")

    def _guard(self, action: Callable[[], object]) -> None:
        """Run `action`; on a disk error give up for good."""
        try:
            action()
        except OSError as error:
            self.failed = True
            bag, self._bag = self._bag, None
            if bag is not None:
                bag.abort()
            raise RecordingError(
                f"recording stopped: {error.strerror or error} ({self._out}); "
                "free space or choose another folder, then activate the recorder again"
            ) from None
