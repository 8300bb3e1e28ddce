"""The message types of bags, for reading and writing them without ROS, and the writer of every bag.

The types are Jazzy's, and those of fosp_msgs. Bags are rosbag2 MCAP folders, which `ros2 bag play`, Foxglove and
`fosp bags check` read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
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


def move_aside(path: Path) -> Path | None:
    """Rename a file or folder to the first free of PATH_1, PATH_2, ...; return its new path, or None without one.

    Recordings and runs that somebody finished are put aside in this way, and never removed. UserError when the disk
    refuses.
    """
    if not path.exists():
        return None
    free = next(p for number in count(1) if not (p := path.with_name(f"{path.name}_{number}")).exists())
    try:
        return path.rename(free)
    except OSError as error:
        raise UserError(f"{path}: cannot be moved to {free}: {error.strerror or error}") from None


class BagWriter:
    """A bag on its way to disk: it is written into the folder `partial`, and `finish` moves it to its place.

    A process that is killed leaves `partial` behind, without metadata.yaml. Every method raises OSError when the disk
    refuses; call `abort` then.
    """

    def __init__(self, partial: Path, compress: bool = True) -> None:
        """Create `partial`, which names the file inside of it as well; `compress`: zstd, chunk by chunk.

        FileExistsError when it exists: of several that create one folder at once, one gets it.
        """
        self.partial = partial
        self._connections: dict[str, Connection] = {}
        self._complete = False
        self.messages = 0
        """Number of messages written so far."""
        try:
            self._writer = Writer(partial, version=9, storage_plugin=StoragePlugin.MCAP)
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError:
            raise FileExistsError(errno.EEXIST, "it exists already", str(partial)) from None
        except OSError:
            self.abort()
            raise

    @property
    def bytes_on_disk(self) -> int:
        """Number of bytes in the file so far."""
        return sum(file.stat().st_size for file in self.partial.glob("*.mcap"))

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
        """Complete the bag, see that it is on the disk, and rename it to `folder`, on the same file system.

        What is in `folder` is never replaced: FileExistsError then, and the bag stays complete in `partial`.
        """
        self._writer.close()
        self._complete = True
        for file in self.partial.iterdir():  # a network drive may tell only now that it could not write
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        if folder.exists():
            raise FileExistsError(errno.EEXIST, "it exists already", str(folder))
        self.partial.rename(folder)

    def abort(self, keep: bool = False) -> None:
        """Give up, and remove what has been written as far as the disk allows; `keep`: leave it where it is.

        A bag that is complete is left in `partial` in any case.
        """
        if self._complete:
            return
        with contextlib.suppress(Exception):
            self._writer.abort()
        if not keep:
            shutil.rmtree(self.partial, ignore_errors=True)
