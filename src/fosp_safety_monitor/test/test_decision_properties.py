"""Properties that hold for any sequence of inputs, however broken, and however time passes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.clock import Received
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp

any_number = st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 1e38]))
actions = st.one_of(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.lists(any_number, min_size=3, max_size=3),
    st.lists(any_number, min_size=0, max_size=5),
)
risks = st.one_of(st.floats(0, 1), any_number)
offsets = st.one_of(st.just(0.0), st.sampled_from([-1e9, -10.0, -0.15, 0.05, 10.0, 1e6]))
model_ids = st.sampled_from(["model-under-test"] * 9 + ["other", ""])

events = st.one_of(
    st.tuples(st.just("judge"), actions, risks, offsets, offsets, model_ids, any_number),
    st.tuples(st.just("robot"), offsets, offsets, st.tuples(*[st.one_of(st.floats(0.1, 0.5), any_number)] * 3)),
    st.tuples(st.just("wait"), st.one_of(st.floats(0.0, 0.02), st.floats(0.0, 20.0))),
    st.tuples(st.just("clock"), st.sampled_from([-100.0, -0.5, 0.5, 100.0])),
    st.tuples(st.just("estop"), st.booleans(), st.one_of(st.just(0.0), st.floats(0.0, 1.0))),
    st.tuples(st.just("commanders"), st.sampled_from([(), (), ("/teleop",)])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("reset")),
    st.tuples(st.just("safe")),
)
common = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def apply(scene, event):
    """One event; whether it was a reset that ended a latch."""
    kind, *values = event
    if kind == "judge":
        action, risk, stamp, receipt, model_id, surprise = values
        frame = FrameStamp(round((scene.ros_s + stamp) * 1e9))
        latent = scene.latent(frame=frame, surprise=surprise, model_id=model_id, repeated_image=risk == 0.0)
        with np.errstate(over="ignore"):
            wanted = np.array([action], np.float64).astype(np.float32)
        proposal = scene.proposal(frame=frame, receipt_s=scene.monotonic_s + min(receipt, 0.0), model_id=model_id)
        scene.judge(replace(proposal, actions=wanted), latent, scene.values([risk]))
    elif kind == "robot":
        stamp, receipt, position = values
        received = Received(scene.ros_s + stamp, scene.monotonic_s + min(receipt, 0.0))
        scene.robot = replace(scene.robot, state=received, pose=received, position=position)
    elif kind == "wait":
        scene.wait(values[0])
    elif kind == "clock":
        scene.ros_s = max(0.0, scene.ros_s + values[0])
    elif kind == "estop":
        pressed, ago = values
        scene.robot = replace(scene.robot, estop_pressed=pressed, estop_receipt_s=scene.monotonic_s - ago)
    elif kind == "commanders":
        scene.robot = replace(scene.robot, other_publishers=values[0])
    elif kind == "restart":
        restarted = Finding(Decision.LATCH, Reason.NODE_RESTARTED, "came back")
        scene.state = decision.latch(scene.state, restarted)
    elif kind == "reset":
        return scene.state.latched is not None and scene.reset() == ""
    else:
        scene.wait(0.01)
        scene.hear_from_robot()
        scene.judge()
    return False


@common
@given(st.lists(events, max_size=40), st.booleans())
def test_commands_are_finite_and_within_speed_and_acceleration_whatever_comes(make_scene, sequence, shadow):
    scene = make_scene(shadow=shadow)
    for event in sequence:
        apply(scene, event)
        before, last = np.array(scene.state.command), scene.state.ticked
        command = np.array(scene.tick().command)
        since = 0.0 if last is None else scene.monotonic_s - last.monotonic_s
        elapsed = min(since, scene.limits.longest_tick_s)
        if since > 0.1:  # the robot has stopped by itself
            before = np.zeros(3)
        assert np.isfinite(command).all()
        assert (np.abs(command) <= scene.limits.speed + 1e-9).all()
        assert (np.abs(command - before) <= scene.limits.deceleration * elapsed + 1e-9).all()
        speeds_up = np.abs(command) > np.abs(before)
        assert (np.abs(command - before) <= scene.limits.acceleration * elapsed + 1e-9)[speeds_up].all()


@common
@given(st.lists(events, max_size=40))
def test_only_a_reset_that_is_granted_ends_a_latch(make_scene, sequence):
    scene = make_scene()
    for event in sequence:
        latched = scene.state.latched
        ended = apply(scene, event)
        before = np.abs(scene.state.command)
        tick = scene.tick()
        if latched is not None and not ended:
            assert scene.state.latched == latched
            assert tick.finding.decision is Decision.LATCH
        if latched is not None:
            assert (np.abs(tick.command) <= before).all(), "also after a reset only a new proposal moves the robot"
        if ended:
            assert tick.finding.decision < Decision.STOP, "nothing may stop the robot when a reset is granted"


@common
@given(st.lists(events, max_size=40))
def test_the_robot_speeds_up_only_under_a_fresh_verdict_that_lets_it(make_scene, sequence):
    scene = make_scene()
    for event in sequence:
        apply(scene, event)
        before = np.abs(scene.state.command)
        tick = scene.tick()
        if (np.abs(tick.command) > before).any():
            standing = scene.state.judged
            assert standing is not None
            assert standing.verdict.decision < Decision.STOP
            assert 0.0 <= scene.monotonic_s - standing.receipt_s <= 0.1
            assert -0.011 <= scene.ros_s - standing.frame.stamp_s <= 0.2
            assert 0.0 <= scene.monotonic_s - scene.robot.state.receipt_s <= 0.1
            assert not scene.robot.estop_pressed
            assert scene.robot.other_publishers == ()
            assert scene.state.latched is None


@common
@given(st.lists(events, max_size=40))
def test_without_a_fresh_verdict_and_robot_state_the_robot_slows_down_to_a_standstill(make_scene, sequence):
    scene = make_scene()
    for event in sequence:
        apply(scene, event)
        scene.wait(0.01)
        before, standing = np.abs(scene.state.command), scene.state.judged
        command = np.abs(scene.tick().command)
        ages = [math.inf] if standing is None else [scene.monotonic_s - standing.receipt_s]
        ages += [scene.monotonic_s - scene.robot.state.receipt_s, scene.monotonic_s - scene.robot.pose.receipt_s]
        if max(ages) > 0.1:
            assert ((command < before) | (command == 0.0)).all()


any_speed = st.one_of(st.sampled_from([-1.0, 1.0]), st.floats(-1, 1))


@common
@given(
    st.tuples(*[st.floats(0, 1)] * 3),
    st.lists(st.tuples(st.tuples(*[any_speed] * 3), st.integers(1, 60)), min_size=1, max_size=10),
    st.sampled_from([None, 300.0]),
)
def test_a_robot_that_obeys_stays_in_its_workspace_whatever_is_proposed(make_scene, arm, begin, orders, jerk):
    limits = {name: axis.model_copy(update={"jerk": jerk}) for name, axis in arm.limits.items()}
    scene = make_scene(robot={"limits": limits})
    lower, upper = np.array(arm.workspace.lower), np.array(arm.workspace.upper)
    position, command = lower + np.array(begin) * (upper - lower), np.zeros(3)
    for action, ticks in orders:
        for index in range(ticks):
            scene.wait(0.01)
            position = position + 0.01 * command
            assert (lower - 1e-6 <= position).all()
            assert (position <= upper + 1e-6).all()
            scene.hear_from_robot(tuple(position.tolist()))
            if index % 5 == 0:
                scene.judge(scene.proposal([action]))
            command = np.array(scene.tick().command)


candidates = st.integers(1, 6)


@common
@given(st.data(), candidates)
def test_a_decision_never_becomes_milder_when_every_candidate_becomes_riskier(make_scene, data, count):
    scene = make_scene()
    probability = st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
    low, high = data.draw(probability), data.draw(probability)
    riskier = [max(pair) for pair in zip(low, high, strict=True)]
    proposal = scene.proposal([[0.1, 0.1, 0.1]] * count, chosen=data.draw(st.integers(0, count - 1)))

    def verdict_of(q_h):
        return decision.judge_proposal(
            scene.state,
            scene.checked(proposal, scene.latent()),
            scene.values(q_h),
            scene.robot,
            scene.thresholds,
            scene.now,
        )[1]

    milder, stricter = verdict_of(low), verdict_of(riskier)
    assert milder.decision <= stricter.decision
    assert milder.speed_scale >= stricter.speed_scale or milder.candidate != stricter.candidate
    for verdict, q_h in ((milder, low), (stricter, riskier)):
        assert (verdict.decision is Decision.PASS) == (q_h[proposal.chosen] <= 0.5)
        if verdict.decision is not Decision.RECOVER:
            assert q_h[verdict.candidate] <= 0.5


@common
@given(st.floats(0, 1, width=32))
def test_a_stricter_eps_is_never_milder(make_scene, risk):
    scene = make_scene()
    decisions = []
    for eps in (0.1, 0.3, 0.5, 0.9):
        thresholds = replace(scene.thresholds, eps=eps)
        decisions.append(
            decision.judge_proposal(
                scene.state,
                scene.checked(scene.proposal(), scene.latent()),
                scene.values([risk]),
                scene.robot,
                thresholds,
                scene.now,
            )[1].decision
        )
    assert decisions == sorted(decisions, reverse=True)
