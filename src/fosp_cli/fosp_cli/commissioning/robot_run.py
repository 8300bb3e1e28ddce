"""A demonstration that a robot drives again: its commands as proposals to the operator guard, which alone commands it.

The guard holds every limit and check that needs no model. The run ends with a stop, whatever ends it: its end, Ctrl-C,
a stop by the guard, a pose that falls silent, or a robot that is not where the demonstration was.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from std_srvs.srv import Trigger

from fosp_bringup.stack import MONITOR, Stack
from fosp_bringup.supervisor import Supervisor
from fosp_cli.commissioning.commander import PERIOD_S, Commander
from fosp_cli.commissioning.dialogue import Operator
from fosp_cli.commissioning.estimation import moved_along
from fosp_cli.commissioning.recorded_run import RecordedRun
from fosp_core.executed import rotation_between
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.operator.home_order import ON_THE_WAY

START_M, START_RAD = 0.03, 0.15
"""Farthest from the demonstration's start at which the robot may begin."""
_GRACE_S = 0.15
"""Time after the begin in which the guard's word on the proposal before may still say that it holds the robot."""
_STATUS_PERIOD_S = 0.3
_READY_S = 30.0
"""Time for the guard's first word, and for a person to press the enabling switch."""


@dataclass(frozen=True)
class RobotRun:
    """A demonstration, and how the robot is to drive it."""

    run: RecordedRun
    robot: RobotConfig
    stack: Stack
    speed: float
    """Share of the recorded speed, in (0, 1]."""
    cap: float
    """Share of its limits that the guard grants (speed_cap)."""
    deviation_m: float
    """Distance from the demonstration's path at which the run is broken off, m."""
    home_first: bool
    from_here: bool
    """The demonstration begins where the robot stands: for a base, whose odometry begins anywhere."""
    operator: Operator
    namespace: str = ""


def run_on_robot(one: RobotRun, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> tuple[str, str]:
    """Bring up the guard, drive the demonstration, and stop. Return what went wrong, or "", and how it ended.

    Raise UserError when the graph does not come up, and AbortedError when the operator breaks it off.
    """
    nodes = [process.name for process in one.stack.processes if process.managed]
    supervisor = Supervisor(one.stack, write=lambda line: _pass_on(line, write), colour=False)
    with supervisor, Commander(one.robot, one.robot.estop_topics, one.namespace) as commander:
        commander.bring_up(nodes, lambda: supervisor.alive)
        if not commander.wait(lambda: commander.position is not None, _READY_S):
            return "no fresh pose of the robot comes", ""
        if one.home_first:
            refusal = _drive_home(commander)
            if refusal:
                return refusal, ""
        refusal = away_from_start(one, commander)
        if refusal:
            return refusal, ""
        seconds = one.run.seconds / one.speed
        one.operator.confirm(
            f"'{one.robot.name}' drives a demonstration of {one.run.seconds:.1f} s at {one.speed:.2g} of its speed, in "
            f"{seconds:.1f} s. Keep clear, and keep a hand on the emergency stop. Ctrl-C stops it."
        )
        if one.robot.enabling is not None:
            one.operator.tell(f"hold the enabling switch ({one.robot.enabling.topic}) now; let go to stop")
        if not commander.wait(lambda: not commander.held, _READY_S):
            return f"the guard holds the robot: {commander.held}", ""
        refusal = away_from_start(one, commander)  # it may have been moved meanwhile
        if refusal:
            return refusal, ""
        with _ends_at_rest(commander):
            broken = _drive(one, commander, lambda: supervisor.alive)
        return broken, _ending(one, commander)


@contextlib.contextmanager
def _ends_at_rest(commander: Commander) -> Iterator[None]:
    """Ask for standstill and wait for it, whatever ends the motion."""
    try:
        yield
    finally:
        commander.rest()


def _drive(one: RobotRun, commander: Commander, alive: Callable[[], bool]) -> str:
    """Propose the actions of the demonstration; return an empty text at its end, or what broke it off."""
    share, start = one.speed / one.cap, _pose(commander)
    begin = time.monotonic()
    while (since_s := time.monotonic() - begin) * one.speed < one.run.seconds:
        action, recorded = one.run.at(since_s * one.speed)
        pose = _pose(commander)
        if pose is None or start is None:
            return "the pose of the robot fell silent"
        if not alive():
            return "a process ended"
        if commander.held and since_s > _GRACE_S:
            return f"the guard stopped the robot: {commander.held}"
        away = _deviation(one, start, pose, recorded)
        if away > one.deviation_m:
            return (
                f"the robot is {away:.3f} m off the demonstration's path after {since_s:.1f} s, limit "
                f"{one.deviation_m:g} m (--deviation)"
            )
        commander.propose(tuple((share * action).tolist()))
        time.sleep(PERIOD_S)
    return ""


def away_from_start(one: RobotRun, commander: Commander) -> str:
    """Return how far the robot is from the demonstration's start, and what to do; an empty text where it is there."""
    pose = _pose(commander)
    if pose is None:
        return "no fresh pose of the robot comes"
    if one.from_here:
        return ""
    start = one.run.poses[0]
    distance = float(np.linalg.norm(pose[:3] - start[:3]))
    turn = float(np.linalg.norm(rotation_between(pose[3:], start[3:]))) if _turns(one.robot) else 0.0
    if distance <= START_M and turn <= START_RAD:
        return ""
    turned = f" and {turn:.2f} rad" if _turns(one.robot) else ""
    where = ", ".join(f"{value:.3f}" for value in start[:3])
    how = "drive it there" + (
        "" if one.robot.home is None or one.home_first else ", or give --home if it began at home"
    )
    if one.robot.kind == "base":
        how += ", or give --from-here, because odometry begins anywhere"
    return (
        f"the robot stands {distance:.3f} m{turned} from the demonstration's start ({where}), limit {START_M} m: {how}"
    )


def _turns(robot: RobotConfig) -> bool:
    return any(axis.unit == "rad/s" for axis in robot.action.axes)


def _pose(commander: Commander) -> NDArray[np.float64] | None:
    """Return position and orientation (7,); None without a fresh one."""
    return commander.pose


def _deviation(
    one: RobotRun, start: NDArray[np.float64], pose: NDArray[np.float64], recorded: NDArray[np.float64]
) -> float:
    """Return the distance, m, of the robot from where the demonstration was; from the start of each, --from-here."""
    if not one.from_here:
        return float(np.linalg.norm(pose[:3] - recorded[:3]))
    mine = moved_along(np.stack([start, pose]), with_body=True)[-1, :3]
    theirs = moved_along(np.stack([one.run.poses[0], recorded]), with_body=True)[-1, :3]
    return float(np.linalg.norm(mine - theirs))


def _ending(one: RobotRun, commander: Commander) -> str:
    pose = _pose(commander)
    if pose is None or one.from_here:
        return "the robot stands"
    off = float(np.linalg.norm(pose[:3] - one.run.poses[-1][:3]))
    return f"the robot stands, {off:.3f} m from the demonstration's end"


def _drive_home(commander: Commander) -> str:
    """Send the robot home, and wait for it; return an empty text on arrival, or what was in the way."""
    refusal = commander.ready()
    if refusal:
        return refusal
    answer = commander.call(Trigger, f"{MONITOR}/home", Trigger.Request())
    if answer is None or not answer.success:
        return f"home: {answer.message if answer else 'no answer'}"
    while True:
        status = commander.call(Trigger, f"{MONITOR}/home_status", Trigger.Request())
        if status is None:
            return "home: no answer"
        if not str(status.message).startswith(ON_THE_WAY):
            return "" if status.success else f"home: {status.message}"
        time.sleep(_STATUS_PERIOD_S)


def _pass_on(line: str, write: Callable[[str], None]) -> None:
    if any(level in line for level in ("[WARN]", "[ERROR]", "[FATAL]")) or line.startswith("[fosp]"):
        write(line)


def practice_folder(bag: Path) -> Path:
    """Return the folder for the scene of a simulated robot."""
    return Path("runs/run") / bag.resolve().name
