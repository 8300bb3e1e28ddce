"""Values for message fields, and of them."""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion
from numpy.typing import NDArray


def float_field(values: NDArray[Any]) -> array.array[float]:
    """Return the value of a float32[] message field; rclpy takes an array.array much faster than an ndarray."""
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())


def heading_of(orientation: Quaternion) -> float:
    """Return the heading, rad, of a unit quaternion: the turn about z that is left of it on a plane."""
    x, y, z, w = orientation.x, orientation.y, orientation.z, orientation.w
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
