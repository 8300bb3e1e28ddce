"""Twist components in the order of an action spec <-> geometry_msgs/Twist."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Twist
from numpy.typing import NDArray

from fosp_core.specs import ActionSpec


def fill_twist(message: Twist, command: NDArray[np.floating] | list[float], action: ActionSpec) -> None:
    """Write `command` (n,) in m/s and rad/s into the components that the spec names; the others stay as they are."""
    for axis, value in zip(action.axes, command, strict=True):
        part, component = axis.name.split(".")
        setattr(getattr(message, part), component, float(value))


def twist_command(message: Twist, action: ActionSpec) -> NDArray[np.float64]:
    """The components that the spec names, (n,) float64 in m/s and rad/s."""
    values = []
    for axis in action.axes:
        part, component = axis.name.split(".")
        values.append(getattr(getattr(message, part), component))
    return np.array(values, np.float64)
