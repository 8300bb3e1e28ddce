"""Kinematics of the simulated arm in closed form, and the reference that its Cartesian velocity controller follows.

The tool points straight down and the elbow up, in a vertical plane. Fixing the two roll joints resolves the redundancy,
so each tip position has exactly one joint position, without drift or hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fosp_sim.task.mjcf import FOREARM, SHOULDER_HEIGHT, UPPER_ARM, WRIST_TO_TIP

JOINTS = tuple(f"joint{i}" for i in range(1, 8))
TOOL_ORIENTATION = (0.0, 1.0, 0.0, 0.0)
"""Orientation x, y, z, w in the action frame of the arm's tool, which points down whatever the arm does."""
LEASH = 0.015
"""Distance, m, that the reference may run ahead of the tip. It limits how hard the tool presses when it is blocked."""
GUARD = 0.02
"""Distance, m, beyond the workspace at which the robot itself refuses to go on."""


def joints_of_tip(x: float, y: float, z: float) -> tuple[float, ...]:
    """Return the joint angles (7,) rad that put the tool tip at (x, y, z) m in base_link, or as near as it reaches."""
    yaw = math.atan2(y, x)
    radius, height = math.hypot(x, y), z + WRIST_TO_TIP - SHOULDER_HEIGHT
    distance = min(max(math.hypot(radius, height), abs(UPPER_ARM - FOREARM) + 1e-6), UPPER_ARM + FOREARM - 1e-6)
    elevation = math.atan2(radius, height)
    inner = (UPPER_ARM**2 + distance**2 - FOREARM**2) / (2 * UPPER_ARM * distance)
    shoulder = elevation - math.acos(inner)
    elbow_x, elbow_z = UPPER_ARM * math.sin(shoulder), UPPER_ARM * math.cos(shoulder)
    wrist_x, wrist_z = distance * math.sin(elevation), distance * math.cos(elevation)
    forearm = math.atan2(wrist_x - elbow_x, wrist_z - elbow_z)
    return yaw, shoulder, 0.0, forearm - shoulder, 0.0, math.pi - forearm, yaw


def reachable(x: float, y: float, z: float) -> bool:
    """Return True if the arm reaches the tip position (x, y, z) m with the tool straight down."""
    distance = math.hypot(math.hypot(x, y), z + WRIST_TO_TIP - SHOULDER_HEIGHT)
    return abs(UPPER_ARM - FOREARM) + 0.02 < distance < UPPER_ARM + FOREARM - 0.005


def tip_of_joints(joints: Sequence[float]) -> tuple[float, float, float]:
    """Return the tool tip (x, y, z) m in base_link for any joint angles (7,) rad.

    The joint axes are z y z y z y z, and the links lie along z.
    """
    x, y, z = 0.0, 0.0, WRIST_TO_TIP
    lengths = (SHOULDER_HEIGHT, 0.0, UPPER_ARM, 0.0, FOREARM, 0.0, 0.0)
    for number in range(len(JOINTS) - 1, -1, -1):
        c, s = math.cos(joints[number]), math.sin(joints[number])
        if number % 2 == 0:
            x, y = c * x - s * y, s * x + c * y
        else:
            x, z = c * x + s * z, c * z - s * x
        z += lengths[number]
    return x, y, z


def advanced(
    reference: Sequence[float],
    tip: Sequence[float],
    velocity: Sequence[float],
    dt: float,
    lower: Sequence[float],
    upper: Sequence[float],
) -> list[float]:
    """Return the reference (3,) m after `dt` s at `velocity` (3,) m/s, kept in the box and within LEASH of `tip`."""
    moved = []
    for at, there, speed, low, high in zip(reference, tip, velocity, lower, upper, strict=True):
        moved.append(min(max(at + speed * dt, low, there - LEASH), min(high, there + LEASH)))
    return moved
