"""The cone that an arm's tool must not leave, by the measured orientation alone: no joints, no description."""

from __future__ import annotations

import math

import numpy as np

from fosp_core.executed import rotation_between
from fosp_core.robot.arm_limits import OrientationLimit
from fosp_core.robot.urdf import Quaternion, quaternion_of, rotated
from fosp_safety_monitor.arm.sharing import Rooms, Vector

SLACK_RAD = 0.03
"""Angle beyond the limit that counts as overshoot; from there on only a motion back is allowed."""


def orientation_rooms(
    limit: OrientationLimit, orientation: Quaternion, start: Quaternion | None, angular: tuple[int | None, ...]
) -> Rooms | None:
    """Return the room to the edge of the cone, rad; None where the orientation of the start is not known.

    `orientation` and `start` are unit quaternions (x, y, z, w) of the tool in the action frame. `angular` holds for
    each axis of the action the index of the axis of rotation that it turns about, or None.
    """
    if limit.direction is not None:
        angle, turn = _between_axes(limit, orientation)
    else:
        reference = start if limit.rotation is None else quaternion_of(*limit.rotation)
        if reference is None:
            return None
        turned = rotation_between(np.array(reference), np.array(orientation))
        angle = float(np.linalg.norm(turned))
        turn = turned / angle if angle > 1e-9 else np.zeros(3)
    row = np.array([[0.0 if axis is None else -turn[axis] for axis in angular]])
    left = np.array([limit.angle - angle])
    text = f"the tool is turned by {angle:.2f} rad, limit {limit.angle:g} rad"
    return Rooms(left, row, np.array([SLACK_RAD]), np.zeros(1), lambda index: text, only_back=True)


def _between_axes(limit: OrientationLimit, orientation: Quaternion) -> tuple[float, Vector]:
    """Return the angle, rad, from the direction to the tool's axis, and the axis (3,) about which it grows."""
    assert limit.direction is not None
    tool = np.array(rotated(orientation, limit.tool_axis)) / math.hypot(*limit.tool_axis)
    direction = np.array(limit.direction) / math.hypot(*limit.direction)
    across = np.cross(direction, tool)
    sine, cosine = float(np.linalg.norm(across)), float(direction @ tool)
    axis: Vector = np.asarray(across / max(sine, 1e-9), np.float64)
    return math.atan2(sine, cosine), axis
