"""Does the robot do what it is told? Its measured motion is held against its commanded motion. No ROS.

A robot follows its commands late, by a lag that differs from robot to robot and is known within a range only. Whatever
the lag does in that range, the motion measured in a window is a mean of the motions commanded in the same window moved
back by each lag. So it lies between the least and the greatest of them, component by component. A motion that lies
further outside than a tolerance contradicts the commands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.executed import rotation_between
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.motion_model import MotionModel
from fosp_safety_monitor.replacing import replaced

WINDOWS_S = (0.15, 0.5, 2.0)
"""Windows, s: the short one sees fast motion soon, the long one sees slow motion."""
HELD_S = 1.0
"""Time, s, for which a contradiction counts; it is found anew while the motion goes on."""
COMPARED_EVERY_S = 0.015
"""Least time, s, between two comparisons, so that a fast stream of poses costs no more."""
ANCHOR_S = 10.0
"""Time, s, in which a robot that is told to stand may drift by the tolerance."""
ENTRY_SLACK_M = 0.005
"""Distance, m, by which a robot that began outside of its workspace may sway on its way in."""
_LATELY_S = 0.06
_POSE_AGE_S = 0.5
_LEAST_STEP_S = 0.004
_STILL = 1e-6
_FARTHEST = 1e6

Rows = NDArray[np.float64]
"""(N, 1 + k): time, s, and the integral of a motion since the beginning, m and rad."""


@dataclass(frozen=True, eq=False)
class Following:
    """The commanded and the measured motion of the last seconds, and the contradiction that was found in them."""

    told: Rows | None = None
    seen: Rows | None = None
    place: tuple[float, ...] = ()
    """Last measured position and orientation, as they came."""
    anchor: Rows | None = None
    """Row (1 + k,) of `seen` since which the robot was told to stand; None while it is told to move."""
    contradiction: str = ""
    """The last contradiction in words; empty: there was none."""
    found_s: float = -math.inf
    """Time at which it was found, monotonic clock."""
    excess_m: float = 0.0
    """Distance of the last measured position outside of the workspace, m."""
    entry_m: float | None = None
    """Distance outside of the workspace that the robot, which began there, may still have on its way in, m."""
    compared_s: float = -math.inf
    """Time of the measurement that was held against the commands last."""
    latched: bool = False
    """The robot was latched at the last call of `after`."""

    def after(
        self,
        command: tuple[float, ...],
        robot: RobotStateInput,
        thresholds: RobotThresholds,
        now: Now,
        latched: bool = False,
    ) -> Following:
        """Return the value at `now`, after `command` (n,), m/s and rad/s, was in force since the last call."""
        model = thresholds.motion
        if model is None:
            return self
        clock_s = now.ros_s if thresholds.simulated_time else now.monotonic_s
        changed = self
        if changed.told is not None and clock_s < changed.told[-1, 0]:  # a simulator began anew
            changed = Following(entry_m=self.entry_m)
        changed = replaced(changed, told=_told(changed.told, command, clock_s, model))
        if latched and not self.latched:
            # What led to the latch is dealt with; from here on the robot has to stand.
            changed = replaced(changed.anew(), contradiction="")
        return replaced(changed, latched=latched)._measured(robot, thresholds.simulated_time, model, now)

    def anew(self) -> Following:
        """Return the value that remembers no measured motion but where the robot is."""
        return replaced(self, seen=None if self.seen is None else self.seen[-1:], anchor=None)

    def paused(self) -> Following:
        """Return the value after a pause in which the robot has stopped by itself, nobody saw where."""
        return replaced(self, seen=None, anchor=None)

    def _measured(self, robot: RobotStateInput, simulated_time: bool, model: MotionModel, now: Now) -> Following:
        """Return the value with the newest measurement, if there is one, held against the commands."""
        place, measured_s = _measurement(robot, simulated_time, model, now)
        last_s = -math.inf if self.seen is None else self.seen[-1, 0]
        if place is None or self.told is None or not last_s < measured_s:
            return self
        excess_m = _outside(place, model)
        entry_m = excess_m if self.entry_m is None else min(self.entry_m, excess_m)
        moved = replaced(self, place=place, excess_m=excess_m, entry_m=entry_m)
        if self.seen is None:
            return replaced(moved, seen=np.array([[measured_s, *[0.0] * model.size]]))
        step = _step(self.place, place, model)
        row = np.array([[measured_s, *(self.seen[-1, 1:] + step)]])
        if model.teleports and _jumps(step, measured_s - last_s, model):
            return replaced(moved, seen=row, anchor=None)
        oldest = int(np.searchsorted(self.seen[:, 0], measured_s - WINDOWS_S[-1])) - 1
        moved = replaced(moved, seen=np.concatenate([self.seen[max(oldest, 0) :], row]))
        if measured_s - self.compared_s < COMPARED_EVERY_S:
            return moved
        return replaced(moved, compared_s=measured_s)._compared(model, now)

    def _compared(self, model: MotionModel, now: Now) -> Following:
        """Return the value with the contradiction between `seen` and `told`, if there is one."""
        assert self.seen is not None
        assert self.told is not None
        still = _is_still(self.told, self.seen[-1, 0], model)
        if self.latched and not still:  # it may brake yet
            return self.anew()
        starts = np.searchsorted(self.seen[:, 0], [self.seen[-1, 0] - window for window in WINDOWS_S], side="right")
        starts = np.maximum(starts - 1, 0)
        ends = np.full(len(starts), len(self.seen) - 1)
        excess, told = beyond(self.told, self.seen, starts, ends, model)
        found = ""
        if (excess > 0.0).any():
            window = int(excess.max(axis=1).argmax())
            moved = self.seen[-1] - self.seen[starts[window]]
            since = int(np.searchsorted(self.seen[:, 0], self.seen[-1, 0] - _LATELY_S))
            _, lately = beyond(self.told, self.seen, np.array([since]), ends[:1], model)
            way = self.seen[-1, 1:] - self.seen[since, 1:]
            found = _in_words(moved, told[window], int(excess[window].argmax()), model, way, lately[0])
        anchor = self.anchor if still else None
        if still and not found:
            anchor, found = _drift(self.seen[-1], anchor, model)
        changed = replaced(self, anchor=anchor)
        if not found:
            return changed
        although = "the robot moves although it is latched: " if self.latched else ""
        return replaced(changed.anew(), contradiction=although + found, found_s=now.monotonic_s)


def beyond(
    told: Rows, seen: Rows, starts: NDArray[np.integer], ends: NDArray[np.integer], model: MotionModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how much (T, k) the motion in each window exceeds its tolerance, and the commanded motion (T, k).

    A window leads from the row `starts` to the row `ends` (T,) of `seen`. A positive value is a contradiction.
    """
    first, last = seen[starts], seen[ends]
    times = np.stack([last[:, :1] - model.lags, first[:, :1] - model.lags])
    at = np.stack([np.interp(times, told[:, 0], told[:, 1 + i]) for i in range(model.size)], axis=-1)
    ways = at[0] - at[1]  # (T, lags, k)
    moved = last[:, 1:] - first[:, 1:]
    allowed = np.repeat(model.tolerance[np.newaxis], len(moved), axis=0)
    for part in (slice(0, model.linear), slice(model.linear, None)):
        distance = np.sqrt((ways[:, :, part] ** 2).sum(axis=2).max(axis=1))
        allowed[:, part] += model.share * distance[:, np.newaxis]
    return np.maximum(ways.min(axis=1) - moved, moved - ways.max(axis=1)) - allowed, ways.mean(axis=1)


def _told(told: Rows | None, command: tuple[float, ...], clock_s: float, model: MotionModel) -> Rows:
    """Return the integral of the commands up to `clock_s`; the robot obeys the last one for its own timeout at most."""
    if told is None:
        return np.array([[clock_s, *[0.0] * model.size]])
    rate = np.zeros(1 + model.size)
    rate[[1 + place for place in model.places]] = command
    rate[0] = 1.0
    elapsed_s = clock_s - told[-1, 0]
    rows = (told[-1] + rate * min(elapsed_s, model.command_timeout_s))[np.newaxis]
    if elapsed_s > model.command_timeout_s:
        rows = np.concatenate([rows, rows])
        rows[1, 0] = clock_s
    kept = told[:-1] if len(told) > 1 and clock_s - told[-2, 0] < _LEAST_STEP_S else told
    oldest_s = clock_s - WINDOWS_S[-1] - model.lags[-1] - _POSE_AGE_S
    oldest = max(int(np.searchsorted(kept[:, 0], oldest_s)) - 1, 0)
    return np.concatenate([kept[oldest:], rows])


def _measurement(
    robot: RobotStateInput, simulated_time: bool, model: MotionModel, now: Now
) -> tuple[tuple[float, ...] | None, float]:
    """Return the place of the robot and the time, s, at which it was there; None when it is not known.

    The time is that of the stamp, but not later than the receipt. Both are on the clock of the commands.
    """
    received = robot.state if model.odometry else robot.pose
    place: tuple[float, ...] | None = robot.odometry if model.odometry else robot.position
    if not model.odometry and model.angular and place is not None:
        place = None if robot.orientation is None else (*place, *robot.orientation)
    if received is None or place is None:
        return None, -math.inf
    if not all(map(math.isfinite, (*place, received.stamp_s))):
        return None, -math.inf
    place = tuple(min(max(value, -_FARTHEST), _FARTHEST) for value in place)
    by_stamp = now.ros_s - received.stamp_s
    if simulated_time:
        return place, now.ros_s - max(by_stamp, 0.0)
    return place, now.monotonic_s - max(by_stamp, now.monotonic_s - received.receipt_s)


def _step(before: tuple[float, ...], after: tuple[float, ...], model: MotionModel) -> NDArray[np.float64]:
    """Return the motion (k,) between two places, m and rad."""
    if model.odometry:
        x, y = after[0] - before[0], after[1] - before[1]
        turn = math.remainder(after[2] - before[2], math.tau)
        heading = before[2] + 0.5 * turn
        cosine, sine = math.cos(heading), math.sin(heading)
        return np.array([cosine * x + sine * y, cosine * y - sine * x, turn])
    step = np.array(after[:3]) - np.array(before[:3])
    if not model.angular:
        return step
    turned = rotation_between(np.array(before[3:]), np.array(after[3:]))
    return np.concatenate([step, turned[list(model.angular)]])


def _jumps(step: NDArray[np.float64], elapsed_s: float, model: MotionModel) -> bool:
    """Return True when no robot could have made the step (k,) in this time."""
    way, turn = np.linalg.norm(step[: model.linear]), np.abs(step[model.linear :]).max(initial=0.0)
    linear, angular = (speed if math.isfinite(speed) else 0.0 for speed in model.speed)
    return bool(way > 0.01 + 2.0 * linear * elapsed_s or turn > 0.1 + 2.0 * angular * elapsed_s)


def _outside(place: tuple[float, ...], model: MotionModel) -> float:
    """Return how far the position lies outside of the workspace along its worst axis, m; 0 inside."""
    if model.workspace is None or model.odometry:
        return 0.0
    bounds = zip(model.workspace.lower, place[:3], model.workspace.upper, strict=True)
    return max(0.0, *(max(low - value, value - high) for low, value, high in bounds))


def _is_still(told: Rows, now_s: float, model: MotionModel) -> bool:
    """Return True when the robot has been told to stand for longer than it may lag."""
    since = told[max(int(np.searchsorted(told[:, 0], now_s - model.lags[-1])) - 1, 0)]
    return bool(np.abs(told[-1, 1:] - since[1:]).max() <= _STILL)


def _drift(last: Rows, anchor: Rows | None, model: MotionModel) -> tuple[Rows | None, str]:
    """Return where the robot stands since it was told to, and how far it has drifted, in words, if it is too far."""
    if anchor is None or last[0] - anchor[0] > ANCHOR_S:
        return last, ""
    moved = last - anchor
    excess = np.abs(moved[1:]) - model.tolerance
    if (excess <= 0.0).all():
        return anchor, ""
    return None, _in_words(moved, np.zeros(model.size), int(excess.argmax()), model)


def _in_words(
    moved: NDArray[np.float64],
    told: NDArray[np.float64],
    worst: int,
    model: MotionModel,
    lately_moved: NDArray[np.float64] | None = None,
    lately_told: NDArray[np.float64] | None = None,
) -> str:
    """Return the contradiction in the component `worst`, with the motion (1 + k,) in a time and the commanded (k,).

    What kind it is shows best in the motion (k,) and the commanded motion (k,) of the last moments, where given.
    """
    linear = worst < model.linear
    part = slice(0, model.linear) if linear else slice(model.linear, None)
    way, wanted = moved[1:][part], told[part]
    factor, unit = (1e3, "mm") if linear else (1.0, "rad")

    def numbers(values: NDArray[np.float64]) -> str:
        digits = 0 if linear else 2
        return "(" + ", ".join(f"{factor * value:.{digits}f}" for value in values) + f") {unit}"

    text = f"{moved[0]:.2f} s the robot was told to move {numbers(wanted)} and moved {numbers(way)}"
    least = model.tolerance[worst]
    standing = np.linalg.norm(wanted) < 0.2 * least
    if lately_moved is not None and lately_told is not None and np.linalg.norm(lately_told[part]) > 0.1 * least:
        way, wanted = lately_moved[part], lately_told[part]
    distance, commanded = np.linalg.norm(way), np.linalg.norm(wanted)
    if standing:
        what = "it moves although it is told to stand"
    elif distance < 0.5 * commanded:
        what = "it does not follow: it is blocked, switched off or late"
    elif way @ wanted < -0.5 * distance * commanded:
        what = "it moves the opposite way"
    elif way @ wanted < 0.7 * distance * commanded:
        what = "it moves another way: axes or frames are mixed up"
    else:
        what = "it moves at another speed"
    where = "along its own axes" if model.odometry else "in the action frame"
    return f"the measured motion contradicts the commands: in {text} {where}; {what}"


def check_motion(following: Following, now: Now) -> Finding | None:
    """LATCH when the measured motion contradicts the commanded motion."""
    if not following.contradiction or now.monotonic_s - following.found_s > HELD_S:
        return None
    return Finding(Decision.LATCH, Reason.MOTION, following.contradiction)


def check_outside(following: Following, thresholds: RobotThresholds) -> Finding | None:
    """LATCH when the measured pose is outside of the workspace by more than the margin.

    A robot that began outside may come in, but go no further out.
    """
    margin_m, entry_m = thresholds.parameters.workspace_margin_m, following.entry_m or 0.0
    if following.excess_m <= max(margin_m, entry_m + ENTRY_SLACK_M if entry_m > margin_m else 0.0):
        return None
    return Finding(
        Decision.LATCH,
        Reason.OUTSIDE_WORKSPACE,
        f"the measured pose is {following.excess_m * 1e3:.0f} mm outside of the workspace, margin "
        f"{margin_m * 1e3:.0f} mm; bring the robot back by hand, or deactivate and activate the monitor, to come in "
        "from where the robot is",
    )
