"""A robot that hangs goes back along its own trail, and asks for help; whatever could make that wrong ends it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fosp_core.clock import Received
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import read_robot
from fosp_core.robot.gripper import GripperInput
from fosp_core.robot.trail import RobotPlace, WayBack, off_trail_m
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_safety_monitor.zones.field import ZoneJudgement

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
PERIOD_S = 0.05
START = (0.40, 0.0, 0.2)
RISKY, SAFE = 0.9, 0.1


class Hanging:
    """An arm, or a base, that is free to go anywhere, and whose policy wants to go on along x."""

    grip = None
    """Normalised position of a gripper."""

    def __init__(self, robot="sim_arm", **parameters):
        config = read_robot(ROBOTS / f"{robot}.yaml")
        super().__init__(config, MonitorParameters(**parameters))
        self.thresholds = replace(self.thresholds, way_back=WayBack.of(config))
        self.risk, self.v_h, self.verdicts, self.places = SAFE, 0.2, [], []
        self.wants = [[0.5, 0.0, 0.0]] if robot != "sim_base" else [[0.5, 0.2]]
        self.hear_from_robot(START)

    def hear_from_robot(self, position=None, noise_m=1e-9):
        super().hear_from_robot(position, noise_m)
        if self.grip is not None:
            measured = GripperInput(Received(self.ros_s, self.monotonic_s), self.grip)
            self.robot = replace(self.robot, gripper=measured)

    def move(self, seconds):
        x, y, z = self.robot.position or START
        told = dict(zip([axis.name for axis in self.robot_config.action.axes], self.state.command, strict=True))
        forward, left = told["linear.x"], told.get("linear.y", 0.0)
        if self.robot_config.kind == "base":
            self.heading += told["angular.z"] * seconds
            c, s = math.cos(self.heading), math.sin(self.heading)
            forward, left = c * forward, s * forward
        return x + forward * seconds, y + left * seconds, z + told.get("linear.z", 0.0) * seconds

    def go(self, seconds, until=lambda verdict: False):
        """Drive on with the risk of the moment; return the last verdict."""
        for _ in range(round(seconds / PERIOD_S)):
            for _ in range(5):
                self.wait(0.01)
                self.hear_from_robot(self.move(0.01))
                self.tick()
            values = self.values((self.risk,), v_h=self.v_h)
            self.verdicts.append(self.judge(self.proposal(self.wants), scored=values))
            self.places.append(self.robot.position)
            if until(self.verdicts[-1]):
                break
        return self.verdicts[-1]

    def corner(self, seconds=0.7):
        """Drive freely, and into a place where nothing is feasible, until the robot goes back."""
        self.go(0.8)
        self.risk = RISKY
        self.go(seconds, until=lambda verdict: self.state.retreat.driving)
        assert self.state.retreat.driving
        return self

    @property
    def x(self):
        return self.robot.position[0]

    @property
    def backs(self):
        return self.state.retreat.driving


@pytest.fixture
def make_hanging(scene):
    """`make_hanging(robot, **parameters)`: a robot that may go back along its trail."""
    return type("HangingScene", (Hanging, type(scene)), {})


@pytest.fixture
def hanging(make_hanging):
    return make_hanging()


def end_of(scene, seconds=1.0):
    """Let the robot go on; return why its way back ended."""
    scene.go(seconds, until=lambda verdict: not scene.state.retreat.running)
    assert not scene.state.retreat.running
    return scene.state.retreat.ended


# -- what it does ----------------------------------------------------------------------------------
def test_a_robot_that_hangs_goes_back_along_its_trail_slowly_and_says_so(hanging):
    hanging.corner()
    stuck = hanging.x
    verdict = hanging.go(0.2)
    assert (verdict.decision, verdict.reason) == (Decision.RECOVER, Reason.NO_FEASIBLE)
    assert "goes back along its own trail" in verdict.reason_text
    assert verdict.action_out == pytest.approx((-0.3, 0.0, 0.0), abs=0.02), "recover_scale, the other way"
    assert math.isnan(verdict.q_h_out), "the critic was not asked"
    assert hanging.x < stuck - 0.01
    assert end_of(hanging, 3.0) == "the trail is gone back"
    assert hanging.x == pytest.approx(stuck - 0.075, abs=0.015), "0.3 s at full speed"


def test_it_never_goes_back_faster_than_recover_scale_nor_off_its_trail(make_hanging):
    scene = make_hanging(retreat_length_s=1.0)
    scene.wants = [[0.5, 0.4, 0.2]]
    scene.go(0.3)
    scene.wants = [[0.1, -0.6, 0.3]]
    scene.corner()
    trail, begun = scene.state.retreat.trail.points, len(scene.verdicts)
    scene.go(3.0, until=lambda verdict: not scene.state.retreat.running)
    backs = scene.verdicts[begun:-1]
    assert len(backs) > 10
    assert max(float(np.linalg.norm(verdict.action_out)) for verdict in backs) <= 0.3 + 1e-6
    step_m = 0.3 * 0.25 * PERIOD_S
    assert max(off_trail_m(trail, RobotPlace(place)) for place in scene.places[begun:]) <= step_m + 0.003


def test_a_base_backs_out_the_way_it_came(make_hanging):
    scene = make_hanging("sim_base")
    scene.corner()
    stuck = np.array(scene.robot.odometry)
    scene.go(0.4)
    assert scene.verdicts[-1].action_out[0] < -0.1
    assert np.linalg.norm(np.array(scene.robot.odometry)[:2] - stuck[:2]) > 0.03
    assert end_of(scene, 4.0) == "the trail is gone back"


def test_while_a_candidate_is_feasible_the_policy_drives_and_the_way_back_rests(hanging):
    hanging.corner().go(0.2)
    hanging.risk = SAFE
    verdict = hanging.go(0.05)
    assert (verdict.decision, hanging.backs) == (Decision.PASS, False)
    assert verdict.action_out == pytest.approx((0.5, 0.0, 0.0))
    hanging.risk = RISKY
    hanging.go(0.05)
    assert hanging.backs


def test_a_robot_that_gets_nowhere_again_and_again_stops_and_asks_for_help(hanging):
    hanging.corner()
    hanging.go(12.0, until=lambda verdict: verdict.decision is Decision.LATCH)
    verdict = hanging.verdicts[-1]
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.VETOES)
    assert "asks for help" in verdict.reason_text
    assert sum(v.decision is Decision.RECOVER for v in hanging.verdicts[-100:]) < 100, "before veto_latch_count"
    hanging.go(0.3)
    assert not any(hanging.state.command)
    hanging.risk = SAFE
    hanging.go(0.1)
    assert hanging.reset() == ""
    assert hanging.go(0.1).decision is Decision.PASS


def test_a_robot_that_is_hindered_though_its_actions_are_feasible_asks_for_help_and_does_not_go_back(hanging):
    hanging.move = lambda seconds: START
    hanging.thresholds = replace(hanging.thresholds, motion=None, needs_pose=False)
    for _ in range(60):
        hanging.go(0.05)
        assert not hanging.backs
    assert hanging.verdicts[-1].decision is Decision.LATCH
    assert "asks for help" in hanging.verdicts[-1].reason_text


# -- what it does not do ---------------------------------------------------------------------------
def test_it_is_off_unless_asked_for(make_hanging):
    scene = make_hanging()
    scene.thresholds = replace(scene.thresholds, way_back=None)
    scene.go(0.8)
    scene.risk = RISKY
    scene.go(2.0)
    assert not scene.backs
    assert {verdict.decision for verdict in scene.verdicts} == {Decision.PASS, Decision.RECOVER}


def test_a_robot_that_gets_on_never_goes_back(hanging):
    for _ in range(40):
        hanging.go(0.05)
        assert not hanging.backs
        if hanging.x > 0.6:
            break
    assert hanging.state.retreat.tries == 0


def test_a_policy_that_wants_to_stand_does_not_hang(hanging):
    hanging.go(0.8)
    hanging.wants = [[0.1, 0.0, 0.0]]
    hanging.go(2.0)
    assert hanging.state.retreat.tries == 0


def test_there_is_no_way_back_over_places_where_nothing_was_feasible(hanging):
    hanging.risk = RISKY
    hanging.go(0.8)
    assert hanging.state.retreat.tries == 1
    assert not hanging.backs


# -- what ends it: each of these fails when its condition is taken out ------------------------------
def test_an_old_trail_is_no_way_back(make_hanging):
    scene = make_hanging(trail_age_s=0.5)
    scene.go(0.8)
    scene.risk = RISKY
    scene.go(0.8)
    assert scene.state.retreat.tries == 1
    assert not scene.backs, "what it passed safely is longer ago"


def test_a_way_back_ends_when_its_places_are_too_old(make_hanging):
    scene = make_hanging(trail_age_s=1.2, retreat_length_s=1.0)
    scene.corner()
    assert end_of(scene, 2.0) == "the trail is older than 1.2 s"


def test_a_robot_off_its_trail_goes_back_no_further(hanging):
    hanging.corner().go(0.1)
    x, y, z = hanging.robot.position
    hanging.hear_from_robot((x, y + 0.02, z))
    hanging.thresholds = replace(hanging.thresholds, motion=None)
    assert "off its trail" in end_of(hanging, 0.1)


def test_a_rising_risk_ends_the_way_back(hanging):
    hanging.corner().go(0.1)
    hanging.v_h = 0.31
    assert "the risk of the state rose from 0.20 to 0.31" in end_of(hanging, 0.05)


def test_a_robot_that_is_held_up_on_its_way_back_gives_it_up(hanging):
    hanging.corner()
    held = hanging.robot.position
    hanging.move = lambda seconds: held
    hanging.thresholds = replace(hanging.thresholds, motion=None, needs_pose=False)
    hanging.thresholds = replace(hanging.thresholds, parameters=MonitorParameters(trail_age_s=10.0))
    assert end_of(hanging, 2.5) == "it takes too long"


@pytest.mark.parametrize("stop", ["stop", "latch", "estop"])
def test_whatever_stops_the_robot_takes_its_trail_away(hanging, stop):
    hanging.corner().go(0.1)
    if stop == "stop":
        hanging.wait(0.05)
        hanging.robot = replace(hanging.robot, pose=None, state=None)
        hanging.judge(hanging.proposal(hanging.wants), scored=hanging.values((RISKY,)))
    elif stop == "latch":
        hanging.state = decision.latch(hanging.state, Finding(Decision.LATCH, Reason.ESTOP, "somebody pressed"))
        hanging.go(0.05)
    else:
        hanging.robot = replace(hanging.robot, estop_pressed=True)
        hanging.go(0.05)
    assert not hanging.backs
    assert len(hanging.state.retreat.trail.points) <= 1
    assert hanging.verdicts[-1].action_out == (0.0, 0.0, 0.0) or stop == "stop"


def test_something_in_a_zone_takes_the_trail_away(hanging):
    hanging.corner().go(0.1)
    seen = ZoneJudgement(share=0.0, text="somebody is in the zone")
    hanging.thresholds = replace(hanging.thresholds, zones=SimpleNamespace(judge=lambda *asked: seen))
    verdict = hanging.go(0.05)
    assert (verdict.decision, verdict.reason) == (Decision.STOP, Reason.PROTECTIVE_ZONE)
    assert not hanging.backs
    assert hanging.state.retreat.trail.points == ()


def test_after_a_pause_of_the_decisions_the_trail_is_gone(hanging):
    hanging.corner().go(0.1)
    for _ in range(40):
        hanging.wait(0.01)
        hanging.hear_from_robot(hanging.move(0.01))
        hanging.tick()
    hanging.judge(hanging.proposal(hanging.wants), scored=hanging.values((RISKY,), v_h=0.2))
    assert not hanging.backs
    assert len(hanging.state.retreat.trail.points) <= 1


def test_surprise_leaves_no_way_back(hanging):
    hanging.corner().go(0.1)
    hanging.state = replace(hanging.state, surprises=(True,) * 8)
    hanging.go(0.05)
    assert not hanging.backs


def test_while_the_speed_ramps_in_nothing_counts_as_hanging(hanging):
    hanging.go(0.1)
    hanging.risk = RISKY
    takeover = replace(hanging.state.takeover, handed_back_s=hanging.monotonic_s)
    hanging.state = replace(hanging.state, takeover=takeover)
    hanging.go(0.9)
    assert hanging.state.retreat.tries == 0
    hanging.go(1.0)
    assert hanging.state.retreat.tries == 1


def test_who_has_gripped_something_since_does_not_go_back(make_hanging):
    make_hanging.grip = 1.0
    scene = make_hanging("sim_pick")
    scene.wants = [[0.5, 0.0, 0.0, 1.0]]
    scene.corner().go(0.1)
    assert scene.backs
    scene.grip = 0.5
    scene.go(0.05)
    assert not scene.backs
    assert len(scene.state.retreat.trail.points) == 1


def test_the_workspace_holds_on_the_way_back(hanging):
    hanging.corner()
    lower = hanging.robot_config.workspace.lower[0]
    hanging.hear_from_robot((lower + 0.0005, 0.0, 0.2))
    hanging.go(0.3)
    assert hanging.x >= lower - 1e-6
