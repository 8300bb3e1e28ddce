"""Conversion between numpy arrays and sensor_msgs/Image or CompressedImage, without needless copies."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from fosp_core.errors import UserError
from fosp_core.image import check_image, decoded_observation, decoded_rgb, observation_image

_ENCODINGS: dict[str, tuple[Any, int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "mono8": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
}


def image_view(message: Image) -> NDArray[Any]:
    """Return the pixels of `message` as a view: (H, W, 3) uint8 for rgb8 and bgr8, (H, W) for mono8 and 16UC1.

    The view lives as long as the message. Other encodings are converted to rgb8, which needs cv_bridge. Raise UserError
    when cv_bridge is missing, or height, width, step and data contradict each other.
    """
    check_image(message.width, message.height, len(message.data))
    if message.encoding not in _ENCODINGS:
        return _through_cv_bridge(message)
    dtype, channels = _ENCODINGS[message.encoding]
    itemsize = np.dtype(dtype).itemsize
    row_bytes = message.width * channels * itemsize
    if message.height == 0 or message.width == 0 or message.step < row_bytes:
        raise UserError(f"image of {message.width}x{message.height} with row step {message.step} is malformed")
    if len(message.data) != message.height * message.step:
        raise UserError(
            f"image of {message.width}x{message.height} should hold {message.height * message.step} bytes, "
            f"holds {len(message.data)}"
        )
    if message.is_bigendian and itemsize > 1:
        dtype = np.dtype(dtype).newbyteorder(">")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row_bytes]
    pixels = rows.view(dtype) if message.step % itemsize == 0 else np.ascontiguousarray(rows).view(dtype)
    if channels == 1:
        return pixels
    return pixels.reshape(message.height, message.width, channels)


def rgb_view(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return the pixels as (H, W, 3) uint8 RGB, a view where the encoding allows; raise UserError as `image_view`."""
    if not hasattr(message, "encoding"):  # messages of rosbags are of other classes
        return decoded_rgb(np.frombuffer(message.data, np.uint8), message.format)
    pixels = image_view(message)
    if message.encoding == "bgr8":
        return pixels[..., ::-1]
    if message.encoding == "mono8":
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise UserError(f"image encoding '{message.encoding}' holds no colour")
    return pixels


def observation_view(
    message: Image | CompressedImage, height: int, width: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the observation (height, width, 3) uint8 RGB of a frame, and the frame's size (H, W).

    Raise UserError as `rgb_view`.
    """
    if not hasattr(message, "encoding"):
        return decoded_observation(np.frombuffer(message.data, np.uint8), message.format, height, width)
    pixels = rgb_view(message)
    return observation_image(pixels, height, width), pixels.shape[:2]  # type: ignore[return-value]


def fill_depth(message: Image, depth: NDArray[np.uint16]) -> None:
    """Set height, width, step, encoding (16UC1, REP 118) and data of `message` from depth (H, W) uint16 in mm."""
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise UserError(f"expected (H, W) uint16, got {depth.shape} {depth.dtype}")
    if len(message.data) != depth.nbytes:
        message.data = array.array("B", bytes(depth.nbytes))
    message.height, message.width = depth.shape
    message.step = depth.shape[1] * 2
    message.encoding = "16UC1"
    message.is_bigendian = int(sys.byteorder == "big")
    np.copyto(np.frombuffer(message.data, np.uint16).reshape(depth.shape), depth)


def fill_image(message: Image, pixels: NDArray[np.uint8]) -> None:
    """Set height, width, step, encoding and data of `message` from (H, W, 3) uint8 RGB.

    A reused message of the same size is written in place. rclpy copies an ndarray element by element, which is slow.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise UserError(f"expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    size = pixels.size
    if len(message.data) != size:
        message.data = array.array("B", bytes(size))
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.shape[1] * 3
    message.encoding = "rgb8"
    np.copyto(np.frombuffer(message.data, np.uint8).reshape(pixels.shape), pixels)


def _through_cv_bridge(message: Image) -> NDArray[Any]:
    """Convert an encoding that this module does not read to rgb8, where ROS provides cv_bridge."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise UserError(
            f"image encoding '{message.encoding}' needs cv_bridge (apt install ros-jazzy-cv-bridge); "
            f"read without it: {', '.join(_ENCODINGS)}"
        ) from None
    return np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
