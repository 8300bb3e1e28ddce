"""The writer of every bag: rosbag2 MCAP folders, which `ros2 bag play`, Foxglove and `fosp bags check` read."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fosp_core.bag_types import typestore


class BagWriter:
    """A bag on its way to disk: it is written into the folder `partial`, and `finish` moves it to its place.

    A process that is killed leaves `partial` behind, without metadata.yaml. Every method raises OSError when the disk
    refuses; call `abort` then.
    """

    def __init__(self, partial: Path, compress: bool = True) -> None:
        """Create `partial`, which names the file inside of it as well; `compress`: zstd, chunk by chunk."""
        self._partial = partial
        self._connections: dict[str, Connection] = {}
        self.messages = 0
        """Number of messages written so far."""
        self._writer = Writer(partial, version=9, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        try:
            self._writer.open()
        except OSError:
            self.abort()
            raise

    @property
    def topics(self) -> Collection[str]:
        """Names of the topics that were added."""
        return self._connections.keys()

    def add_topic(self, topic: str, message_type: str, qos: Sequence[Qos] = ()) -> None:
        """List `topic` in the bag, even if no message follows; `qos` is what its publishers offer."""
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=typestore(), offered_qos_profiles=qos
        )

    def write(self, topic: str, receipt_ns: int, data: bytes | memoryview) -> None:
        """Append one serialised (CDR) message of a topic that was added, received at `receipt_ns`."""
        self._writer.write(self._connections[topic], receipt_ns, data)
        self.messages += 1

    def note(self, notes: Mapping[str, str]) -> None:
        """Set keys of the metadata's `custom_data`."""
        for key, value in notes.items():
            self._writer.set_custom_data(key, value)

    def finish(self, folder: Path) -> None:
        """Complete the bag and rename it to `folder`, on the same file system."""
        self._writer.close()
        self._partial.rename(folder)

    def abort(self) -> None:
        """Give up, and remove what has been written as far as the disk allows."""
        with contextlib.suppress(Exception):
            self._writer.abort()
        shutil.rmtree(self._partial, ignore_errors=True)
