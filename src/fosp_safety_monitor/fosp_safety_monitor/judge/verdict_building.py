"""Builds verdicts from findings, with the numbers and the thresholds that they were compared with."""

from __future__ import annotations

from math import nan
from typing import Any

from fosp_core.clock import Now
from fosp_core.decisions import Decision, WhoDrives
from fosp_safety_monitor.judge.inputs import CriticValues, LatentInput, ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.state import JudgedProposal, MonitorState
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp, Verdict
from fosp_safety_monitor.judge.watch.gripper import whole
from fosp_safety_monitor.replacing import replaced


def verdict_on_proposal(
    state: MonitorState,
    proposal: ProposalInput,
    latent: LatentInput | None,
    values: CriticValues | None,
    choice: int,
    scale: float,
    target: tuple[float, ...],
    finding: Finding,
    *,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Verdict:
    """Return the verdict on a proposal whose candidate `choice`, scaled by `scale` (0: none), goes on as `target`."""
    passes = scale > 0.0
    q_h = values.q_h if values is not None else ()
    return Verdict(
        decision=finding.decision,
        reason=finding.reason,
        reason_text=finding.text,
        frame=proposal.frame,
        step=proposal.step,
        action_in=_proposed(proposal),
        action_out=whole(target, thresholds.action_size, state.gripper, robot.gripper),
        candidate=choice if passes and choice >= 0 else max(0, proposal.chosen),
        source=state.takeover.driver,
        speed_scale=scale,
        limited=state.limited,
        q_h=q_h[proposal.chosen] if 0 <= proposal.chosen < len(q_h) else nan,
        q_h_out=q_h[choice] if passes and 0 <= choice < len(q_h) else nan,
        v_h=values.v_h if values is not None else nan,
        surprise=latent.surprise if latent is not None else nan,
        image_age_s=now.ros_s - proposal.frame.stamp_s,
        decision_s=now.monotonic_s - proposal.receipt_s,
        **_context(robot, thresholds, now),
    )


def verdict_of_order(
    state: MonitorState,
    judged: JudgedProposal,
    stopped: Finding,
    proposal: ProposalInput,
    order: Finding,
    *,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Verdict:
    """Return the verdict on a proposal that is ignored (ORDER): the last verdict goes on, unless `stopped` by now."""
    goes_on = stopped.decision < Decision.STOP
    return replaced(
        judged.verdict,
        decision=judged.verdict.decision if goes_on else stopped.decision,
        reason=order.reason,
        reason_text=order.text if goes_on else f"{order.text}; {stopped.text}",
        frame=proposal.frame,
        step=proposal.step,
        action_in=_proposed(proposal),
        action_out=judged.verdict.action_out if goes_on else _rest(state, robot, thresholds),
        speed_scale=judged.verdict.speed_scale if goes_on else 0.0,
        limited=False,
        image_age_s=now.ros_s - proposal.frame.stamp_s,
        decision_s=now.monotonic_s - proposal.receipt_s,
        **_context(robot, thresholds, now),
    )


def verdict_without_proposal(
    state: MonitorState,
    finding: Finding,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
    target: tuple[float, ...] = (),
) -> Verdict:
    """Return the verdict of a command tick or of a malformed latent, under the frame and step of what was judged last.

    `target` (n,) is the action that the ticks follow; rest where it is empty. While a person drives, their action is
    told as the one that was asked for.
    """
    judged = state.operated or state.judged
    source = _source(state)
    asked = robot.operator.action if source is WhoDrives.OPERATOR else ()
    return Verdict(
        decision=finding.decision,
        reason=finding.reason,
        reason_text=finding.text,
        frame=judged.frame if judged else FrameStamp(0),
        step=judged.step if judged else 0,
        action_in=whole(asked, thresholds.action_size, state.gripper, robot.gripper) if asked else asked,
        action_out=whole(target, thresholds.action_size, state.gripper, robot.gripper)
        if target
        else _rest(state, robot, thresholds),
        candidate=0,
        source=source,
        speed_scale=float(bool(target)),
        limited=state.limited,
        image_age_s=now.ros_s - judged.frame.stamp_s if judged else nan,
        **_context(robot, thresholds, now),
    )


def _rest(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds) -> tuple[float, ...]:
    """Return the action of a robot that stands, and whose gripper holds."""
    zeros = (0.0,) * len(thresholds.action_scale)
    return whole(zeros, thresholds.action_size, state.gripper, robot.gripper)


def _source(state: MonitorState) -> WhoDrives:
    """Return who drives; nobody before anything was judged."""
    driver = state.takeover.driver
    return WhoDrives.NOBODY if driver is WhoDrives.POLICY and state.judged is None else driver


def _proposed(proposal: ProposalInput) -> tuple[float, ...]:
    """Return the proposed action as it came, even when it is malformed; empty when there is none."""
    actions = proposal.actions
    if actions is None or actions.ndim != 2 or not 0 <= proposal.chosen < len(actions):
        return ()
    return tuple(actions[proposal.chosen].tolist())


def _context(robot: RobotStateInput, thresholds: Thresholds, now: Now) -> dict[str, Any]:
    """Return the fields that every verdict has: model, time, and the limits."""
    parameters = thresholds.parameters
    return {
        "model_id": thresholds.model_id,
        "shadow": thresholds.shadow,
        "decided_s": now.ros_s,
        "eps": thresholds.eps,
        "surprise_limit": thresholds.surprise_limit,
        "image_age_limit_s": parameters.image_timeout_s,
        "robot_state_age_limit_s": parameters.robot_state_timeout_s,
        "robot_state_age_s": now.monotonic_s - robot.state.receipt_s if robot.state is not None else nan,
    }
