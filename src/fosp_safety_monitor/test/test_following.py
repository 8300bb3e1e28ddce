"""Measured motion against commanded motion: an hour of healthy motion, and how soon each fault is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.watch.following import (
    HELD_S,
    WINDOWS_S,
    Following,
    beyond,
    check_motion,
    check_outside,
)
from fosp_safety_monitor.motion_model import MotionModel
from fosp_safety_monitor.parameters import MonitorParameters

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
ARM = read_robot(ROBOTS / "sim_arm.yaml").model_copy(update={"response_s": 0.05, "dead_time_s": 0.02})
BASE = read_robot(ROBOTS / "sim_base.yaml").model_copy(update={"response_s": 0.05, "dead_time_s": 0.02})
REAL_ARM = ARM.model_copy(update={"teleports": False})
UNDESCRIBED = RobotConfig.model_validate(
    {key: value for key, value in ARM.model_dump().items() if key not in ("response_s", "dead_time_s", "teleports")}
)
TICK_S = 0.01
CENTRE = (0.5, 0.0, 0.2)
Vector = NDArray[np.float64]
Fault = Callable[[Vector], Vector]
"""The motion (3,) that the robot makes of the speed (3,) that it was told."""


class Played:
    """A robot with a first-order lag and a dead time, told at 100 Hz what to do, and what a monitor makes of it."""

    def __init__(self, robot: RobotConfig = ARM, noise_m: float = 0.0, lag_s: float | None = None) -> None:
        self.robot, self.noise_m = robot, noise_m
        self.thresholds = RobotThresholds.of_robot(robot, MonitorParameters())
        self.following = Following()
        self.response_s = robot.response_s if lag_s is None else 1e-3
        self.dead_time_s = robot.dead_time_s if lag_s is None else lag_s
        self.now = Now(1000.0, 10.0)
        self.rng = np.random.default_rng(0)
        self.place = np.array(CENTRE if robot.kind == "arm" else (0.0, 0.0, 0.5))
        self.speed = np.zeros(3)
        self.command = np.zeros(3)
        self.sent: list[Vector] = []
        self.fault: Fault = lambda speed: speed
        self.latched = False
        self.pose_age_s = 0.0

    @property
    def axes(self) -> list[int]:
        """The components of `command` that are axes of the robot: x, y, z, or forward, left, yaw of a base."""
        return [0, 1, 2] if self.robot.kind == "arm" else [0, 2]

    def tick(self, target: tuple[float, ...]) -> str:
        """Let 10 ms pass under a target (3,), m/s and rad/s, and return the contradiction that is seen, if any."""
        self.now = Now(self.now.ros_s + TICK_S, self.now.monotonic_s + TICK_S)
        self.sent.append(self.command)
        late = self.sent[max(0, len(self.sent) - 1 - round(self.dead_time_s / TICK_S))]
        share = math.exp(-TICK_S / self.response_s)
        self.speed = late + share * (self.speed - late)
        step = TICK_S * self.fault(self.speed)
        if self.robot.kind == "base":
            c, s = math.cos(self.place[2]), math.sin(self.place[2])
            step = np.array([c * step[0] - s * step[1], s * step[0] + c * step[1], step[2]])
        self.place = self.place + step
        measured = self.place + self.rng.normal(0.0, 1.0, 3) * self.noise_m
        received = Received(self.now.ros_s, self.now.monotonic_s)
        x, y, z = measured.tolist()
        state = RobotStateInput(received, received, (x, y, z), odometry=(x, y, z))
        before = tuple(self.command[self.axes].tolist())
        self.following = self.following.after(before, state, self.thresholds, self.now, self.latched)
        limits = 4.0 if self.robot.kind == "arm" else np.array([4.0, 4.0, 12.0])
        self.command = self.command + np.clip(np.array(target) - self.command, -limits * TICK_S, limits * TICK_S)
        finding = check_motion(self.following, self.now)
        return "" if finding is None else finding.text

    def drive(self, target: tuple[float, ...], seconds: float) -> str:
        """Return the first contradiction within the time, else an empty text."""
        for _ in range(round(seconds / TICK_S)):
            text = self.tick(target)
            if text:
                return text
        return ""

    def found_after_s(self, target: tuple[float, ...], limit_s: float = 5.0) -> float:
        """Return the time until a contradiction is found; infinity when none is within the limit."""
        for index in range(round(limit_s / TICK_S)):
            if self.tick(target):
                return (index + 1) * TICK_S
        return math.inf


FULL = (0.25, 0.1, 0.0)
FAULTS: dict[str, Fault] = {
    "inverted": lambda speed: -speed,
    "one axis inverted": lambda speed: speed * [-1.0, 1.0, 1.0],
    "axes swapped": lambda speed: speed[[2, 0, 1]],
    "standing": lambda speed: 0.0 * speed,
    "three times as fast": lambda speed: 3.0 * speed,
    "drifting aside": lambda speed: np.add(speed, (0.0, 0.0, 0.2)),
}


# -- faults of an arm --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("noise_m", [0.0, 1e-5, 1e-3])
def test_full_speed_motion_that_goes_wrong_is_found_within_0_4_s(name: str, noise_m: float) -> None:
    played = Played(noise_m=noise_m)
    assert played.drive(FULL, 1.0) == ""
    played.fault = FAULTS[name]
    assert played.found_after_s(FULL) <= 0.4


@pytest.mark.parametrize("name", FAULTS)
def test_a_robot_that_is_wrong_from_the_start_is_found_within_0_4_s_of_full_speed(name: str) -> None:
    played = Played(noise_m=1e-5)
    played.fault = FAULTS[name]
    ramp_s = 0.25 / 4.0
    assert played.found_after_s(FULL) <= ramp_s + 0.4


@pytest.mark.parametrize("name", ["inverted", "one axis inverted"])
@pytest.mark.parametrize("robot", [ARM, UNDESCRIBED], ids=["described", "undescribed"])
def test_an_inversion_is_found_before_the_arm_has_gone_far(name: str, robot: RobotConfig) -> None:
    played = Played(robot, noise_m=1e-5)
    played.fault = FAULTS[name]
    assert played.found_after_s(FULL) <= (0.25 if robot is ARM else 0.35)
    assert abs(played.place[0] - CENTRE[0]) < 0.04


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("inverted", "the opposite way"),
        ("axes swapped", "another way"),
        ("standing", "it does not follow"),
        ("three times as fast", "at another speed"),
    ],
)
def test_the_finding_says_what_is_wrong(name: str, told: str) -> None:
    played = Played(noise_m=1e-5)
    played.drive(FULL, 1.0)
    played.fault = FAULTS[name]
    text = played.drive(FULL, 2.0)
    assert told in text
    finding = check_motion(played.following, played.now)
    assert finding is not None
    assert (finding.decision, finding.reason) == (Decision.LATCH, Reason.MOTION)


@pytest.mark.parametrize(("speed", "limit_s"), [(0.1, 0.6), (0.05, 1.0), (0.025, 2.3)])
def test_a_blocked_robot_with_noise_is_found_at_low_speed_too(speed: float, limit_s: float) -> None:
    played = Played(noise_m=1e-5)
    played.fault = FAULTS["standing"]
    assert played.found_after_s((speed, 0.0, 0.0)) <= limit_s


@pytest.mark.parametrize(("drift", "limit_s"), [(0.2, 0.15), (0.05, 0.5), (0.01, 2.0), (0.003, 6.0)])
@pytest.mark.parametrize("latched", [False, True])
def test_a_robot_that_moves_although_it_is_told_to_stand_is_found(drift: float, limit_s: float, latched: bool) -> None:
    played = Played(noise_m=1e-5)
    played.latched = latched
    assert played.drive((0.0, 0.0, 0.0), 1.0) == ""
    played.fault = lambda speed: np.array([0.0, drift, 0.0])
    assert played.found_after_s((0.0, 0.0, 0.0), 10.0) <= limit_s
    text = played.following.contradiction
    assert "told to stand" in text
    assert text.startswith("the robot moves although it is latched: ") is latched


def test_a_robot_that_goes_on_moving_is_told_of_all_the_time_and_no_longer_when_it_stands() -> None:
    played = Played()
    played.latched = True
    played.fault = lambda speed: np.array([0.0, 0.05, 0.0])
    played.found_after_s((0.0, 0.0, 0.0))
    assert all(played.tick((0.0, 0.0, 0.0)) for _ in range(300))
    played.fault = lambda speed: speed
    for _ in range(round(HELD_S / TICK_S) + 1):
        played.tick((0.0, 0.0, 0.0))
    assert played.drive((0.0, 0.0, 0.0), 5.0) == ""


def test_a_latch_for_wrong_motion_is_not_said_to_be_moved_on_once_the_robot_stands() -> None:
    played = Played()
    played.fault = FAULTS["inverted"]
    played.found_after_s(FULL)
    played.latched = True
    assert played.drive((0.0, 0.0, 0.0), 3.0) == ""


@pytest.mark.parametrize("lag_s", [0.3, 0.5])
def test_a_lag_beyond_the_robots_description_is_found_when_its_speed_changes(lag_s: float) -> None:
    played = Played(noise_m=1e-5, lag_s=lag_s)
    assert played.found_after_s((0.25, 0.0, 0.0), 1.0) <= 0.35 or played.found_after_s((0.0, 0.0, 0.0), 1.0) <= 0.4


def test_a_contact_that_stops_the_arm_is_found() -> None:
    played = Played(noise_m=1e-5)
    played.drive(FULL, 1.0)
    played.fault = lambda speed: speed * [0.0, 1.0, 1.0]
    assert played.found_after_s(FULL) <= 0.4


def test_a_jump_of_the_pose_is_a_fault_of_a_real_robot_and_the_start_of_an_episode_of_a_simulated_one() -> None:
    for robot, found in ((REAL_ARM, True), (ARM, False)):
        played = Played(robot)
        played.drive(FULL, 1.0)
        played.place = np.array(CENTRE) - [0.0, 0.2, 0.0]
        assert bool(played.drive(FULL, 1.0)) is found


def test_motion_at_three_times_the_speed_is_no_jump() -> None:
    played = Played(ARM)
    played.fault = FAULTS["three times as fast"]
    assert played.found_after_s(FULL) <= 0.3


# -- faults of a base ----------------------------------------------------------------------------------
DRIVING = (0.5, 0.0, 1.0)
BASE_FAULTS: dict[str, Fault] = {
    "inverted": lambda speed: speed * [-1.0, 1.0, 1.0],
    "turning the wrong way": lambda speed: speed * [1.0, 1.0, -1.0],
    "standing": lambda speed: 0.0 * speed,
    "wheels swapped": lambda speed: speed * [1.0, 1.0, -1.0],
    "three times as fast": lambda speed: 3.0 * speed,
    "slipping sideways": lambda speed: np.add(speed, (0.0, 0.4, 0.0)),
}


@pytest.mark.parametrize("name", BASE_FAULTS)
def test_a_base_that_goes_wrong_is_found_within_0_4_s(name: str) -> None:
    played = Played(BASE, noise_m=1e-4)
    assert played.drive(DRIVING, 2.0) == ""
    played.fault = BASE_FAULTS[name]
    assert played.found_after_s(DRIVING) <= 0.4


def test_a_base_that_drifts_while_it_is_told_to_stand_is_found() -> None:
    played = Played(BASE)
    played.fault = lambda speed: np.array([0.05, 0.0, 0.0])
    assert played.found_after_s((0.0, 0.0, 0.0)) <= 1.0
    assert "along its own axes" in played.following.contradiction


def test_a_base_that_turns_while_it_is_told_to_stand_is_found() -> None:
    played = Played(BASE)
    played.fault = lambda speed: np.array([0.0, 0.0, 0.2])
    assert played.found_after_s((0.0, 0.0, 0.0)) <= 1.0
    assert "rad" in played.following.contradiction


# -- the workspace ---------------------------------------------------------------------------------------
def outside(played: Played) -> bool:
    played.tick((0.0, 0.0, 0.0))
    finding = check_outside(played.following, played.thresholds)
    assert finding is None or (finding.decision, finding.reason) == (Decision.LATCH, Reason.OUTSIDE_WORKSPACE)
    return finding is not None


def test_a_pose_beyond_the_margin_of_the_workspace_is_found() -> None:
    played = Played()
    assert not outside(played)
    for y, found in ((0.37, False), (0.395, False), (0.405, True), (-0.395, False), (-0.5, True)):
        played.place = np.array([0.5, y, 0.2])
        assert outside(played) is found, y


def test_a_robot_that_begins_outside_may_come_in_but_go_no_further_out() -> None:
    played = Played()
    played.place = np.array([0.5, 0.48, 0.2])
    assert not outside(played)
    played.place[1] = 0.5
    assert outside(played)
    for y in np.linspace(0.48, 0.3, 40):
        played.place[1] = y
        assert not outside(played)
    played.place[1] = 0.44
    assert outside(played), "it has come in, so the margin holds"


# -- healthy motion ----------------------------------------------------------------------------------------
def random_targets(rng: np.random.Generator, robots: int, ticks: int, speeds: Vector) -> Iterator[Vector]:
    """Targets (robots, 3) that change now and then, for a while are zero, and sometimes tremble at 20 Hz."""
    target, left = np.zeros((robots, 3)), np.zeros(robots, int)
    for _ in range(ticks):
        left -= 1
        for i in np.flatnonzero(left <= 0):
            kind = rng.integers(4)
            left[i] = 5 if kind == 0 else rng.integers(5, 300)
            direction = rng.normal(size=3)
            target[i] = 0.0 if kind == 1 else speeds * direction / np.linalg.norm(direction) * rng.uniform(0.1, 1.0)
        yield target


@pytest.mark.parametrize("kind", ["arm", "base"])
def test_an_hour_of_healthy_motion_is_never_found_wrong(kind: str) -> None:
    """Robots of 5 to 150 ms lag and 5 to 60 ms dead time, with noise, errors of scale, jitter and lost poses."""
    rng = np.random.default_rng(1)
    robots, seconds = 36, 100.0
    config = ARM if kind == "arm" else BASE
    speeds = np.full(3, 0.3) if kind == "arm" else np.array([0.6, 0.0, 1.8])
    acceleration = TICK_S * (np.full(3, 4.0) if kind == "arm" else np.array([4.0, 4.0, 12.0]))
    response = rng.uniform(0.005, 0.15, (robots, 1))
    dead_ticks = rng.integers(0, 7, robots)
    scale = rng.uniform(0.9, 1.1, (robots, 3))
    own_acceleration = rng.uniform(0.7, 2.0, (robots, 1)) * acceleration
    ticks = round(seconds / TICK_S)
    commands = np.zeros((ticks + 1, robots, 3))
    places = np.zeros((ticks + 1, robots, 3))
    speed = np.zeros((robots, 3))
    for k, target in enumerate(random_targets(rng, robots, ticks, speeds)):
        commands[k + 1] = commands[k] + np.clip(target - commands[k], -acceleration, acceleration)
        late = scale * commands[np.maximum(k - dead_ticks, 0), np.arange(robots)]
        wanted = (late - speed) * (1.0 - np.exp(-TICK_S / response))
        speed = speed + np.clip(wanted, -own_acceleration, own_acceleration)
        places[k + 1] = places[k] + TICK_S * speed
    times = TICK_S * np.arange(ticks + 1)
    worst = -math.inf
    for i in range(robots):
        described = config.model_copy(
            update={"response_s": float(response[i, 0]), "dead_time_s": max(0.005, TICK_S * float(dead_ticks[i]))}
        )
        model = MotionModel.of(described, MonitorParameters())
        assert model is not None
        told = np.column_stack([times, TICK_S * np.cumsum(np.vstack([np.zeros(3), commands[:-1, i]]), axis=0)])
        kept = np.flatnonzero(rng.random(ticks + 1) > 0.1)[:: rng.integers(1, 4)]
        jitter = rng.uniform(-0.003, 0.003, len(kept))
        noise = rng.normal(0.0, 1e-3, (len(kept), 3))
        seen = np.column_stack([times[kept] + jitter, places[kept, i] + noise])
        for window_s in WINDOWS_S:
            starts = np.maximum(np.searchsorted(seen[:, 0], seen[:, 0] - window_s, side="right") - 1, 0)
            excess, _ = beyond(told, seen, starts, np.arange(len(seen)), model)
            worst = max(worst, float((excess / model.tolerance).max()))
    assert robots * seconds == 3600.0
    assert worst < 0.0, f"the worst was {worst:.2f} tolerances beyond"


@pytest.mark.parametrize("robot", [ARM, BASE, UNDESCRIBED], ids=["arm", "base", "undescribed arm"])
def test_healthy_motion_through_every_step_of_the_monitor_is_never_found_wrong(robot: RobotConfig) -> None:
    rng = np.random.default_rng(2)
    speeds = np.full(3, 0.3) if robot.kind == "arm" else np.array([0.6, 0.0, 1.8])
    played = Played(robot, noise_m=1e-3)
    for index, target in enumerate(random_targets(rng, 1, 6000, speeds)):
        a, b, c = target[0].tolist()
        assert played.tick((a, b, c)) == "", index


def test_a_robot_whose_poses_are_lost_or_late_is_not_found_wrong() -> None:
    played = Played(noise_m=1e-4)
    rng = np.random.default_rng(3)
    state, text = RobotStateInput(), ""
    for index in range(1000):
        target = (0.25 * math.sin(0.02 * index), 0.1, 0.0)
        healthy = played.following
        text = played.tick(target)
        if rng.random() < 0.5:  # the pose of this tick never came, but the command was in force
            before = tuple(played.sent[-1].tolist())
            played.following = healthy.after(before, state, played.thresholds, played.now)
        assert text == "", index


def test_before_a_pose_was_measured_nothing_is_found() -> None:
    thresholds, now = RobotThresholds.of_robot(ARM, MonitorParameters()), Now(1000.0, 10.0)
    following = Following().after((0.0, 0.0, 0.0), RobotStateInput(), thresholds, now)
    later = Now(1001.0, 11.0)
    assert check_motion(following.after((0.2, 0.0, 0.0), RobotStateInput(), thresholds, later), later) is None


def test_a_robot_that_measures_no_motion_has_none_to_compare() -> None:
    blind = BASE.model_copy(update={"state_type": "JointState"})
    assert MotionModel.of(blind, MonitorParameters()) is None


def test_an_arm_that_turns_is_held_to_its_rotation(turning_arm: RobotConfig) -> None:
    thresholds = RobotThresholds.of_robot(turning_arm, MonitorParameters())
    assert thresholds.motion is not None
    for gain, found in ((1.0, False), (-1.0, True)):
        following, now, angle = Following(), Now(1000.0, 10.0), 0.0
        for _ in range(60):
            now = Now(now.ros_s + TICK_S, now.monotonic_s + TICK_S)
            angle += gain * TICK_S * 0.5
            received = Received(now.ros_s, now.monotonic_s)
            turn = (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))
            state = RobotStateInput(received, received, CENTRE, turn)
            following = following.after((0.0, 0.0, 0.0, 0.5), state, thresholds, now)
        assert (check_motion(following, now) is not None) is found


def test_simulated_time_at_half_the_pace_is_no_lag() -> None:
    thresholds = replace(RobotThresholds.of_robot(ARM, MonitorParameters()), simulated_time=True)
    following, now, x = Following(), Now(1000.0, 10.0), 0.4
    for _ in range(200):
        now = Now(now.ros_s + 0.5 * TICK_S, now.monotonic_s + TICK_S)
        x += 0.5 * TICK_S * 0.2
        received = Received(now.ros_s, now.monotonic_s)
        following = following.after(
            (0.2, 0.0, 0.0), RobotStateInput(received, received, (x, 0.0, 0.2)), thresholds, now
        )
        assert check_motion(following, now) is None
