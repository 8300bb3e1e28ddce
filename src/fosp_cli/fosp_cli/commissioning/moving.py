"""The steps of commissioning that measure how the robot moves: direction, response, stopping, watchdog, workspace."""

from __future__ import annotations

import itertools
import os
import signal
import time

import numpy as np
from numpy.typing import NDArray

from fosp_cli.commissioning.estimation import (
    LONGEST_DEAD_TIME_S,
    LONGEST_LAG_S,
    SLACK,
    FittedResponse,
    Motion,
    Vector,
    allowed_stop,
    fit_response,
    judge_direction,
    measure_stop,
    median_response,
    rest_after,
    settling_s,
    worst_response,
)
from fosp_cli.commissioning.robot_file import write_values
from fosp_cli.commissioning.step import Outcome, StepContext
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import TWIST_COMPONENTS, ActionAxis

SLOW = {"m/s": 0.05, "rad/s": 0.3}
"""Highest speed of the first motions."""
SLOW_SHARE = 0.25
"""Highest share of full speed of the first motions."""
MODERATE_SHARE = 0.5
"""Share of full speed of the step responses and between corners."""
DISTANCE = {"m/s": 0.03, "rad/s": 0.15}
"""Length of the first motions, m and rad."""
MARGIN_M = 0.03
"""Distance from the walls of the workspace that motions keep."""
_OPEN_SPACE = {"m/s": 2.0, "rad/s": 6.0}
"""Room of an axis without walls, m and rad."""
_STEP_S = 1.0
"""Length of a step response, and its longest."""
_LONGEST_STEP_S = 2.5
_REPEATS = 2
"""Motions there and back of each axis, for the response."""
_GAINS = (0.88, 1.12)
_WORST_FIT = 0.1
"""Share of the travel that a fit may leave unexplained."""
_MEASURING_S = 0.1
"""Error, s, that a time until rest may have, from the sampling of the pose and the stamps of the driver."""

_LOOK_S = 0.06
"""Least time over which the pose is compared, to tell whether the robot still moves."""
_LOOKS = 3
"""Least number of poses that are compared."""


def rows(robot: RobotConfig) -> list[int]:
    """Return the index in TWIST_COMPONENTS of each axis of the action."""
    return [TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes]


def slow_share(axis: ActionAxis) -> float:
    """Return the share of full speed of the first motions."""
    return min(SLOW_SHARE, SLOW[axis.unit] / axis.scale)


def room(robot: RobotConfig, axis: ActionAxis, position: Vector) -> tuple[float, float]:
    """Return the room of an axis below and above a position (3,), m or rad, with a margin to the walls."""
    if robot.workspace is None or axis.unit != "m/s":
        return _OPEN_SPACE[axis.unit] / 2, _OPEN_SPACE[axis.unit] / 2
    i = "xyz".index(axis.name[-1])
    below, above = position[i] - robot.workspace.lower[i], robot.workspace.upper[i] - position[i]
    return float(below) - MARGIN_M, float(above) - MARGIN_M


def first_sign(robot: RobotConfig, axis: ActionAxis, position: Vector) -> float:
    """Return the direction of the first motion, 1 or -1: forwards, unless there is more room backwards."""
    below, above = room(robot, axis, position)
    return 1.0 if above >= 0.8 * below else -1.0


# -- direction ---------------------------------------------------------------------------------------
def direction(context: StepContext) -> Outcome:
    """Move each axis a little, forwards and back, and hold what was measured against what was told."""
    outcome, robot, commander = Outcome(), context.robot, context.commander
    for index, (axis, row) in enumerate(zip(robot.action.axes, rows(robot), strict=True)):
        length, share = DISTANCE[axis.unit], slow_share(axis)
        position = commander.position
        if position is None:
            return outcome.fail("no fresh pose comes")
        if max(room(robot, axis, position)) < length:
            outcome.fail(f"{axis.name}: no room for {length:g} m: bring the robot to the middle of its workspace")
            continue
        sign = first_sign(robot, axis, position)
        context.confirm(f"{axis.name}: {'+' if sign > 0 else '-'}{length:g} {axis.unit[:-2]} and back, slowly.")
        ratios = []
        for direction_of in (sign, -sign):
            motion = commander.drive(index, direction_of * share, length / (share * axis.scale))
            wrong = judge_direction(row, motion)
            if wrong:
                return outcome.fail(f"{axis.name}: {wrong}")
            ratios.append(float(motion.total_moved[row] / motion.total_told[row]))
        outcome.figures[f"{axis.name} moved over told"] = round(float(np.mean(ratios)), 3)
    return outcome


# -- response ----------------------------------------------------------------------------------------
def response(context: StepContext) -> Outcome:
    """Measure dead time and lag by step responses of each axis, and write the worst into the robot file."""
    outcome, robot = Outcome(), context.robot
    fits: list[FittedResponse] = []
    for index, axis in enumerate(robot.action.axes):
        arrived = go_to_middle(context)
        if arrived:
            return outcome.fail(arrived)
        of_axis = _responses(context, index, outcome)
        if not of_axis:
            return outcome
        fits += of_axis
        middle = median_response(of_axis)
        outcome.figures[f"{axis.name} dead time (s)"] = round(middle.dead_time_s, 4)
        outcome.figures[f"{axis.name} lag (s)"] = round(middle.lag_s, 4)
        if not _GAINS[0] <= middle.gain <= _GAINS[1]:
            outcome.fail(f"{axis.name}: moves {middle.gain:.2f} times as fast as told at half of its speed")
    worst, middle = worst_response(fits), median_response(fits)
    outcome.figures |= {"median dead time (s)": round(middle.dead_time_s, 4), "median lag (s)": round(middle.lag_s, 4)}
    outcome.figures |= {"worst dead time (s)": round(worst.dead_time_s, 4), "worst lag (s)": round(worst.lag_s, 4)}
    if worst.dead_time_s > 0.98 * LONGEST_DEAD_TIME_S or worst.lag_s > 0.98 * LONGEST_LAG_S:
        return outcome.fail(
            f"the response is longer than can be measured: dead time {worst.dead_time_s:.2f} s, lag {worst.lag_s:.2f} s"
        )
    if outcome.failures:
        return outcome
    return _write_response(context, worst, outcome)


def _responses(context: StepContext, index: int, outcome: Outcome) -> list[FittedResponse]:
    """Return the fits of one axis; an empty list, and a failure in `outcome`, when one of them cannot be trusted."""
    robot, commander = context.robot, context.commander
    axis, row = robot.action.axes[index], rows(robot)[index]
    position = commander.position
    if position is None:
        outcome.fail("no fresh pose comes")
        return []
    span = min(room(robot, axis, position)) if robot.workspace is not None else _OPEN_SPACE[axis.unit] / 2
    speed = MODERATE_SHARE * axis.scale
    longest_s = max(0.2, min(_LONGEST_STEP_S, 0.8 * span / speed))
    context.tell(f"{axis.name}: {2 * _REPEATS} steps of up to {longest_s * speed:.2f} {axis.unit[:-2]}.")
    fits, seconds_long = [], min(_STEP_S, longest_s)
    for sign in (1.0, -1.0) * _REPEATS:
        motion = commander.drive(index, sign * MODERATE_SHARE, seconds_long)
        if motion.ended_early:
            outcome.fail(f"{axis.name}: {motion.ended_early}")
            return []
        try:
            fit = fit_response(row, motion)
        except ValueError as error:
            outcome.fail(f"{axis.name}: {error}")
            return []
        if fit.error > _WORST_FIT:
            outcome.fail(
                f"{axis.name}: it does not follow like a delayed first-order lag (error {fit.error:.0%} of the travel)"
            )
            return []
        fits.append(fit)
        if not len(fits) % 2:
            seconds_long = min(longest_s, max(seconds_long, 3.0 * fit.total_s))
    return fits


def _write_response(context: StepContext, worst: FittedResponse, outcome: Outcome) -> Outcome:
    """Write the worst response, rounded up to whole milliseconds, into the robot file."""
    measured = {"dead_time_s": worst.dead_time_s, "response_s": worst.lag_s}
    values = {key: max(0.001, float(np.ceil(value * 1e3 - 1e-6) * 1e-3)) for key, value in measured.items()}
    try:
        context.robot = write_values(
            context.robot_file, values, f"{context.measured} by fosp commission, {context.date[:10]}"
        )
    except UserError as error:
        return outcome.fail(f"a dead time of {worst.dead_time_s:.2f} s and a lag of {worst.lag_s:.2f} s: {error}")
    context.commander.robot = context.robot
    said = ", ".join(f"{key}: {value:g}" for key, value in values.items())
    outcome.notes.append(f"written into {context.robot_file}: {said}")
    return outcome


def go_to_middle(context: StepContext) -> str:
    """Bring an arm to the middle of its workspace; return an empty string, or why it is not there."""
    box = context.robot.workspace
    if box is None:
        return ""
    middle = (np.array(box.lower) + np.array(box.upper)) / 2
    return context.commander.go_to(middle, MODERATE_SHARE)


# -- stopping ----------------------------------------------------------------------------------------
def stopping(context: StepContext) -> Outcome:
    """Stop each axis from full speed, both ways, and hold the distance against what the limits promise."""
    outcome, robot, commander = Outcome(), context.robot, context.commander
    settled_s = robot.dead_time_s + 3.0 * robot.response_s + 0.2
    for index, (axis, row) in enumerate(zip(robot.action.axes, rows(robot), strict=True)):
        limits = robot.limits[axis.name]
        allowed = 1.1 * allowed_stop(robot, axis.name, axis.scale) + 0.4 * SLACK[row]
        wanted = axis.scale * (settled_s + axis.scale / limits.acceleration / 2) + allowed
        arrived = go_to_middle(context)
        position = commander.position
        if arrived or position is None:
            return outcome.fail(arrived or "no fresh pose comes")
        span = sum(room(robot, axis, position))
        length = min(wanted, span)
        context.confirm(
            f"{axis.name}: full speed ({axis.scale:g} {axis.unit}) and a stop, twice, over {length:.2f} "
            f"{axis.unit[:-2]}."
        )
        if robot.workspace is not None and axis.unit == "m/s":
            start = position.copy()
            start["xyz".index(axis.name[-1])] -= length / 2
            arrived = commander.go_to(start, MODERATE_SHARE)
            if arrived:
                return outcome.fail(arrived)
        for sign in (1.0, -1.0):
            run = length - allowed

            def enough(motion: Motion, run: float = run, row: int = row) -> bool:
                return abs(float(motion.total_moved[row])) >= run

            motion = commander.drive(index, sign, 3.0 * wanted / axis.scale + 1.0, enough)
            if motion.ended_early:
                return outcome.fail(f"{axis.name}: {motion.ended_early}")
            stop = measure_stop(row, motion)
            promised = 1.1 * allowed_stop(robot, axis.name, stop.speed) + 0.4 * SLACK[row]
            key = f"{axis.name} stop ({axis.unit[:-2]})"
            outcome.figures[key] = max(round(stop.distance, 4), float(outcome.figures.get(key, 0.0)))
            outcome.figures[f"{axis.name} stop allowed ({axis.unit[:-2]})"] = round(promised, 4)
            if stop.speed < 0.8 * axis.scale:
                outcome.notes.append(
                    f"{axis.name}: the workspace allows {stop.speed:.2f} of {axis.scale:g} {axis.unit}"
                )
            if stop.distance > promised:
                outcome.fail(
                    f"{axis.name}: stops in {stop.distance:.3f} {axis.unit[:-2]} from {stop.speed:.2f} {axis.unit}, "
                    f"but its limits and response promise {promised:.3f}: lower its deceleration in the robot file"
                )
    return outcome


# -- watchdog ----------------------------------------------------------------------------------------
def watchdog(context: StepContext) -> Outcome:
    """Cut the command stream while the robot moves slowly, by halting the guard's process, and measure until rest."""
    outcome, robot, commander = Outcome(), context.robot, context.commander
    arrived = go_to_middle(context)
    position = commander.position
    if arrived or position is None:
        return outcome.fail(arrived or "no fresh pose comes")
    axis, row = robot.action.axes[0], rows(robot)[0]
    speed = slow_share(axis) * axis.scale
    started_s = robot.dead_time_s + 2.0 * robot.response_s + 0.4
    allowed_s = robot.command_timeout_s + settling_s(robot, axis.name, speed) + _MEASURING_S
    speed = min(speed, 0.8 * max(room(robot, axis, position)) / (started_s + allowed_s))
    share = first_sign(robot, axis, position) * speed / axis.scale
    context.confirm(
        f"{axis.name} moves slowly, then its commands fall silent: it has to stop by itself within {allowed_s:.2f} s."
    )
    outcome.figures["rest after silence allowed (s)"] = round(allowed_s, 3)
    for _ in range(2):  # a busy computer may hold the guard up; then it is tried once more
        refusal = commander.ready()
        if refusal:
            return outcome.fail(refusal)
        begin_s = commander.now_s()
        still_moved = _silence(context, share, started_s, allowed_s)
        commander.rest()
        motion = commander.motion_since(begin_s)
        if abs(motion.total_moved[row]) >= 0.3 * speed * started_s:
            break
    else:
        return outcome.fail(
            f"{axis.name} did not move before the silence: {commander.held or 'no motion was measured'}"
        )
    if still_moved:
        return outcome.fail(
            f"it still moved {allowed_s:.2f} s after the last command and was stopped by zero commands: the driver's "
            f"own watchdog does not stop it within command_timeout_s ({robot.command_timeout_s:g} s)"
        )
    rest_s = rest_after(row, motion, _silence_begin(motion))
    outcome.figures["rest after silence (s)"] = round(rest_s, 3)
    if rest_s > allowed_s:
        outcome.fail(f"it came to rest {rest_s:.2f} s after the last command, allowed are {allowed_s:.2f} s")
    return outcome


def _silence(context: StepContext, share: float, moving_s: float, allowed_s: float) -> bool:
    """Move, halt the guard's process, and return whether the robot still moved when `allowed_s` had passed.

    The guard goes on in any case, and then it commands zero at once.
    """
    commander, action = context.commander, [0.0] * context.robot.action.twist_size
    action[0] = share
    until = time.monotonic() + moving_s
    while time.monotonic() < until:
        commander.propose(tuple(action))
        time.sleep(0.02)
    guard = context.guard_pid()
    look_s = look_time_s(commander.motion_since(commander.now_s() - moving_s).stamps)
    commander.propose(tuple(action))
    os.kill(guard, signal.SIGSTOP)
    silent_s = time.monotonic()
    try:
        commander.halt()
        while time.monotonic() < silent_s + allowed_s + look_s:
            time.sleep(0.01)
        row, motion = rows(context.robot)[0], commander.motion_since(commander.now_s() - look_s)
        recent = motion.moved[motion.stamps > motion.stamps[-1] - look_s, row] if len(motion.stamps) else []
        return len(recent) < _LOOKS or float(np.ptp(recent)) > 0.1 * SLACK[row]
    finally:
        os.kill(guard, signal.SIGCONT)


def look_time_s(stamps: NDArray[np.float64]) -> float:
    """Return the time in which a robot tells its pose often enough to be seen at rest, from stamps (T,) of poses, s.

    A base tells its odometry 20 times per second.
    """
    period_s = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    return max(_LOOK_S, (_LOOKS + 0.5) * period_s)


def _silence_begin(motion: Motion) -> float:
    """Return the stamp of the last command before the longest pause of the stream."""
    pauses = np.diff(motion.command_stamps)
    return float(motion.command_stamps[int(np.argmax(pauses))]) if len(pauses) else 0.0


# -- workspace ---------------------------------------------------------------------------------------
def workspace(context: StepContext) -> Outcome:
    """Visit each corner of the workspace, at a margin, and have the operator look."""
    outcome, box = Outcome(), context.robot.workspace
    if box is None:
        outcome.notes.append("the robot has no workspace box")
        return outcome
    lower, upper = np.array(box.lower), np.array(box.upper)
    margin = np.minimum(MARGIN_M, 0.2 * (upper - lower))
    context.confirm(
        f"The tool visits the {2 ** len(_linear(context.robot))} corners of its workspace, {MARGIN_M:g} m "
        "inside of them."
    )
    arrived = go_to_middle(context)
    if arrived:
        return outcome.fail(arrived)
    for corner in _tour(context.robot, lower + margin, upper - margin):
        arrived = context.commander.go_to(corner, MODERATE_SHARE)
        if arrived:
            outcome.fail(f"corner {_point(corner)}: {arrived}: shrink the workspace, or take away what is in the way")
            break
        reached = context.commander.position
        if reached is None or np.any(reached < lower) or np.any(reached > upper):
            return outcome.fail(f"corner {_point(corner)}: the pose is outside of the workspace")
        if not context.ask(f"At the corner {_point(corner)}: is the tool where you expect it, clear of everything?"):
            outcome.fail(f"corner {_point(corner)}: the operator does not agree")
            break
        outcome.figures["corners visited"] = float(outcome.figures.get("corners visited", 0.0)) + 1.0
    returned = go_to_middle(context)
    return outcome.fail(returned) if returned else outcome


def _linear(robot: RobotConfig) -> list[int]:
    return ["xyz".index(axis.name[-1]) for axis in robot.action.axes if axis.unit == "m/s"]


def _tour(robot: RobotConfig, lower: Vector, upper: Vector) -> list[Vector]:
    """Return all corners in an order in which each differs from the last in one coordinate, most often the shortest."""
    moving = sorted(_linear(robot), key=lambda i: upper[i] - lower[i])
    middle, corners = (lower + upper) / 2, []
    for number in range(2 ** len(moving)):
        code, corner = number ^ number >> 1, middle.copy()
        for bit, i in enumerate(moving):
            corner[i] = upper[i] if code >> bit & 1 else lower[i]
        corners.append(corner)
    assert all(np.count_nonzero(a != b) == 1 for a, b in itertools.pairwise(corners))
    return corners


def _point(position: Vector) -> str:
    return f"({', '.join(f'{value:.2f}' for value in position)})"
