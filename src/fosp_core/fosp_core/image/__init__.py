"""Camera frames: scaling for the world model, safe decoding of compressed images, and settling of the exposure.

Training, simulation and the robot use the same functions. Those that scale and decode load OpenCV at their first call:
other nodes use this module without it.
"""

from __future__ import annotations

import struct
from collections import deque

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image.encodings import is_colour

MAX_IMAGE_BYTES = 1 << 27
"""Size of a 44 megapixel RGB image: a larger one would keep the encoder from its deadlines."""
SETTLED_FRAMES = 8
"""Number of frames in a row that must be alike."""
SETTLED_SPREAD = 4.0
"""Largest difference of the mean brightness of those frames, of 255."""
_HALVED_RATIO = 3
"""Least pixels of a halved JPEG per pixel of the observation, along each axis. From there on the observation is as near
to that of the raw image as the one of the JPEG in full size is; at a ratio of 2 it is visibly farther off."""
_STRIDE = 8
"""Distance between the pixels, and between the rows, that the brightness is taken from."""
_PNG, _PNG_HEADER = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\rIHDR"
_GREY_16_BITS = b"\x10\x00"
"""Bit depth and colour type in the header of a PNG of one channel of 16 bits."""
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF markers (ITU-T T.81, table B.1), which height and width follow. The three others of their range are tables."""
_JPEG_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of segments with a length that may stand before the frame: tables, restart interval, APPn, comments."""


def observation_image(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Centre-crop to the observation's aspect ratio and area-resize: (H, W, 3) uint8 -> (height, width, 3) uint8.

    Raise UserError when `frame` is not (H, W, 3) uint8.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(f"camera frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
    rows, columns = frame.shape[:2]
    top, left, crop_rows, crop_columns = _crop(rows, columns, height, width)
    cropped = frame[top : top + crop_rows, left : left + crop_columns]
    if cropped.shape[:2] == (height, width):
        return np.ascontiguousarray(cropped)
    import cv2

    return cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _crop(rows: int, columns: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, rows and columns of the centre crop to the aspect ratio of `height` and `width`."""
    crop_columns = min(columns, rows * width // height)
    crop_rows = min(rows, columns * height // width)
    return (rows - crop_rows) // 2, (columns - crop_columns) // 2, crop_rows, crop_columns


def check_image(width: int, height: int, held_bytes: int) -> None:
    """Raise UserError when an image holds more than MAX_IMAGE_BYTES, or would as RGB of `width` x `height` pixels."""
    size = max(held_bytes, width * height * 3)
    if size > MAX_IMAGE_BYTES:
        raise UserError(
            f"image of {width}x{height}, {size} bytes, is larger than a camera's ({MAX_IMAGE_BYTES} at most)"
        )


def decoded_rgb(data: NDArray[np.uint8], description: str) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG of (n,) bytes to (H, W, 3) uint8 RGB.

    Raise UserError, which names `description`, when that is not possible, and before decoding when it is too large.
    """
    return _decoded(data, description, None)[0]


def decoded_observation(
    data: NDArray[np.uint8], description: str, height: int, width: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode a JPEG or PNG of (n,) bytes for `observation_image`: (height, width, 3) uint8 RGB, and its size (H, W).

    A large JPEG is decoded in half size, which leaves out most of its inverse transform. Raise UserError as
    `decoded_rgb`. The bags of training and the frames of the robot must both come through here.
    """
    pixels, factor = _decoded(data, description, (height, width))
    return observation_image(pixels, height, width), (pixels.shape[0] * factor, pixels.shape[1] * factor)


def _decoded(
    data: NDArray[np.uint8], description: str, observation: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], int]:
    """Return the decoded image, (H, W, 3) uint8 RGB, and how many times smaller than sent it is for `observation`."""
    import cv2

    from fosp_core.image import png

    held = np.ascontiguousarray(data).data
    _require_colour(held, description)
    size = compressed_size(held)
    decoded, factor = None, 1
    if size is not None and not is_cut_off(held):
        check_image(*size, len(held))
        if held[:8] == _PNG:
            fast = png.decode_rgb_png(held, *size)
            if fast is not None:
                return fast, 1
        elif observation is not None and _may_be_halved(*size, *observation):
            factor = 2
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR if factor == 1 else cv2.IMREAD_REDUCED_COLOR_2)
    if decoded is None:
        raise BrokenMessage(f"compressed image of format '{description}' cannot be decoded: {_fault(held, size)}")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8), factor


def _require_colour(data: memoryview, description: str) -> None:
    """Raise UserError for a compressed image that holds depth, as for a raw one: it would be read as a dark picture."""
    raw, _, packing = (part.strip() for part in description.partition(";"))
    depth = "compresseddepth" in packing.lower() or (bool(packing) and bool(raw) and not is_colour(raw))
    grey16 = data[:8] == _PNG and data[24:26] == _GREY_16_BITS
    if depth or (grey16 and raw != "mono16"):
        raise UserError(
            f"compressed image of format '{description}' holds depth, not colour; choose the colour topic of the camera"
        )


def _fault(data: memoryview, size: tuple[int, int] | None) -> str:
    if size is None:
        return f"its {len(data)} bytes are neither jpeg nor png"
    return f"it was cut off after {len(data)} bytes" if is_cut_off(data) else "it is damaged"


def _may_be_halved(columns: int, rows: int, height: int, width: int) -> bool:
    """Return True where half of the size is enough, and the centre crop of the half is the half of the crop."""
    top, left, crop_rows, crop_columns = _crop(rows, columns, height, width)
    if any(length % 2 for length in (rows, columns, top, left, crop_rows, crop_columns)):
        return False
    return min(crop_rows / height, crop_columns / width) >= 2 * _HALVED_RATIO


def compressed_size(data: memoryview) -> tuple[int, int] | None:
    """Return width and height in pixels from the header of a PNG or JPEG, or None when there is none or it is damaged.

    It is known before decoding what decoding would allocate. Stricter than decoders, which skip bytes to find a header.
    """
    if data[:8] == _PNG:
        return struct.unpack(">II", data[16:24]) if data[8:16] == _PNG_HEADER and len(data) >= 24 else None
    if data[:2] == _JPEG:
        return _jpeg_size(data)
    return None


def is_cut_off(data: memoryview) -> bool:
    """Return True when a JPEG lacks its end, which OpenCV would fill with grey."""
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


class ExposureSettling:
    """Watches the automatic exposure of a camera, which starts far off, with frames that no model was trained on.

    It has settled once the mean brightness of the last SETTLED_FRAMES lies within SETTLED_SPREAD.
    """

    def __init__(self) -> None:
        self._brightness: deque[float] = deque(maxlen=SETTLED_FRAMES)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Take the next frame, (H, W, 3) uint8, into account."""
        self._brightness.append(float(frame[::_STRIDE, ::_STRIDE].mean()))

    @property
    def settled(self) -> bool:
        return (
            len(self._brightness) == SETTLED_FRAMES and max(self._brightness) - min(self._brightness) <= SETTLED_SPREAD
        )
