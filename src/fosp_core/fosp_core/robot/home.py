"""The pose to which an arm is driven between episodes: `home` of the robot file, and the way there. SI units.

Nothing is said about joints: the pose is that of the commanded point, in the action's frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator

from fosp_core.executed import rotation_between
from fosp_core.specs import Spec

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

_UNIT = 1e-3
"""Greatest difference of a quaternion's norm from 1."""


class HomeConfig(Spec):
    """Pose of the commanded point between episodes, and the slow motion that leads there in a straight line."""

    position: Vector
    """m, in the action's frame."""
    orientation: Quaternion | None = None
    """Unit quaternion x, y, z, w; None: the orientation stays what it is."""
    speed: float = Field(0.2, gt=0, le=0.5)
    """Share of the speed at action 1."""
    tolerance_m: float = Field(0.01, gt=0, le=0.05)
    """Distance from the position at which the robot is at home, m."""
    tolerance_rad: float = Field(0.05, gt=0, le=0.3)
    """Angle from the orientation at which the robot is at home, rad."""
    timeout_s: float = Field(30.0, gt=0, le=120)
    """Time after which the motion is given up, s."""

    @field_validator("orientation")
    @classmethod
    def _is_a_rotation(cls, orientation: Quaternion | None) -> Quaternion | None:
        if orientation is not None and abs(math.hypot(*orientation) - 1.0) > _UNIT:
            raise ValueError("must be a unit quaternion x, y, z, w")
        return orientation


def home_fault(
    home: HomeConfig | None, is_arm: bool, axes: Sequence[str], lower: Vector | None, upper: Vector | None
) -> str:
    """Return what is wrong about a home pose, given action axes and the corners of the workspace; empty if nothing."""
    if home is None:
        return ""
    if not is_arm:
        return "home is for an arm: the odometry of a base drifts, so it has no pose to return to"
    if not any(axis.startswith("linear") for axis in axes):
        return "home needs an action that moves the robot: it has no linear axis"
    if home.orientation is not None and not any(axis.startswith("angular") for axis in axes):
        return "home: orientation is for an action with angular axes"
    if lower is None or upper is None:
        return ""
    margin = home.tolerance_m
    if not all(low + margin <= at <= up - margin for low, at, up in zip(lower, home.position, upper, strict=True)):
        return f"home: position must lie within the workspace, at least tolerance_m ({margin:g} m) from its walls"
    return ""


def way_home(home: HomeConfig, position: Vector, orientation: Quaternion | None) -> tuple[Vector, Vector]:
    """Return the way that is left: a displacement, m, and a rotation vector, rad, both in the action's frame.

    The rotation is zero where the home pose has no orientation. Raise ValueError where it has one and the measured
    orientation is not known.
    """
    x, y, z = (wanted - at for wanted, at in zip(home.position, position, strict=True))
    if home.orientation is None:
        return (x, y, z), (0.0, 0.0, 0.0)
    if orientation is None:
        raise ValueError("the orientation of the commanded point is not known")
    rotation = rotation_between(np.array(orientation), np.array(home.orientation))
    return (x, y, z), (float(rotation[0]), float(rotation[1]), float(rotation[2]))
