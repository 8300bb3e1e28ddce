"""Values of message fields that rclpy takes fast."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray


def float_field(values: NDArray[Any]) -> array.array[float]:
    """Return the value of a float32[] message field; rclpy takes an array.array much faster than an ndarray."""
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())
