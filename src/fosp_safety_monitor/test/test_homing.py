"""The way home between episodes: an engaged operator's order alone, slowly, and whatever stops it ends it for good."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import read_robot
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_core.robot.home import HomeConfig
from fosp_safety_monitor.home_drive import HomeDrive
from fosp_safety_monitor.judge import decision, homing
from fosp_safety_monitor.judge.consent_inputs import ConsentSettings
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.judge.watch.homing import TOLD_S
from fosp_safety_monitor.operator.operator_guard import OperatorGuard

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
HOME = HomeConfig(position=(0.53, 0.03, 0.2), tolerance_m=0.005)
"""A pose 4 cm away from where the robot of a test begins, m."""
BEGIN = (0.5, 0.0, 0.2)
TICK_S = 0.01


class HomingScene:
    """A robot at rest between two episodes, which an operator has engaged, and its order."""

    def __init__(self, make: Callable[..., Any], home: HomeConfig = HOME, robot: Any = None, **parameters: Any) -> None:
        self.scene = make(None, {"home": home, **(robot or {})}, **parameters)
        for index in range(len(self.scene.thresholds.ready)):
            self.scene.say_ready(index)
        self.scene.drive(0.5)
        if self.scene.thresholds.enabling is not None:
            self.scene.switch(False)
            self.scene.drive(0.05)
            self.scene.switch(True)
        self.scene.drive(0.05)
        assert self.scene.engage() == ""

    def order(self) -> str:
        scene = self.scene
        scene.state, refusal = homing.home(scene.state, scene.robot, scene.thresholds, scene.now)
        return refusal

    def begin(self) -> HomingScene:
        assert self.order() == ""
        self.scene.drive(0.5)
        assert self.scene.moves, self.way
        return self

    @property
    def way(self) -> Any:
        return self.scene.state.homing

    def ends(self, seconds: float = 0.6) -> str:
        """Drive on; the robot must stand at the end, and stay so. Return what ended the way."""
        self.scene.drive(seconds)
        assert not self.scene.moves
        assert not self.way.running
        outcome = self.way.outcome
        self.scene.drive(1.0)
        assert not self.scene.moves
        assert self.way.outcome == outcome
        return str(outcome)


@pytest.fixture
def make(make_consent_scene: Callable[..., Any]) -> Callable[..., HomingScene]:
    def scene(**arguments: Any) -> HomingScene:
        return HomingScene(make_consent_scene, **arguments)

    return scene


# -- the motion --------------------------------------------------------------------------------------
def test_an_engaged_operator_sends_the_robot_home_slowly_and_in_a_straight_line(make: Any) -> None:
    home = make(home=HOME.model_copy(update={"speed": 0.1}))
    scene, speeds, positions = home.scene, [], []
    assert home.order() == ""
    for _ in range(1500):
        (tick,) = scene.drive(TICK_S)
        speeds.append(max(map(abs, tick.command)))
        positions.append(scene.robot.position)
        if not home.way.running:
            break
    assert home.way.arrived
    assert math.dist(scene.robot.position, HOME.position) <= HOME.tolerance_m + 1e-6
    assert max(speeds) == pytest.approx(0.1 * 0.25, rel=0.01), "a share of the speed at action 1"
    across = [abs((x - BEGIN[0]) - (y - BEGIN[1])) for x, y, _ in positions]
    assert max(across) < 1e-3
    scene.drive(1.0)
    assert not scene.moves
    assert home.way.outcome.startswith("at home")


def test_nothing_moves_home_by_itself(make: Any) -> None:
    home = make()
    home.scene.drive(3.0)
    assert not home.scene.moves
    assert not home.way.running


def test_proposals_are_not_followed_on_the_way_nor_in_the_moment_after_it(make: Any) -> None:
    home = make().begin()
    home.scene.wait(TICK_S)
    home.scene.hear_from_robot(home.scene.move(TICK_S))
    verdict = home.scene.judge()
    assert (verdict.decision, verdict.reason) == (Decision.STOP, Reason.NO_EPISODE)
    assert not any(verdict.action_out)
    home.scene.feed(is_first=True)
    home.scene.drive(0.3)
    assert not home.scene.moves
    assert "an episode began" in home.way.outcome
    home.scene.drive(TOLD_S)
    assert home.scene.moves, "the episode goes on"
    assert home.scene.judge().reason is not Reason.NO_EPISODE


def test_ticks_tell_of_the_way(make: Any) -> None:
    home = make().begin()
    tick = home.scene.drive(TICK_S)[-1]
    assert (tick.finding.decision, tick.finding.reason) == (Decision.PASS, Reason.SLOW_DOWN)
    assert "home: 0.0" in tick.finding.text


def test_a_pose_with_an_orientation_turns_the_robot(turning_arm: Any) -> None:
    quarter = (0.0, 0.0, math.sin(0.2), math.cos(0.2))
    robot = turning_arm.model_copy(update={"home": HomeConfig(position=BEGIN, orientation=quarter)})
    drive = HomeDrive.of(robot)
    assert drive is not None
    assert drive.left(BEGIN, (0.0, 0.0, 0.0, 1.0)) == pytest.approx((0.0, 0.4))
    wish = drive.wish(BEGIN, (0.0, 0.0, 0.0, 1.0))
    assert wish[:3] == (0.0, 0.0, 0.0)
    assert 0.0 < wish[3] <= 0.2 + 1e-9
    assert drive.wish(BEGIN, (0.0, 0.0, math.sin(0.4), math.cos(0.4)))[3] < 0.0
    assert drive.arrived(BEGIN, quarter)
    assert drive.arrived(BEGIN, tuple(-part for part in quarter)), "the same rotation"
    tilted = (math.sin(0.2), 0.0, 0.0, math.cos(0.2))
    assert "angular.x" in drive.unreachable(BEGIN, tilted)


def test_a_robot_that_follows_late_does_not_swing_about_its_home(arm: Any) -> None:
    slow = HomeDrive.of(arm.model_copy(update={"home": HOME, "response_s": 0.9, "dead_time_s": 0.5}))
    fast = HomeDrive.of(arm.model_copy(update={"home": HOME}))
    assert slow is not None
    assert fast is not None
    assert slow.gain * 1.4 <= 0.31
    assert slow.gain < fast.gain <= 1.0


# -- what is refused ---------------------------------------------------------------------------------
def test_without_a_home_or_out_of_reach_the_order_is_refused(make: Any, make_consent_scene: Any) -> None:
    assert "no home" in HomingScene(make_consent_scene, home=None).order()  # type: ignore[arg-type]
    home = make()
    flat = replace(home.scene.thresholds.home, places=(0, 2), scale=(0.25, 0.25))
    home.scene.thresholds = replace(home.scene.thresholds, home=flat)
    assert "along linear.y" in home.order()
    assert not home.way.running


def test_who_has_not_engaged_sends_no_robot_home(make_consent_scene: Any) -> None:
    scene = make_consent_scene(None, {"home": HOME})
    scene.drive(0.5)
    scene.state, refusal = homing.home(scene.state, scene.robot, scene.thresholds, scene.now)
    assert "not engaged" in refusal
    scene.drive(1.0)
    assert not scene.moves


def test_during_an_episode_and_without_episodes_the_order_is_refused(make: Any, make_consent_scene: Any) -> None:
    home = make()
    home.scene.feed(is_first=True)
    assert "an episode runs" in home.order()
    scene = make_consent_scene(ConsentSettings("operator", "not_used"), {"home": HOME})
    scene.drive(0.5)
    assert scene.engage() == ""
    _, refusal = homing.home(scene.state, scene.robot, scene.thresholds, scene.now)
    assert "without episodes" in refusal


def test_a_latched_robot_in_shadow_mode_or_with_a_silent_pose_is_not_sent_home(make: Any) -> None:
    home = make()
    home.scene.thresholds = replace(home.scene.thresholds, shadow=True)
    assert "shadow" in home.order()
    home.scene.thresholds = replace(home.scene.thresholds, shadow=False)
    home.scene.drive(0.5, robot=False)
    assert "pose of the commanded point" in home.order() or "robot state" in home.order()
    home = make()
    home.scene.state = decision.latch(home.scene.state, Finding(Decision.LATCH, Reason.ESTOP, "pressed"))
    assert "latched" in home.order()


def test_a_second_order_on_the_way_changes_nothing(make: Any) -> None:
    home = make().begin()
    begun_s = home.way.begun_s
    assert "already" in home.order()
    assert home.way.begun_s == begun_s


# -- what ends it ------------------------------------------------------------------------------------
def test_a_silent_pose_ends_the_way_for_good(make: Any) -> None:
    home = make().begin()
    home.scene.drive(0.4, robot=False)
    assert not home.scene.moves
    assert "pose" in home.way.outcome or "robot state" in home.way.outcome
    home.scene.drive(2.0)
    assert not home.scene.moves, "the pose is back, but nobody has asked anew"


def test_a_frozen_pose_latches(make: Any) -> None:
    home = make(home=HOME.model_copy(update={"speed": 0.5})).begin()
    for _ in range(120):
        home.scene.wait(TICK_S)
        home.scene.hear_from_robot(home.scene.robot.position, noise_m=0.0)
        home.scene.tick()
    assert home.scene.state.latched is not None
    assert home.scene.state.latched.reason is Reason.NOT_FOLLOWING
    assert not home.way.running


def test_disengaging_ends_the_way(make: Any) -> None:
    home = make().begin()
    home.scene.state = decision.disengage(home.scene.state)
    assert "not engaged" in home.ends()


def test_a_latch_ends_the_way_and_so_it_stays_after_a_reset(make: Any) -> None:
    home = make().begin()
    home.scene.state = decision.latch(home.scene.state, Finding(Decision.LATCH, Reason.ESTOP, "the service was called"))
    assert "the service was called" in home.ends()
    assert home.scene.reset() == ""
    home.scene.drive(1.0)
    assert not home.scene.moves


@pytest.mark.parametrize(
    ("robot", "spoil", "says"),
    [
        ({"estop_topics": ("estop",)}, lambda s: setattr(s, "robot", replace(s.robot, estop_pressed=True)), "pressed"),
        (
            {"enabling": EnablingConfig(topic="joy", type="Joy", button=4, repeat_s=60.0)},
            lambda s: s.switch(False),
            "enabling switch",
        ),
        (
            {"ready": (ReadyConfig(topic="program", kind="bool", transient_local=True),)},
            lambda s: s.say_ready(0, "stopped"),
            "not ready",
        ),
        (
            {"protective_force_n": 20.0, "wrench_topic": "wrench"},
            lambda s: setattr(s, "force", (60.0, 0.0, 0.0)),
            "a force of",
        ),
        ({}, lambda s: setattr(s, "robot", replace(s.robot, other_publishers=("/other",))), "other nodes publish"),
        ({}, lambda s: setattr(s, "robot", replace(s.robot, strangers=("a second pose",))), "a second pose"),
        ({}, lambda s: setattr(s, "robot", replace(s.robot, self_test="wrong")), "wrong"),
    ],
)
def test_whatever_stops_a_robot_without_a_model_ends_the_way(make: Any, robot: Any, spoil: Any, says: str) -> None:
    home = make(robot=robot).begin()
    spoil(home.scene)
    assert says in home.ends()


def test_a_jump_of_the_clock_ends_the_way(make: Any) -> None:
    home = make().begin()
    home.scene.ros_s += 3.0
    home.scene.drive(0.6)
    assert not home.scene.moves
    assert not home.way.running


def test_the_way_is_given_up_after_its_time(make: Any) -> None:
    home = make(home=HOME.model_copy(update={"speed": 0.01, "timeout_s": 1.0})).begin()
    assert "not there after 1 s" in home.ends(1.0)
    assert not home.way.arrived


def test_models_and_images_have_no_say_on_the_way(make: Any) -> None:
    """Between episodes the scene is not what the model knows, and the policy may be silent."""
    home = make(home=HOME.model_copy(update={"speed": 0.05})).begin()
    home.scene.drive(0.5, deciding=False)
    assert home.scene.moves
    home.scene.drive(0.3, latent=lambda: home.scene.latent(contrast=0.0))
    assert home.scene.moves, home.way.outcome


# -- while a person drives ---------------------------------------------------------------------------
class Guarded:
    """A guard with a home, a robot that follows, and an operator who is there and wants `action`."""

    def __init__(self, arm: Any, **home: Any) -> None:
        self.now = Now(1000.0, 10.0)
        robot = arm.model_copy(update={"home": HOME.model_copy(update=home)})
        self.guard = OperatorGuard(robot, lambda: self.now)
        self.action: tuple[float, ...] | None = (0.0, 0.0, 0.0)
        self.position = BEGIN
        self.pose = True

    def tick(self, times: int = 1) -> Any:
        for _ in range(times):
            self.now = Now(self.now.ros_s + TICK_S, self.now.monotonic_s + TICK_S)
            received = Received(self.now.ros_s, self.now.monotonic_s)
            if self.action is not None:
                frame = FrameStamp(round(self.now.ros_s * 1e9))
                wanted = np.array([self.action], np.float32)
                self.guard.receive_proposal(ProposalInput(0, "", frame, received.receipt_s, wanted, 0))
            self.guard.receive_robot_state(received)
            if self.pose:
                self.guard.receive_pose(received, self.position)
            tick = self.guard.tick()
            x, y, z = (at + TICK_S * speed for at, speed in zip(self.position, tick.command, strict=True))
            self.position = x, y, z
        return tick


@pytest.fixture
def guarded(arm: Any) -> Guarded:
    made = Guarded(arm)
    made.tick(3)
    return made


def test_a_person_who_drives_sends_the_robot_home_with_the_controls_let_go(guarded: Guarded) -> None:
    assert guarded.guard.home() == ""
    tick = guarded.tick(50)
    assert any(tick.command)
    assert "home" in tick.note
    assert max(map(abs, tick.command)) <= HOME.speed * 0.25 + 1e-6
    guarded.tick(1000)
    assert guarded.guard.way_home.arrived
    assert math.dist(guarded.position, HOME.position) <= HOME.tolerance_m + 1e-6
    guarded.action = (0.5, 0.0, 0.0)
    assert any(guarded.tick(20).command)


def test_a_touch_of_the_controls_their_silence_and_a_silent_pose_end_the_way(arm: Any) -> None:
    for spoil, says in (
        (lambda g: setattr(g, "action", (0.3, 0.0, 0.0)), "took the controls"),
        (lambda g: setattr(g, "action", None), "no action of the operator"),
        (lambda g: setattr(g, "pose", False), "pose"),
    ):
        guarded = Guarded(arm)
        guarded.tick(3)
        assert guarded.guard.home() == ""
        guarded.tick(50)
        spoil(guarded)
        assert not any(guarded.tick(60).command), "the touch itself is not followed"
        assert says in guarded.guard.way_home.outcome
        guarded.action, guarded.pose = (0.0, 0.0, 0.0), True
        assert not any(guarded.tick(100).command), "nothing begins again by itself"


def test_a_robot_that_is_held_or_driven_is_not_sent_home(guarded: Guarded, arm: Any) -> None:
    guarded.action = (0.5, 0.0, 0.0)
    guarded.tick(20)
    assert "let go of the controls" in guarded.guard.home()
    guarded.action, guarded.pose = (0.0, 0.0, 0.0), False
    guarded.tick(60)
    assert "held" in guarded.guard.home()
    bare = OperatorGuard(arm, lambda: guarded.now)
    assert "no home" in bare.home()


def test_the_shipped_arms_have_no_home_of_somebody_elses_cell() -> None:
    robots = [read_robot(path) for path in sorted(ROBOTS.glob("*.yaml"))]
    assert [robot.name for robot in robots if robot.home and not robot.teleports] == []
