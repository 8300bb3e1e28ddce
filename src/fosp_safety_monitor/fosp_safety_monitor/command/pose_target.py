"""The target pose of a position-controlled arm: the integral of the limited twists. No ROS.

The target begins at the measured pose, stays in the workspace, and never moves further ahead of the measured pose than
the robot's `target_lead`, so that it does not run away from an arm that is blocked, switched off or pushed. The judge
learns the lead in time to brake within the limits before that (checks.check_lead).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.executed import rotated, rotation_between
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import longest_tick_s
from fosp_core.specs import TWIST_COMPONENTS
from fosp_safety_monitor.motion_model import Lead

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class ToolPose:
    """Position (3,), m, and orientation (4,), unit quaternion (x, y, z, w), in the action frame."""

    position: Vector
    orientation: Vector


class PoseTarget:
    """Integrates the commands (n,), m/s and rad/s, of one robot whose `command_type` is PoseStamped.

    ValueError for a robot without `target_lead` or workspace.
    """

    def __init__(self, robot: RobotConfig) -> None:
        if robot.target_lead is None or robot.workspace is None:
            raise ValueError(f"robot '{robot.name}' takes no target poses")
        self._allowed, self._workspace = robot.target_lead, robot.workspace
        self._limits = [robot.limits[axis.name] for axis in robot.action.axes]
        self._rows = [TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes]
        self._period_s, self._longest_s = 1.0 / robot.command_rate_hz, longest_tick_s(robot)
        self._pose: ToolPose | None = None

    def follow(self, command: tuple[float, ...], measured: ToolPose, elapsed_s: float) -> ToolPose:
        """Return the target `elapsed_s` after the last one; it starts from `measured` when there was none."""
        if self._pose is None:
            self._pose = measured
        before, elapsed_s = self._pose, min(max(elapsed_s, 0.0), self._longest_s)
        step = self._twist([velocity * elapsed_s for velocity in command])
        # A target that began outside the workspace, where the arm was, may come in but go no further out.
        lower = np.minimum(self._workspace.lower, before.position)
        upper = np.maximum(self._workspace.upper, before.position)
        position, orientation = np.clip(before.position + step[:3], lower, upper), rotated(before.orientation, step[3:])
        if _distance(position, measured) > max(self._allowed.distance, _distance(before.position, measured)):
            position = before.position
        if _angle(orientation, measured) > max(self._allowed.angle, _angle(before.orientation, measured)):
            orientation = before.orientation
        self._pose = ToolPose(position, orientation)
        return self._pose

    def lead(self, command: tuple[float, ...], measured: ToolPose) -> Lead:
        """Return the lead of the present target if the robot is stopped now, while `command` (n,) is in force."""
        target = self._pose or measured
        way = [
            np.copysign(limits.stopping_distance(abs(velocity), self._period_s), velocity)
            for limits, velocity in zip(self._limits, command, strict=True)
        ]
        ahead = self._twist(way)
        x, y, z = target.position.tolist()
        return Lead(
            (x, y, z),
            _distance(target.position + ahead[:3], measured),
            _angle(rotated(target.orientation, ahead[3:]), measured),
        )

    def _twist(self, values: list[float]) -> Vector:
        """Return the twist (6,), linear and angular, of the values (n,) of the action's axes; 0 on the other axes."""
        twist = np.zeros(len(TWIST_COMPONENTS))
        twist[self._rows] = values
        return twist


def _distance(position: Vector, measured: ToolPose) -> float:
    return float(np.linalg.norm(position - measured.position))


def _angle(orientation: Vector, measured: ToolPose) -> float:
    return float(np.linalg.norm(rotation_between(measured.orientation, orientation)))
