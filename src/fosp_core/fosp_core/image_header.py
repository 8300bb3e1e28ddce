"""Size of a PNG or JPEG by its header alone: what decoding would allocate is known before anything is decoded."""

from __future__ import annotations

import struct

_PNG, _IHDR = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\rIHDR"
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF markers (ITU-T T.81, table B.1): height and width follow. The three others of their range are tables."""
_JPEG_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers with a length that may stand before the frame: tables, restart interval, APPn, comments."""


def compressed_size(data: memoryview) -> tuple[int, int] | None:
    """Width and height in pixels; None for bytes that are no PNG and no JPEG, or whose header is damaged.

    Stricter than decoders are: what they would skip to find a header further on is refused.
    """
    if data[:8] == _PNG:
        return struct.unpack(">II", data[16:24]) if data[8:16] == _IHDR and len(data) >= 24 else None
    if data[:2] == _JPEG:
        return _jpeg_size(data)
    return None


def is_cut_off(data: memoryview) -> bool:
    """Whether a JPEG lacks its end, which OpenCV would fill up with grey."""
    return data[:2] == _JPEG and _JPEG_END not in bytes(data[-1024:])


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_FRAMES:
            if at + 9 > len(data):
                return None
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        elif marker in _JPEG_SEGMENTS:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        else:
            return None
    return None
