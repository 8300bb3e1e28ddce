"""Files of a rosbag2 bag and the serialised messages in them: MCAP or sqlite3; zstd per file, chunk or message.

A recorder writes metadata.yaml when it closes the bag. A bag without it was cut off mid-write, and its readable part is
used: whole records up to the cut are true steps, and the running episode ends there as by a time limit. A bag with
metadata.yaml whose files lack their end was damaged later and is refused: more than its last second may be missing. So
is one whose files hold other messages than metadata.yaml counts.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import zstandard

from fosp_core.bag.files import METADATA, SUFFIXES, files_of, is_ros1
from fosp_core.bag.mcap_stream import LARGEST_RECORD, MEND, McapStream, StoredMessage
from fosp_core.bag.sqlite_file import sqlite_messages
from fosp_core.errors import UserError
from fosp_core.specs import parse_yaml

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LARGEST_MESSAGE = 256 << 20
"""Size in bytes above which an unpacked message is refused, since a few kB of zeros could fill all memory."""
_LATEST_NS = 2**62
"""Log time, ns, beyond which a message was logged in no year that a clock says (2116)."""
_MAX_METADATA_BYTES = 16 << 20


@dataclass(frozen=True)
class StoredTopic:
    """Type of a topic, and the number of its messages."""

    type: str
    messages: int


class Place(NamedTuple):
    """The place of a message in a bag, from which it can be read again without what lies before it."""

    file: int
    """Index in `BagStorage.files`."""
    position: int
    """Byte at which its MCAP record begins, its row in sqlite3, or 0 in a file that is compressed as a whole."""


class BagStorage:
    """One bag: a folder, or a single storage file. Every method raises UserError with one line that begins with it."""

    def __init__(self, bag: Path) -> None:
        self.bag = bag
        self.notes: list[str] = []
        """Lines about what is odd in the files, filled by `messages`."""
        self.place = Place(0, 0)
        """Place of the message that `messages` yielded last."""
        self._read: dict[int, McapStream] = {}
        """Readers that have seen the schemas and channels of their file."""
        self._unlisted: list[str] = []
        there = files_of(bag)
        self._information = _information(bag) if bag.is_dir() else _information_of_file(bag)
        self.files = there if self._information is None or not bag.is_dir() else self._listed(there)
        for path in self.files:
            if is_ros1(path):
                raise UserError(
                    f"{bag}: is a bag of ROS 1; convert it: rosbags-convert --src {path} --dst {path.with_suffix('')}"
                )
        if not self.files:
            raise UserError(f"{bag}: holds no .mcap or .db3 file that can be read; copy the bag again{_dangling(bag)}")

    @property
    def finished(self) -> bool:
        """True when the recorder closed the bag."""
        return self._information is not None

    @property
    def custom_data(self) -> dict[str, str]:
        """Notes of the recorder, such as task and robot."""
        noted = (self._information or {}).get("custom_data") or {}
        return {str(key): str(value) for key, value in noted.items()} if isinstance(noted, dict) else {}

    @property
    def format(self) -> str:
        """Storage and compression in words, such as "mcap" or "sqlite3, zstd per message"."""
        storage = "mcap" if ".mcap" in self.files[0].name else "sqlite3"
        mode = str((self._information or {}).get("compression_mode") or "none").lower()
        return storage if mode == "none" else f"{storage}, zstd per {mode}"

    def topics(self) -> dict[str, StoredTopic]:
        """Return the topics by full name; a bag that was cut off is read to find them."""
        if self._information is None:
            found = self._count()
            if not found:
                raise UserError(f"{self.bag}: was cut off before anything readable was written; leave it out")
            return found
        found = {}
        try:
            for entry in self._information["topics_with_message_count"]:
                name, kind = str(entry["topic_metadata"]["name"]), str(entry["topic_metadata"]["type"])
                before = found.get(name, StoredTopic(kind, 0))
                found[name] = StoredTopic(before.type, before.messages + int(entry["message_count"]))
        except (KeyError, TypeError, ValueError):
            raise _no_metadata(self.bag) from None
        return found

    def messages(self, wanted: Callable[[str], bool]) -> Iterator[StoredMessage]:
        """Yield the messages of the topics that `wanted` accepts, in the order in which the files hold them.

        UserError at the end when these are not the messages that metadata.yaml counts.
        """
        self.notes = list(self._unlisted)
        listed = self.topics() if self._information is not None else None
        counted: Counter[str] = Counter()
        for number, path in enumerate(self.files):
            try:
                for message in self._file_messages(number, wanted):
                    if not 0 <= message.logged_ns < _LATEST_NS:
                        raise UserError(
                            f"holds a message on {message.topic} logged at {message.logged_ns} ns, which is no time"
                            f"{MEND}"
                        )
                    counted[message.topic] += 1
                    if listed is not None and counted[message.topic] == 1:
                        self._check_type(message, listed)
                    yield message
            except UserError as error:
                raise UserError(f"{self.bag}: {path.name} {error}") from None
            except OSError as error:
                raise UserError(f"{self.bag}: {path.name} cannot be read: {error.strerror or error}") from None
        for topic, entry in (listed or {}).items():
            if wanted(topic) and counted[topic] != entry.messages:
                raise UserError(
                    f"{self.bag}: holds {counted[topic]} messages on {topic}, {METADATA} counts {entry.messages}; copy "
                    f"the bag again, or remove its {METADATA} to use what is there"
                )

    def messages_from(self, place: Place, wanted: Callable[[str], bool]) -> Iterator[StoredMessage]:
        """Yield the messages of the topics that `wanted` accepts from `place` on, as far as the files can be read.

        `place` is one that `messages` of this object has passed. Several threads may read at once.
        """
        for number in range(place.file, len(self.files)):
            path = self.files[number]
            try:
                yield from self._again(number, place.position if number == place.file else 0, wanted)
            except UserError as error:
                raise UserError(f"{self.bag}: {path.name} {error}") from None
            except OSError as error:
                raise UserError(f"{self.bag}: {path.name} cannot be read: {error.strerror or error}") from None

    def _again(self, number: int, position: int, wanted: Callable[[str], bool]) -> Iterator[StoredMessage]:
        path = self.files[number]
        if path.name.removesuffix(".zstd").endswith(".db3"):
            with _plain_file(path) as plain:
                for message in sqlite_messages(plain, wanted, position):
                    yield _unpacked(message)
            return
        with _opened(path) as (stream, size):
            mcap = McapStream(stream, size, wanted)
            earlier = self._read.get(number)
            for message in mcap.from_record(position, earlier) if position and earlier is not None else mcap:
                yield _unpacked(message)

    def _check_type(self, message: StoredMessage, listed: dict[str, StoredTopic]) -> None:
        entry = listed.get(message.topic)
        if entry is not None and entry.type != message.type:
            raise UserError(
                f"holds {message.topic} as {message.type}, {METADATA} lists it as {entry.type}; copy the bag again"
            )

    def _file_messages(self, number: int, wanted: Callable[[str], bool]) -> Iterator[StoredMessage]:
        path = self.files[number]
        packed = path.suffix == ".zstd"
        if path.name.removesuffix(".zstd").endswith(".db3"):

            def at_row(row: int) -> None:
                self.place = Place(number, row)

            with _plain_file(path) as plain:
                for message in sqlite_messages(plain, wanted, at_row=at_row):
                    yield _unpacked(message)
            return
        with _opened(path) as (stream, size):
            mcap = self._read[number] = McapStream(stream, size, wanted)
            for message in mcap:
                self.place = Place(number, 0 if packed else mcap.record_at)
                yield _unpacked(message)
            if not mcap.complete:
                self._cut_off(path, mcap.position)

    def _cut_off(self, path: Path, position: int) -> None:
        if self.finished:
            raise UserError(
                f"ends too early, it was damaged or cut off after it was recorded{MEND}, or remove its {METADATA} to "
                "use what is left of it"
            )
        lost = path.stat().st_size - position
        self.notes.append(f"cut off mid-write, its last {lost} bytes are unreadable")

    def _listed(self, there: list[Path]) -> list[Path]:
        """Return the files that metadata.yaml names; old bags put the folder before the name."""
        information = self._information or {}
        names = [PurePosixPath(str(name)) for name in information.get("relative_file_paths") or ()]
        outside = [name for name in names if name.is_absolute() or ".." in name.parts]
        if outside:
            raise UserError(f"{self.bag}: metadata.yaml lists {outside[0]}, outside of the bag; copy the bag again")
        listed = [_packed_or_not(self.bag / name.name) for name in names]
        missing = [path.name for path in listed if not path.is_file()]
        if missing:
            raise UserError(f"{self.bag}: {missing[0]} is missing, metadata.yaml lists it; copy the bag again")
        compression = information.get("compression_format") or ""
        if compression not in ("", "none", "zstd"):
            raise UserError(f"{self.bag}: compression '{compression}' cannot be read; record with zstd or none")
        strange = [path.name for path in listed if not path.name.endswith(SUFFIXES)]
        if strange:
            raise UserError(f"{self.bag}: {strange[0]} is neither MCAP nor sqlite3; record the bag as one of these")
        self._unlisted = [f"{p.name} is not used, metadata.yaml does not list it" for p in there if p not in listed]
        return listed

    def _count(self) -> dict[str, StoredTopic]:
        found: dict[str, StoredTopic] = {}
        for message in self.messages(lambda topic: True):
            before = found.get(message.topic)
            found[message.topic] = StoredTopic(message.type, before.messages + 1 if before else 1)
        return found


def _information(bag: Path) -> dict[str, Any] | None:
    """Return the content of metadata.yaml; None without that file."""
    try:
        if (bag / METADATA).stat().st_size > _MAX_METADATA_BYTES:
            raise UserError(f"{bag}: {METADATA} is larger than rosbag2 metadata can be; record the bag again")
        text = (bag / METADATA).read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{bag}: {METADATA} cannot be read ({error})") from None
    if not text.strip("\0 \r\n"):
        return None  # the recorder was cut off, or the power, before it was on the disk
    try:
        information = parse_yaml(text, f"{bag}: {METADATA}", large=True)["rosbag2_bagfile_information"]
    except (KeyError, TypeError):
        raise _no_metadata(bag) from None
    if not isinstance(information, dict):
        raise _no_metadata(bag)
    return information


def _packed_or_not(path: Path) -> Path:
    """Return the file, or the same one packed or unpacked where only that is there: tools leave the metadata."""
    other = path.with_name(path.name.removesuffix(".zstd") if path.suffix == ".zstd" else f"{path.name}.zstd")
    return other if other.is_file() and not path.is_file() else path


def _information_of_file(path: Path) -> dict[str, Any] | None:
    """Return the metadata of the folder of a storage file, where that file is all there is of its bag; else None."""
    information = _information(path.parent)
    names = (information or {}).get("relative_file_paths")
    if isinstance(names, list) and [PurePosixPath(str(name)).name for name in names] == [path.name]:
        return information
    return None


def _dangling(bag: Path) -> str:
    broken = sorted(path.name for path in bag.iterdir() if path.is_symlink() and not path.exists())
    return f": the link {broken[0]} leads nowhere" if broken else ""


def _no_metadata(bag: Path) -> UserError:
    return UserError(f"{bag}: {METADATA} is no rosbag2 metadata; record the bag again")


def _unpacked(message: StoredMessage) -> StoredMessage:
    """Undo compression per message; no CDR message begins like a zstd frame, so metadata.yaml need not mention it."""
    if bytes(message.data[:4]) != _ZSTD_MAGIC:
        return message
    try:
        with zstandard.ZstdDecompressor().stream_reader(message.data) as stream:
            data = stream.read(LARGEST_MESSAGE + 1)
    except zstandard.ZstdError as error:
        raise UserError(f"holds a message that cannot be decompressed ({error}){MEND}") from None
    if len(data) > LARGEST_MESSAGE:
        raise UserError(
            f"holds a message on {message.topic} that unpacks to more than {LARGEST_MESSAGE >> 20} MiB{MEND}"
        )
    return message._replace(data=data)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open the content as a stream, and give its size where it is known."""
    with path.open("rb") as stream:
        if path.suffix != ".zstd":
            yield stream, _written(stream)
            return
        try:
            yield zstandard.ZstdDecompressor().stream_reader(stream), LARGEST_RECORD  # type: ignore[misc]
        except zstandard.ZstdError as error:
            raise UserError(f"cannot be decompressed ({error}){MEND}") from None


def _written(stream: BinaryIO) -> int:
    """Return the size without the zeros that a power cut can leave at the end; a whole MCAP file ends in none."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - 2**20)
        stream.seek(begin)
        content = stream.read(end - begin).rstrip(b"\0")
        end = begin + len(content)
        if content:
            break
    stream.seek(0)
    return end


@contextmanager
def _plain_file(path: Path) -> Iterator[Path]:
    """Give the file itself, or a decompressed temporary one, since sqlite3 needs random access."""
    if path.suffix != ".zstd":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as packed:
        plain = Path(folder, path.stem)
        with plain.open("wb") as out:
            try:
                zstandard.ZstdDecompressor().copy_stream(packed, out)
            except zstandard.ZstdError as error:
                raise UserError(f"cannot be decompressed ({error}){MEND}") from None
        yield plain
