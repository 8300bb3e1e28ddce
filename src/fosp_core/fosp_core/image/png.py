"""Fast decoding of the PNGs that cameras and recorders write: 8-bit RGB, not interlaced, without transparency.

ISA-L inflates two to three times as fast as zlib. libspng undoes the row filters; it is given the inflated rows as
stored blocks of a new PNG, for which its own zlib has nothing to do but copy. Any other PNG, and any damage, is left to
OpenCV, so the pixels are always those that OpenCV reads.
"""

from __future__ import annotations

import struct

import numpy as np
import pyspng
from isal import isal_zlib
from numpy.typing import NDArray

_RGB = b"\x08\x02\x00\x00\x00"
"""End of the header: 8 bits, colour type RGB, deflate, adaptive filters, no interlacing."""
_IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_PIXELS_AT = 33
"""Length of the signature and of the header chunk."""
_UNIMPORTANT = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"gAMA", b"cHRM", b"sRGB"})
"""Chunks that OpenCV ignores, too. Others may turn the image or make it transparent."""
_LARGEST = 1 << 25
"""Most bytes of inflated rows, enough for 11 megapixels: for some moments they are held three times."""
_BLOCK = 65535
"""Most bytes of a stored block (RFC 1951)."""


def decode_rgb_png(data: memoryview, width: int, height: int) -> NDArray[np.uint8] | None:
    """Decode a PNG of `width` x `height`, as its header says, to (H, W, 3) uint8 RGB.

    Return None when it is damaged, larger than _LARGEST or of another kind. Memory is bounded by the size that the
    header says, whatever the bytes unpack to.
    """
    size = height * (1 + 3 * width)
    stream = _compressed_rows(data) if size <= _LARGEST else None
    if stream is None:
        return None
    inflater = isal_zlib.decompressobj()
    try:
        rows = inflater.decompress(stream, size + 1)
        if len(rows) != size or not inflater.eof:
            return None
        return np.asarray(pyspng.load(_stored(bytes(data[:_PIXELS_AT]), rows, stream[-4:])), np.uint8)
    except (isal_zlib.error, RuntimeError, ValueError):  # type: ignore[misc]
        return None


def _compressed_rows(data: memoryview) -> bytes | None:
    """Return the zlib stream of the rows, or None for a PNG of another kind, and when a chunk is damaged."""
    if data[24:29] != _RGB or not _intact(data, 8, _PIXELS_AT):
        return None
    at, parts = _PIXELS_AT, []
    while at + 12 <= len(data):
        name, end = bytes(data[at + 4 : at + 8]), at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or not _intact(data, at, end):
            return None
        if name == b"IDAT":
            parts.append(data[at + 8 : end - 4])
        elif name == b"IEND":
            return b"".join(parts)
        elif name not in _UNIMPORTANT:
            return None
        at = end
    return None


def _intact(data: memoryview, at: int, end: int) -> bool:
    return isal_zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _stored(head: bytes, rows: bytes, adler: bytes) -> bytes:
    """Return a PNG with this signature and header whose rows, of checksum `adler`, are stored without compression."""
    view, parts = memoryview(rows), list[bytes | memoryview]([b"IDAT\x78\x01"])
    for start in range(0, len(rows), _BLOCK):
        block = view[start : start + _BLOCK]
        last = start + _BLOCK >= len(rows)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ _BLOCK), block]
    body = b"".join([*parts, adler])
    crc = isal_zlib.crc32(body)
    return b"".join((head, struct.pack(">I", len(body) - 4), body, struct.pack(">I", crc), _IEND))
