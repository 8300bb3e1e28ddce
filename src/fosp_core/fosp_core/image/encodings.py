"""Raw images of every encoding of sensor_msgs that holds colour or brightness, as RGB. No ROS.

The conversions are OpenCV's, by cv_bridge's table. Where cv_bridge refuses to guess, 8UC3 and 8UC4 are in OpenCV's own
order (BGR, BGRA), and 8UC1 is brightness. What has 16 bits per channel is scaled to 8. Depth and other measurements
(16UC1, 32FC1) are no pictures and are refused. OpenCV is loaded for what plain numpy does not do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image.rows import is_padded


@dataclass(frozen=True)
class _Layout:
    """Bytes of a channel, channels of a pixel, and OpenCV's conversion to RGB; "" is none, "grey" repeats one."""

    depth: int
    channels: int
    conversion: str = ""
    rows: tuple[int, int] = (1, 1)
    """Rows of the buffer per row of the image, as a fraction: 3/2 where the colours follow the brightness."""
    even: tuple[int, int] = (1, 1)
    """Divisors of height and width."""


def _bayer(pattern: str, opencv: str) -> dict[str, _Layout]:
    """Return the two layouts of a pattern; OpenCV names it by the second row and column."""
    return {
        f"bayer_{pattern}{bits}": _Layout(bits // 8, 1, f"COLOR_Bayer{opencv}2RGB", even=(2, 2)) for bits in (8, 16)
    }


_UYVY = _Layout(1, 2, "COLOR_YUV2RGB_UYVY", even=(1, 2))
_YUYV = _Layout(1, 2, "COLOR_YUV2RGB_YUY2", even=(1, 2))
_LAYOUTS: dict[str, _Layout] = {
    "rgb8": _Layout(1, 3),
    "rgba8": _Layout(1, 4, "COLOR_RGBA2RGB"),
    "rgb16": _Layout(2, 3),
    "rgba16": _Layout(2, 4, "COLOR_RGBA2RGB"),
    "bgr8": _Layout(1, 3, "COLOR_BGR2RGB"),
    "bgra8": _Layout(1, 4, "COLOR_BGRA2RGB"),
    "bgr16": _Layout(2, 3, "COLOR_BGR2RGB"),
    "bgra16": _Layout(2, 4, "COLOR_BGRA2RGB"),
    "8UC1": _Layout(1, 1, "grey"),
    "8UC3": _Layout(1, 3, "COLOR_BGR2RGB"),
    "8UC4": _Layout(1, 4, "COLOR_BGRA2RGB"),
    "mono8": _Layout(1, 1, "grey"),
    "mono16": _Layout(2, 1, "grey"),
    **dict.fromkeys(("yuv422", "uyvy"), _UYVY),
    **dict.fromkeys(("yuv422_yuy2", "yuyv"), _YUYV),
    "nv12": _Layout(1, 1, "COLOR_YUV2RGB_NV12", (3, 2), (2, 2)),
    "nv21": _Layout(1, 1, "COLOR_YUV2RGB_NV21", (3, 2), (2, 2)),
    **_bayer("rggb", "BG"),
    **_bayer("bggr", "RG"),
    **_bayer("gbrg", "GR"),
    **_bayer("grbg", "GB"),
}
ENCODINGS = tuple(_LAYOUTS)
"""The encodings that can be read."""


def is_colour(encoding: str) -> bool:
    """Return True for an encoding that `rgb_of_raw` reads; they differ in case among drivers."""
    return _layout(encoding) is not None


def rgb_of_raw(
    data: NDArray[np.uint8], encoding: str, height: int, width: int, step: int, big_endian: bool = False
) -> NDArray[np.uint8]:
    """Return the (n,) bytes of a sensor_msgs/Image as (H, W, 3) uint8 RGB, for rgb8 as a view.

    UserError for an encoding that holds no colour, BrokenMessage when height, width, step and data contradict.
    """
    layout = _layout(encoding)
    if layout is None:
        raise UserError(
            f"image encoding '{encoding}' holds no colour that can be read; have the camera's driver publish "
            "rgb8, bgr8, mono8, a Bayer pattern, yuv422 or compressed images"
        )
    row = width * layout.channels * layout.depth
    up, down = layout.rows
    if not height or not width or step < row or height % layout.even[0] or width % layout.even[1]:
        raise BrokenMessage(f"image of {width}x{height} {encoding} with row step {step} is malformed")
    if not is_padded(step, row, width):
        raise BrokenMessage(
            f"image has rows of {step} bytes, {width} pixels of {encoding} take {row}: another encoding?"
        )
    lines = height * up // down
    if len(data) != lines * step:
        raise BrokenMessage(f"image of {width}x{height} should hold {lines * step} bytes, holds {len(data)}")
    pixels = data.reshape(lines, step)[:, :row]
    if layout.depth == 2:
        # As cv_bridge and OpenCV's convertTo scale: to the nearest, 65535 to 255. Bayer patterns are scaled alike.
        wide = np.ascontiguousarray(pixels).view(np.dtype(">u2" if big_endian else "<u2"))
        pixels = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)
    shaped = pixels if layout.channels == 1 else pixels.reshape(lines, width, layout.channels)
    if layout.conversion == "grey":
        return np.repeat(shaped[..., None], 3, axis=2)
    if not layout.conversion:
        return shaped
    import cv2

    converted = cv2.cvtColor(np.ascontiguousarray(shaped), getattr(cv2, layout.conversion))
    return np.asarray(converted, np.uint8)


def _layout(encoding: str) -> _Layout | None:
    return _LAYOUTS.get(encoding) or _LAYOUTS.get(encoding.lower())
