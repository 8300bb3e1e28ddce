"""Stops that come neither from latents nor from proposals: e-stop, other publishers, clocks, a late stream; shadow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.choice import target_of
from fosp_safety_monitor.judge.verdict import Finding

STANDSTILL = (0.0, 0.0, 0.0)
HALF_SPEED = pytest.approx([0.125] * 3)
ESTOP = {"estop_topics": ("estop",)}


def outcome(finding):
    return finding.decision, finding.reason


# -- emergency stop --------------------------------------------------------------------------------------
def test_a_pressed_emergency_stop_latches_at_once_and_is_not_left_while_it_is_pressed(make_scene):
    scene = make_scene(robot=ESTOP)
    scene.drive(1.0)
    assert scene.state.command == HALF_SPEED
    scene.robot = replace(scene.robot, estop_pressed=True)
    scene.wait(0.01)
    assert outcome(scene.tick().finding) == (Decision.LATCH, Reason.ESTOP)
    assert scene.drive(0.2)[-1].command == STANDSTILL
    assert "pressed" in scene.reset()
    scene.robot = replace(scene.robot, estop_pressed=False)
    scene.drive(0.06)
    assert "held for 0.2 s" in scene.reset(), "its release is debounced"
    scene.drive(0.3)
    assert scene.reset() == ""
    assert scene.drive(1.0)[-1].command == HALF_SPEED


def test_a_configured_emergency_stop_that_falls_silent_is_a_pressed_one(make_scene):
    scene = make_scene(robot=ESTOP)
    scene.drive(1.0)
    heard_s = scene.robot.estop_receipt_s
    for _ in range(30):
        scene.wait(0.01)
        scene.hear_from_robot()
        scene.robot = replace(scene.robot, estop_receipt_s=heard_s)
        scene.judge()
        silent_s, finding = scene.monotonic_s - heard_s, scene.tick().finding
        assert (finding.decision is Decision.LATCH) == (silent_s > 0.2)
    assert finding.reason is Reason.ESTOP
    assert "silent" in finding.text


def test_a_configured_emergency_stop_that_was_never_heard_of_stops_without_a_latch(make_scene):
    scene = make_scene(robot=ESTOP)
    scene.robot = replace(scene.robot, estop_receipt_s=None)
    assert outcome(scene.judge()) == (Decision.STOP, Reason.ESTOP)
    assert scene.state.latched is None


def test_an_emergency_stop_counts_where_none_is_configured_too(moving):
    moving.robot = replace(moving.robot, estop_pressed=True)
    assert outcome(moving.tick().finding) == (Decision.LATCH, Reason.ESTOP)


def test_a_proposal_does_not_pass_under_a_pressed_emergency_stop(make_scene):
    scene = make_scene(robot=ESTOP)
    scene.robot = replace(scene.robot, estop_pressed=True)
    assert outcome(scene.judge()) == (Decision.LATCH, Reason.ESTOP)


# -- who commands ------------------------------------------------------------------------------------------
def test_somebody_else_on_the_command_topic_of_a_robot_that_moved_latches(moving):
    moving.robot = replace(moving.robot, other_publishers=("/teleop",))
    tick = moving.tick()
    assert outcome(tick.finding) == (Decision.LATCH, Reason.FOREIGN_COMMAND)
    assert "/teleop" in tick.finding.text
    assert moving.drive(0.2)[-1].command == STANDSTILL
    assert "/teleop" in moving.reset()
    moving.robot = replace(moving.robot, other_publishers=())
    moving.drive(0.3)
    assert moving.reset() == ""


def test_before_the_first_motion_somebody_else_on_the_command_topic_only_stops(scene):
    """A monitor that was killed stays in the discovery for some seconds, which is no reason for a latch."""
    scene.robot = replace(scene.robot, other_publishers=("/safety_monitor_node",))
    assert outcome(scene.judge()) == (Decision.STOP, Reason.FOREIGN_COMMAND)
    assert scene.drive(1.0)[-1].command == STANDSTILL
    assert scene.state.latched is None
    scene.robot = replace(scene.robot, other_publishers=())
    assert scene.drive(1.0)[-1].command == HALF_SPEED


# -- clocks -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jump_s", [-0.06, 0.06, 3600.0, -3600.0])
def test_a_clock_that_jumps_stops_and_is_named(moving, jump_s):
    moving.wait(0.01)
    moving.ros_s += jump_s
    finding = moving.tick().finding
    assert finding.decision is Decision.STOP
    assert finding.reason is Reason.CLOCK
    assert f"{jump_s * 1e3:+.0f} ms" in finding.text


def test_a_clock_that_is_slewed_does_not_stop(moving):
    for _ in range(100):
        moving.ros_s += 0.0004
        assert moving.drive(0.01, deciding=False)[-1].finding.reason is not Reason.CLOCK
        moving.judge()


def test_after_a_jump_of_the_clock_the_robot_goes_on_when_all_stamps_are_of_the_new_time(moving):
    moving.ros_s += 3600.0
    assert moving.drive(0.1)[-1].command == STANDSTILL
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_a_simulated_clock_may_stand_still_and_catch_up_but_not_run_backwards(moving):
    moving.thresholds = replace(moving.thresholds, simulated_time=True)
    moving.monotonic_s += 0.09
    assert moving.tick().finding.reason is not Reason.CLOCK
    moving.ros_s += 0.08
    assert moving.tick().finding.reason is not Reason.CLOCK
    moving.ros_s -= 0.06
    assert moving.tick().finding.reason is Reason.CLOCK


def test_a_paused_simulation_stops_the_robot_although_no_stamp_grows_old(moving):
    moving.thresholds = replace(moving.thresholds, simulated_time=True)
    paused_s = moving.ros_s
    for _ in range(20):
        moving.wait(0.01)
        moving.ros_s = paused_s
        tick = moving.tick()
    assert outcome(tick.finding)[0] is Decision.STOP
    assert tick.command == STANDSTILL


@pytest.mark.parametrize("source", ["state", "pose"])
def test_a_zero_stamp_is_an_old_one(moving, source):
    received = getattr(moving.robot, source)
    moving.robot = replace(moving.robot, **{source: replace(received, stamp_s=0.0)})
    assert outcome(moving.tick().finding) == (Decision.STOP, Reason.STALE_ROBOT_STATE)


# -- the stream itself ---------------------------------------------------------------------------------------
def test_after_a_pause_longer_than_the_robots_watchdog_commands_begin_at_zero(moving):
    moving.drive(1.0, proposal=lambda: moving.proposal([[1.0, 0.0, 0.0]]))
    assert max(moving.state.command) > 6.0 * moving.limits.longest_tick_s, "more than one tick of braking takes away"
    moving.wait(0.15)
    moving.hear_from_robot()
    tick = moving.tick()
    assert outcome(tick.finding) == (Decision.STOP, Reason.HELD_UP)
    assert tick.command == STANDSTILL, "the robot has stopped by itself: going on from the old speed would be a jump"
    commands = np.array([tick.command for tick in moving.drive(1.0)])
    assert np.abs(np.diff(commands, axis=0)).max() <= 4.0 * 0.01 + 1e-9
    assert commands[-1] == HALF_SPEED


def test_a_pause_of_the_monitor_itself_is_no_silence_of_the_emergency_stop(make_scene):
    scene = make_scene(robot=ESTOP)
    scene.drive(1.0)
    heard_s = scene.robot.estop_receipt_s
    scene.wait(0.5)
    assert outcome(scene.tick().finding) == (Decision.STOP, Reason.HELD_UP)
    for _ in range(25):
        scene.wait(0.01)
        scene.hear_from_robot()
        scene.robot = replace(scene.robot, estop_receipt_s=heard_s)
        finding = scene.tick().finding
    assert outcome(finding) == (Decision.LATCH, Reason.ESTOP), "but it must speak again"


# -- release ---------------------------------------------------------------------------------------------------
def test_a_stop_begins_at_once_and_ends_when_every_check_has_held_for_release_s(moving):
    moving.wait(0.05)
    moving.hear_from_robot()
    assert outcome(moving.judge(scored=moving.values(q_r=(5.0,)))) == (Decision.STOP, Reason.CRITIC_RANGE)
    decisions = []
    for _ in range(5):
        moving.wait(0.05)
        moving.hear_from_robot()
        decisions.append(moving.judge().decision)
    assert decisions[:3] == [Decision.STOP] * 3
    assert decisions[-1] is Decision.PASS
    assert moving.state.stop is None


def test_a_check_that_flickers_never_lets_the_robot_go(moving):
    for _ in range(20):
        moving.drive(0.05, scored=lambda: moving.values(q_r=(5.0,)))
        assert moving.drive(0.05)[-1].finding.decision is Decision.STOP
    assert moving.state.command == STANDSTILL


# -- latches that no input shows ---------------------------------------------------------------------------------
def test_a_latch_from_outside_stops_and_is_told_of_at_the_next_tick(moving):
    finding = Finding(Decision.LATCH, Reason.NODE_RESTARTED, "policy_node came back")
    moving.state = decision.latch(moving.state, finding)
    moving.wait(0.01)
    tick = moving.tick()
    assert outcome(tick.finding) == (Decision.LATCH, Reason.NODE_RESTARTED)
    assert outcome(tick.verdict) == (Decision.LATCH, Reason.NODE_RESTARTED)
    assert moving.drive(1.0)[-1].command == STANDSTILL
    assert moving.reset() == ""
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_the_first_cause_of_a_latch_stays(moving):
    for reason in (Reason.ESTOP, Reason.NODE_RESTARTED):
        moving.state = decision.latch(moving.state, Finding(Decision.LATCH, reason, "."))
    assert moving.state.latched.reason is Reason.ESTOP


# -- the self-test -----------------------------------------------------------------------------------------------
def test_a_critic_that_fails_its_self_test_latches_at_the_next_tick_and_no_reset_is_granted_meanwhile(make_scene):
    scene = make_scene()
    scene.drive(1.0)
    scene.robot = replace(scene.robot, self_test="the critic of 123 fails its self-test")
    tick = scene.drive(0.05)[-1]
    assert outcome(tick.finding) == (Decision.LATCH, Reason.SELF_TEST)
    assert scene.drive(1.0)[-1].command == STANDSTILL
    assert "fails its self-test" in scene.reset()
    scene.robot = replace(scene.robot, self_test="")
    scene.drive(0.5)
    assert scene.reset() == ""


def test_before_the_first_proposal_a_failed_self_test_latches_too(make_scene):
    scene = make_scene()
    scene.robot = replace(scene.robot, self_test="late")
    assert outcome(scene.tick().finding) == (Decision.LATCH, Reason.SELF_TEST)


# -- shadow mode -------------------------------------------------------------------------------------------------
@pytest.fixture
def shadow(make_scene):
    scene = make_scene(shadow=True, robot=ESTOP)
    scene.drive(1.0)
    assert scene.state.command == HALF_SPEED
    return scene


def test_in_shadow_mode_judgements_are_told_but_let_the_proposal_through(shadow):
    for scored, expected in (
        (shadow.values([0.9]), Decision.RECOVER),
        (shadow.values([0.45]), Decision.PASS),
        (shadow.values(q_r=(5.0,)), Decision.STOP),
    ):
        shadow.wait(0.05)
        shadow.hear_from_robot()
        verdict = shadow.judge(scored=scored)
        assert verdict.shadow
        assert verdict.decision is expected
        assert verdict.action_out == (0.5, 0.5, 0.5)
    assert shadow.drive(1.0, scored=lambda: shadow.values([0.9]))[-1].command == HALF_SPEED


def test_in_shadow_mode_a_judgement_does_not_latch(shadow):
    ticks = shadow.drive(6.0, scored=lambda: shadow.values([0.9]))
    assert shadow.state.latched is None
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.VETOES), "it says what it would have done"
    assert ticks[-1].command == HALF_SPEED


def test_in_shadow_mode_the_risky_choice_is_sent_and_not_the_substitute(shadow):
    shadow.wait(0.05)
    shadow.hear_from_robot()
    proposal = shadow.proposal([[0.8, 0.0, 0.0], [0.2, 0.0, 0.0]])
    verdict = shadow.judge(proposal, scored=shadow.values([0.9, 0.1]))
    assert (verdict.decision, verdict.candidate) == (Decision.SUBSTITUTE, 0)
    assert verdict.action_out == pytest.approx((0.8, 0.0, 0.0))
    assert (verdict.q_h, verdict.q_h_out) == (0.9, 0.9)


@pytest.mark.parametrize("fault", ["estop", "not finite", "no proposals", "no robot state", "foreign"])
def test_in_shadow_mode_too_the_robot_stops_where_nothing_can_be_followed_or_a_person_wants_it(shadow, fault):
    if fault == "estop":
        shadow.robot = replace(shadow.robot, estop_pressed=True)
    elif fault == "foreign":
        shadow.robot = replace(shadow.robot, other_publishers=("/teleop",))
    broken = {"proposal": lambda: shadow.proposal([[math.nan] * 3])} if fault == "not finite" else {}
    silent_since = shadow.robot if fault == "no robot state" else None
    ticks = []
    for _ in range(6):
        if silent_since is not None:  # the emergency stop goes on talking
            shadow.robot = replace(silent_since, estop_receipt_s=shadow.monotonic_s)
        ticks += shadow.drive(0.05, deciding=fault != "no proposals", robot=silent_since is None, **broken)
    assert ticks[-1].command == STANDSTILL


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"actions": np.full((1, 3), math.nan, np.float32)}, Reason.NOT_FINITE),
        ({"actions": np.zeros((1, 2), np.float32)}, Reason.WRONG_SHAPE),
        ({"actions": None}, Reason.WRONG_SHAPE),
        ({"chosen": 7}, Reason.WRONG_SHAPE),
    ],
)
def test_in_shadow_mode_a_proposal_of_an_unknown_model_that_cannot_be_followed_stops(shadow, broken, reason):
    ticks = shadow.drive(0.3, proposal=lambda: replace(shadow.proposal(model_id="other"), **broken))
    assert outcome(ticks[-1].finding) == (Decision.LATCH, reason)
    assert ticks[-1].command == STANDSTILL


def test_a_target_that_is_not_finite_is_a_stop_and_no_full_speed(shadow):
    target = target_of(1.0, shadow.proposal([[math.nan, 0.5, 9.0]]), 0, shadow.thresholds)
    assert math.isnan(target[0])
    assert target[1:] == (0.5, 1.0)


def test_in_shadow_mode_hard_limits_hold(shadow):
    ticks = shadow.drive(1.0, proposal=lambda: shadow.proposal([[9.0, 9.0, 9.0]]))
    assert (np.abs([tick.command for tick in ticks]) <= shadow.limits.speed + 1e-9).all()


# -- jerk ----------------------------------------------------------------------------------------------------------
def test_the_stream_keeps_the_jerk_limit_when_it_starts_stops_and_halts(make_scene, arm):
    limits = {name: axis.model_copy(update={"jerk": 300.0}) for name, axis in arm.limits.items()}
    scene = make_scene(robot={"limits": limits})
    ticks = [*scene.drive(0.5), *scene.drive(0.3, deciding=False), *scene.drive(0.8)]
    commands = [tick.command for tick in ticks]
    assert commands[-1] == HALF_SPEED
    while any(scene.state.command):
        scene.wait(0.01)
        scene.state = decision.halt(scene.state, scene.limits, scene.now)
        commands.append(scene.state.command)
    assert np.abs(np.diff(commands, n=2, axis=0)).max() <= 300.0 * 0.01**2 + 1e-9
