"""Camera frames as the world model sees them. One function for training, simulation and the robot."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def observation_image(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Centre-crop to the observation's aspect ratio and area-resize: (H, W, 3) uint8 -> (height, width, 3) uint8.

    Raises UserError when `frame` is not (H, W, 3) uint8.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(f"camera frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
    rows, columns = frame.shape[:2]
    crop_columns = min(columns, rows * width // height)
    crop_rows = min(rows, columns * height // width)
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    cropped = frame[top : top + crop_rows, left : left + crop_columns]
    if cropped.shape[:2] == (height, width):
        return np.ascontiguousarray(cropped)
    return cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def decoded_rgb(data: NDArray[np.uint8], description: str) -> NDArray[np.uint8]:
    """A JPEG or PNG of (n,) bytes as (H, W, 3) uint8 RGB; UserError, with `description`, when it cannot be decoded.

    OpenCV fills up a JPEG that was cut off with grey, so its end is looked for.
    """
    cut = data[:2].tobytes() == _JPEG and _JPEG_END not in data[-1024:].tobytes()
    decoded = None if cut or not len(data) else cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise UserError(f"compressed image of format '{description}' cannot be decoded; record or publish jpeg or png")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
