"""The command stream: what moves the robot, what stops it and how fast, and how a latch ends."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.state import initial_state
from fosp_safety_monitor.judge.verdict import FrameStamp

CENTRE = (0.5, 0.0, 0.2)
TICK_S = 0.01
STANDSTILL = (0.0, 0.0, 0.0)
HALF_SPEED = pytest.approx([0.125] * 3)


def outcome(finding):
    return finding.decision, finding.reason


def braking_is_within_limits(scene, ticks):
    """Every command is closer to zero than the one before, by no more than the deceleration limit allows."""
    commands = np.array([tick.command for tick in ticks])
    steps = np.abs(np.diff(np.abs(commands), axis=0))
    return (np.diff(np.abs(commands), axis=0) <= 1e-12).all() and (
        steps <= scene.limits.deceleration * 0.01 + 1e-9
    ).all()


# -- motion ------------------------------------------------------------------------------------------
def test_commands_approach_the_verdict_within_the_acceleration_limit(scene):
    ticks = scene.drive(0.2)
    commands = np.array([tick.command for tick in ticks])
    assert commands[-1] == HALF_SPEED
    assert np.abs(np.diff(commands, axis=0)).max() <= 4.0 * 0.01 + 1e-9
    assert all(tick.verdict is None for tick in ticks[1:])


def test_the_first_tick_does_not_jump(scene):
    scene.judge()
    assert scene.tick().command == STANDSTILL


def test_a_tick_that_comes_late_jumps_no_further_than_three_ticks(scene):
    scene.judge(scene.proposal([[1.0, 1.0, 1.0]]))
    scene.state = replace(scene.state, ticked=Now(scene.ros_s - 0.09, scene.monotonic_s - 0.09))
    assert scene.tick().command == pytest.approx([4.0 * 0.03] * 3)


def test_commands_slow_down_towards_a_wall_of_the_workspace(scene):
    scene.drive(0.3)
    scene.hear_from_robot((0.759, 0.0, 0.2))
    command = scene.drive(0.3)[-1].command
    assert 0.0 <= command[0] < 0.12
    assert command[1] == pytest.approx(0.125)


@pytest.mark.parametrize(("period", "late"), [(1, 0), (3, 0), (4, 2), (8, 1)])
def test_the_tool_stays_in_the_workspace_though_its_pose_comes_seldom_and_late(scene, period, late):
    """`period` and `late` in ticks: of the measurements, and from one to its receipt."""
    wall = scene.robot_config.workspace.upper[0]
    x = [CENTRE[0]] * (late + 1)
    for i in range(300):
        scene.wait(TICK_S)
        if i % period == 0:
            measured = Received(scene.ros_s - late * TICK_S, scene.monotonic_s)
            scene.robot = replace(scene.robot, pose=measured, position=(x[-1 - late], 0.0, 0.2))
        scene.robot = replace(scene.robot, state=Received(scene.ros_s, scene.monotonic_s))
        if i % 5 == 0:
            scene.judge(scene.proposal([[1.0, 0.0, 0.0]]))
        tick = scene.tick()
        assert tick.finding.decision is Decision.PASS
        x.append(x[-1] + tick.command[0] * TICK_S)
        assert x[-1] <= wall + 1e-9
    assert x[-1] == pytest.approx(wall, abs=0.005)


def test_the_verdict_records_that_hard_limits_changed_a_command(scene):
    assert not scene.judge().limited
    scene.drive(0.06, deciding=False)
    assert scene.state.command == HALF_SPEED
    assert scene.judge(scene.proposal()).limited, "speeding up took more than one tick"
    scene.drive(0.5)
    scene.drive(0.04, deciding=False)
    assert not scene.judge().limited


# -- standing still until there is a reason to move --------------------------------------------------
def test_nothing_moves_before_the_first_verdict(scene):
    ticks = scene.drive(10.0, deciding=False)
    assert {tick.command for tick in ticks} == {STANDSTILL}
    assert outcome(ticks[-1].finding) == (Decision.STOP, Reason.NOT_READY), "waiting to begin does not latch"
    assert ticks[-1].finding.text.startswith("nothing was judged")


def test_not_ready_names_the_robot_state_that_is_missing(scene):
    scene.robot = replace(scene.robot, state=None)
    assert "robot state never received" in scene.tick().finding.text


# -- deadline and staleness ----------------------------------------------------------------------------
def test_without_a_new_proposal_the_robot_stands_still_within_200_ms(moving):
    ticks = moving.drive(0.2, deciding=False)
    assert ticks[5].command == HALF_SPEED, "one missing decision is no reason to brake"
    assert outcome(ticks[11].finding) == (Decision.STOP, Reason.DEADLINE)
    assert ticks[15].command == STANDSTILL
    assert ticks[-1].command == STANDSTILL
    assert braking_is_within_limits(moving, ticks)


def test_without_robot_state_the_robot_stands_still_within_200_ms(moving):
    ticks = moving.drive(0.2, robot=False)
    assert outcome(ticks[11].finding) == (Decision.STOP, Reason.STALE_ROBOT_STATE)
    assert ticks[-1].command == STANDSTILL
    assert braking_is_within_limits(moving, ticks)


def test_without_a_fresh_pose_the_arm_stands_still(moving):
    pose = moving.robot.pose
    for index in range(20):
        moving.wait(0.01)
        moving.robot = replace(moving.robot, state=Received(moving.ros_s, moving.monotonic_s), pose=pose)
        if index % 5 == 0:
            moving.judge()
        tick = moving.tick()
    assert "pose" in tick.finding.text
    assert tick.command == STANDSTILL


def test_a_verdict_on_an_ageing_image_is_not_followed_beyond_its_limit(make_scene):
    scene = make_scene(proposal_timeout_s=1.0, latent_timeout_s=1.0)
    scene.drive(1.0)
    ticks = scene.drive(0.3, deciding=False)
    assert outcome(ticks[18].finding)[0] < Decision.STOP
    assert outcome(ticks[-1].finding) == (Decision.STOP, Reason.STALE_IMAGE)
    assert ticks[-1].command == STANDSTILL


def test_a_verdict_on_an_ageing_latent_is_not_followed_beyond_its_limit(make_scene):
    scene = make_scene(proposal_timeout_s=1.0, image_timeout_s=1.0)
    scene.drive(1.0)
    ticks = scene.drive(0.3, deciding=False)
    assert outcome(ticks[-1].finding) == (Decision.STOP, Reason.STALE_LATENT)
    assert ticks[-1].command == STANDSTILL


def test_a_proposal_that_waits_for_its_latent_is_named_as_the_cause(moving):
    moving.wait(0.01)
    moving.state = replace(moving.state, waiting=moving.proposal(step=41))
    tick = moving.drive(0.2, deciding=False)[-1]
    assert outcome(tick.finding) == (Decision.STOP, Reason.STALE_LATENT)
    assert "41" in tick.finding.text


def test_a_clock_that_jumps_back_stops(moving):
    moving.ros_s -= 1.0
    assert moving.tick().finding.decision is Decision.STOP


def test_motion_goes_on_by_itself_when_a_short_gap_is_over(moving):
    assert moving.drive(1.0, deciding=False)[-1].finding.decision is Decision.STOP
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_a_gap_of_five_seconds_latches(moving):
    ticks = moving.drive(5.2, deciding=False)
    assert outcome(ticks[500].finding)[0] is Decision.STOP
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.STALE_TOO_LONG)
    assert "last proposal received" in ticks[-1].finding.text
    after = moving.drive(1.0)
    assert {tick.command for tick in after} == {STANDSTILL}
    assert after[-1].finding.decision is Decision.LATCH


def test_images_that_stay_stale_latch_although_proposals_keep_coming(moving):
    def old():
        return FrameStamp(round((moving.ros_s - 0.3) * 1e9))

    ticks = moving.drive(5.3, proposal=lambda: moving.proposal(frame=old()), latent=lambda: moving.latent(frame=old()))
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.STALE_TOO_LONG)


def test_images_that_stay_in_the_future_latch(moving):
    def early():
        return FrameStamp(round((moving.ros_s + 0.03) * 1e9))

    ticks = moving.drive(
        5.3, proposal=lambda: moving.proposal(frame=early()), latent=lambda: moving.latent(frame=early())
    )
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.STALE_TOO_LONG)


# -- stops of a verdict ----------------------------------------------------------------------------------
def test_a_verdict_that_stops_brakes_within_the_limits_at_once(moving):
    scored = moving.values(q_r=(5.0,))
    ticks = moving.drive(0.1, scored=lambda: scored)
    assert ticks[3].command == HALF_SPEED
    assert outcome(ticks[4].finding) == (Decision.STOP, Reason.CRITIC_RANGE)
    assert ticks[-1].command == STANDSTILL
    assert braking_is_within_limits(moving, ticks)


def test_a_latch_brakes_within_the_limits_and_holds(moving):
    broken = moving.proposal([[math.nan] * 3])
    moving.wait(0.01)
    moving.judge(broken)
    ticks = moving.drive(1.0)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.NOT_FINITE)
    assert ticks[-1].command == STANDSTILL
    assert braking_is_within_limits(moving, ticks)


def test_a_malformed_latent_alone_stops_the_robot(moving):
    moving.receive(moving.latent(surprise=math.nan))
    assert moving.drive(0.1, deciding=False)[-1].command == STANDSTILL


def test_halting_brakes_whatever_the_inputs_say(moving):
    commands = [moving.state.command]
    for _ in range(5):
        moving.wait(0.01)
        moving.judge()
        moving.state = decision.halt(moving.state, moving.limits, moving.now)
        commands.append(moving.state.command)
    assert commands[-1] == STANDSTILL
    assert np.abs(np.diff(commands, axis=0)).max() <= 6.0 * 0.01 + 1e-9


# -- verdicts of ticks -------------------------------------------------------------------------------------
def test_a_stop_without_a_proposal_is_reported_once_per_decision_period(moving):
    verdicts = [tick.verdict for tick in moving.drive(1.0, deciding=False) if tick.verdict]
    assert 15 <= len(verdicts) <= 18
    assert {outcome(verdict) for verdict in verdicts} == {(Decision.STOP, Reason.DEADLINE)}
    assert all(verdict.action_in == () and verdict.action_out == STANDSTILL for verdict in verdicts)
    assert verdicts[0].step == moving.state.judged.step
    assert verdicts[0].frame == moving.state.judged.frame


def test_the_first_report_of_a_missed_deadline_comes_at_once(moving):
    ticks = moving.drive(0.2, deciding=False)
    first_stop = next(i for i, tick in enumerate(ticks) if tick.finding.decision is Decision.STOP)
    assert ticks[first_stop].verdict is not None


# -- reset ---------------------------------------------------------------------------------------------------
def latch(scene):
    scene.wait(0.01)
    scene.judge(scene.proposal(model_id="other"))
    assert scene.state.latched is not None


def test_a_latch_does_not_end_by_itself(moving):
    latch(moving)
    ticks = moving.drive(20.0)
    assert ticks[-1].finding.decision is Decision.LATCH
    assert "latched until reset: proposal" in ticks[-1].finding.text
    assert moving.state.judged.verdict.decision is Decision.LATCH
    assert moving.state.judged.verdict.reason is Reason.MODEL_ID


def test_a_reset_ends_the_latch_when_its_cause_is_gone(moving):
    latch(moving)
    moving.drive(0.3)
    assert moving.reset() == ""
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_a_reset_is_refused_while_the_cause_persists_and_says_which(moving):
    latch(moving)
    assert "comes from model 'other'" in moving.reset()
    assert moving.state.latched is not None


def test_a_reset_is_refused_while_nothing_proves_that_the_cause_is_gone(moving):
    latch(moving)
    moving.drive(0.2)
    moving.drive(0.3, deciding=False)
    assert "last proposal received" in moving.reset()


def test_a_reset_is_refused_while_malformed_latents_come(moving):
    moving.receive(moving.latent(deter=np.zeros(1, np.float32)))
    assert "shapes" in moving.reset()


def test_a_reset_is_refused_while_the_robot_state_is_stale(moving):
    latch(moving)
    moving.drive(0.2)
    moving.robot = replace(moving.robot, state=Received(moving.ros_s - 1.0, moving.monotonic_s))
    assert "robot state" in moving.reset()


def test_a_reset_is_refused_while_the_policy_is_still_vetoed(moving):
    danger = moving.values([0.9])
    moving.drive(5.1, scored=lambda: danger)
    assert moving.state.latched.reason is Reason.VETOES
    assert "vetoed" in moving.reset()
    moving.drive(0.3)
    assert moving.reset() == ""


def test_after_a_reset_only_a_new_proposal_moves_the_robot(moving):
    for latent in (moving.latent(surprise=math.nan), moving.latent()):
        moving.receive(latent)
    assert moving.reset() == ""
    assert moving.drive(0.04, deciding=False)[-1].command == STANDSTILL
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_a_reset_without_a_latch_changes_nothing(moving):
    before = moving.state
    assert moving.reset() == ""
    assert moving.state == before


def test_a_latch_outlives_deactivation(moving):
    latch(moving)
    moving.state = initial_state(3, moving.state.latched)
    assert moving.tick().finding.decision is Decision.LATCH
    assert "nothing was judged" in moving.reset()
    assert moving.drive(1.0)[-1].command == STANDSTILL
    assert moving.reset() == ""
