"""The last stage before the robot: workspace, speed and acceleration limits on the command stream.

Pure functions on the twist components of an action spec; the safety monitor applies them at the command rate,
the simulator's in-process mode applies the same ones, so that training sees what the robot does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.specs import RobotConfig

_LINEAR = {"linear.x": 0, "linear.y": 1, "linear.z": 2}


@dataclass(frozen=True)
class Limited:
    """A command within the limits, (n,) float64 in m/s and rad/s, and whether the limits changed the target."""

    command: NDArray[np.float64]
    limited: bool


class CommandLimits:
    """Limits of one robot, in the order of its action axes."""

    def __init__(self, robot: RobotConfig) -> None:
        axes = [robot.limits[axis.name] for axis in robot.action.axes]
        self.speed = np.array([a.speed for a in axes])
        self.acceleration = np.array([a.acceleration for a in axes])
        self.deceleration = np.array([a.deceleration for a in axes])
        self.scale = np.array(robot.action.scale)
        self._coordinate = [_LINEAR.get(axis.name) for axis in robot.action.axes]
        self._workspace = robot.workspace

    def follow(
        self,
        action: NDArray[np.floating],
        previous: NDArray[np.float64],
        dt: float,
        position: NDArray[np.float64] | None = None,
    ) -> Limited:
        """Next command towards a normalised `action` (n,), from the `previous` command, `dt` s later.

        `position` (3,) m is the commanded point in the action frame; towards a wall of the workspace the speed is
        held to what the deceleration limit can still take away. Anything not finite gives a stop.
        """
        target = np.asarray(action, np.float64) * self.scale
        if not np.isfinite(target).all():
            return Limited(self.stop(previous, dt), True)
        allowed = np.clip(target, -self.speed, self.speed)
        if self._workspace is not None:
            if position is None or not np.isfinite(position).all():
                return Limited(self.stop(previous, dt), True)
            for i, axis in enumerate(self._coordinate):
                if axis is not None:
                    room_up = max(0.0, self._workspace.upper[axis] - position[axis])
                    room_down = max(0.0, position[axis] - self._workspace.lower[axis])
                    allowed[i] = np.clip(allowed[i], -self._approach(i, room_down, dt), self._approach(i, room_up, dt))
        command = np.clip(self._ramp(allowed, previous, dt), -self.speed, self.speed)
        return Limited(command, bool(np.abs(command - target).max() > 1e-9))

    def stop(self, previous: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
        """Next command on the way to zero at the deceleration limit."""
        safe = np.clip(np.nan_to_num(previous, nan=0.0, posinf=0.0, neginf=0.0), -self.speed, self.speed)
        return np.asarray(np.sign(safe) * np.maximum(0.0, np.abs(safe) - self.deceleration * dt))

    def _approach(self, axis: int, room: float, dt: float) -> float:
        """Highest speed towards a wall `room` m away: one tick of it and then braking ends at the wall."""
        braking = float(self.deceleration[axis])
        return braking * (math.sqrt(dt * dt + 2.0 * room / braking) - dt)

    def _ramp(self, target: NDArray[np.float64], previous: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
        """From `previous` towards `target`: slowing down at the deceleration, speeding up at the acceleration limit.

        A reversal brakes first; what is left of the tick when zero is passed speeds up the other way.
        """
        braked = self.stop(previous, dt)
        share_left = 1.0 - np.minimum(1.0, np.abs(previous) / (self.deceleration * dt))
        reverses = target * previous < 0
        base = np.where(reverses, braked, previous)
        up = self.acceleration * dt * np.where(reverses, share_left, 1.0)
        slows = ~reverses & (np.abs(target) < np.abs(previous))
        step = np.where(slows, self.deceleration * dt, np.where(reverses & (braked != 0), 0.0, up))
        return np.asarray(np.clip(target, base - step, base + step))
