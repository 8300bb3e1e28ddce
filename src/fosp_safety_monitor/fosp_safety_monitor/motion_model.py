"""The motion of a robot that can be held against its commands: what is measured, and how far it may differ. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.robot.config import RobotConfig, Workspace
from fosp_core.robot.limits import speed_norms
from fosp_core.specs import TWIST_COMPONENTS
from fosp_safety_monitor.parameters import MonitorParameters

LAG_SLACK_S = 0.06
"""Lag, s, beyond the robot's response that the ways of its messages, its clock and its controller may add."""
RESPONSES_TO_FOLLOW = 3.0
"""Time constants after which a robot has taken up a command but for a twentieth."""
LEAST_TOLERANCE = 0.01
"""Difference, m, that is allowed to a robot however slow it is."""
LEAST_TOLERANCE_RAD = 0.05
"""Difference, rad, that is allowed to a robot however slow it is."""
_LAGS = 16
_ARM = (0, 1, 2)
_BASE = (0, 1, 5)
_FIRST_ANGULAR = 3


@dataclass(frozen=True, eq=False)
class MotionModel:
    """The components (k,) of measured motion, linear ones first, and the bounds of their difference from commands.

    The components of an arm are the axes of the action frame; those of a base are forward, sideways and yaw, as its
    odometry shows them along its own axes.
    """

    odometry: bool
    """The motion is that of a base by its odometry, not that of an arm by the pose of its commanded point."""
    angular: tuple[int, ...]
    """Axes of the measured rotation vector, 0 to 2, that are components."""
    places: tuple[int, ...]
    """Index of the component that each axis of the action moves."""
    tolerance: NDArray[np.float64]
    """Difference (k,), m and rad, that is allowed in any window."""
    share: float
    """Share of the commanded distance that is allowed on top of it."""
    lags: NDArray[np.float64]
    """Lags, s, from none to the greatest that the robot may have."""
    speed: tuple[float, float]
    """Limits of the linear, m/s, and of the angular speed, rad/s."""
    workspace: Workspace | None
    """Box that the measured position must not leave."""
    command_timeout_s: float
    teleports: bool
    """The robot is a simulated one, which may jump to another place."""

    @property
    def size(self) -> int:
        """Return k, the number of components."""
        return len(self.tolerance)

    @property
    def linear(self) -> int:
        """Return how many of the components are linear."""
        return self.size - len(self.angular)

    @classmethod
    def of(cls, robot: RobotConfig, parameters: MonitorParameters) -> MotionModel | None:
        """Return the model of a robot; None for one that measures neither its pose nor its odometry, or that coasts."""
        if robot.coasts:
            return None
        odometry = robot.kind == "base" and robot.state_type == "Odometry"
        if not odometry and not robot.pose_topic:
            return None
        moved = [TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes]
        rows = _BASE if odometry else (*_ARM, *sorted(row for row in moved if row >= _FIRST_ANGULAR))
        if not set(moved) <= set(rows):
            return None
        speed, window_s = speed_norms(robot), parameters.motion_tolerance_s
        angular = [row - _FIRST_ANGULAR for row in rows if row >= _FIRST_ANGULAR]
        bound = max(LEAST_TOLERANCE, window_s * speed[0]) if np.isfinite(speed[0]) else LEAST_TOLERANCE
        turn = max(LEAST_TOLERANCE_RAD, window_s * speed[1]) if np.isfinite(speed[1]) else LEAST_TOLERANCE_RAD
        return cls(
            odometry=odometry,
            angular=tuple(angular),
            places=tuple(rows.index(row) for row in moved),
            tolerance=np.array([bound if row < _FIRST_ANGULAR else turn for row in rows]),
            share=parameters.motion_tolerance_share,
            lags=np.linspace(0.0, robot.dead_time_s + RESPONSES_TO_FOLLOW * robot.response_s + LAG_SLACK_S, _LAGS),
            speed=speed,
            workspace=robot.workspace,
            command_timeout_s=robot.command_timeout_s,
            teleports=robot.teleports,
        )


@dataclass(frozen=True)
class Lead:
    """Target pose of a robot that takes poses, and how far ahead of the measured pose it ends when stopped now."""

    position: tuple[float, float, float]
    """Position of the target, m."""
    distance: float
    """Distance from the measured position, m."""
    angle: float
    """Angle from the measured orientation, rad."""
