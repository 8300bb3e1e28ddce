"""Conversion between numpy arrays and sensor_msgs/Image or CompressedImage, without needless copies."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image import check_image, decoded_observation, decoded_rgb, observation_image
from fosp_core.image.depth import METRES, MILLIMETRES, depth_of_raw
from fosp_core.image.encodings import rgb_of_raw


def image_view(message: Image) -> NDArray[Any]:
    """Return the pixels of `message`: depth as (H, W) uint16 in mm or float32 in m, else (H, W, 3) uint8 RGB.

    A view for rgb8 and depth, which lives as long as the message. Raise UserError for an encoding without colour or
    depth, and when height, width, step and data contradict each other.
    """
    if message.encoding not in (MILLIMETRES, METRES):
        return rgb_view(message)
    check_image(message.width, message.height, len(message.data))
    data, big_endian = np.frombuffer(message.data, np.uint8), bool(message.is_bigendian)
    try:
        return depth_of_raw(data, message.encoding, message.height, message.width, message.step, big_endian)
    except UserError as error:
        raise BrokenMessage(f"depth image {error}") from None


def rgb_view(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return the pixels as (H, W, 3) uint8 RGB, a view where the encoding allows; raise UserError as `image_view`."""
    if not hasattr(message, "encoding"):  # messages of rosbags are of other classes
        return decoded_rgb(np.frombuffer(message.data, np.uint8), message.format)
    check_image(message.width, message.height, len(message.data))
    data = np.frombuffer(message.data, np.uint8)
    return rgb_of_raw(data, message.encoding, message.height, message.width, message.step, bool(message.is_bigendian))


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
