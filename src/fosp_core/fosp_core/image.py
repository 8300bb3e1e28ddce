"""Camera frames as the world model sees them. One function for training, simulation and the robot."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image_header import compressed_size, is_cut_off

MAX_IMAGE_BYTES = 1 << 27
"""A 44 megapixel RGB image; what is larger is no camera's, and would keep the encoder from its deadlines."""


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


def check_image(width: int, height: int, held_bytes: int) -> None:
    """UserError when an image holds more than MAX_IMAGE_BYTES, or would take more as RGB of `width` x `height`."""
    size = max(held_bytes, width * height * 3)
    if size > MAX_IMAGE_BYTES:
        raise UserError(
            f"image of {width}x{height}, {size} bytes, is larger than a camera's ({MAX_IMAGE_BYTES} at most)"
        )


def decoded_rgb(data: NDArray[np.uint8], description: str) -> NDArray[np.uint8]:
    """A JPEG or PNG of (n,) bytes as (H, W, 3) uint8 RGB.

    UserError, with `description`, when it cannot be decoded, and before anything is decoded when it is too large.
    """
    held = np.ascontiguousarray(data).data
    size = compressed_size(held)
    decoded = None
    if size is not None and not is_cut_off(held):
        check_image(*size, len(held))
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise UserError(f"compressed image of format '{description}' cannot be decoded; record or publish jpeg or png")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
