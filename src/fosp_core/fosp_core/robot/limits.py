"""The last stage before the robot: limits of workspace, speed, acceleration and jerk on the command stream.

The safety monitor applies them to the twist components of an action at the command rate. The simulator applies the
same ones when it runs without ROS, so that training sees what the robot does.

Where limits contradict each other, speed takes precedence over the workspace, the workspace over acceleration and jerk
as far as braking at the deceleration limit goes, and acceleration over jerk. Besides each axis, the norm of the linear
and that of the angular velocity has a limit, within which a command keeps its direction. Like every limit of speed it
takes precedence over jerk: where axes that are still changing reach it together, they stop changing at once.

A robot follows its commands late: `CommandHistory` tells how far it will still move by those that were sent already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.robot.config import AxisLimits, RobotConfig
from fosp_core.robot.gripper import GripperLimits

LEAST_SPEED_CAP = 0.01
"""Smallest speed cap: below it nobody could tell a capped robot from one that does not follow."""
_LINEAR = {"linear.x": 0, "linear.y": 1, "linear.z": 2}
REMEMBERED_S = 0.5
"""Length of the history of commands beyond the robot's dead time, s. It exceeds the age that a pose may have."""
TICKS_TO_MAKE_UP = 3
"""A tick that is later than this many periods changes the command no more than one of this length."""


def longest_tick_s(robot: RobotConfig) -> float:
    """Return the longest time, s, for which one tick of the command stream may change the command."""
    return TICKS_TO_MAKE_UP / robot.command_rate_hz


def speed_norms(robot: RobotConfig) -> tuple[float, float]:
    """Return the limits of the norm of the linear, m/s, and of the angular velocity, rad/s; infinity without axes."""
    bounds = []
    for part, given in (("linear", robot.linear_speed), ("angular", robot.angular_speed)):
        speeds = [robot.limits[axis.name].speed for axis in robot.action.axes if axis.name.startswith(part)]
        bounds.append(given or max(speeds, default=math.inf))
    return bounds[0], bounds[1]


@dataclass(frozen=True)
class Response:
    """The lag with which a robot follows its commands: a dead time, then a first-order lag, both in s."""

    response_s: float
    dead_time_s: float

    @classmethod
    def of(cls, robot: RobotConfig) -> Response:
        return cls(robot.response_s, robot.dead_time_s)


_AT_ONCE = Response(1e-9, 0.0)


@dataclass(frozen=True)
class SentCommand:
    """A command (n,), m/s and rad/s, the time at which it was sent, s, and the lagging speed (n,) at that time."""

    time_s: float
    command: tuple[float, ...]
    lagging: tuple[float, ...]
    """Speed, without the dead time, of a robot that follows the commands before this one."""

    def lagging_at(self, time_s: float, response_s: float) -> list[float]:
        """Return the lagging speed (n,) at `time_s`, while this command is in force."""
        share = math.exp(-max(0.0, time_s - self.time_s) / response_s)
        return [c + share * (w - c) for c, w in zip(self.command, self.lagging, strict=True)]


@dataclass(frozen=True)
class CommandHistory:
    """The commands sent lately, oldest first, and the motion that a robot of this response still owes them."""

    response: Response = _AT_ONCE
    sent: tuple[SentCommand, ...] = ()

    def after(self, command: tuple[float, ...], now_s: float) -> CommandHistory:
        """Return the history with one more `command` (n,), m/s and rad/s, sent at `now_s`."""
        begin, oldest_s = 0, now_s - REMEMBERED_S - self.response.dead_time_s
        while begin + 1 < len(self.sent) and self.sent[begin + 1].time_s < oldest_s:
            begin += 1
        last = self.sent[-1] if self.sent else None
        lagging = [0.0] * len(command) if last is None else last.lagging_at(now_s, self.response.response_s)
        return CommandHistory(self.response, (*self.sent[begin:], SentCommand(now_s, command, tuple(lagging))))

    def outstanding(self, measured_s: float, now_s: float) -> tuple[float, ...] | None:
        """Return how far (n,), m and rad, the robot has yet to move since its pose was measured at `measured_s`.

        That is the motion commanded since then, and what the robot had not yet made, by its response, of the commands
        before. None before the first command.
        """
        if not self.sent:
            return None
        since_s, response_s = measured_s - self.response.dead_time_s, self.response.response_s
        lagging = list(self.sent[0].lagging)
        moved, end_s = [0.0] * len(lagging), now_s
        for sent in reversed(self.sent):  # only the newest commands count, at every command of the stream
            span_s = end_s - max(sent.time_s, since_s)
            if span_s > 0.0:
                moved = [m + span_s * c for m, c in zip(moved, sent.command, strict=True)]
            if sent.time_s <= since_s:
                lagging = sent.lagging_at(since_s, response_s)
                break
            end_s = sent.time_s
        return tuple(m + response_s * speed for m, speed in zip(moved, lagging, strict=True))


def capped(robot: RobotConfig, cap: float) -> RobotConfig:
    """Return the robot with its speed limits, and the speeds of action 1, at the share `cap` of what they are.

    The direction of an action stays what it is. Raise UserError unless `cap` lies in [LEAST_SPEED_CAP, 1].
    """
    if not LEAST_SPEED_CAP <= cap <= 1.0:
        raise UserError(f"speed_cap must be in [{LEAST_SPEED_CAP:g}, 1], got {cap:g}")
    limits = {name: axis.model_copy(update={"speed": axis.speed * cap}) for name, axis in robot.limits.items()}
    axes = tuple(axis.model_copy(update={"scale": axis.scale * cap}) for axis in robot.action.axes)
    norms = {name: norm * cap for name in ("linear_speed", "angular_speed") if (norm := getattr(robot, name))}
    action, gripper = robot.action.model_copy(update={"axes": axes}), robot.gripper
    if gripper is not None:
        gripper = gripper.model_copy(update={"max_rate": gripper.max_rate * cap})
    return robot.model_copy(update={"limits": limits, "action": action, "gripper": gripper, **norms})


@dataclass(frozen=True)
class Limited:
    """A command within the limits, (n,) float64 in m/s and rad/s; `limited` when it differs from its target."""

    command: NDArray[np.float64]
    limited: bool


def brake(velocity: float, deceleration: float, dt: float) -> float:
    """Return the velocity `dt` s later on the way to zero, which is reached exactly."""
    return math.copysign(max(0.0, abs(velocity) - deceleration * dt), velocity)


def ramp(target: float, velocity: float, acceleration: float, deceleration: float, dt: float) -> float:
    """Return the velocity `dt` s later on the way to `target`, with limits for speeding up and for slowing down.

    A reversal brakes first, and speeds up the other way in what is left of the tick after zero.
    """
    if target * velocity < 0:
        needed = abs(velocity) / deceleration
        if needed >= dt:
            return brake(velocity, deceleration, dt)
        velocity, dt = 0.0, dt - needed
    step = (deceleration if abs(target) < abs(velocity) else acceleration) * dt
    return min(max(target, velocity - step), velocity + step)


def approach_speed(room: float, deceleration: float, dt: float) -> float:
    """Return the highest speed towards a wall `room` m away: one tick of it, followed by braking, ends at the wall."""
    return deceleration * (math.sqrt(dt * dt + 2.0 * max(0.0, room) / deceleration) - dt)


def smooth_ramp(
    target: float, velocity: float, before: float, limits: AxisLimits, jerk: float, dt: float, period: float = 0.0
) -> float:
    """Return the velocity `dt` s later on the way to `target` under a jerk limit; `before` is the present acceleration.

    The acceleration is the greatest that the jerk limit can still take back before the target is reached
    (a' dt + a'^2 / 2 jerk = what is missing). It is zero when the target is reached, which is thus not overshot. A
    reversal comes to rest first. This holds for any sequence of ticks of which none is longer than `period`, s: after a
    tick that is shorter than half of it, the acceleration may change as much as in half a period, but only to end at
    the target. (The acceleration is the mean of a tick, so it belongs to the middle of it.)
    """
    goal = 0.0 if target * velocity < 0 else target
    towards = math.copysign(1.0, goal - velocity)
    missing, acceleration = abs(goal - velocity), before * towards
    step = jerk * dt
    limit = limits.deceleration if velocity * towards < 0 else limits.acceleration
    if missing / dt <= min(0.5 * step, limit) and abs(missing / dt - acceleration) <= step:
        return goal
    wanted = min(jerk * (math.sqrt(dt * dt + 2.0 * missing / jerk) - dt), limit)
    reached = velocity + towards * min(max(wanted, acceleration - step), acceleration + step) * dt
    overshoots = missing == 0.0 or (reached - goal) * towards > 0.0
    return goal if overshoots and abs(acceleration) <= 0.5 * jerk * period else reached


def smooth_approach_speed(room: float, limits: AxisLimits, jerk: float, dt: float) -> float:
    """Return `approach_speed` under a jerk limit, which delays the deceleration, at worst while still speeding up."""
    acceleration, deceleration = limits.acceleration, limits.deceleration
    turn = (acceleration + deceleration) / jerk
    delay = dt + turn + deceleration / (2.0 * jerk)
    room -= acceleration**2 / (2.0 * jerk) * turn
    return deceleration * (math.sqrt(delay * delay + 2.0 * max(0.0, room) / deceleration) - delay)


@dataclass(frozen=True)
class _Axis:
    """One axis of the action, its limits and its walls: (index of the coordinate, lower, upper) in m, or None.

    `period`, in s, is the longest time from one command to the next: a command between two ticks of the stream follows
    shortly after the last one, but it is in force until the next tick, and the walls must hold until then.
    """

    scale: float
    limits: AxisLimits
    walls: tuple[int, float, float] | None
    period: float

    def follow(
        self, target: float, velocity: float, before: float, point: list[float], moved: float, dt: float
    ) -> float:
        """Return the velocity `dt` s later on the way to `target`."""
        limits, hold = self.limits, max(dt, self.period)
        rooms = self._rooms(point, moved)
        lowest, highest = self._bounds(rooms, hold, smooth=limits.jerk is not None)
        allowed = min(max(min(max(target, -limits.speed), limits.speed), lowest), highest)
        if limits.jerk is None:
            reached = ramp(allowed, velocity, limits.acceleration, limits.deceleration, dt)
        else:
            reached = smooth_ramp(allowed, velocity, before, limits, limits.jerk, dt, self.period)
            lowest, highest = self._bounds(rooms, hold, smooth=False)
            if not lowest <= reached <= highest:
                wall = min(max(reached, lowest), highest)
                reached = ramp(wall, velocity, limits.deceleration, limits.deceleration, dt)
        return min(max(reached, -limits.speed), limits.speed)

    def stop(self, velocity: float, before: float, dt: float) -> float:
        """Return the velocity `dt` s later on the way to zero; a velocity that is not finite becomes zero at once.

        Braking never turns around: after uneven ticks the jerk limit would carry it beyond zero, and zero it is then.
        """
        limits = self.limits
        if not math.isfinite(velocity):
            return 0.0
        velocity = min(max(velocity, -limits.speed), limits.speed)
        if limits.jerk is None:
            return brake(velocity, limits.deceleration, dt)
        slope = before if math.isfinite(before) else 0.0
        reached = smooth_ramp(0.0, velocity, slope, limits, limits.jerk, dt, self.period)
        if reached * velocity <= 0.0:
            return 0.0
        return min(max(reached, -limits.speed), limits.speed)

    def _rooms(self, point: list[float], moved: float) -> tuple[float, float]:
        """Return the room in m to the lower and to the upper wall.

        `moved` is how far the robot has yet to move since `point` was measured. It takes room on the side that it leads
        to, and gives none on the other.
        """
        if self.walls is None:
            return math.inf, math.inf
        i, lower, upper = self.walls
        return point[i] - lower + min(moved, 0.0), upper - point[i] - max(moved, 0.0)

    def _bounds(self, rooms: tuple[float, float], dt: float, smooth: bool) -> tuple[float, float]:
        """Return the lowest and the highest velocity that the rooms to the walls allow."""
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

    They are computed axis by axis in plain floats, which is much faster than numpy on three numbers. Actions are those
    of the twist (n,); `gripper` has the limits of a gripper, whose setpoint is apart.
    """

    def __init__(self, robot: RobotConfig) -> None:
        axes = [robot.limits[axis.name] for axis in robot.action.axes]
        self.speed = np.array([a.speed for a in axes])
        self.acceleration = np.array([a.acceleration for a in axes])
        self.deceleration = np.array([a.deceleration for a in axes])
        self.scale = np.array(robot.action.scale)
        self.gripper = GripperLimits.of(robot.gripper)
        self._axes = [
            _Axis(axis.scale, limits, self._walls(robot, axis.name), 1.0 / robot.command_rate_hz)
            for axis, limits in zip(robot.action.axes, axes, strict=True)
        ]
        self._bounded = robot.workspace is not None
        self.longest_tick_s = longest_tick_s(robot)
        """Longest time, s, for which one tick may change the command."""
        self._norms = [
            (bound, [i for i, axis in enumerate(robot.action.axes) if axis.name.startswith(part)])
            for part, bound in zip(("linear", "angular"), speed_norms(robot), strict=True)
        ]

    def _within_norms(self, values: list[float]) -> list[float]:
        """Return the velocity (n,) in the same direction whose linear and angular norms are within their limits."""
        for bound, axes in self._norms:
            norm = math.hypot(*(values[i] for i in axes))
            if norm > bound:
                values = [value * bound / norm if i in axes else value for i, value in enumerate(values)]
        return values

    def _no_faster(self, before: list[float], reached: list[float]) -> list[float]:
        """Return `reached` (n,), or less of what it gains in speed over `before` (n,), so that the norms keep limits.

        Axes that slow down do so as they were told, so no axis changes by more than in `reached`.
        """
        command = list(reached)
        for bound, axes in self._norms:
            if math.hypot(*(reached[i] for i in axes)) <= bound:
                continue
            gaining = [i for i in axes if abs(reached[i]) > abs(before[i])]
            room = bound**2 - sum(reached[i] ** 2 for i in axes if i not in gaining)
            steps = {i: reached[i] - before[i] for i in gaining}
            a = sum(step**2 for step in steps.values())
            b = sum(before[i] * step for i, step in steps.items())
            c = sum(before[i] ** 2 for i in gaining) - room
            share = (math.sqrt(max(0.0, b * b - a * c)) - b) / a if a > 0.0 else 0.0
            for i, step in steps.items():
                command[i] = before[i] + min(max(share, 0.0), 1.0) * step
        return command

    @staticmethod
    def _walls(robot: RobotConfig, axis: str) -> tuple[int, float, float] | None:
        """Return the index of the coordinate that the axis moves, and its walls in m; None without walls."""
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
        """Return the next command towards a normalised `action` (n,), `dt` s after the `previous` command (n,).

        `position` (3,), in m, is the commanded point in the action frame: towards a wall of the workspace the speed
        stays as low as the deceleration limit can still take away. `acceleration` (n,) is that between the last two
        commands (None: zero); axes with a jerk limit need it. `moved` (n,), in m and rad, is how far the robot has yet
        to move since `position` was measured (`CommandHistory.outstanding`; None: it stands). An input that is not
        finite leads to a stop.
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
        asked = [value * axis.scale for value, axis in zip(wanted, self._axes, strict=True)]
        targets = self._within_norms(asked)
        reached = [
            axis.follow(target, velocity, slope, point, step, dt)
            for target, velocity, slope, step, axis in zip(targets, before, slopes, since, self._axes, strict=True)
        ]
        command = self._no_faster(before, reached)
        return Limited(np.array(command), any(abs(c - a) > 1e-9 for c, a in zip(command, asked, strict=True)))

    def stop(
        self, previous: NDArray[np.float64], dt: float, acceleration: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the next command on the way to zero at the deceleration limit; what is not finite becomes zero."""
        slopes = [0.0] * len(previous) if acceleration is None else acceleration.tolist()
        if dt <= 0.0:
            return np.where(np.isfinite(previous), np.clip(previous, -self.speed, self.speed), 0.0)
        return np.array(
            [
                axis.stop(velocity, slope, dt)
                for velocity, slope, axis in zip(previous.tolist(), slopes, self._axes, strict=True)
            ]
        )
