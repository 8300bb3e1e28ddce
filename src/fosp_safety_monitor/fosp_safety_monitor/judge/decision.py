"""The safety monitor's decisions as pure functions: inputs, the state so far and `now` in; next state and verdict out.

The ladder is PASS, SUBSTITUTE, RECOVER, STOP, LATCH (verdict.Decision). Every function gathers the findings of all
checks that apply and lets the most restrictive win. Whatever is missing, stale or malformed stops the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now
from fosp_core.decisions import RISK, STALENESS, Decision, Reason
from fosp_core.limits import CommandLimits
from fosp_safety_monitor.judge import checks
from fosp_safety_monitor.judge.command_history import NOTHING_UNSEEN
from fosp_safety_monitor.judge.inputs import CriticValues, LatentInput, ProposalInput, RobotStateInput, Thresholds
from fosp_safety_monitor.judge.ladder import choose, least_risk, let_through, target_of
from fosp_safety_monitor.judge.state import CHANGING, FrozenImage, MonitorState, Standing, Stop, Tick
from fosp_safety_monitor.judge.verdict import GATES_IN_SHADOW, Finding, Frame, Verdict, most_restrictive
from fosp_safety_monitor.judge.verdict_building import verdict_of_order, verdict_on_proposal, verdict_without_proposal

MAX_TICK_S = 0.03
"""A tick later than this changes the command no more than one of this length."""


def judge_latent(
    state: MonitorState, latent: LatentInput, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> tuple[MonitorState, Verdict | None]:
    """Check a latent on receipt, count surprises and repeated images; a fault latches and gives a verdict at once."""
    fault = checks.check_latent(latent, thresholds)
    frozen = _frozen(state, thresholds) if latent.repeated_image else CHANGING
    fault = fault or checks.check_frozen(frozen, thresholds)
    state = replace(state, frozen=frozen, latent_fault=fault)
    if fault is None:
        surprises = (*state.surprises, latent.surprise > thresholds.surprise_limit)
        return replace(state, surprises=surprises[-thresholds.parameters.surprise_window :]), None
    if _gates(fault, thresholds):
        state = replace(state, latched=state.latched or fault)
    verdict = verdict_without_proposal(state, fault, robot, thresholds, now)
    return replace(state, reported_s=now.monotonic_s, limited=False), verdict


def waits_for_latent(state: MonitorState, proposal: ProposalInput, thresholds: Thresholds, now: Now) -> bool:
    """Whether a proposal whose latent has not come may wait for it: not when it is malformed or out of order."""
    judged = state.standing.frame if state.standing else None
    return not (checks.check_proposal(proposal, thresholds) or checks.check_order(proposal, judged, now))


def critic_actions(proposal: ProposalInput, latent: LatentInput, thresholds: Thresholds) -> NDArray[np.float32] | None:
    """Candidates (1, K, A) float32 as the critic is to score them, clipped to [-1, 1]; None when malformed."""
    malformed = checks.check_proposal(proposal, thresholds) or checks.check_latent(latent, thresholds)
    if malformed is not None or proposal.actions is None:
        return None
    return np.clip(proposal.actions, -1.0, 1.0)[np.newaxis]


def judge_proposal(
    state: MonitorState,
    proposal: ProposalInput,
    latent: LatentInput | None,
    scored: CriticValues | Finding | None,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> tuple[MonitorState, Verdict]:
    """The verdict on a proposal, given its latent and what the monitor's own critic says of its candidates.

    `latent` is the one of the proposal's frame and step. It and `scored` are None when there are none (malformed, or
    out of order), and `scored` is a Finding when the critic failed: such a proposal never moves the robot.
    """
    malformed = checks.check_proposal(proposal, thresholds)
    if malformed is None and state.standing is not None:
        order = checks.check_order(proposal, state.standing.frame, now)
        if order is not None:
            return state, _verdict_of_order(state, state.standing, proposal, order, robot, thresholds, now)

    values = scored if isinstance(scored, CriticValues) else None
    choice, content = _judge_content(proposal, malformed, latent, scored, thresholds)
    latent_receipt_s = latent.receipt_s if latent else proposal.receipt_s
    findings = [
        content,
        checks.check_proposal_age(proposal.receipt_s, thresholds, now),
        *_check_inputs(state, proposal.frame, latent_receipt_s, robot, thresholds, now),
        checks.check_surprise(state.surprises, thresholds),
    ]
    vetoes = _count_vetoes(state.vetoes, most_restrictive(findings))
    findings.append(checks.check_vetoes(vetoes, thresholds))
    finding, gating = most_restrictive(findings), _most_gating(findings, thresholds)

    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    stop, held = _hold(state, gating, thresholds, now)
    effective = _effective(most_restrictive([finding, held]), latched)
    stops = latched is not None or held is not None or gating.decision >= Decision.STOP
    if effective.decision is Decision.RECOVER and values is not None:
        choice = least_risk(values)
    choice, scale = let_through(effective.decision, stops, proposal, choice, values, thresholds)
    target = target_of(scale, proposal, choice, thresholds)
    verdict = verdict_on_proposal(
        state, proposal, latent, values, choice, scale, target, effective, robot=robot, thresholds=thresholds, now=now
    )
    standing = Standing(proposal.frame, proposal.step, proposal.receipt_s, latent_receipt_s, finding, verdict)
    state = replace(
        state,
        latched=latched,
        unreported=None,
        standing=standing,
        waiting=None,
        stop=stop,
        vetoes=vetoes,
        reported_s=now.monotonic_s,
        limited=False,
    )
    return state, verdict


def judge_tick(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, limits: CommandLimits, now: Now
) -> tuple[MonitorState, Tick]:
    """The next command: towards the standing verdict's target, or on the way to zero; always within the limits."""
    held_up = checks.check_stream(state.ticked, thresholds, now)
    if held_up is not None:  # the robot has stopped by itself, so the next command follows on zero
        zeros = (0.0,) * thresholds.action_size
        state = replace(state, command=zeros, acceleration=zeros, resumed_s=now.monotonic_s)
    findings = [
        held_up,
        checks.check_clock(state.ticked, thresholds, now),
        # Latched, nothing moves any more that the pose could show.
        None if state.latched else checks.check_pose_changes(state.unseen, thresholds),
    ]
    findings += _check_standing(state, robot, thresholds, now)
    stop, held = _hold(state, _most_gating(findings, thresholds), thresholds, now)
    speaks = held is not None or any(finding is not None for finding in findings)
    findings += [held, state.standing.finding if state.standing else None]
    since_s = state.stale_since_s
    cause = most_restrictive(findings)
    if cause.reason in STALENESS:
        since_s = now.monotonic_s if since_s is None else since_s
        findings.append(checks.check_staleness_duration(cause, since_s, thresholds, now))
        cause = most_restrictive(findings)
    else:
        since_s = None
    gating = _most_gating(findings, thresholds)
    fresh_latch = state.unreported is not None or (state.latched is None and gating.decision is Decision.LATCH)
    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    effective = _effective(cause, latched)

    stopping = latched is not None or gating.decision >= Decision.STOP or state.standing is None
    state = _move(replace(state, latched=latched, stop=stop, stale_since_s=since_s), stopping, robot, limits, now)
    due = speaks and now.monotonic_s - state.reported_s >= thresholds.decision_period_s
    if not due and not fresh_latch:
        return state, Tick(state.command, effective, None)
    verdict = verdict_without_proposal(state, effective, robot, thresholds, now)
    state = replace(state, reported_s=now.monotonic_s, limited=False, unreported=None)
    return state, Tick(state.command, effective, verdict)


def latch(state: MonitorState, finding: Finding) -> MonitorState:
    """LATCH for what no input shows: a person's order, a node that came back. The first one stays."""
    return replace(state, latched=state.latched or finding, unreported=state.unreported or finding)


def halt(state: MonitorState, limits: CommandLimits, now: Now) -> MonitorState:
    """The next step of a decelerating stop that no input can end: the way down of deactivation and shutdown."""
    return _move(state, True, RobotStateInput(), limits, now)


def reset(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[MonitorState, str]:
    """Leave a latch. The text is empty on success; else it says what still stops the robot, and nothing changes."""
    if state.latched is None:
        return state, ""
    findings = [
        *_check_standing(state, robot, thresholds, now),
        checks.check_lead(robot, thresholds, checks.LEAD_AT_RESET),
        state.latent_fault,
        state.standing.finding if state.standing else None,
    ]
    _, held = _hold(state, _most_gating(findings, thresholds), thresholds, now)
    cause = _most_gating([*findings, held], thresholds)
    if cause.decision >= Decision.STOP:
        return state, f"the cause persists: {cause.text}"
    at_rest = _at_rest(state.standing)
    # Whether a pose changes shows in motion alone: it has to be seen anew.
    return replace(state, latched=None, stale_since_s=None, stop=None, standing=at_rest, unseen=NOTHING_UNSEEN), ""


# -- the table ---------------------------------------------------------------------------------------
def _check_inputs(
    state: MonitorState,
    frame: Frame,
    latent_receipt_s: float,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> list[Finding | None]:
    """What holds of everything that a proposal descends from, and of the robot, now and as long as it is followed."""
    return [
        checks.check_estop(robot, state.resumed_s, thresholds, now),
        checks.check_command_owner(robot, state.moved),
        checks.check_image(frame, latent_receipt_s, thresholds, now),
        checks.check_latent_age(latent_receipt_s, thresholds, now),
        checks.check_robot_state(robot, thresholds, now),
        checks.check_lead(robot, thresholds),
    ]


def _check_standing(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> list[Finding | None]:
    """What speaks, at this very moment, against following the standing verdict."""
    standing = state.standing
    if standing is None:
        return [
            checks.check_estop(robot, state.resumed_s, thresholds, now),
            checks.check_command_owner(robot, state.moved),
            _not_ready(state, checks.check_robot_state(robot, thresholds, now)),
        ]
    deadline = checks.check_proposal_age(standing.receipt_s, thresholds, now)
    if deadline is not None and state.waiting is not None:
        text = f"no latent of frame and step {state.waiting.step} came for its proposal; {deadline.text}"
        deadline = Finding(Decision.STOP, Reason.STALE_LATENT, text)
    inputs = _check_inputs(state, standing.frame, standing.latent_receipt_s, robot, thresholds, now)
    return [deadline, *inputs]


def _not_ready(state: MonitorState, robot_state: Finding | None) -> Finding:
    also = f"; {robot_state.text}" if robot_state else ""
    waiting = "a proposal waits for its latent" if state.waiting else "no proposal came yet"
    return Finding(Decision.STOP, Reason.NOT_READY, f"nothing was judged since activation: {waiting}{also}")


# -- what findings lead to ---------------------------------------------------------------------------
def _gates(finding: Finding, thresholds: Thresholds) -> bool:
    """Whether it stops the robot; in shadow mode most findings are only told."""
    return finding.decision >= Decision.STOP and (not thresholds.shadow or finding.reason in GATES_IN_SHADOW)


def _most_gating(findings: Sequence[Finding | None], thresholds: Thresholds) -> Finding:
    """The most restrictive of those that stop the robot; PASSED when none does."""
    return most_restrictive(finding for finding in findings if finding is not None and _gates(finding, thresholds))


def _hold(state: MonitorState, gating: Finding, thresholds: Thresholds, now: Now) -> tuple[Stop | None, Finding | None]:
    """A stop begins at once and ends late: what to remember of it, and the finding that prolongs it."""
    if gating.decision >= Decision.STOP and gating.reason is not Reason.NOT_READY:
        return Stop(gating, now.monotonic_s), None
    stop, release_s = state.stop, thresholds.parameters.release_s
    if stop is None or now.monotonic_s - stop.held_s >= release_s:
        return None, None
    text = f"until every check has held for {release_s:g} s: {stop.finding.text}"
    return stop, Finding(Decision.STOP, stop.finding.reason, text)


def _frozen(state: MonitorState, thresholds: Thresholds) -> FrozenImage:
    """With one more image that is the same, under the command of this moment. At rest nothing is added, or forgotten:
    a camera that froze does not thaw by standing still."""
    told = [value / scale for value, scale in zip(state.command, thresholds.action_scale, strict=True)]
    if any(abs(share) >= checks.SEEN_MOTION for share in told):
        return replace(state.frozen, steps=state.frozen.steps + 1)
    travel = state.frozen.travel or (0.0,) * len(told)
    return replace(state.frozen, travel=tuple(t + share for t, share in zip(travel, told, strict=True)))


def _verdict_of_order(
    state: MonitorState,
    standing: Standing,
    proposal: ProposalInput,
    order: Finding,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Verdict:
    """The last verdict stands, unless something stops the robot by now."""
    gating = _most_gating(_check_standing(state, robot, thresholds, now), thresholds)
    _, held = _hold(state, gating, thresholds, now)
    stopped = _effective(most_restrictive([gating, held]), state.latched)
    return verdict_of_order(standing, stopped, proposal, order, robot=robot, thresholds=thresholds, now=now)


def _at_rest(standing: Standing | None) -> Standing | None:
    """The same, but steering to zero: after a reset only a new proposal moves the robot."""
    if standing is None:
        return None
    zeros = (0.0,) * len(standing.verdict.action_out)
    return replace(standing, verdict=replace(standing.verdict, action_out=zeros))


def _judge_content(
    proposal: ProposalInput,
    malformed: Finding | None,
    latent: LatentInput | None,
    scored: CriticValues | Finding | None,
    thresholds: Thresholds,
) -> tuple[int, Finding | None]:
    """Index of the candidate to let through, and the finding on proposal, latent and critic, apart from their ages."""
    if malformed is None and latent is not None:
        malformed = checks.check_latent(latent, thresholds)
    if malformed is None and isinstance(scored, Finding):
        malformed = scored
    if malformed is None and (latent is None or scored is None):
        text = f"proposal {proposal.step} has no latent, or was not scored by the critic"
        malformed = Finding(Decision.LATCH, Reason.NOT_FINITE, text)
    if malformed is not None or not isinstance(scored, CriticValues) or proposal.actions is None:
        return proposal.chosen, malformed
    critic = checks.check_critic(scored, len(proposal.actions), thresholds)
    unusable = critic or (checks.check_contrast(latent, thresholds) if latent else None)
    if unusable is not None:
        return proposal.chosen, unusable
    return choose(proposal.chosen, scored, thresholds)


def _count_vetoes(vetoes: int, finding: Finding) -> int:
    """Vetoes in a row, `finding` included; staleness and malformed inputs are no vetoes and end no row."""
    if finding.decision is Decision.PASS:
        return 0
    return vetoes + 1 if finding.reason in RISK else vetoes


def _effective(finding: Finding, latched: Finding | None) -> Finding:
    """The finding, unless a latch overrides it."""
    if latched is None or finding is latched:
        return finding
    return Finding(Decision.LATCH, latched.reason, f"latched until reset: {latched.text}")


def _move(state: MonitorState, stopping: bool, robot: RobotStateInput, limits: CommandLimits, now: Now) -> MonitorState:
    """The command after the previous one, on the way to the standing verdict's target or to zero."""
    elapsed_s = _elapsed(state, now)
    previous, acceleration = np.array(state.command), np.array(state.acceleration)
    limited = False
    if stopping or state.standing is None:
        command = limits.stop(previous, elapsed_s, acceleration)
    else:
        point, moved = robot.position, state.travel.since(robot.pose, now)
        if robot.lead is not None:
            point, moved = robot.lead.position, None
        position = None if point is None else np.array(point)
        target = np.array(state.standing.verdict.action_out)
        followed = limits.follow(target, previous, elapsed_s, position, acceleration, moved)
        command, limited = followed.command, followed.limited
    if elapsed_s > 0.0:
        acceleration = (command - previous) / elapsed_s
    sent = tuple(command.tolist())
    return replace(
        state,
        command=sent,
        travel=state.travel.after(sent, now.monotonic_s),
        unseen=state.unseen.after(robot.position, robot.pose, state.command, elapsed_s),
        acceleration=tuple(acceleration.tolist()),
        ticked=now,
        limited=state.limited or limited,
        moved=state.moved or bool(command.any()),
    )


def _elapsed(state: MonitorState, now: Now) -> float:
    """Since the last tick, s; the first tick changes nothing, and no tick counts for more than MAX_TICK_S."""
    if state.ticked is None:
        return 0.0
    return min(max(now.monotonic_s - state.ticked.monotonic_s, 0.0), MAX_TICK_S)
