"""The safety monitor's decisions as pure functions: inputs, the state so far and `now` in; next state and verdict out.

The decisions are, from least to most restrictive, PASS, SUBSTITUTE, RECOVER, STOP and LATCH. Every function gathers the
findings of the checks that apply (the lists in checks.py), and the most restrictive finding wins. An input that is
missing, stale or malformed stops the robot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now
from fosp_core.decisions import MOVES_ANYWAY, RISK, STALENESS, Decision, Reason
from fosp_core.robot.limits import CommandLimits
from fosp_safety_monitor.judge import checks, homing
from fosp_safety_monitor.judge.choice import choose, executed_candidate, least_risk, target_of
from fosp_safety_monitor.judge.inputs import (
    CheckedLatent,
    CheckedProposal,
    CriticValues,
    LatentInput,
    ProposalInput,
    RobotStateInput,
    Thresholds,
)
from fosp_safety_monitor.judge.replacing import replaced
from fosp_safety_monitor.judge.state import JudgedProposal, MonitorState, Stop, Tick
from fosp_safety_monitor.judge.verdict import GATES_IN_SHADOW, Finding, Verdict, most_restrictive
from fosp_safety_monitor.judge.verdict_building import verdict_of_order, verdict_on_proposal, verdict_without_proposal
from fosp_safety_monitor.judge.watch import consent, latent_stream
from fosp_safety_monitor.judge.watch.motion import FrozenImage, FrozenPose, check_frozen, next_command
from fosp_safety_monitor.judge.watch.protection import check_zone_speed, check_zones, zones_on

_UNHELD = frozenset({Reason.NOT_READY, Reason.NOT_ENGAGED, Reason.NO_EPISODE})
"""Stops that end at once: the robot waits, and no check flickers."""


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
    """Count surprises, novel and repeated images of a latent; a fault latches and gives a verdict at once."""
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
    if _gates(fault, thresholds):
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

    values = scored if isinstance(scored, CriticValues) else None
    choice, content = _judge_content(checked, scored, thresholds)
    latent_receipt_s = latent.receipt_s if latent else proposal.receipt_s
    findings = [content, *checks.checks_on_proposal(state, proposal, latent_receipt_s, robot, thresholds, now)]
    wanted = _wanted(content, choice, proposal, values, thresholds)
    zones = [check(wanted, state.command, robot, thresholds, now) for check in (check_zones, check_zone_speed)]
    findings = [*zones, *findings]
    permission = homing.permission_of_proposals(state, robot, thresholds, now)
    vetoes = _count_vetoes(state.vetoes, most_restrictive([*findings, *permission]))
    findings.append(checks.check_vetoes(vetoes, thresholds))
    finding, gating = most_restrictive(findings), _most_gating([*findings, *permission], thresholds)

    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    stop, held = _hold(state, gating, thresholds, now)
    ramp = consent.ramp_scale(state.consent, thresholds, now)
    notice = consent.check_ramp(ramp) if finding.reason is Reason.OK else finding
    effective = _effective(most_restrictive([notice, held, *permission]), latched)
    stops = latched is not None or held is not None or gating.decision >= Decision.STOP
    if effective.decision is Decision.RECOVER and values is not None:
        choice = least_risk(values)
    choice, scale = executed_candidate(effective.decision, stops, proposal, choice, values, thresholds)
    wish = target_of(scale * ramp, proposal, choice, thresholds)
    scale *= ramp * zones_on(wish, state.command, robot, thresholds, now).share
    target = target_of(scale, proposal, choice, thresholds)
    verdict = verdict_on_proposal(
        state, proposal, latent, values, choice, scale, target, effective, robot=robot, thresholds=thresholds, now=now
    )
    state = replaced(
        state,
        latched=latched,
        unreported=None,
        judged=JudgedProposal(
            proposal.frame, proposal.step, proposal.receipt_s, latent_receipt_s, finding, verdict, wish
        ),
        waiting=None,
        stop=stop,
        vetoes=vetoes,
        reported_s=now.monotonic_s,
        limited=False,
    )
    return state, verdict


# -- the command stream ------------------------------------------------------------------------------
def judge_tick(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, limits: CommandLimits, now: Now
) -> tuple[MonitorState, Tick]:
    """Return the next command, within the limits: towards the last verdict's target, or on the way to zero."""
    told = state.command
    held_up = checks.check_stream(state.ticked, thresholds, now)
    if held_up is not None:  # the robot has stopped by itself, so the next command follows on zero
        zeros = (0.0,) * thresholds.action_size
        state = replaced(state, command=zeros, acceleration=zeros, resumed_s=now.monotonic_s)
        state = replaced(state, following=state.following.paused())
    state = follow_motion(state, told, robot, thresholds, now)
    state = replaced(state, consent=consent.on_tick(state.consent, robot, thresholds, now, state.latched, held_up))
    state = replaced(state, homing=homing.on_tick(state, robot, thresholds, now))
    permission = homing.permission_on_tick(state, robot, thresholds, now)
    findings = [held_up, *homing.checks_on_tick(state, robot, thresholds, now)]
    on_way = state.homing.running
    before = replaced(state, stop=None) if on_way else state  # a stop that a proposal asked for is none on the way home
    stop, held = _hold(before, _most_gating(findings, thresholds), thresholds, now)
    reports = on_way or held is not None or any(finding is not None for finding in findings)
    findings += [held, state.judged.finding if state.judged and not on_way else None]
    since_s = state.stale_since_s
    cause = most_restrictive(findings)
    if cause.reason in STALENESS:
        since_s = now.monotonic_s if since_s is None else since_s
        findings.append(checks.check_staleness_duration(cause, since_s, thresholds, now))
        cause = most_restrictive(findings)
    else:
        since_s = None
    findings += permission
    cause, gating = most_restrictive(findings), _most_gating(findings, thresholds)
    fresh_latch = state.unreported is not None or (state.latched is None and gating.decision is Decision.LATCH)
    latched = state.latched or (gating if gating.decision is Decision.LATCH else None)
    effective = _effective(cause, latched)

    target = None
    wish = homing.wish_of(state, robot, thresholds)
    if latched is None and gating.decision < Decision.STOP and wish is not None:
        share = zones_on(wish, state.command, robot, thresholds, now).share
        target = wish if share == 1.0 else tuple(share * value for value in wish)
    state = replaced(state, latched=latched, stop=stop, stale_since_s=since_s)
    state = _move(
        replaced(state, homing=homing.stopped(state.homing, latched or gating, now)), target, robot, limits, now
    )
    due = reports and now.monotonic_s - state.reported_s >= thresholds.decision_period_s
    if not due and not fresh_latch:
        return state, Tick(state.command, effective, None)
    verdict = verdict_without_proposal(state, effective, robot, thresholds, now)
    state = replaced(state, reported_s=now.monotonic_s, limited=False, unreported=None)
    return state, Tick(state.command, effective, verdict)


def follow_motion(
    state: MonitorState, command: tuple[float, ...], robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> MonitorState:
    """Hold the robot's motion against `command` (n,), m/s and rad/s, which was in force since the last call."""
    latched = state.latched is not None
    return replaced(state, following=state.following.after(command, robot, thresholds, now, latched))


def halt(state: MonitorState, limits: CommandLimits, now: Now) -> MonitorState:
    """Take the next step of a decelerating stop that no input can end: for deactivation and shutdown."""
    return _move(state, None, RobotStateInput(), limits, now)


# -- the operator ------------------------------------------------------------------------------------
def latch(state: MonitorState, finding: Finding) -> MonitorState:
    """Latch for a cause that no input shows: a person's order, a node that came back. The first latch stays."""
    return replaced(state, latched=state.latched or finding, unreported=state.unreported or finding)


def reset(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[MonitorState, str]:
    """End a latch. The text is empty on success; otherwise it says what still stops the robot, and nothing changes."""
    if state.latched is None:
        return state, ""
    findings = checks.checks_on_reset(state, robot, thresholds, now)
    _, held = _hold(state, _most_gating(findings, thresholds), thresholds, now)
    cause = _most_gating([*findings, held], thresholds)
    if cause.decision >= Decision.STOP:
        return state, f"the cause persists: {cause.text}"
    at_rest = _at_rest(state.judged)
    given = consent.after_reset(state.consent, thresholds, state.latched)
    # A frozen pose shows in motion alone, so its check begins anew.
    begun = replaced(state, latched=None, stale_since_s=None, stop=None, judged=at_rest, frozen_pose=FrozenPose())
    return replaced(begun, consent=given), ""


def engage(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now, watched: bool = False
) -> tuple[MonitorState, str]:
    """Take an operator's consent to motion. The text is empty on success; otherwise it says why it is refused.

    A `watched` consent ends when the console falls silent at which the operator engages.
    """
    if state.consent.engaged and state.latched is None and not consent.loss(state.consent, robot, thresholds, now):
        if not watched:
            return state, ""
        bound = consent.watched_by_console(state.consent, robot, thresholds, now)
        return (state, bound) if isinstance(bound, str) else (replaced(state, consent=bound), "")
    findings = checks.checks_on_engage(state, robot, thresholds, now)
    _, held = _hold(state, _most_gating(findings, thresholds), thresholds, now)
    cause = _most_gating([*findings, held], thresholds)
    if cause.decision >= Decision.STOP:
        return state, cause.text
    given = consent.engaged(state.consent, robot, thresholds, now, watched)
    if isinstance(given, str):
        return state, given
    return replaced(state, consent=given, judged=_at_rest(state.judged)), ""


def disengage(state: MonitorState) -> MonitorState:
    """End the operator's consent: the robot stops, and nothing latches."""
    return replaced(state, consent=consent.disengaged(state.consent, "an operator disengaged"))


# -- from findings to decisions ----------------------------------------------------------------------
def _gates(finding: Finding, thresholds: Thresholds) -> bool:
    """Return True when the finding stops the robot; in shadow mode most findings are only reported."""
    return finding.decision >= Decision.STOP and (not thresholds.shadow or finding.reason in GATES_IN_SHADOW)


def _most_gating(findings: Sequence[Finding | None], thresholds: Thresholds) -> Finding:
    """Return the most restrictive of the findings that stop the robot; PASSED when none does."""
    return most_restrictive(finding for finding in findings if finding is not None and _gates(finding, thresholds))


def _hold(state: MonitorState, gating: Finding, thresholds: Thresholds, now: Now) -> tuple[Stop | None, Finding | None]:
    """Return the stop to remember, and the finding that prolongs it: a stop begins at once and ends late."""
    if gating.decision >= Decision.STOP and gating.reason not in _UNHELD:
        return Stop(gating, now.monotonic_s), None
    stop, release_s = state.stop, thresholds.parameters.release_s
    if stop is None or now.monotonic_s - stop.held_s >= release_s:
        return None, None
    text = f"stopped until every check has held for {release_s:g} s: {stop.finding.text}"
    return stop, Finding(Decision.STOP, stop.finding.reason, text)


def _effective(finding: Finding, latched: Finding | None) -> Finding:
    """Return the finding, unless a latch overrides it. A robot that moves although it is latched comes first."""
    if latched is None or finding is latched:
        return finding
    if finding.reason in MOVES_ANYWAY and finding.decision is Decision.LATCH:
        return replaced(finding, text=f"{finding.text}; latched until reset: {latched.text}")
    return Finding(Decision.LATCH, latched.reason, f"latched until reset: {latched.text}")


def _verdict_of_order(
    state: MonitorState,
    judged: JudgedProposal,
    proposal: ProposalInput,
    order: Finding,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> Verdict:
    """Return the last verdict again, unless something stops the robot by now."""
    permission = homing.permission_of_proposals(state, robot, thresholds, now)
    gating = _most_gating([*checks.checks_on_judged(state, robot, thresholds, now), *permission], thresholds)
    _, held = _hold(state, gating, thresholds, now)
    stopped = _effective(most_restrictive([gating, held]), state.latched)
    return verdict_of_order(judged, stopped, proposal, order, robot=robot, thresholds=thresholds, now=now)


def _at_rest(judged: JudgedProposal | None) -> JudgedProposal | None:
    """Return the same proposal with zero as its target: after a reset only a new proposal moves the robot."""
    if judged is None:
        return None
    zeros = (0.0,) * len(judged.verdict.action_out)
    return replaced(judged, verdict=replaced(judged.verdict, action_out=zeros), wish=zeros)


def _count_vetoes(vetoes: int, finding: Finding) -> int:
    """Return the vetoes in a row, `finding` included. Stale and malformed inputs are no vetoes and end no row."""
    if finding.decision is Decision.PASS:
        return 0
    return vetoes + 1 if finding.reason in RISK else vetoes


def _move(
    state: MonitorState, target: tuple[float, ...] | None, robot: RobotStateInput, limits: CommandLimits, now: Now
) -> MonitorState:
    """Take the next step of the command stream: to a normalised `target` (n,), or to zero when it is None."""
    elapsed_s = 0.0  # the first tick changes nothing
    if state.ticked is not None:
        elapsed_s = min(max(now.monotonic_s - state.ticked.monotonic_s, 0.0), limits.longest_tick_s)
    step = next_command(target, state.command, state.acceleration, state.history, robot, limits, elapsed_s, now)
    return replaced(
        state,
        command=step.command,
        acceleration=step.acceleration,
        history=step.history,
        frozen_pose=state.frozen_pose.after(robot, state.command, elapsed_s),
        ticked=now,
        limited=state.limited or step.limited,
        moved=state.moved or any(step.command),
    )


# -- content -----------------------------------------------------------------------------------------
def _wanted(
    content: Finding | None,
    choice: int,
    proposal: ProposalInput,
    values: CriticValues | None,
    thresholds: Thresholds,
) -> tuple[float, ...]:
    """Return the normalised action that the protective zones are asked about; empty (rest) where none can be sent."""
    decision = Decision.PASS if content is None else content.decision
    if decision >= Decision.STOP:
        return ()
    choice, scale = executed_candidate(decision, False, proposal, choice, values, thresholds)
    return target_of(scale, proposal, choice, thresholds)


def _judge_content(
    checked: CheckedProposal, scored: CriticValues | Finding | None, thresholds: Thresholds
) -> tuple[int, Finding | None]:
    """Return the index of the candidate to execute, and the finding on the content of proposal, latent and scores."""
    proposal, latent = checked.proposal, checked.latent
    malformed = checked.malformed or checked.malformed_latent
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
