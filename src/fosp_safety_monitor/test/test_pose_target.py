"""The target pose of a position-controlled arm: where it begins, how far it goes, and what stops it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.command.pose_target import PoseTarget, ToolPose
from fosp_safety_monitor.motion_model import Lead

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
CENTRE = np.array([0.5, 0.0, 0.2])
TICK_S = 0.01


def at(*position, orientation=UPRIGHT):
    return ToolPose(np.array(position, np.float64), orientation)


def ahead(target, measured):
    """Distance and angle of the target itself, no way of stopping added."""
    lead = target.lead((0.0,) * 4, measured)
    return np.array([lead.distance, lead.angle])


def test_the_target_begins_at_the_measured_pose_and_zero_holds_it_there(turning_arm):
    target, measured = PoseTarget(turning_arm), at(0.4, 0.1, 0.2, orientation=np.array([0.0, 0.6, 0.0, 0.8]))
    begun = target.follow((0.0,) * 4, measured, TICK_S)
    assert begun.position.tolist() == measured.position.tolist()
    held = target.follow((0.0,) * 4, at(0.41, 0.1, 0.2), TICK_S)
    assert held.position.tolist() == measured.position.tolist(), "the arm may sag, its target does not"
    assert held.orientation == pytest.approx(measured.orientation)


def test_the_target_is_the_integral_of_the_commands(turning_arm):
    target, measured = PoseTarget(turning_arm), at(*CENTRE)
    for _ in range(10):
        pose = target.follow((0.2, -0.1, 0.0, 0.5), measured, TICK_S)
    assert pose.position == pytest.approx(CENTRE + np.array([0.02, -0.01, 0.0]))
    assert pose.orientation == pytest.approx([0.0, 0.0, np.sin(0.025), np.cos(0.025)])


def test_a_late_command_moves_the_target_no_further_than_one_of_30_ms(turning_arm):
    target = PoseTarget(turning_arm)
    target.follow((0.0,) * 4, at(*CENTRE), TICK_S)
    pose = target.follow((0.2, 0.0, 0.0, 0.0), at(*CENTRE), 5.0)
    assert pose.position[0] - CENTRE[0] == pytest.approx(0.2 * 0.03)


def test_the_target_of_an_arm_that_stands_still_comes_to_its_lead_and_no_further(turning_arm):
    target = PoseTarget(turning_arm)
    for _ in range(200):
        pose = target.follow((0.3, 0.0, 0.0, 0.6), at(*CENTRE), TICK_S)
    assert 0.046 < pose.position[0] - CENTRE[0] <= 0.05 + 1e-9
    assert 0.19 < 2.0 * np.arccos(pose.orientation[3]) <= 0.2 + 1e-6


def test_an_arm_that_begins_outside_of_its_workspace_comes_in_and_goes_no_further_out(turning_arm):
    outside = at(0.8, 0.0, 0.2)
    target = PoseTarget(turning_arm)
    assert target.follow((0.2, 0.0, 0.0, 0.0), outside, TICK_S).position[0] == 0.8
    assert target.follow((-0.2, 0.0, 0.0, 0.0), outside, TICK_S).position[0] == pytest.approx(0.798)


# -- the monitor and its target --------------------------------------------------------------------
class Arm:
    """A position-controlled arm behind the decision core: it follows its target, unless it is blocked."""

    def __init__(self, scene):
        self.scene, self.blocked = scene, False
        self.target, self.measured = PoseTarget(scene.robot_config), at(*CENTRE)
        self.targets = []

    def drive(self, seconds, action):
        """Ticks at 100 Hz under proposals of one action; the last tick."""
        scene = self.scene
        for index in range(round(seconds / TICK_S)):
            scene.wait(TICK_S)
            scene.hear_from_robot(tuple(self.measured.position.tolist()))
            if index % 5 == 0:
                scene.judge(scene.proposal([action]))
            tick = scene.tick()
            pose = self.target.follow(tick.command, self.measured, TICK_S)
            scene.robot = replace(scene.robot, lead=self.target.lead(tick.command, self.measured))
            self.targets.append(pose.position)
            if not self.blocked:
                self.measured = pose
        return tick


@pytest.fixture
def driven(turning_arm, make_scene):
    return Arm(make_scene(robot=dict(turning_arm)))


def test_an_arm_that_follows_its_target_is_driven_up_to_the_wall_and_not_through_it(driven):
    tick = driven.drive(3.0, [1.0, 0.0, 0.0, 0.0])
    assert tick.finding.decision is Decision.PASS
    assert driven.targets[-1][0] == pytest.approx(driven.scene.robot_config.workspace.upper[0], abs=2e-3)
    speeds = np.diff([CENTRE, *driven.targets], axis=0) / TICK_S
    assert np.abs(np.diff(speeds, axis=0)).max() <= 6.0 * TICK_S + 1e-9, "the wall is approached within the limits"


def test_a_blocked_arm_latches_before_its_target_has_left_it_behind_and_the_target_is_held(driven):
    driven.drive(0.3, [0.8, 0.0, 0.0, 0.0])
    driven.blocked = True
    first = len(driven.targets)
    tick = driven.drive(1.0, [0.8, 0.0, 0.0, 0.0])
    assert (tick.finding.decision, tick.finding.reason) == (Decision.LATCH, Reason.NOT_FOLLOWING)
    assert tick.command == (0.0,) * 4
    assert 0.03 < ahead(driven.target, driven.measured)[0] <= driven.scene.robot_config.target_lead.distance
    speeds = np.diff(driven.targets[first - 2 :], axis=0) / TICK_S
    assert np.abs(np.diff(speeds, axis=0)).max() <= 6.0 * TICK_S + 1e-9, "it brakes within the limits"
    held = driven.targets[-1]
    driven.drive(0.2, [0.8, 0.0, 0.0, 0.0])
    assert driven.targets[-1].tolist() == held.tolist()
    assert "does not follow" in driven.scene.reset(), "though it was stopped just within what is allowed"


def test_a_latch_of_an_arm_that_was_pushed_away_ends_when_it_is_back_at_its_target(driven):
    driven.drive(0.3, [0.0, 0.0, 0.0, 0.0])
    driven.blocked, home = True, driven.measured
    driven.measured = at(*(CENTRE + np.array([0.0, 0.06, 0.0])))
    assert driven.drive(0.3, [0.0, 0.0, 0.0, 0.0]).finding.reason is Reason.NOT_FOLLOWING
    assert "60 mm" in driven.scene.reset()
    driven.measured = home
    driven.drive(0.3, [0.0, 0.0, 0.0, 0.0])
    assert driven.scene.reset() == ""


@pytest.mark.parametrize("lead", [Lead((0.5, 0.0, 0.2), np.nan, 0.0), Lead((0.5, 0.0, 0.2), 0.0, 0.21)])
def test_a_lead_that_is_no_number_and_one_of_the_angle_latch_too(turning_arm, make_scene, lead):
    scene = make_scene(robot=dict(turning_arm))
    scene.robot = replace(scene.robot, lead=lead)
    assert scene.judge().reason is Reason.NOT_FOLLOWING
