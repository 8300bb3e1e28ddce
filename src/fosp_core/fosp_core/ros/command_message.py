"""Messages of the command stream: twists, or target poses, by the `command_type` of the robot."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from numpy.typing import NDArray

from fosp_core.executed import twists_of_poses
from fosp_core.robot.config import RobotConfig
from fosp_core.ros.stamps import seconds
from fosp_core.specs import ActionSpec

_TYPES: dict[str, Any] = {"TwistStamped": TwistStamped, "Twist": Twist, "PoseStamped": PoseStamped}


def command_message_type(robot: RobotConfig) -> Any:
    """Return the type of the robot's commands: geometry_msgs/TwistStamped, Twist or PoseStamped."""
    return _TYPES[robot.command_type]


def fill_twist(message: Twist, command: NDArray[np.floating] | list[float], action: ActionSpec) -> None:
    """Write `command` (n,), in m/s and rad/s, into the components that the spec names, and leave the others."""
    for axis, value in zip(action.axes, command, strict=True):
        part, component = axis.name.split(".")
        setattr(getattr(message, part), component, float(value))


def twist_command(message: Twist, action: ActionSpec) -> NDArray[np.float64]:
    """Return the components that the spec names, (n,) float64 in m/s and rad/s."""
    values = []
    for axis in action.axes:
        part, component = axis.name.split(".")
        values.append(getattr(getattr(message, part), component))
    return np.array(values, np.float64)


def pose_values(message: PoseStamped) -> NDArray[np.float64]:
    """Return position in m and orientation (x, y, z, w) as one array (7,) float64."""
    p, q = message.pose.position, message.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


class CommandReader:
    """Reads the command stream of a robot, message after message, as twists."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot
        self._before: tuple[float, NDArray[np.float64]] | None = None

    def read(self, message: Any, received_s: float) -> tuple[float, NDArray[np.float64]]:
        """Return the stamp in s, on the ROS clock, and the twist components (n,) in m/s and rad/s.

        A plain Twist carries no stamp; `received_s` takes its place.
        """
        if isinstance(message, Twist):
            return received_s, twist_command(message, self._robot.action)
        stamp_s = seconds(message.header.stamp)
        if isinstance(message, TwistStamped):
            return stamp_s, twist_command(message.twist, self._robot.action)
        before, self._before = self._before, (stamp_s, pose_values(message))
        if before is None:
            return stamp_s, np.zeros(self._robot.action.twist_size)
        stamps, poses = np.array([before[0], stamp_s]), np.stack([before[1], self._before[1]])
        return stamp_s, twists_of_poses(stamps, poses, self._robot.action, self._robot.command_timeout_s)[1]
