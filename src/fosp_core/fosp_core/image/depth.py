"""Depth images as REP 118 has them: 16UC1 in mm, 0 where unknown; 32FC1 in m, NaN or 0 where unknown.

In 32FC1 minus infinity is closer, and infinity farther, than can be measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image.rows import is_padded

MILLIMETRES, METRES = "16UC1", "32FC1"
FARTHEST_M = 100.0
"""Depth beyond which no camera measures: where most of an image is farther, its unit is another one."""


def depth_of_raw(
    data: NDArray[np.uint8], encoding: str, height: int, width: int, step: int, big_endian: bool = False
) -> NDArray[Any]:
    """Return the (n,) bytes of a sensor_msgs/Image as (H, W) uint16 in mm or float32 in m, a view.

    UserError, to be put after the image's name, for another encoding and when height, width, step and data contradict.
    """
    if encoding not in (MILLIMETRES, METRES, "mono16"):
        raise UserError(f"has encoding '{encoding}', allowed are 16UC1 (mm) and 32FC1 (m)")
    kind = np.dtype((">" if big_endian else "<") + ("f4" if encoding == METRES else "u2"))
    row = width * kind.itemsize
    if not height or not width or step < row or len(data) != step * height:
        raise UserError(f"holds {len(data)} bytes, which do not fit its {width} x {height} pixels")
    if not is_padded(step, row, width):
        raise UserError(f"has rows of {step} bytes, {width} pixels of {encoding} take {row}: another encoding?")
    return np.ndarray((height, width), kind, data, strides=(step, kind.itemsize))


def require_metres(depth: NDArray[np.floating]) -> None:
    """Raise UserError, to be put after the image's name, when (n,) known depths in m are of another unit."""
    typical = float(np.median(depth[:: max(1, len(depth) // 1000)])) if len(depth) else 0.0
    if typical > FARTHEST_M:
        raise UserError(f"shows a depth of {typical:.0f} m: 32FC1 must be in m; publish it so, or 16UC1 in mm")
