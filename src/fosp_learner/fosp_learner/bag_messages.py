"""Single messages of a bag, as rosbags deserialises them, to numpy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.specs import ActionSpec

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
TWIST = "geometry_msgs/msg/Twist"


def stamp_ns(message: Any) -> int:
    """Header stamp in ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def read_image(message: Any, kind: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a raw (rgb8, bgr8, mono8) or compressed image; UserError for anything else."""
    if kind == COMPRESSED:
        decoded = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise UserError(f"compressed image of format '{message.format}' cannot be decoded")
        return np.ascontiguousarray(decoded[..., ::-1], np.uint8)
    if kind != IMAGE:
        raise UserError(f"expected {IMAGE} or {COMPRESSED} on the camera topic, found {kind}")
    channels = {"rgb8": 3, "bgr8": 3, "mono8": 1}.get(message.encoding)
    if channels is None:
        raise UserError(f"image encoding '{message.encoding}' is not supported; record rgb8, bgr8, mono8 or compressed")
    row = message.width * channels
    if message.step < row or len(message.data) != message.height * message.step:
        raise UserError(f"image of {message.width}x{message.height} holds {len(message.data)} bytes")
    pixels = np.asarray(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    pixels = pixels.reshape(message.height, message.width, channels)
    if message.encoding == "bgr8":
        return pixels[..., ::-1]
    return pixels if channels == 3 else np.repeat(pixels, 3, axis=2)


def read_twist(message: Any, kind: str, logged_ns: int, action: ActionSpec) -> tuple[int, NDArray[np.float64]]:
    """Stamp in ns and the components of the action spec (n,) in m/s and rad/s.

    A plain Twist has no stamp and counts from when it was logged. UserError for a twist in another frame.
    """
    if kind == TWIST_STAMPED:
        if message.header.frame_id != action.frame_id:
            found = message.header.frame_id
            raise UserError(f"commands are in frame '{found}', the robot's are in '{action.frame_id}'")
        when, twist = stamp_ns(message), message.twist
    elif kind == TWIST:
        when, twist = logged_ns, message
    else:
        raise UserError(f"expected {TWIST_STAMPED} or {TWIST} on the command topic, found {kind}")
    parts = (axis.name.split(".") for axis in action.axes)
    return when, np.array([getattr(getattr(twist, part), component) for part, component in parts], np.float64)
