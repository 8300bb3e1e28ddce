"""A person takes the robot over from the policy and hands it back: scenes of one arm, without ROS."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fosp_core.clock import Received
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp

AWAY = (-0.4, 0.2, 0.0)

TakeoverScene = Any


@pytest.fixture
def shared(make_takeover_scene: Any) -> TakeoverScene:
    """The arm, driven by the policy for a second while the gamepad lies there."""
    scene = make_takeover_scene()
    scene.go(1.0)
    assert scene.share() == pytest.approx([0.5] * 3)
    return scene


@pytest.fixture
def taken(shared: TakeoverScene) -> TakeoverScene:
    """The same, taken over half a second ago."""
    shared.say(holds=True, action=AWAY)
    shared.go(0.5)
    assert shared.share() == pytest.approx(AWAY)
    return shared


def stands(scene: TakeoverScene, seconds: float = 0.3) -> Finding:
    tick = scene.go(seconds)[-1]
    assert not any(tick.command), tick.finding
    return tick.finding


def test_a_person_who_holds_the_button_has_the_robot_at_the_next_tick(shared: TakeoverScene) -> None:
    shared.say(holds=True, action=AWAY)
    shared.verdicts.clear()
    shared.go(0.02)
    assert shared.driver is WhoDrives.OPERATOR
    first = shared.verdicts[0]
    assert (first.source, first.decision, first.action_in) == (WhoDrives.OPERATOR, Decision.PASS, AWAY)
    shared.go(0.5)
    assert shared.share() == pytest.approx(AWAY)
    assert {verdict.source for verdict in shared.verdicts} == {WhoDrives.OPERATOR}


def test_the_critic_tells_the_risk_of_the_person_and_does_not_gate_it(taken: TakeoverScene) -> None:
    taken.risk = 0.99
    taken.verdicts.clear()
    taken.go(0.3)
    told = [verdict for verdict in taken.verdicts if not math.isnan(verdict.q_h)]
    assert {verdict.q_h for verdict in told} == {0.99}
    assert {verdict.decision for verdict in told} == {Decision.PASS}
    assert "not gated: risk" in told[-1].reason_text
    assert taken.share() == pytest.approx(AWAY)


def test_where_the_setting_says_so_the_critic_gates_the_person(make_takeover_scene: Any) -> None:
    scene = make_takeover_scene(gate_operator=True)
    scene.go(0.5)
    scene.say(holds=True, action=AWAY)
    scene.go(0.5)
    assert scene.share() == pytest.approx(AWAY, abs=1e-6)
    scene.risk = 0.99
    scene.go(0.5)
    assert scene.verdicts[-1].decision is Decision.RECOVER
    assert np.abs(scene.share()).max() < 0.1
    scene.risk, scene.encoder = 0.1, False
    assert stands(scene, 0.5).reason in (Reason.STALE_LATENT, Reason.STALE_IMAGE)


def test_a_person_whom_the_critic_gates_moves_nothing_before_they_were_judged(make_takeover_scene: Any) -> None:
    scene = make_takeover_scene(gate_operator=True)
    scene.go(0.5)
    scene.encoder = scene.policy = False
    scene.say(holds=True, action=AWAY)
    found = stands(scene)
    assert (found.decision, found.reason) == (Decision.STOP, Reason.STALE_LATENT)
    assert "no latent came" in found.text


def test_a_release_stops_and_hands_back_after_a_while_with_a_ramp(taken: TakeoverScene) -> None:
    released_s = taken.monotonic_s
    taken.say(holds=False, action=(0.0, 0.0, 0.0))
    taken.verdicts.clear()
    ticks = taken.go(0.19)
    assert taken.driver is WhoDrives.NOBODY
    assert not any(ticks[-1].command)
    assert {tick.finding.reason for tick in ticks} == {Reason.TAKEN_OVER}
    assert WhoDrives.NOBODY in {verdict.source for verdict in taken.verdicts}
    while taken.driver is WhoDrives.NOBODY:
        taken.go(0.05)
    assert taken.monotonic_s - released_s >= 0.2
    judged = taken.state.judged
    assert judged is not None
    assert judged.finding.decision is Decision.PASS
    assert "the speed is scaled by 0.2" in judged.verdict.reason_text
    assert judged.verdict.source is WhoDrives.POLICY
    assert judged.wish == pytest.approx([0.1] * 3)
    taken.go(1.2)
    assert taken.share() == pytest.approx([0.5] * 3)


def test_a_proposal_from_before_the_release_does_not_get_the_robot_back(taken: TakeoverScene) -> None:
    taken.policy = False
    taken.say(holds=False)
    taken.go(0.02)
    before_ns = round((taken.ros_s - 0.1) * 1e9)
    taken.go(0.25)
    stale = taken.proposal(frame=FrameStamp(before_ns, "camera"))
    verdict = taken.answer(stale, taken.latent(frame=stale.frame))
    assert (verdict.source, verdict.decision) == (WhoDrives.NOBODY, Decision.STOP)
    assert taken.driver is WhoDrives.NOBODY
    taken.wait(0.01)
    assert taken.judge().source is WhoDrives.POLICY


def test_a_policy_that_stays_away_after_the_release_latches(taken: TakeoverScene) -> None:
    taken.policy = False
    taken.say(holds=False)
    assert stands(taken, 1.0).reason is Reason.DEADLINE
    taken.go(5.0)
    assert taken.state.latched is not None
    assert taken.state.latched.reason is Reason.STALE_TOO_LONG


def test_a_device_that_falls_silent_stops_the_robot_and_keeps_it(taken: TakeoverScene) -> None:
    taken.speaks = False
    taken.go(0.14)
    assert any(taken.state.command)
    assert stands(taken).reason is Reason.OPERATOR_SILENT
    assert taken.driver is WhoDrives.OPERATOR, "it is not handed back"
    taken.speaks = True
    assert stands(taken, 0.5).text.startswith("let go of the controls first"), "the press from before counts no more"
    taken.say(holds=False)
    taken.go(0.1)
    taken.say(holds=True)
    taken.go(0.5)
    assert taken.share() == pytest.approx(AWAY)


def test_a_device_that_stays_silent_latches_and_a_reset_gives_the_robot_to_the_policy(taken: TakeoverScene) -> None:
    taken.speaks = False
    taken.go(5.5)
    assert taken.state.latched is not None
    assert taken.reset() == ""
    assert taken.driver is WhoDrives.POLICY
    taken.go(1.5)
    assert taken.share() == pytest.approx([0.5] * 3)


def test_after_a_latch_the_button_has_to_be_let_go_before_anybody_drives(taken: TakeoverScene) -> None:
    taken.state = decision.latch(taken.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "came back"))
    stands(taken)
    assert taken.driver is WhoDrives.NOBODY
    assert taken.reset() == ""
    assert stands(taken, 0.5).reason is Reason.TAKEN_OVER
    taken.say(holds=False)
    taken.go(1.5)
    assert taken.share() == pytest.approx([0.5] * 3)


def test_a_device_that_was_silent_for_a_moment_while_latched_takes_over_at_its_next_press(
    shared: TakeoverScene,
) -> None:
    shared.state = decision.latch(shared.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "came back"))
    shared.speaks = False
    shared.go(0.3)
    shared.speaks = True
    shared.go(0.3)
    assert shared.reset() == ""
    shared.say(holds=True, action=AWAY)
    shared.go(0.5)
    assert shared.share() == pytest.approx(AWAY)


@pytest.mark.parametrize(
    ("action", "reason"),
    [((math.nan, 0.0, 0.0), Reason.NOT_FINITE), ((0.1,), Reason.WRONG_SHAPE), ((), Reason.WRONG_SHAPE)],
)
def test_an_action_of_a_person_that_is_malformed_latches(
    taken: TakeoverScene, action: tuple[float, ...], reason: Reason
) -> None:
    taken.say(action=action)
    found = stands(taken)
    assert found.decision is Decision.LATCH
    assert taken.state.latched is not None
    assert taken.state.latched.reason is reason


def test_a_fault_of_the_device_stops_whoever_takes_over_by_it(shared: TakeoverScene) -> None:
    shared.say(holds=True, fault="holds NaN or infinity in an axis", action=AWAY)
    found = stands(shared)
    assert (found.reason, shared.driver) == (Reason.OPERATOR_SILENT, WhoDrives.OPERATOR)
    assert "NaN" in found.text


@pytest.mark.parametrize("stamp_s", [-10.0, 10.0, math.nan])
def test_a_press_under_a_wrong_stamp_moves_nothing(shared: TakeoverScene, stamp_s: float) -> None:
    shared.speaks = False
    shared.go(0.05)
    shared.say(holds=True, action=AWAY)
    for _ in range(30):
        shared.hear(stamp_s)
        shared.go(0.01)
    assert shared.driver is WhoDrives.POLICY


def test_a_button_that_was_never_seen_to_be_let_go_takes_nothing_over_and_stops(make_takeover_scene: Any) -> None:
    scene = make_takeover_scene()
    scene.say(holds=True, action=AWAY)
    found = stands(scene, 1.0)
    assert (found.reason, scene.driver) == (Reason.TAKEN_OVER, WhoDrives.NOBODY)
    scene.say(holds=False)
    scene.go(1.5)
    assert scene.share() == pytest.approx([0.5] * 3)


def test_a_silent_device_that_nobody_held_does_not_stop_the_policy(shared: TakeoverScene) -> None:
    shared.speaks = False
    shared.go(1.0)
    assert shared.share() == pytest.approx([0.5] * 3)


def test_a_person_drives_on_when_policy_and_encoder_die(taken: TakeoverScene) -> None:
    taken.policy = taken.encoder = False
    taken.verdicts.clear()
    taken.go(1.0)
    assert taken.share() == pytest.approx(AWAY)
    assert {verdict.source for verdict in taken.verdicts} == {WhoDrives.OPERATOR}
    assert len(taken.verdicts) >= 12, "the bag still names who drives"


def test_robot_state_and_emergency_stop_hold_for_a_person_too(taken: TakeoverScene) -> None:
    taken.robot = replace(taken.robot, state=Received(taken.ros_s - 1.0, taken.monotonic_s - 1.0))
    assert taken.tick().finding.reason is Reason.STALE_ROBOT_STATE
    taken.robot = replace(taken.robot, estop_pressed=True)
    taken.hear_from_robot()
    assert taken.tick().finding.reason is Reason.ESTOP


def test_a_repeated_message_of_a_held_button_is_none(taken: TakeoverScene) -> None:
    taken.speaks = False
    stamp_s = taken.robot.operator.received.stamp_s
    for _ in range(30):
        taken.hear(stamp_s - taken.ros_s)
        taken.go(0.01)
    assert not any(taken.state.command)


def test_a_hundred_hand_overs_lose_no_tick_and_keep_the_limits(make_takeover_scene: Any, arm: RobotConfig) -> None:
    limits = {name: axis.model_copy(update={"jerk": 300.0}) for name, axis in arm.limits.items()}
    scene = make_takeover_scene(robot={"limits": limits, "linear_speed": 1.0})
    scene.go(0.5)
    generator = np.random.default_rng(5)
    command, slope, seen = np.array(scene.state.command), np.array(scene.state.acceleration), set()
    for _ in range(100):
        for holds in (True, False):
            action = tuple(generator.uniform(-1, 1, 3).tolist()) if holds else (0.0, 0.0, 0.0)
            scene.say(holds=holds, action=action)
            for _ in range(int(generator.integers(1, 40))):
                (tick,) = scene.go(0.01)
                after = np.array(tick.command)
                assert (np.abs(after - command) <= scene.limits.deceleration * 0.01 + 1e-9).all()
                acceleration = (after - command) / 0.01
                assert (np.abs(acceleration - slope) <= 300.0 * 0.01 + 1e-3).all()
                command, slope = after, acceleration
                seen.add(scene.driver)
    assert seen == {WhoDrives.OPERATOR, WhoDrives.NOBODY, WhoDrives.POLICY}
    assert scene.state.latched is None
