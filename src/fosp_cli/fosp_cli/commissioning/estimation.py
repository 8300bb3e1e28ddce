"""Estimates from commands and measured motion: direction, scale, dead time, lag and stopping distance. No ROS.

Commands and motion are held in the order of TWIST_COMPONENTS: three linear components in m/s or m, three angular ones
in rad/s or rad. Times are stamps on the ROS clock, in s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.executed import rotation_between
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import TWIST_COMPONENTS, TwistComponent

Vector = NDArray[np.float64]

SLACK = (0.008,) * 3 + (0.08,) * 3
"""Motion, m and rad, that is noise, vibration or settling, and no answer to a command."""
_OFF_AXIS = 0.35
"""Share of the motion told by which a robot may leave the axis that it was told, besides SLACK."""
_TOO_FAR = 1.3
_SCALES = (0.85, 1.15)
"""Range of moved over told in which the scale is right."""
_LEAST_SIZE = (0.03,) * 3 + (0.15,) * 3
"""Motion, m and rad, of components that were not told to move, that counts as much as all of the motion told."""

LONGEST_DEAD_TIME_S = 0.6
LONGEST_LAG_S = 1.2
"""Bounds of the fit; they lie beyond what a robot file may hold, so that a longer one is told from the longest."""
_GRID_S = 0.002
_ROUNDS = 4
_POINTS = 25


@dataclass(frozen=True)
class Motion:
    """Commands that were sent, and what was measured meanwhile and until rest."""

    command_stamps: Vector
    """(M,)"""
    commands: Vector
    """(M, 6), m/s and rad/s."""
    hold_s: float
    """A command is in force until the next one, but for at most this long: the robot's command timeout."""
    stamps: Vector
    """(N,) of the samples."""
    moved: Vector
    """(N, 6) since the first sample, m and rad, in the action frame; that of a base moves with it."""
    ended_early: str = ""
    """Why the motion was broken off; empty when it was completed."""

    def told(self, times: Vector) -> Vector:
        """Return the integral (K, 6) of the commands until `times` (K,), m and rad."""
        if len(self.command_stamps) == 0:
            return np.zeros((len(times), 6))
        begins = self.command_stamps
        ends = np.minimum(np.append(begins[1:], np.inf), begins + self.hold_s)
        steps = self.commands * (ends - begins)[:, None]
        after = np.cumsum(steps, 0)
        knots = np.column_stack([begins, ends]).ravel()
        values = np.stack([after - steps, after], 1).reshape(-1, 6)
        return np.column_stack([np.interp(times, knots, values[:, i]) for i in range(6)])

    @property
    def total_told(self) -> Vector:
        """Return the integral (6,) of all commands."""
        return self.told(np.array([np.inf if len(self.stamps) == 0 else self.command_stamps[-1] + 10.0]))[0]

    @property
    def total_moved(self) -> Vector:
        """Return the whole motion (6,)."""
        return self.moved[-1] if len(self.moved) else np.zeros(6)


def moved_along(poses: Vector, with_body: bool) -> Vector:
    """Return the motion (N, 6) since the first of the `poses` (N, 7), m and rad.

    A pose is a position and a unit quaternion (x, y, z, w). The frame is that of the poses, or, `with_body`, that of
    the moving body, in which a base takes its commands.
    """
    if len(poses) == 0:
        return np.zeros((0, 6))
    turns = poses[:, 3:]
    steps, rotations = np.diff(poses[:, :3], axis=0), rotation_between(turns[:-1], turns[1:])
    if with_body:
        steps, rotations = _into_body(turns[:-1], steps), _into_body(turns[:-1], rotations)
    return np.vstack([np.zeros(6), np.cumsum(np.hstack([steps, rotations]), 0)])


def _into_body(turns: Vector, vectors: Vector) -> Vector:
    """Return `vectors` (N, 3) as seen from bodies of the orientations `turns` (N, 4)."""
    axis, w = -turns[:, :3], turns[:, 3:]
    twice = 2.0 * np.cross(axis, vectors)
    return np.asarray(vectors + w * twice + np.cross(axis, twice))


# -- direction and scale -----------------------------------------------------------------------------
def unexpected(row: int, told: Vector, moved: Vector) -> str:
    """Return what is unexpected about a motion (6,) while only component `row` was told to move; else empty.

    `told` (6,) holds the commands until now, so a robot that lags behind them is not unexpected.
    """
    length, sign = abs(told[row]), math.copysign(1.0, told[row])
    along = sign * moved[row]
    if along < -SLACK[row]:
        return "it moves the other way"
    if along > _TOO_FAR * length + SLACK[row]:
        return "it moves further than it was told"
    for other in range(6):
        allowed = SLACK[other] + (_OFF_AXIS * length if other // 3 == row // 3 else 0.0)
        if other != row and abs(moved[other]) > allowed:
            return f"it moves along {named(other, moved[other])}"
    return ""


def judge_direction(row: int, motion: Motion) -> str:
    """Return what is wrong with the direction or scale of a motion of component `row` alone; empty when it is right."""
    told, moved = motion.total_told[row], motion.total_moved
    if told == 0.0:
        return f"no command of {TWIST_COMPONENTS[row]} was sent{_because(motion)}"
    sizes = [max(abs(told), least) if i // 3 == row // 3 else least for i, least in enumerate(_LEAST_SIZE)]
    sizes[row] = abs(told)
    shares = moved / np.array(sizes)
    largest, said = int(np.argmax(np.abs(shares))), f"told {named(row, told)}"
    if abs(shares[largest]) < 0.25:
        return f"{said}, did not move: is the controller active, and does it listen to command_topic?{_because(motion)}"
    others = [i for i in range(6) if i != row and abs(shares[i]) > 0.3 * abs(shares[largest])]
    does = named(largest, moved[largest])
    if largest != row and abs(shares[row]) <= 0.3 * abs(shares[largest]):
        return f"{said}, moved {does}: axes are swapped; is the action frame (action.frame_id) right?"
    if others:
        both = " and ".join(named(i, moved[i]) for i in sorted({row, *others}))
        return f"{said}, moved {both}: is the action frame (action.frame_id) turned against the robot's?"
    if shares[row] * told < 0:
        return f"{said}, moved {does}: the sign is inverted; is the action frame (action.frame_id) right?"
    ratio = moved[row] / told
    if ratio > _SCALES[1] or (ratio < _SCALES[0] and not motion.ended_early):
        return f"{said}, moved {does} {ratio:.2f} times as far: are commands in m/s and rad/s for this driver?"
    return f"{said}: {motion.ended_early}" if motion.ended_early else ""


def named(row: int, value: float) -> str:
    """Return a component of motion with its sign, such as '-y' or 'a turn about +z'."""
    part, component = TWIST_COMPONENTS[row].split(".")
    signed = f"{'-' if value < 0 else '+'}{component}"
    return signed if part == "linear" else f"a turn about {signed}"


def _because(motion: Motion) -> str:
    return f" ({motion.ended_early})" if motion.ended_early else ""


# -- dead time and lag -------------------------------------------------------------------------------
@dataclass(frozen=True)
class FittedResponse:
    """Dead time and first-order lag that fit a motion best, and how well they do."""

    dead_time_s: float
    lag_s: float
    gain: float
    """Moved over told."""
    error: float
    """Root mean square of what the fit leaves, over the whole motion."""

    @property
    def total_s(self) -> float:
        return self.dead_time_s + self.lag_s


def fit_response(row: int, motion: Motion) -> FittedResponse:
    """Return the least-squares fit of component `row`: position = gain * delayed and lagged told position + constant.

    Raise ValueError when there are too few samples, or none of them moved.
    """
    times, measured = motion.stamps, motion.moved[:, row]
    travel = float(np.ptp(measured)) if len(measured) else 0.0
    if len(times) < 10 or travel <= 0.0:
        raise ValueError("too few samples of a motion")
    grid = np.arange(motion.command_stamps[0] - 0.01, times[-1] + _GRID_S, _GRID_S)
    speeds = np.gradient(motion.told(grid)[:, row], _GRID_S)
    dead, lag = (0.0, LONGEST_DEAD_TIME_S), (0.0, LONGEST_LAG_S)
    best = (math.inf, 0.0, 0.0, 0.0)
    for _ in range(_ROUNDS):
        deads, lags = np.linspace(*dead, _POINTS), np.linspace(*lag, _POINTS)
        told = _lagged(speeds, lags)
        for column, lag_s in enumerate(lags):
            for dead_s in deads:
                model = np.interp(times - dead_s, grid, told[:, column])
                error, gain = _residual(model, measured)
                best = min(best, (error, float(dead_s), float(lag_s), gain))
        dead = _narrowed(best[1], deads, LONGEST_DEAD_TIME_S)
        lag = _narrowed(best[2], lags, LONGEST_LAG_S)
    error, dead_s, lag_s, gain = best
    return FittedResponse(dead_s, lag_s, gain, error / travel)


def _lagged(speeds: Vector, lags: Vector) -> Vector:
    """Return the positions (T, K) of robots that follow `speeds` (T,), on the grid, with first-order `lags` (K,), s."""
    rates = np.where(lags > 0.0, -np.expm1(-_GRID_S / np.maximum(lags, 1e-9)), 1.0)
    followed, speed = np.empty((len(speeds), len(lags))), np.zeros(len(lags))
    for i, wanted in enumerate(speeds):
        speed = speed + rates * (wanted - speed)
        followed[i] = speed
    return np.asarray(np.cumsum(followed, 0) * _GRID_S)


def _residual(model: Vector, measured: Vector) -> tuple[float, float]:
    """Return the root mean square error of the best gain * model + constant, and that gain."""
    centred, wanted = model - model.mean(), measured - measured.mean()
    power = float(centred @ centred)
    gain = float(centred @ wanted) / power if power > 0.0 else 0.0
    return math.sqrt(float(np.mean((wanted - gain * centred) ** 2))), gain


def _narrowed(best: float, tried: Vector, longest: float) -> tuple[float, float]:
    width = 1.5 * float(tried[1] - tried[0])
    return max(0.0, best - width), min(longest, best + width)


def worst_response(fits: Sequence[FittedResponse]) -> FittedResponse:
    """Return the fit with the longest dead time and lag together."""
    return max(fits, key=lambda fit: fit.total_s)


def median_response(fits: Sequence[FittedResponse]) -> FittedResponse:
    """Return a fit of the medians."""
    dead, lag, gain, error = (
        float(np.median([getattr(fit, name) for fit in fits])) for name in ("dead_time_s", "lag_s", "gain", "error")
    )
    return FittedResponse(dead, lag, gain, error)


# -- stopping ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class MeasuredStop:
    """A stop from full speed: distance and time from the first command that brakes until rest."""

    speed: float
    """Speed commanded before it, m/s or rad/s."""
    distance: float
    time_s: float


def measure_stop(row: int, motion: Motion) -> MeasuredStop:
    """Return the stop at the end of a motion of component `row`. Raise ValueError when none was measured."""
    commands = np.abs(motion.commands[:, row])
    if len(commands) == 0 or not commands.any() or len(motion.stamps) < 2:
        raise ValueError("no motion was measured")
    speed = float(commands.max())
    last = int(np.flatnonzero(commands >= 0.98 * speed)[-1])
    begin_s = float(motion.command_stamps[min(last + 1, len(commands) - 1)])
    position = motion.moved[:, row]
    begin = float(np.interp(begin_s, motion.stamps, position))
    return MeasuredStop(speed, abs(float(position[-1]) - begin), rest_after(row, motion, begin_s))


def rest_after(row: int, motion: Motion, begin_s: float) -> float:
    """Return the time from `begin_s` until component `row` was at rest, s."""
    away = np.abs(motion.moved[:, row] - motion.moved[-1, row]) > 0.05 * SLACK[row]
    moving = motion.stamps[away]
    return max(0.0, float(moving[-1]) - begin_s) if len(moving) else 0.0


def settling_s(robot: RobotConfig, name: TwistComponent, speed: float) -> float:
    """Return the time until rest that a robot may take once zero is commanded at `speed`, without a reaction time.

    That is its dead time, its braking, and its lag until a fiftieth of the speed is left.
    """
    return robot.dead_time_s + 4.0 * robot.response_s + speed / robot.limits[name].deceleration


def allowed_stop(robot: RobotConfig, name: TwistComponent, speed: float) -> float:
    """Return the stopping distance that the limits promise at `speed`, with the robot's response, m or rad."""
    reaction_s = robot.dead_time_s + robot.response_s + 1.0 / robot.command_rate_hz
    return robot.limits[name].stopping_distance(speed, reaction_s)
