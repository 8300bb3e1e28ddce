"""Reader of MCAP files from their beginning, record by record. Format: https://mcap.dev/spec

It does not use the index at the end of the file, which a cut-off recording lacks, so one way of reading serves whole
and cut-off files. The package `mcap` can read both, too, but is slower with the same checks, and copies each message.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import zstandard

from fosp_core.errors import UserError

MAGIC = b"\x89MCAP0\r\n"
LARGEST_RECORD = 4 * 2**30
"""A longer record counts as damage, before memory is asked for it."""
LARGEST_CHUNK = 2**30
"""Bytes above which an unpacked chunk counts as damage; a chunk of one image and more has a few MB."""
MEND = "; copy the bag again or leave it out"
_STATISTICS = 0x0B
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_PREFIX = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_CHUNK_HEAD = struct.Struct("<QQQI")
_LENGTH, _COUNT = struct.Struct("<I"), struct.Struct("<HQ")
_BEFORE_COUNTS = 42
"""Bytes of the statistics before the counts of each channel."""


class StoredMessage(NamedTuple):
    """One serialised message, with its type."""

    topic: str
    type: str
    definition: str
    """Definition of the type in the .msg format; "" when the file has none in that format."""
    logged_ns: int
    data: bytes | memoryview
    """CDR bytes, possibly a view of their chunk, which lives as long as the view does."""


class _Channel(NamedTuple):
    topic: str
    type: str
    definition: str
    wanted: bool


class McapStream:
    """Iterates over the messages of the wanted topics in the order of the file, up to its last whole record."""

    def __init__(self, stream: BinaryIO, size: int, wanted: Callable[[str], bool]) -> None:
        """`size` is that of the stream in bytes, or LARGEST_RECORD when it is not known."""
        self.complete = False
        """True once all messages are read and the file has the end that a writer gives a finished one."""
        self.position = 0
        """Bytes of the stream up to the end of the last whole record."""
        self.record_at = 0
        """Bytes of the stream up to the beginning of that record."""
        self._stream, self._size, self._wanted = stream, size, wanted
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, _Channel] = {}
        self._counted: Counter[int] = Counter()
        self._counts = True
        self._zstd = zstandard.ZstdDecompressor()

    def __iter__(self) -> Iterator[StoredMessage]:
        """Yield the messages; UserError for a file that is not MCAP, or damaged before its end."""
        begin = self._stream.read(len(MAGIC))
        if begin != MAGIC:
            nothing = not begin.strip(b"\0")
            raise UserError(f"{'holds nothing, it was damaged or cut off' if nothing else 'is no MCAP file'}{MEND}")
        self.position = len(MAGIC)
        yield from self._records()

    def from_record(self, position: int, earlier: McapStream) -> Iterator[StoredMessage]:
        """Yield the messages from the record at `position` on; `earlier` has read the file up to there, or further."""
        self._schemas = dict(earlier._schemas)
        self._channels = {n: c._replace(wanted=self._wanted(c.topic)) for n, c in earlier._channels.items()}
        self._counts = False
        self.position = self._stream.seek(position)
        yield from self._records()

    def _records(self) -> Iterator[StoredMessage]:
        while (record := self._next()) is not None:
            opcode, body = record
            if opcode == _FOOTER:
                self.complete = self._stream.read(len(MAGIC)) == MAGIC
                return
            try:
                if opcode == _CHUNK:
                    yield from self._in_chunk(self._decompressed(body))
                elif (message := self._take(opcode, memoryview(body))) is not None:
                    yield message
            except (struct.error, UnicodeDecodeError, zstandard.ZstdError) as error:
                detail = " ".join(str(error).split())
                raise UserError(f"is damaged near byte {self.position} ({detail}){MEND}") from None

    def _next(self) -> tuple[int, bytes] | None:
        """Return the next whole record; None where the file stops, between records, within one, or in zeros."""
        prefix = self._stream.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            return None
        opcode, length = _PREFIX.unpack(prefix)
        if opcode == 0 or length > min(LARGEST_RECORD, self._size - self.position):
            return None
        body = self._stream.read(length)
        if len(body) < length:
            return None
        self.record_at = self.position
        self.position += _PREFIX.size + length
        return opcode, body

    def _in_chunk(self, records: memoryview) -> Iterator[StoredMessage]:
        at = 0
        while at < len(records):
            opcode, length = _PREFIX.unpack_from(records, at)
            at += _PREFIX.size
            if opcode == 0 or length > len(records) - at:
                raise struct.error("no record where one should be, or longer than its chunk")
            message = self._take(opcode, records[at : at + length])
            if message is not None:
                yield message
            at += length

    def _decompressed(self, chunk: bytes) -> memoryview:
        _, _, size, checksum = _CHUNK_HEAD.unpack_from(chunk)
        compression, at = _text(chunk, _CHUNK_HEAD.size)
        (length,) = struct.unpack_from("<Q", chunk, at)
        packed = memoryview(chunk)[at + 8 : at + 8 + length]
        if len(packed) != length or size > LARGEST_CHUNK:
            raise struct.error("a chunk's sizes are impossible")
        if compression == "zstd":
            if zstandard.frame_content_size(bytes(packed[:32])) > size:
                raise struct.error("a chunk does not match its size")
            records = memoryview(self._zstd.decompress(packed, max_output_size=size))
        elif compression == "lz4":
            records = memoryview(_lz4(packed))
        elif compression == "":
            records = packed
        else:
            raise UserError(f"is compressed as '{compression}'; record it with zstd, lz4 or none")
        if len(records) != size or (checksum and zlib.crc32(records) != checksum):
            raise struct.error("a chunk does not match its size or checksum")
        return records

    def _take(self, opcode: int, body: memoryview) -> StoredMessage | None:
        """Remember a schema or channel; return a message of a wanted topic."""
        if opcode == _MESSAGE:
            number, _, logged_ns, _ = _MESSAGE_HEAD.unpack_from(body)
            self._counted[number] += 1
            channel = self._channels.get(number)
            if channel is None or not channel.wanted:
                return None
            return StoredMessage(*channel[:3], logged_ns, body[_MESSAGE_HEAD.size :])
        if opcode == _STATISTICS:
            self._compare(body)
        elif opcode == _SCHEMA:
            (number,) = struct.unpack_from("<H", body)
            name, at = _text(body, 2)
            encoding, at = _text(body, at)
            definition, _ = _text(body, at)
            self._schemas[number] = (name, definition if encoding == "ros2msg" else "")
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from("<HH", body)
            topic, at = _text(body, 4)
            encoding, _ = _text(body, at)
            wanted = self._wanted(topic)
            before = self._channels.get(number)
            if before is not None and before.topic != topic:
                raise struct.error(f"channel {number} is {before.topic} and {topic}")
            if wanted and encoding != "cdr":
                raise UserError(f"holds {topic} as '{encoding}'; only messages of ROS 2 (cdr) can be read")
            self._channels[number] = _Channel(topic, *self._schemas.get(schema, ("", "")), wanted)
        return None

    def _compare(self, statistics: memoryview) -> None:
        """Raise struct.error when the file says at its end that it holds other messages than were read."""
        (length,) = _LENGTH.unpack_from(statistics, _BEFORE_COUNTS)
        at = _BEFORE_COUNTS + _LENGTH.size
        if length % _COUNT.size or length > len(statistics) - at:
            raise struct.error("the statistics are malformed")
        told = dict(_COUNT.iter_unpack(statistics[at : at + length]))
        for number, channel in self._channels.items():
            if self._counts and channel.wanted and number in told and told[number] != self._counted[number]:
                raise struct.error(f"{self._counted[number]} of {told[number]} messages on {channel.topic} are there")


def _text(body: bytes | memoryview, at: int) -> tuple[str, int]:
    """Return the length-prefixed string at `at`, and the place where it ends."""
    (length,) = struct.unpack_from("<I", body, at)
    at += 4
    if length > len(body) - at:
        raise struct.error("a string is longer than its record")
    return bytes(body[at : at + length]).decode(), at + length


def _lz4(packed: memoryview) -> bytes:
    import lz4.frame  # type: ignore[import-untyped]

    try:
        unpacked: bytes = lz4.frame.LZ4FrameDecompressor().decompress(packed, max_length=LARGEST_CHUNK)
    except (RuntimeError, EOFError) as error:
        raise struct.error(str(error)) from None
    return unpacked
