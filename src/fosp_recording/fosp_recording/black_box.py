"""What happened before a stop: the last messages in memory, a bag of them on disk, old bags away. No ROS.

The bags are rosbag2 MCAP: `ros2 bag play`, Foxglove and `fosp bags check` read them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fosp_core.bag_types import typestore

PREFIX = "black_box_"
_PARTIAL = ".partial_"


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
