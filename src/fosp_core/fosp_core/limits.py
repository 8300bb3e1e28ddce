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


def brake(velocity: float, deceleration: float, dt: float) -> float:
    """Velocity `dt` s later on the way to zero; exactly zero once it is reached."""
    return math.copysign(max(0.0, abs(velocity) - deceleration * dt), velocity)


def ramp(target: float, velocity: float, acceleration: float, deceleration: float, dt: float) -> float:
    """Velocity `dt` s later on the way to `target`: slowing down and speeding up have limits of their own.

    A reversal brakes first; what is left of the tick when zero is passed speeds up the other way.
    """
    if target * velocity < 0:
        needed = abs(velocity) / deceleration
        if needed >= dt:
            return brake(velocity, deceleration, dt)
        velocity, dt = 0.0, dt - needed
    step = (deceleration if abs(target) < abs(velocity) else acceleration) * dt
    return min(max(target, velocity - step), velocity + step)


def approach_speed(room: float, deceleration: float, dt: float) -> float:
    """Highest speed towards a wall `room` m away: one tick of it and then braking ends at the wall."""
    return deceleration * (math.sqrt(dt * dt + 2.0 * max(0.0, room) / deceleration) - dt)


class CommandLimits:
    """Limits of one robot, in the order of its action axes.

    Axis by axis in plain floats: numpy on three numbers would cost ten times as much of each 10 ms tick.
    """

    def __init__(self, robot: RobotConfig) -> None:
        axes = [robot.limits[axis.name] for axis in robot.action.axes]
        self.speed = np.array([a.speed for a in axes])
        self.acceleration = np.array([a.acceleration for a in axes])
        self.deceleration = np.array([a.deceleration for a in axes])
        self.scale = np.array(robot.action.scale)
        self._axes = [
            (scale, a.speed, a.acceleration, a.deceleration, self._walls(robot, axis.name))
            for axis, scale, a in zip(robot.action.axes, robot.action.scale, axes, strict=True)
        ]
        self._bounded = robot.workspace is not None

    @staticmethod
    def _walls(robot: RobotConfig, axis: str) -> tuple[int, float, float] | None:
        """Coordinate that the axis moves, and the walls on its way, m."""
        if robot.workspace is None or axis not in _LINEAR:
            return None
        i = _LINEAR[axis]
        return i, robot.workspace.lower[i], robot.workspace.upper[i]

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
        wanted, before = action.tolist(), previous.tolist()
        point = position.tolist() if position is not None else []
        if not all(map(math.isfinite, (*wanted, *before, *point))) or (self._bounded and len(point) != 3):
            return Limited(self.stop(previous, dt), True)
        command, limited = [], False
        for value, velocity, axis in zip(wanted, before, self._axes, strict=True):
            scale, speed, acceleration, deceleration, walls = axis
            target = value * scale
            allowed = min(max(target, -speed), speed)
            if walls is not None:
                i, lower, upper = walls
                allowed = min(allowed, approach_speed(upper - point[i], deceleration, dt))
                allowed = max(allowed, -approach_speed(point[i] - lower, deceleration, dt))
            reached = min(max(ramp(allowed, velocity, acceleration, deceleration, dt), -speed), speed)
            limited = limited or abs(reached - target) > 1e-9
            command.append(reached)
        return Limited(np.array(command), limited)

    def stop(self, previous: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
        """Next command on the way to zero at the deceleration limit; what is not finite is zero at once."""
        return np.array(
            [
                brake(min(max(velocity, -speed), speed), deceleration, dt) if math.isfinite(velocity) else 0.0
                for velocity, (_, speed, _, deceleration, _) in zip(previous.tolist(), self._axes, strict=True)
            ]
        )
