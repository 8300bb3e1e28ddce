"""The message types of bags, for reading and writing them without ROS, and the writer of every bag.

The types are Jazzy's, and those of fosp_msgs. Bags are rosbag2 MCAP folders, which `ros2 bag play`, Foxglove and
`fosp bags check` read.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fosp_core.errors import UserError

PACKAGE = "fosp_msgs"


@cache
def typestore() -> Typestore:
    """Return the one instance of Jazzy's message types plus `fosp_msgs`, registered from their .msg text.

    UserError when the .msg files are neither installed nor in the source tree.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(message_folder().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"{PACKAGE}/msg/{path.stem}"))
    return store


def message_folder() -> Path:
    """Return the folder of the .msg files: the installed one when the package is built, else the source tree's."""
    candidates = []
    try:
        from ament_index_python.packages import get_package_share_directory

        candidates.append(Path(get_package_share_directory(PACKAGE), "msg"))
    except (ImportError, LookupError):
        pass
    candidates.append(Path(__file__).resolve().parents[2] / PACKAGE / "msg")
    for folder in candidates:
        if any(folder.glob("*.msg")):
            return folder
    raise UserError(f"{PACKAGE} is not built and not in the source tree: its .msg files are needed to read bags")


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
