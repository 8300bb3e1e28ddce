"""What happened before a stop: the last messages in memory, a bag of them on disk, old bags away. No ROS.

The bags are rosbag2 MCAP: `ros2 bag play`, Foxglove and `fosp bags check` read them.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fosp_core.bag_types import typestore

PREFIX = "black_box_"
_PARTIAL = ".partial_"
LEAST_SILENCE_S = 0.1
"""Of the commands: who listens is no real-time process."""
HEARTBEAT_GAP_S = 0.5
"""Without a heartbeat the monitor hangs, even if its command thread goes on."""
SETTLE_S = 0.5
"""After a deactivation: what was under way may be read later than the word of it."""


@dataclass(frozen=True)
class Heard:
    """One serialised message."""

    topic: str
    receipt_ns: int
    """Wall clock."""
    data: bytes
    """CDR, as it came."""
    monotonic_s: float
    """Of the receipt."""


class Memory:
    """The messages of the last `seconds`, of at most `limit_bytes` altogether: what is too much goes oldest first.

    Of seconds by the monotonic clock: a clock that is set must not make it forget what came before.
    """

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._span_s, self._limit_bytes = seconds, limit_bytes
        self._messages: deque[Heard] = deque()
        self._bytes = 0

    def add(self, heard: Heard) -> None:
        """Remember a message, and forget what is older than the span or over the limit."""
        self._messages.append(heard)
        self._bytes += len(heard.data)
        oldest_s = heard.monotonic_s - self._span_s
        while self._messages and (self._bytes > self._limit_bytes or self._messages[0].monotonic_s < oldest_s):
            self._bytes -= len(self._messages.popleft().data)

    def messages(self) -> list[Heard]:
        """In the order of their receipt."""
        return list(self._messages)

    @property
    def seconds(self) -> float:
        """From the oldest message to the newest: less than the span when it is young, or its limit holds no more."""
        return self._messages[-1].monotonic_s - self._messages[0].monotonic_s if self._messages else 0.0


class Vigil:
    """Follows the command stream and the heartbeats of an active monitor. Times are monotonic, s, of the reading.

    `command_timeout_s`: the robot's. `simulated_time`: heartbeats are no sign then, for they stand still with it.
    """

    def __init__(self, command_timeout_s: float, simulated_time: bool = False) -> None:
        self._silence_s = max(command_timeout_s, LEAST_SILENCE_S)
        self._gap_s = math.inf if simulated_time else HEARTBEAT_GAP_S
        self._command_s: float | None = None
        self._beat_s: float | None = None
        self._ended_s = -math.inf

    @property
    def on(self) -> bool:
        """Whether an active monitor sends commands, as far as was heard."""
        return self._command_s is not None and self._beat_s is not None

    def command(self, now_s: float) -> None:
        """A command was read."""
        if now_s - self._ended_s > SETTLE_S:
            self._command_s = now_s

    def beat(self, active: bool, now_s: float) -> None:
        """A heartbeat of the monitor was read."""
        if not active:
            self.end(now_s)
        elif now_s - self._ended_s > SETTLE_S:
            self._beat_s = now_s

    def end(self, now_s: float) -> None:
        """The monitor said that it was deactivated: it may fall silent."""
        self._command_s = self._beat_s = None
        self._ended_s = now_s

    def silence(self, now_s: float) -> str:
        """What ceased, in words, told once; empty while nothing did."""
        if self._command_s is None or self._beat_s is None:
            return ""
        if now_s - self._command_s >= self._silence_s:
            text = f"no command for {now_s - self._command_s:.2f} s"
        elif now_s - self._beat_s >= self._gap_s:
            text = f"no heartbeat of the safety monitor for {now_s - self._beat_s:.2f} s"
        else:
            return ""
        self._command_s = self._beat_s = None
        return f"{text}, and no word of a deactivation: it was killed or hangs"


def write_box(folder: Path, messages: Iterable[Heard], types: Mapping[str, str], notes: Mapping[str, str]) -> None:
    """Write `messages` as the bag `folder`, which appears when it is complete; `types`: topic -> ROS message type.

    `notes` go into its metadata (`custom_data`). OSError when the disk does not take it; nothing is left behind then.
    """
    partial = folder.with_name(_PARTIAL + folder.name)
    store = typestore()
    writer = Writer(partial, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    try:
        with writer:
            for key, value in notes.items():
                writer.set_custom_data(key, value)
            connections = {
                topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in sorted(types.items())
            }
            for heard in messages:
                writer.write(connections[heard.topic], heard.receipt_ns, heard.data)
        partial.rename(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
        raise


def make_room(directory: Path, limit_bytes: int) -> list[Path]:
    """Remove the oldest boxes, and what a crash left half written, until the others take less than `limit_bytes`.

    The newest box stays, whatever its size. Returns what was removed. Nothing but our own folders is touched.
    """
    for partial in directory.glob(f"{_PARTIAL}{PREFIX}*"):
        shutil.rmtree(partial, ignore_errors=True)
    boxes = sorted(path for path in directory.glob(f"{PREFIX}*") if path.is_dir())
    sizes = {box: sum(file.stat().st_size for file in box.rglob("*") if file.is_file()) for box in boxes}
    removed = []
    for box in boxes[:-1]:
        if sum(sizes.values()) < limit_bytes:
            break
        shutil.rmtree(box, ignore_errors=True)
        del sizes[box]
        removed.append(box)
    return removed
