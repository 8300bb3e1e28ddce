"""The checks of the safety monitor, one function each: a Finding when something is wrong, None when it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fosp_core.clock import Now, Received, age
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.command_history import Unseen
from fosp_safety_monitor.judge.inputs import (
    MAX_CANDIDATES,
    CriticValues,
    LatentInput,
    ProposalInput,
    RobotStateInput,
    Thresholds,
)
from fosp_safety_monitor.judge.state import FrozenImage
from fosp_safety_monitor.judge.verdict import Finding, Frame

SEEN_MOTION = 0.2
"""Share of full speed from which on the camera must see a change within frozen_image_steps; slower, the same way."""
LEAD_AT_RESET = 0.5
"""Share of the allowed lead within which a robot must stand for a reset: a stop ends just within what is allowed."""
LEAST_TRAVEL_M = 0.01
"""A pose may stay the same, to the last bit, while the robot is told to move no further than this."""


def check_latent(latent: LatentInput, thresholds: Thresholds) -> Finding | None:
    """Known model, the bundle's sizes, all finite; else LATCH."""
    if latent.model_id != thresholds.model_id:
        return _latch(Reason.MODEL_ID, f"latent {latent.step} is of {_unknown(latent.model_id, thresholds)}")
    sizes, expected = (latent.deter.shape, latent.stoch.shape), ((thresholds.deter_size,), (thresholds.stoch_size,))
    if sizes != expected:
        return _latch(Reason.WRONG_SHAPE, f"latent {latent.step} has shapes {sizes}, the bundle's are {expected}")
    scalars = math.isfinite(latent.surprise) and math.isfinite(latent.contrast)
    if not (scalars and np.isfinite(latent.deter).all() and np.isfinite(latent.stoch).all()):
        return _latch(Reason.NOT_FINITE, f"latent {latent.step} holds NaN or infinity")
    return None


def check_contrast(latent: LatentInput, thresholds: Thresholds) -> Finding | None:
    """The camera shows something; else STOP."""
    least = thresholds.parameters.least_contrast
    if latent.contrast >= least:
        return None
    return _stop(Reason.IMAGE, f"the image shows nothing: contrast {latent.contrast:.4f}, at least {least:g} is needed")


def check_frozen(frozen: FrozenImage, thresholds: Thresholds) -> Finding | None:
    """The image changes while the robot moves; else LATCH: a driver that repeats a frame looks alive otherwise."""
    limit = thresholds.parameters.frozen_image_steps
    crept = max(map(abs, frozen.travel), default=0.0)
    if frozen.steps < limit and crept < SEEN_MOTION * limit:
        return None
    text = f"the image is frozen: the same to the pixel while the robot moved, for {frozen.steps} decisions and slowly"
    return _latch(Reason.IMAGE, f"{text} as far as in {crept:.1f} at full speed")


def check_pose_changes(unseen: Unseen, thresholds: Thresholds) -> Finding | None:
    """The pose changes while the robot is told to move; else LATCH.

    A driver that repeats a pose under new stamps looks alive otherwise, and the workspace would not hold. Robots that
    take poses have check_lead for it.
    """
    if not thresholds.needs_pose or thresholds.target_lead is not None or not unseen.moved:
        return None
    lasted_s, limit_s = unseen.until_s - unseen.since_s, thresholds.parameters.frozen_pose_s
    told = max((abs(unseen.moved[i]) for i in thresholds.linear_axes), default=0.0)
    if lasted_s < limit_s or told <= LEAST_TRAVEL_M:
        return None
    return _latch(
        Reason.NOT_FOLLOWING,
        f"the pose of the commanded point is frozen: the same to the last bit for {lasted_s:.2f} s (limit {limit_s:g}) "
        f"while the robot was told to move {told * 1e3:.0f} mm; it is blocked, or its driver froze",
    )


def check_proposal(proposal: ProposalInput, thresholds: Thresholds) -> Finding | None:
    """One well-formed action per candidate, all finite, of the known model; else LATCH.

    In this order: what cannot be followed stops in shadow mode, too, an unknown model does not.
    """
    name = f"proposal {proposal.step}"
    if proposal.actions is None:
        return _latch(Reason.WRONG_SHAPE, f"{name} has candidates of different sizes")
    if proposal.actions.ndim != 2 or proposal.actions.shape[1] != thresholds.action_size:
        wrong = "x".join(str(length) for length in proposal.actions.shape)
        return _latch(
            Reason.WRONG_SHAPE, f"{name} has actions {wrong}, the bundle's have {thresholds.action_size} axes"
        )
    count = len(proposal.actions)
    if count > MAX_CANDIDATES or not 0 <= proposal.chosen < count:
        return _latch(Reason.WRONG_SHAPE, f"{name} chooses candidate {proposal.chosen} of {count}")
    if not np.isfinite(proposal.actions).all():
        return _latch(Reason.NOT_FINITE, f"{name} holds NaN or infinity in an action")
    if proposal.model_id != thresholds.model_id:
        return _latch(Reason.MODEL_ID, f"{name} is of {_unknown(proposal.model_id, thresholds)}")
    return None


def check_order(proposal: ProposalInput, judged: Frame | None, now: Now) -> Finding | None:
    """The proposal is of a later frame than the one judged last; else it is to be ignored.

    By stamp, not by step: steps begin anew when the encoder is restarted. A judged stamp in the future says nothing
    (the clock was set back, or that frame was stamped wrongly), and must not lock out everything after it.
    """
    if judged is None or proposal.frame.stamp_ns > judged.stamp_ns:
        return None
    if age(Received(judged.stamp_s, now.monotonic_s), now, math.inf).stale_because:
        return None
    late = (judged.stamp_ns - proposal.frame.stamp_ns) * 1e-6
    what = f"is {late:.1f} ms before the frame judged last" if late > 0 else "repeats the frame judged last"
    return Finding(Decision.PASS, Reason.ORDER, f"proposal {proposal.step} {what}: ignored, the last verdict stands")


def check_image(frame: Frame, latent_receipt_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """The camera frame is young by its stamp, which does not lie in the future; else STOP."""
    # Its receipt is that of the latent, which check_latent_age holds against a limit of its own.
    limit_s = thresholds.parameters.image_timeout_s
    stale = age(Received(frame.stamp_s, latent_receipt_s), now, limit_s, math.inf).stale_because
    return _stop(Reason.STALE_IMAGE, f"camera frame {stale}") if stale else None


def check_latent_age(receipt_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """The latent was received recently; else STOP."""
    late = _late(receipt_s, thresholds.parameters.latent_timeout_s, now)
    return _stop(Reason.STALE_LATENT, f"latent received {late}") if late else None


def check_proposal_age(receipt_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """The proposal was received before its deadline; else STOP."""
    late = _late(receipt_s, thresholds.parameters.proposal_timeout_s, now)
    return _stop(Reason.DEADLINE, f"last proposal received {late}") if late else None


def check_robot_state(robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Finding | None:
    """Robot state, and the pose where the robot has a workspace, are young by stamp and by receipt; else STOP."""
    limit_s = thresholds.parameters.robot_state_timeout_s
    stale = age(robot.state, now, limit_s).stale_because
    if stale:
        return _stop(Reason.STALE_ROBOT_STATE, f"robot state {stale}")
    if not thresholds.needs_pose:
        return None
    stale = age(robot.pose, now, limit_s).stale_because
    return _stop(Reason.STALE_ROBOT_STATE, f"pose of the commanded point {stale}") if stale else None


ESTOP_PRESSED = Finding(Decision.LATCH, Reason.ESTOP, "the emergency stop is pressed")


def check_estop(robot: RobotStateInput, resumed_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """The configured emergency stop says that it is not pressed, and says so often; else LATCH.

    STOP only while it was never heard of: nothing moved yet, and it may be about to begin. Its silence is counted from
    `resumed_s` at the earliest: what came while the monitor itself was held up waits to be read.
    """
    if robot.estop_pressed:
        return ESTOP_PRESSED
    if not thresholds.needs_estop:
        return None
    if robot.estop_receipt_s is None:
        return _stop(Reason.ESTOP, "the emergency stop was never heard of, which counts as pressed")
    late = _late(max(robot.estop_receipt_s, resumed_s), thresholds.parameters.estop_timeout_s, now)
    if not late:
        return None
    return _latch(Reason.ESTOP, f"the emergency stop is silent, which counts as pressed: last heard {late}")


def check_command_owner(robot: RobotStateInput, moved: bool) -> Finding | None:
    """Nobody else publishes commands to the robot; else LATCH, or STOP while nothing has `moved` yet."""
    if not robot.other_commanders:
        return None
    names = ", ".join(robot.other_commanders)
    text = f"not alone on the command topic: {names} can move the robot, too, and must be ended or cut off"
    return (_latch if moved else _stop)(Reason.FOREIGN_COMMAND, text)


def check_lead(robot: RobotStateInput, thresholds: Thresholds, share: float = 1.0) -> Finding | None:
    """A robot that takes poses follows its target: that would end no further ahead of it than allowed; else LATCH.

    `share` of what is allowed counts.
    """
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


def check_clock(last: Now | None, thresholds: Thresholds, now: Now) -> Finding | None:
    """The ROS clock went on as the monotonic one did since the last tick; else STOP.

    A simulator's clock may be slow, stand still and catch up, but not run backwards.
    """
    if last is None:
        return None
    limit_s = thresholds.parameters.clock_jump_s
    jump_s = now.ros_s - last.ros_s - (0.0 if thresholds.simulated_time else now.monotonic_s - last.monotonic_s)
    if jump_s < -limit_s or (jump_s > limit_s and not thresholds.simulated_time):
        return _stop(Reason.CLOCK, f"the clock jumped by {jump_s * 1e3:+.0f} ms, limit {limit_s * 1e3:.0f} ms")
    return None


def check_stream(last: Now | None, thresholds: Thresholds, now: Now) -> Finding | None:
    """The command stream made no pause in which the robot's own watchdog stopped the robot; else STOP."""
    pause_s = 0.0 if last is None else now.monotonic_s - last.monotonic_s
    if pause_s <= thresholds.command_timeout_s:
        return None
    return _stop(Reason.HELD_UP, f"the command stream was held up for {pause_s * 1e3:.0f} ms: the robot has stopped")


def check_critic(values: CriticValues, count: int, thresholds: Thresholds) -> Finding | None:
    """One finite value per candidate (else LATCH), each inside of its calibrated range (else STOP)."""
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
    """Few enough steps of the window, `surprises`, surprised the world model; else RECOVER, and with yet more STOP."""
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
    """Not too many proposals in a row were vetoed for their risk; else LATCH."""
    limit = thresholds.parameters.veto_latch_count
    if vetoes < limit:
        return None
    return _latch(Reason.VETOES, f"{vetoes} proposals in a row were vetoed, limit {limit}")


def check_staleness_duration(stale: Finding, since_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """What is stale has not been so for too long; else LATCH."""
    lasted = now.monotonic_s - since_s
    limit_s = thresholds.parameters.stale_latch_s
    if lasted < limit_s:
        return None
    return _latch(Reason.STALE_TOO_LONG, f"stopped for {lasted:.2f} s, limit {limit_s:g} s, because: {stale.text}")


def _late(receipt_s: float, limit_s: float, now: Now) -> str:
    """Empty when received within the limit."""
    late = now.monotonic_s - receipt_s
    return "" if 0.0 <= late <= limit_s else f"{late * 1e3:.0f} ms ago, limit {limit_s * 1e3:.0f} ms"


def _unknown(model_id: str, thresholds: Thresholds) -> str:
    return f"model {_short(model_id)}, loaded is {_short(thresholds.model_id)}"


def _short(model_id: str) -> str:
    return f"'{model_id[:12]}'"


def _stop(reason: Reason, text: str) -> Finding:
    return Finding(Decision.STOP, reason, text)


def _latch(reason: Reason, text: str) -> Finding:
    return Finding(Decision.LATCH, reason, text)
