"""The checks of the safety monitor: one function each, and the lists of those that apply to each kind of event.

A check returns a Finding that names the decision it asks for, or None when the input passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fosp_core.clock import Now, Received, age
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_safety_monitor.judge.gating import followed_wish
from fosp_safety_monitor.judge.identity import check_strangers
from fosp_safety_monitor.judge.inputs import MAX_CANDIDATES, CriticValues, LatentInput, ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.state import MonitorState
from fosp_safety_monitor.judge.thresholds import RobotThresholds, Thresholds
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.judge.watch import consent, following, latent_stream, takeover
from fosp_safety_monitor.judge.watch.camera import check_camera
from fosp_safety_monitor.judge.watch.gripper import check_gripper
from fosp_safety_monitor.judge.watch.motion import check_pose_changes
from fosp_safety_monitor.judge.watch.protection import check_zones, zones_on

LEAD_AT_RESET = 0.5
"""Share of the allowed lead within which a robot must stand for a reset: a stop ends just within what is allowed."""
ESTOP_PRESSED = Finding(Decision.LATCH, Reason.ESTOP, "the emergency stop is pressed")

Findings = list[Finding | None]


# -- the lists of checks: to add a check, write its function below and its line here -----------------
def checks_on_inputs(
    state: MonitorState,
    frame: FrameStamp,
    latent_receipt_s: float,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Findings:
    """Check the robot and the inputs behind a proposal, when it is judged and at every tick that follows it."""
    return [
        *checks_of_surroundings(state, robot, thresholds, now),
        check_image(frame, latent_receipt_s, thresholds, now),
        check_latent_age(latent_receipt_s, thresholds, now),
        check_robot_state(robot, thresholds, now),
        check_lead(robot, thresholds),
        latent_stream.check_pace(state.latents, thresholds),
        *checks_of_the_robot(state, robot, thresholds, now),
        check_self_test(robot),
        check_camera(state.camera, thresholds),
    ]


def checks_on_proposal(
    state: MonitorState,
    proposal: ProposalInput,
    latent_receipt_s: float,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Findings:
    """Check a proposal that is judged now, apart from its content."""
    return [
        check_proposal_age(proposal.receipt_s, thresholds, now),
        *checks_on_inputs(state, proposal.frame, latent_receipt_s, robot, thresholds, now),
        check_surprise(state.surprises, thresholds),
    ]


def checks_on_judged(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check that the proposal judged last may still be followed."""
    judged, wish = state.judged, followed_wish(state, robot, thresholds, now)
    zones = check_zones(zones_on(wish, state.command, robot, thresholds, now), thresholds)
    if state.takeover.driver is not WhoDrives.POLICY:
        return [*_checks_on_takeover(state, robot, thresholds, now), zones]
    if judged is None:
        return [
            zones,
            *checks_of_surroundings(state, robot, thresholds, now),
            *checks_of_the_robot(state, robot, thresholds, now),
            _not_ready(state, check_robot_state(robot, thresholds, now)),
            check_self_test(robot),
        ]
    deadline = check_proposal_age(judged.receipt_s, thresholds, now)
    if deadline is not None and state.waiting is not None:
        text = f"no latent of frame and step {state.waiting.step} came for its proposal; {deadline.text}"
        deadline = _stop(Reason.STALE_LATENT, text)
    return [deadline, zones, *checks_on_inputs(state, judged.frame, judged.latent_receipt_s, robot, thresholds, now)]


def checks_on_tick(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check at a command tick, after check_stream."""
    return [
        check_clock(state.ticked, thresholds, now),
        # A latched robot does not move, so its pose cannot show whether it is frozen.
        None if state.latched else check_pose_changes(state.frozen_pose, thresholds),
        *checks_on_judged(state, robot, thresholds, now),
    ]


def checks_on_reset(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check that the cause of a latch is gone."""
    return [
        *checks_on_judged(state, robot, thresholds, now),
        check_lead(robot, thresholds, LEAD_AT_RESET),
        state.latent_fault,
        state.followed.finding if state.followed else None,
    ]


def checks_on_engage(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check that nothing but the operator's consent is missing."""
    moving = _stop(Reason.NOT_ENGAGED, "the robot is still being stopped") if any(state.command) else None
    return [state.latched, *checks_on_reset(state, robot, thresholds, now), moving]


def _checks_on_takeover(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check what holds while a person has the robot; the model's own inputs count only where it gates the person."""
    held, operated = state.takeover, state.operated
    findings = takeover.checks_while_taken_over(held, operated is None, state.latched, robot, thresholds, now)
    if held.driver is WhoDrives.OPERATOR and thresholds.consent.gate_operator and operated is not None:
        inputs = checks_on_inputs(state, operated.frame, operated.latent_receipt_s, robot, thresholds, now)
        return [*findings, *inputs, check_surprise(state.surprises, thresholds)]
    return [
        *findings,
        *checks_of_surroundings(state, robot, thresholds, now),
        check_robot_state(robot, thresholds, now),
        check_lead(robot, thresholds),
        *checks_of_the_robot(state, robot, thresholds, now),
        check_self_test(robot),
    ]


def checks_of_surroundings(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    """Check what needs no proposal: the motion of the robot, emergency stops, and who else speaks."""
    return [
        following.check_motion(state.following, now),
        following.check_outside(state.following, thresholds),
        check_estop(robot, state.resumed_s, thresholds, now),
        check_other_publishers(robot, state.moved),
        check_strangers(robot.strangers, state.moved),
    ]


def checks_of_the_robot(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Findings:
    bias = consent.compared_bias(state.consent, state.latched)
    return [
        consent.check_ready(robot, thresholds, now),
        consent.check_force(bias, state.consent.engaged_s, robot, thresholds, now),
        check_gripper(robot.gripper, thresholds.gripper, now),
    ]


# -- latents -----------------------------------------------------------------------------------------
def check_latent(latent: LatentInput, thresholds: Thresholds) -> Finding | None:
    """LATCH unless the latent is of the known model, has the bundle's sizes, and is finite."""
    if latent.model_id != thresholds.model_id:
        return _latch(Reason.MODEL_ID, f"latent {latent.step} {_foreign(latent.model_id, thresholds)}")
    sizes, expected = (latent.deter.shape, latent.stoch.shape), ((thresholds.deter_size,), (thresholds.stoch_size,))
    if sizes != expected:
        text = f"latent {latent.step} has the shapes {sizes}, but the bundle's are {expected}"
        return _latch(Reason.WRONG_SHAPE, text)
    scalars = (latent.surprise, latent.contrast, latent.novelty, latent.inconsistency)
    if not (all(map(math.isfinite, scalars)) and np.isfinite(latent.deter).all() and np.isfinite(latent.stoch).all()):
        return _latch(Reason.NOT_FINITE, f"latent {latent.step} holds NaN or infinity")
    return None


def check_contrast(latent: LatentInput, thresholds: Thresholds) -> Finding | None:
    """STOP when the image has next to no contrast: it shows nothing."""
    least = thresholds.parameters.least_contrast
    if latent.contrast >= least:
        return None
    return _stop(Reason.IMAGE, f"the image shows nothing: contrast {latent.contrast:.4f}, at least {least:g} is needed")


# -- proposals ---------------------------------------------------------------------------------------
def check_proposal(proposal: ProposalInput, thresholds: Thresholds) -> Finding | None:
    """LATCH unless the actions are well-formed and of the known model.

    The order matters: in shadow mode malformed actions stop the robot, an unknown model does not.
    """
    malformed = check_actions(proposal, thresholds)
    if malformed is None and proposal.model_id != thresholds.model_id:
        return _latch(Reason.MODEL_ID, f"proposal {proposal.step} {_foreign(proposal.model_id, thresholds)}")
    return malformed


def check_actions(proposal: ProposalInput, thresholds: RobotThresholds) -> Finding | None:
    """LATCH unless each candidate has one finite value per axis, and the chosen candidate exists."""
    name = f"proposal {proposal.step}"
    if proposal.actions is None:
        return _latch(Reason.WRONG_SHAPE, f"{name} has candidates of different sizes")
    if proposal.actions.ndim != 2 or proposal.actions.shape[1] != thresholds.action_size:
        wrong = "x".join(str(length) for length in proposal.actions.shape)
        text = f"{name} has actions of shape {wrong}, but the robot has {thresholds.action_size} axes"
        return _latch(Reason.WRONG_SHAPE, text)
    count = len(proposal.actions)
    if count > MAX_CANDIDATES or not 0 <= proposal.chosen < count:
        return _latch(Reason.WRONG_SHAPE, f"{name} chooses candidate {proposal.chosen} of {count}")
    if not np.isfinite(proposal.actions).all():
        return _latch(Reason.NOT_FINITE, f"{name} holds NaN or infinity in an action")
    return None


def check_order(proposal: ProposalInput, judged: FrameStamp | None, now: Now) -> Finding | None:
    """Ignore (PASS, ORDER) a proposal whose frame is not later than the one judged last.

    The stamps are compared, not the steps, which begin anew when the encoder is restarted. A judged stamp in the future
    is disregarded (the clock was set back, or that frame was stamped wrongly): it must not lock out later proposals.
    """
    if judged is None or proposal.frame.stamp_ns > judged.stamp_ns:
        return None
    if age(Received(judged.stamp_s, now.monotonic_s), now, math.inf).stale_because:
        return None
    late = (judged.stamp_ns - proposal.frame.stamp_ns) * 1e-6
    what = f"is {late:.1f} ms before the frame judged last" if late > 0 else "repeats the frame judged last"
    text = f"proposal {proposal.step} {what}: it is ignored, and the last verdict stays in force"
    return Finding(Decision.PASS, Reason.ORDER, text)


def check_image(frame: FrameStamp, latent_receipt_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """STOP when the camera frame is too old by its stamp, or stamped in the future."""
    # The receipt is the latent's, for which check_latent_age has a limit of its own.
    limit_s = thresholds.parameters.image_timeout_s
    stale = age(Received(frame.stamp_s, latent_receipt_s), now, limit_s, math.inf).stale_because
    return _stop(Reason.STALE_IMAGE, f"camera frame {stale}") if stale else None


def check_latent_age(receipt_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """STOP when the latent was received too long ago."""
    late = _late(receipt_s, thresholds.parameters.latent_timeout_s, now)
    return _stop(Reason.STALE_LATENT, f"latent received {late}") if late else None


def check_proposal_age(receipt_s: float, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP when the proposal was received too long ago."""
    late = _late(receipt_s, thresholds.parameters.proposal_timeout_s, now)
    return _stop(Reason.DEADLINE, f"last proposal received {late}") if late else None


# -- the robot ---------------------------------------------------------------------------------------
def check_robot_state(robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP when the robot state, or the pose of a robot that needs one, is too old by stamp or by receipt."""
    limit_s = thresholds.parameters.robot_state_timeout_s
    stale = age(robot.state, now, limit_s).stale_because
    if stale:
        return _stop(Reason.STALE_ROBOT_STATE, f"robot state {stale}")
    if not thresholds.needs_pose:
        return None
    stale = age(robot.pose, now, limit_s).stale_because
    return _stop(Reason.STALE_ROBOT_STATE, f"pose of the commanded point {stale}") if stale else None


def check_estop(robot: RobotStateInput, resumed_s: float, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """LATCH when the emergency stop is pressed, or when a configured one is silent.

    STOP while it was never heard of: nothing moved yet, and it may be about to begin. Its silence is counted from
    `resumed_s` at the earliest: messages that came while the monitor itself was held up are still to be read.
    """
    which = f" ({robot.estop_topic})" if robot.estop_topic else ""
    if robot.estop_pressed:
        return _latch(Reason.ESTOP, f"{ESTOP_PRESSED.text}{which}")
    if not thresholds.needs_estop:
        return None
    if robot.estop_receipt_s is None:
        return _stop(Reason.ESTOP, f"the emergency stop has sent no message yet, which counts as pressed{which}")
    late = _late(max(robot.estop_receipt_s, resumed_s), thresholds.parameters.estop_timeout_s, now)
    if not late:
        return None
    return _latch(Reason.ESTOP, f"the emergency stop is silent, which counts as pressed{which}: last heard {late}")


def check_other_publishers(robot: RobotStateInput, moved: bool) -> Finding | None:
    """LATCH when another node publishes commands to the robot; STOP while nothing has `moved` yet."""
    if not robot.other_publishers:
        return None
    names = ", ".join(robot.other_publishers)
    text = f"other nodes publish on the command topic, so they can move the robot: {names}; end them or cut them off"
    return (_latch if moved else _stop)(Reason.FOREIGN_COMMAND, text)


def check_lead(robot: RobotStateInput, thresholds: RobotThresholds, share: float = 1.0) -> Finding | None:
    """LATCH when the target pose would end further ahead of the robot than `share` of the allowed lead."""
    lead, allowed = robot.lead, thresholds.target_lead
    if lead is None or allowed is None:
        return None
    if lead.distance <= share * allowed.distance and lead.angle <= share * allowed.angle:
        return None
    return _latch(
        Reason.NOT_FOLLOWING,
        f"the robot does not follow its target, which would end {lead.distance * 1e3:.0f} mm and {lead.angle:.2f} rad "
        f"ahead of it, limits {share * allowed.distance * 1e3:.0f} mm and {share * allowed.angle:.2f} rad; free the "
        "robot, or deactivate and activate the monitor, to begin where the robot is",
    )


# -- clocks and the command stream -------------------------------------------------------------------
def check_clock(last: Now | None, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP when the ROS clock jumped against the monotonic one since the last tick.

    A simulator's clock may be slow, stand still and catch up, but not run backwards.
    """
    if last is None:
        return None
    limit_s = thresholds.parameters.clock_jump_s
    jump_s = now.ros_s - last.ros_s - (0.0 if thresholds.simulated_time else now.monotonic_s - last.monotonic_s)
    if jump_s < -limit_s or (jump_s > limit_s and not thresholds.simulated_time):
        return _stop(Reason.CLOCK, f"the clock jumped by {jump_s * 1e3:+.0f} ms, limit {limit_s * 1e3:.0f} ms")
    return None


def check_stream(last: Now | None, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP after a pause of the command stream in which the robot's own watchdog has stopped the robot."""
    pause_s = 0.0 if last is None else now.monotonic_s - last.monotonic_s
    if pause_s <= thresholds.command_timeout_s:
        return None
    return _stop(Reason.HELD_UP, f"the command stream was held up for {pause_s * 1e3:.0f} ms: the robot has stopped")


# -- the models --------------------------------------------------------------------------------------
def check_critic(values: CriticValues, count: int, thresholds: Thresholds) -> Finding | None:
    """LATCH unless the critic gives one finite value per candidate; STOP when one is outside its calibrated range."""
    outputs = {"q_r": values.q_r, "q_c": values.q_c, "q_h": values.q_h, "v_h": (values.v_h,)}
    for name, output in outputs.items():
        if len(output) != (1 if name == "v_h" else count):
            return _latch(Reason.WRONG_SHAPE, f"critic gives {len(output)} values of {name} for {count} candidates")
        if not all(map(math.isfinite, output)):
            return _latch(Reason.NOT_FINITE, f"critic gives NaN or infinity for {name}")
    for name, output in outputs.items():
        low, high = thresholds.ranges[name]
        worst = max(output) if max(output) > high else min(output)
        if not low <= worst <= high:
            return _stop(
                Reason.CRITIC_RANGE, f"critic's {name} of {worst:.4g} is outside its calibrated [{low:.4g}, {high:.4g}]"
            )
    return None


def check_surprise(surprises: Sequence[bool], thresholds: Thresholds) -> Finding | None:
    """RECOVER when many steps of the window, `surprises`, surprised the world model; STOP when even more did."""
    parameters = thresholds.parameters
    count = sum(surprises)
    if count < parameters.surprise_recover_count:
        return None
    stop = count >= parameters.surprise_stop_count
    return Finding(
        Decision.STOP if stop else Decision.RECOVER,
        Reason.SURPRISE,
        f"surprise above {thresholds.surprise_limit:.3g} nats in {count} of the last {parameters.surprise_window} "
        f"steps (RECOVER from {parameters.surprise_recover_count}, STOP from {parameters.surprise_stop_count})",
    )


def check_vetoes(vetoes: int, thresholds: Thresholds) -> Finding | None:
    """LATCH when too many proposals in a row were vetoed for their risk."""
    limit = thresholds.parameters.veto_latch_count
    if vetoes < limit:
        return None
    return _latch(Reason.VETOES, f"{vetoes} proposals in a row were vetoed, limit {limit}")


def check_self_test(robot: RobotStateInput) -> Finding | None:
    """LATCH when the critic's session no longer gives its golden outputs, or its self-test does not come to its end."""
    return _latch(Reason.SELF_TEST, robot.self_test) if robot.self_test else None


def _not_ready(state: MonitorState, robot_state: Finding | None) -> Finding:
    also = f"; {robot_state.text}" if robot_state else ""
    waiting = "a proposal waits for its latent" if state.waiting else "no proposal came yet"
    return _stop(Reason.NOT_READY, f"nothing was judged since activation: {waiting}{also}")


def _late(receipt_s: float, limit_s: float, now: Now) -> str:
    """Return the lateness in words; empty when received within the limit."""
    late = now.monotonic_s - receipt_s
    return "" if 0.0 <= late <= limit_s else f"{late * 1e3:.0f} ms ago, limit {limit_s * 1e3:.0f} ms"


def _foreign(model_id: str, thresholds: Thresholds) -> str:
    return f"comes from model '{model_id[:12]}', but model '{thresholds.model_id[:12]}' is loaded"


def _stop(reason: Reason, text: str) -> Finding:
    return Finding(Decision.STOP, reason, text)


def _latch(reason: Reason, text: str) -> Finding:
    return Finding(Decision.LATCH, reason, text)
