"""The safety monitor's decisions as pure functions: inputs, the state so far and `now` in; next state and verdict out.

The decisions are, from least to most restrictive, PASS, SUBSTITUTE, RECOVER, STOP and LATCH. The most restrictive
finding of all checks that apply (checks.py) wins. An input that is missing, stale or malformed stops the robot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now
from fosp_core.decisions import STALENESS, Decision, Reason, WhoDrives
from fosp_core.robot.limits import CommandLimits
from fosp_safety_monitor.judge import checks, homing
from fosp_safety_monitor.judge.choice import executed_candidate, judge_content, least_risk, target_of, wanted_action
from fosp_safety_monitor.judge.gating import (
    check_staleness_duration,
    checks_of_permission,
    count_vetoes,
    effective_finding,
    gates,
    hold,
    most_gating,
)
from fosp_safety_monitor.judge.inputs import (
    CheckedLatent,
    CheckedProposal,
    CriticValues,
    LatentInput,
    ProposalInput,
    RobotStateInput,
)
from fosp_safety_monitor.judge.state import JudgedProposal, MonitorState, OperatorJudgement, Tick
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, Verdict, most_restrictive
from fosp_safety_monitor.judge.verdict_building import verdict_of_order, verdict_on_proposal, verdict_without_proposal
from fosp_safety_monitor.judge.watch import consent, gripper, latent_stream, retreat, takeover
from fosp_safety_monitor.judge.watch.motion import FrozenImage, FrozenPose, check_frozen, next_command
from fosp_safety_monitor.judge.watch.protection import check_zone_speed, check_zones, zones_on
from fosp_safety_monitor.replacing import replaced


# -- inputs are checked once, then judged ------------------------------------------------------------
def checked_latent(latent: LatentInput, thresholds: Thresholds) -> CheckedLatent:
    """Return the latent with the finding of its check."""
    return CheckedLatent(latent, thresholds.model_id, checks.check_latent(latent, thresholds))


def checked_proposal(proposal: ProposalInput, latent: CheckedLatent | None, thresholds: Thresholds) -> CheckedProposal:
    """Return the proposal and its latent (None: it has not come) with the findings of their checks.

    The latent is checked anew only when it was checked against the bundle of another model.
    """
    malformed = checks.check_proposal(proposal, thresholds)
    if latent is None:
        return CheckedProposal(proposal, None, malformed, None)
    if latent.model_id != thresholds.model_id:
        latent = checked_latent(latent.latent, thresholds)
    return CheckedProposal(proposal, latent.latent, malformed, latent.malformed)


def judge_latent(
    state: MonitorState, checked: CheckedLatent, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> tuple[MonitorState, Verdict | None]:
    """Count the surprises, and the novel and repeated images, of a latent. A fault latches and gives a verdict."""
    latent, frozen = checked.latent, FrozenImage()
    if latent.repeated_image:
        frozen = state.frozen_image.after(state.command, thresholds.action_scale)
    latents = state.latents
    if checked.malformed is None:
        latents = latents.after(latent, state.command, thresholds)
    fault = checked.malformed or check_frozen(frozen, thresholds)
    fault = fault or latent_stream.check_latent_changes(latents, thresholds)
    state = replaced(state, frozen_image=frozen, latents=latents, latent_fault=fault)
    if fault is None:
        surprises = (*state.surprises, latent.surprise > thresholds.surprise_limit)
        surprises = surprises[-thresholds.parameters.surprise_window :]
        return replaced(state, surprises=surprises, camera=state.camera.after(latent, thresholds)), None
    if gates(fault, thresholds):
        state = replaced(state, latched=state.latched or fault)
    verdict = verdict_without_proposal(state, fault, robot, thresholds, now)
    return replaced(state, reported_s=now.monotonic_s, limited=False), verdict


def waits_for_latent(state: MonitorState, checked: CheckedProposal, now: Now) -> bool:
    """Return True when a proposal whose latent has not come may wait for it: it is well-formed and in order."""
    last = state.judged.frame if state.judged else None
    return not (checked.malformed or checks.check_order(checked.proposal, last, now))


def critic_actions(checked: CheckedProposal) -> NDArray[np.float32] | None:
    """Return the candidates (1, K, A) float32 that the critic is to score, clipped to [-1, 1]; None when malformed."""
    actions = checked.proposal.actions
    if checked.malformed is not None or checked.malformed_latent is not None or actions is None:
        return None
    return np.clip(actions, -1.0, 1.0)[np.newaxis]


def judge_proposal(
    state: MonitorState,
    checked: CheckedProposal,
    scored: CriticValues | Finding | None,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> tuple[MonitorState, Verdict]:
    """Return the verdict on a proposal, given the scores of the monitor's own critic for its candidates.

    `scored` is None when nothing was scored (no latent, malformed or out of order) and a Finding when the critic
    failed: such a proposal never moves the robot.
    """
    proposal, latent = checked.proposal, checked.latent
    if checked.malformed is None and state.judged is not None:
        order = checks.check_order(proposal, state.judged.frame, now)
        if order is not None:
            return state, _verdict_of_order(state, state.judged, proposal, order, robot, thresholds, now)

    state = replaced(state, takeover=takeover.handed_back(state.takeover, proposal, thresholds, now))
    values = scored if isinstance(scored, CriticValues) else None
    choice, content = judge_content(checked, scored, thresholds)
    latent_receipt_s = latent.receipt_s if latent else proposal.receipt_s
    others = checks.checks_on_proposal(state, proposal, latent_receipt_s, robot, thresholds, now)
    permission = homing.permission_of_proposals(state, robot, thresholds, now)
    also = [*others, *permission]
    gone_back, way_back = retreat.retreat_after(state, content, also, proposal, values, robot, thresholds, now)
    wanted = way_back or wanted_action(content, choice, proposal, values, thresholds)
    zones = zones_on(wanted, state.command, robot, thresholds, now)
    findings = [check_zones(zones, thresholds), check_zone_speed(zones), retreat.told(content, way_back), *others]
    findings.append(retreat.check_hang(gone_back, thresholds.parameters))
    vetoes = count_vetoes(state.vetoes, most_restrictive([*findings, *permission]))
    findings.append(checks.check_vetoes(vetoes, thresholds))
    finding, gating = most_restrictive(findings), most_gating([*findings, *permission], thresholds)

    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    stop, held = hold(state, gating, thresholds, now)
    ramp = consent.ramp_scale(state.consent, thresholds, now)
    back = takeover.ramp_scale(state.takeover, thresholds, now)
    slowed = consent.check_ramp(ramp) if ramp <= back else takeover.check_ramp_back(back)
    notice, ramp = slowed if finding.reason is Reason.OK else finding, min(ramp, back)
    effective = effective_finding(most_restrictive([notice, held, *permission]), latched)
    stops = latched is not None or held is not None or gating.decision >= Decision.STOP
    if effective.decision is Decision.RECOVER and values is not None:
        choice = least_risk(values)
    choice, scale = executed_candidate(effective.decision, stops, proposal, choice, values, thresholds)
    wish = target_of(scale * ramp, proposal, choice, thresholds, effective.decision)
    if way_back and scale > 0.0:  # what no candidate is, and the critic has not scored
        wish, choice, scale = tuple(ramp * value for value in way_back), -1, max(map(abs, way_back))
    share = zones_on(wish, state.command, robot, thresholds, now).share
    scale *= ramp * share
    target = gripper.scaled(wish, share, len(thresholds.action_scale)) if scale > 0.0 else (0.0,) * len(state.command)
    verdict = verdict_on_proposal(
        state, proposal, latent, values, choice, scale, target, effective, robot=robot, thresholds=thresholds, now=now
    )
    state = replaced(
        state,
        retreat=retreat.kept(gone_back, stops),
        latched=latched,
        unreported=None,
        judged=JudgedProposal(
            *(proposal.frame, proposal.step, proposal.receipt_s, latent_receipt_s, finding, verdict, wish),
            spread=values.spread if values is not None else (),
        ),
        waiting=None,
        stop=stop,
        vetoes=vetoes,
        reported_s=now.monotonic_s,
        limited=False,
    )
    return state, verdict


def judge_operator(
    state: MonitorState,
    checked: CheckedLatent,
    scored: CriticValues | Finding | None,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> tuple[MonitorState, Verdict]:
    """Return the verdict on the action of a person who has taken over, given the score of the monitor's own critic.

    The critic gates the person only with the setting `gate_operator`; the verdict holds the risk in any case.
    """
    latent, gated = checked.latent, thresholds.consent.gate_operator
    proposal = operator_proposal(state, latent, robot, thresholds)
    asks = max(len(takeover.operator_wish(robot.operator, thresholds)), len(thresholds.action_scale))
    values = scored if isinstance(scored, CriticValues) else None
    _, content = judge_content(CheckedProposal(proposal, latent, None, checked.malformed), scored, thresholds)
    content = content if gated and content is not None else takeover.notice(robot, content)
    ramp = consent.ramp_scale(state.consent, thresholds, now)
    _, scale = executed_candidate(content.decision, content.decision >= Decision.STOP, proposal, 0, values, thresholds)
    scale = ramp * (scale if gated else 1.0)
    wish = target_of(scale, proposal, 0, thresholds)[:asks]
    operated = OperatorJudgement(proposal.frame, proposal.step, latent.receipt_s, content, wish)
    state = replaced(state, operated=operated)
    zones = zones_on(wish, state.command, robot, thresholds, now)
    findings = [*checks.checks_on_judged(state, robot, thresholds, now), check_zone_speed(zones), content]
    permission = checks_of_permission(state, robot, thresholds, now)
    gating = most_gating([*findings, *permission], thresholds)
    _, held = hold(state, gating, thresholds, now)
    effective = effective_finding(most_restrictive([*findings, held, *permission]), state.latched)
    stops = state.latched is not None or held is not None or gating.decision >= Decision.STOP
    scale = 0.0 if stops else scale * zones.share
    target = target_of(scale, proposal, 0, thresholds)[:asks]
    verdict = verdict_on_proposal(
        state, proposal, latent, values, 0, scale, target, effective, robot=robot, thresholds=thresholds, now=now
    )
    return replaced(state, reported_s=now.monotonic_s, limited=False), verdict


def operator_proposal(
    state: MonitorState, latent: LatentInput, robot: RobotStateInput, thresholds: Thresholds
) -> ProposalInput:
    """Return the action that a person wants as a proposal for the frame of `latent`, or rest if it is malformed."""
    wish = takeover.operator_wish(robot.operator, thresholds) or (0.0,) * len(thresholds.action_scale)
    actions = np.array([gripper.whole(wish, thresholds.action_size, state.gripper, robot.gripper)], np.float32)
    return ProposalInput(latent.step, latent.model_id, latent.frame, latent.receipt_s, actions, 0)


# -- the command stream ------------------------------------------------------------------------------
def judge_tick(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, limits: CommandLimits, now: Now
) -> tuple[MonitorState, Tick]:
    """Return the next command, within the limits: towards the last verdict's target, or on the way to zero."""
    told = state.command
    held_up = checks.check_stream(state.ticked, thresholds, now)
    if held_up is not None:  # the robot has stopped by itself, so the next command follows on zero
        zeros = (0.0,) * len(state.command)
        state = replaced(state, command=zeros, acceleration=zeros, resumed_s=now.monotonic_s)
        state = replaced(state, following=state.following.paused())
    state = follow_motion(state, told, robot, thresholds, now)
    state = replaced(state, consent=consent.on_tick(state.consent, robot, thresholds, now, state.latched, held_up))
    drove = state.takeover.driver
    state = _taken_over(state, robot, thresholds, now)
    state = replaced(state, homing=homing.on_tick(state, robot, thresholds, now))
    permission = homing.permission_on_tick(state, robot, thresholds, now)
    findings = [held_up, *homing.checks_on_tick(state, robot, thresholds, now)]
    on_way = state.homing.running
    before = replaced(state, stop=None) if on_way else state  # a stop that a proposal asked for is none on the way home
    stop, held = hold(before, most_gating(findings, thresholds), thresholds, now)
    reports = on_way or held is not None or any(finding is not None for finding in findings)
    findings += [held, state.followed.finding if state.followed and not on_way else None]
    since_s = state.stale_since_s
    cause = most_restrictive(findings)
    if cause.reason in STALENESS:
        since_s = now.monotonic_s if since_s is None else since_s
        findings.append(check_staleness_duration(cause, since_s, thresholds, now))
        cause = most_restrictive(findings)
    else:
        since_s = None
    findings += permission
    cause, gating = most_restrictive(findings), most_gating(findings, thresholds)
    fresh_latch = state.unreported is not None or (state.latched is None and gating.decision is Decision.LATCH)
    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    effective = effective_finding(cause, latched)

    target = None
    wish = homing.wish_of(state, robot, thresholds, now)
    if latched is None and gating.decision < Decision.STOP and wish:
        share = zones_on(wish, state.command, robot, thresholds, now).share
        target = wish if share == 1.0 else gripper.scaled(wish, share, len(state.command))
    way = homing.stopped(state.homing, latched or gating, now)
    state = replaced(state, latched=latched, stop=stop, stale_since_s=since_s, homing=way)
    state = _move(state, target, robot, limits, now)
    silent_s = now.monotonic_s - state.reported_s
    due = reports and silent_s >= thresholds.decision_period_s
    due = due or (state.takeover.driver is not WhoDrives.POLICY and silent_s >= 1.5 * thresholds.decision_period_s)
    if not due and not fresh_latch and state.takeover.driver is drove:
        return state, Tick(state.command, effective, None, gripper.order(state.gripper, robot.gripper))
    verdict = verdict_without_proposal(state, effective, robot, thresholds, now, target or ())
    state = replaced(state, reported_s=now.monotonic_s, limited=False, unreported=None)
    return state, Tick(state.command, effective, verdict, gripper.order(state.gripper, robot.gripper))


def follow_motion(
    state: MonitorState, command: tuple[float, ...], robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> MonitorState:
    """Compare the robot's motion with `command` (n,), m/s and rad/s, which was in force since the last call."""
    latched = state.latched is not None
    return replaced(state, following=state.following.after(command, robot, thresholds, now, latched))


def halt(state: MonitorState, limits: CommandLimits, now: Now) -> MonitorState:
    """Take the next step of a stop that no input can end, for deactivation and shutdown."""
    return _move(state, None, RobotStateInput(), limits, now)


# -- the operator ------------------------------------------------------------------------------------
def latch(state: MonitorState, finding: Finding) -> MonitorState:
    """Latch for a cause that no input shows, such as a person's order or a node that came back. The first stays."""
    return replaced(state, latched=state.latched or finding, unreported=state.unreported or finding)


def reset(before: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[MonitorState, str]:
    """End a latch. The text is empty on success; otherwise it says what still stops the robot, and nothing changes."""
    if before.latched is None:
        return before, ""
    state = replaced(before, takeover=takeover.after_reset(before.takeover, now))
    findings = checks.checks_on_reset(state, robot, thresholds, now)
    _, held = hold(state, most_gating(findings, thresholds), thresholds, now)
    cause = most_gating([*findings, held], thresholds)
    if cause.decision >= Decision.STOP:
        return before, f"the cause persists: {cause.text}"
    at_rest = _at_rest(state)
    given = consent.after_reset(state.consent, thresholds, before.latched)
    # A frozen pose shows in motion alone, so its check begins anew.
    begun = replaced(state, latched=None, stale_since_s=None, stop=None, judged=at_rest, frozen_pose=FrozenPose())
    return replaced(begun, consent=given), ""


def engage(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now, watched: bool = False
) -> tuple[MonitorState, str]:
    """Take an operator's consent to motion. The text is empty on success; otherwise it says why it is refused.

    A `watched` consent ends when the console at which the operator engages falls silent.
    """
    if state.consent.engaged and state.latched is None and not consent.loss(state.consent, robot, thresholds, now):
        if not watched:
            return state, ""
        bound = consent.watched_by_console(state.consent, robot, thresholds, now)
        return (state, bound) if isinstance(bound, str) else (replaced(state, consent=bound), "")
    findings = checks.checks_on_engage(state, robot, thresholds, now)
    _, held = hold(state, most_gating(findings, thresholds), thresholds, now)
    cause = most_gating([*findings, held], thresholds)
    if cause.decision >= Decision.STOP:
        return state, cause.text
    given = consent.engaged(state.consent, robot, thresholds, now, watched)
    if isinstance(given, str):
        return state, given
    return replaced(state, consent=given, judged=_at_rest(state)), ""


def disengage(state: MonitorState) -> MonitorState:
    """End the operator's consent: the robot stops, and nothing latches."""
    return replaced(state, consent=consent.disengaged(state.consent, "an operator disengaged"))


# -- from findings to decisions ----------------------------------------------------------------------
def _verdict_of_order(
    state: MonitorState,
    judged: JudgedProposal,
    proposal: ProposalInput,
    order: Finding,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Verdict:
    """Return the last verdict again, unless something stops the robot in the meantime."""
    permission = homing.permission_of_proposals(state, robot, thresholds, now)
    gating = most_gating([*checks.checks_on_judged(state, robot, thresholds, now), *permission], thresholds)
    _, held = hold(state, gating, thresholds, now)
    stopped = effective_finding(most_restrictive([gating, held]), state.latched)
    return verdict_of_order(state, judged, stopped, proposal, order, robot=robot, thresholds=thresholds, now=now)


def _at_rest(state: MonitorState) -> JudgedProposal | None:
    """Return what was judged last, with rest as its target: after a reset only a new proposal moves the robot."""
    judged, zeros = state.judged, (0.0,) * len(state.command)
    if judged is None:
        return None
    told = (*zeros, *judged.verdict.action_out[len(zeros) :])
    return replaced(judged, verdict=replaced(judged.verdict, action_out=told), wish=zeros)


def _taken_over(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> MonitorState:
    """Update who drives at this tick. A proposal from before a take-over moves nothing when the policy begins again."""
    after = takeover.on_tick(state.takeover, robot.operator, state.latched, thresholds, now)
    if after.driver is state.takeover.driver or after.driver is not WhoDrives.OPERATOR:
        return replaced(state, takeover=after)
    return replaced(state, takeover=after, judged=_at_rest(state), operated=None, waiting=None)


def _move(
    state: MonitorState, target: tuple[float, ...] | None, robot: RobotStateInput, limits: CommandLimits, now: Now
) -> MonitorState:
    """Take the next step of the command stream: to a normalised `target`, or to zero when it is None.

    A gripper holds unless the target names a position for it.
    """
    elapsed_s = 0.0  # the first tick changes nothing
    if state.ticked is not None:
        elapsed_s = min(max(now.monotonic_s - state.ticked.monotonic_s, 0.0), limits.longest_tick_s)
    size = len(state.command)
    twist = None if target is None else target[:size]
    step = next_command(twist, state.command, state.acceleration, state.history, robot, limits, elapsed_s, now)
    held = gripper.next_setpoint(state.gripper, target, size, robot.gripper, limits.gripper, elapsed_s)
    return replaced(
        state,
        gripper=held,
        command=step.command,
        acceleration=step.acceleration,
        history=step.history,
        frozen_pose=state.frozen_pose.after(robot, state.command, elapsed_s),
        ticked=now,
        limited=state.limited or step.limited,
        moved=state.moved or any(step.command) or held.sent is not None,
    )
