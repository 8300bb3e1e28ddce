"""The robot's side of the command topic: obeys the newest command, and stops by itself when none comes."""

from __future__ import annotations

import threading

import numpy as np

from fosp_core.errors import UserError
from fosp_core.limits import CommandLimits
from fosp_core.specs import RobotConfig
from fosp_sim.task.world import Vector


class CommandIntake:
    """The second watchdog: `command_timeout_s` of the robot after the last command it decelerates to zero.

    Times are monotonic seconds. `receive` and `current` may be called from different threads. UserError for a robot
    that takes poses: the simulated ones take twists.
    """

    def __init__(self, robot: RobotConfig) -> None:
        if robot.command_type == "PoseStamped":
            raise UserError(f"robot '{robot.name}': command_type PoseStamped is not simulated, only twists are")
        self._limits = CommandLimits(robot)
        self._timeout_s = robot.command_timeout_s
        self._frame_id = robot.action.frame_id
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Stand still until the next command: after a reset the robot is not where it was."""
        with self._lock:
            self._command, self._receipt_s = np.zeros_like(self._limits.speed), -np.inf
            self._twist = self._command

    def receive(self, command: Vector, frame_id: str, now_s: float) -> None:
        """Take a command (n,), m/s and rad/s. UserError, and no effect, when its frame or a value is wrong."""
        if frame_id != self._frame_id:
            raise UserError(f"commands must be in frame '{self._frame_id}', got '{frame_id}'; command ignored")
        if not np.isfinite(command).all():
            raise UserError(f"command {command.tolist()} is not finite; command ignored")
        with self._lock:
            self._command, self._receipt_s = np.clip(command, -self._limits.speed, self._limits.speed), now_s

    def current(self, now_s: float, dt: float) -> Vector:
        """Twist (n,) that the robot follows for the next `dt` s."""
        with self._lock:
            fresh = now_s - self._receipt_s <= self._timeout_s
            self._twist = self._command if fresh else self._limits.stop(self._twist, dt)
            return self._twist
