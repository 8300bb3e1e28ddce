"""The last stage before the robot: workspace, speed, acceleration and jerk limits on the command stream.

Pure functions on the twist components of an action spec; the safety monitor applies them at the command rate,
the simulator's in-process mode applies the same ones, so that training sees what the robot does.

Where limits contradict each other, speed comes before the workspace, the workspace before acceleration and jerk as far
as braking at the deceleration limit goes, and acceleration before jerk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.specs import AxisLimits, RobotConfig

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


def smooth_ramp(target: float, velocity: float, before: float, limits: AxisLimits, jerk: float, dt: float) -> float:
    """Velocity `dt` s later on the way to `target`, under a jerk limit, too; `before` is the acceleration so far.

    The acceleration taken is the greatest that the jerk limit can still take back before the target is reached
    (a' dt + a'^2 / 2 jerk = what is missing), so it ends at zero with the target, which is not overshot. A reversal
    comes to rest first. That holds for any sequence of ticks of which none is shorter than half another.
    """
    goal = 0.0 if target * velocity < 0 else target
    towards = math.copysign(1.0, goal - velocity)
    missing, acceleration = abs(goal - velocity), before * towards
    step = jerk * dt
    limit = limits.deceleration if velocity * towards < 0 else limits.acceleration
    if missing / dt <= min(0.5 * step, limit) and abs(missing / dt - acceleration) <= step:
        return goal
    wanted = min(jerk * (math.sqrt(dt * dt + 2.0 * missing / jerk) - dt), limit)
    return velocity + towards * min(max(wanted, acceleration - step), acceleration + step) * dt


def smooth_approach_speed(room: float, limits: AxisLimits, jerk: float, dt: float) -> float:
    """As `approach_speed`, under a jerk limit: the deceleration has to be built up, from speeding up at worst."""
    acceleration, deceleration = limits.acceleration, limits.deceleration
    turn = (acceleration + deceleration) / jerk
    delay = dt + turn + deceleration / (2.0 * jerk)
    room -= acceleration**2 / (2.0 * jerk) * turn
    return deceleration * (math.sqrt(delay * delay + 2.0 * max(0.0, room) / deceleration) - delay)


@dataclass(frozen=True)
class _Axis:
    """One axis of the action: its limits, and the coordinate and walls (m) on its way where there are some."""

    scale: float
    limits: AxisLimits
    walls: tuple[int, float, float] | None

    def follow(
        self, target: float, velocity: float, before: float, point: list[float], moved: float, dt: float
    ) -> float:
        """Velocity `dt` s later on the way to `target`."""
        limits = self.limits
        rooms = self._rooms(point, moved)
        lowest, highest = self._bounds(rooms, dt, smooth=limits.jerk is not None)
        allowed = min(max(min(max(target, -limits.speed), limits.speed), lowest), highest)
        if limits.jerk is None:
            reached = ramp(allowed, velocity, limits.acceleration, limits.deceleration, dt)
        else:
            reached = smooth_ramp(allowed, velocity, before, limits, limits.jerk, dt)
            lowest, highest = self._bounds(rooms, dt, smooth=False)
            if not lowest <= reached <= highest:
                wall = min(max(reached, lowest), highest)
                reached = ramp(wall, velocity, limits.deceleration, limits.deceleration, dt)
        return min(max(reached, -limits.speed), limits.speed)

    def stop(self, velocity: float, before: float, dt: float) -> float:
        """Velocity `dt` s later on the way to zero; what is not finite is zero at once."""
        limits = self.limits
        if not math.isfinite(velocity):
            return 0.0
        velocity = min(max(velocity, -limits.speed), limits.speed)
        if limits.jerk is None:
            return brake(velocity, limits.deceleration, dt)
        reached = smooth_ramp(0.0, velocity, before if math.isfinite(before) else 0.0, limits, limits.jerk, dt)
        return min(max(reached, -limits.speed), limits.speed)

    def _rooms(self, point: list[float], moved: float) -> tuple[float, float]:
        """To the lower and to the upper wall, m, of a `point` that was told to move by `moved` since it was measured.

        The robot may lag behind what it was told: `moved` takes room on the side that it moves to, and gives none.
        """
        if self.walls is None:
            return math.inf, math.inf
        i, lower, upper = self.walls
        return point[i] - lower + min(moved, 0.0), upper - point[i] - max(moved, 0.0)

    def _bounds(self, rooms: tuple[float, float], dt: float, smooth: bool) -> tuple[float, float]:
        """Lowest and highest velocity that the rooms to the walls allow."""
        if self.walls is None:
            return -math.inf, math.inf
        limits, (below, above) = self.limits, rooms
        if smooth and limits.jerk is not None:
            return (
                -smooth_approach_speed(below, limits, limits.jerk, dt),
                smooth_approach_speed(above, limits, limits.jerk, dt),
            )
        return -approach_speed(below, limits.deceleration, dt), approach_speed(above, limits.deceleration, dt)


class CommandLimits:
    """Limits of one robot, in the order of its action axes.

    Axis by axis in plain floats: numpy on three numbers would cost ten times as much of each 10 ms tick.
    """

    def __init__(self, robot: RobotConfig) -> None:
        axes = [robot.limits[axis.name] for axis in robot.action.axes]
        self.speed = np.array([a.speed for a in axes])
        self.acceleration = np.array([a.acceleration for a in axes])
        self.deceleration = np.array([a.deceleration for a in axes])
        self.jerk = np.array([math.inf if a.jerk is None else a.jerk for a in axes])
        self.scale = np.array(robot.action.scale)
        self._axes = [
            _Axis(axis.scale, limits, self._walls(robot, axis.name))
            for axis, limits in zip(robot.action.axes, axes, strict=True)
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
        acceleration: NDArray[np.float64] | None = None,
        moved: Sequence[float] | None = None,
    ) -> Limited:
        """Next command towards a normalised `action` (n,), from the `previous` command, `dt` s later.

        `position` (3,) m is the commanded point in the action frame; towards a wall of the workspace the speed is
        held to what the deceleration limit can still take away. `acceleration` (n,) is that between the last two
        commands (None: zero); axes with a jerk limit need it. `moved` (n,) m and rad is what the
        robot was told to move since `position` was measured (None: nothing). Anything not finite gives a stop.
        """
        wanted, before = action.tolist(), previous.tolist()
        slopes = [0.0] * len(before) if acceleration is None else acceleration.tolist()
        point = position.tolist() if position is not None else []
        since = [0.0] * len(before) if moved is None else moved
        known = len(point) == 3 or not self._bounded
        if not known or not all(map(math.isfinite, (*wanted, *before, *slopes, *point, *since))):
            return Limited(self.stop(previous, dt, acceleration), True)
        if dt <= 0.0:
            return Limited(np.array(before), False)
        command, limited = [], False
        for value, velocity, slope, step, axis in zip(wanted, before, slopes, since, self._axes, strict=True):
            target = value * axis.scale
            reached = axis.follow(target, velocity, slope, point, step, dt)
            limited = limited or abs(reached - target) > 1e-9
            command.append(reached)
        return Limited(np.array(command), limited)

    def stop(
        self, previous: NDArray[np.float64], dt: float, acceleration: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Next command on the way to zero at the deceleration limit; what is not finite is zero at once."""
        slopes = [0.0] * len(previous) if acceleration is None else acceleration.tolist()
        if dt <= 0.0:
            return np.where(np.isfinite(previous), np.clip(previous, -self.speed, self.speed), 0.0)
        return np.array(
            [
                axis.stop(velocity, slope, dt)
                for velocity, slope, axis in zip(previous.tolist(), slopes, self._axes, strict=True)
            ]
        )
