"""The safety monitor's decisions as pure functions: inputs, the state so far and `now` in; next state and verdict out.

The ladder is PASS, SUBSTITUTE, RECOVER, STOP, LATCH (verdict.Decision). Every function gathers the findings of all
checks that apply and lets the most restrictive win. Whatever is missing, stale or malformed stops the robot.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now
from fosp_core.limits import CommandLimits
from fosp_safety_monitor import checks
from fosp_safety_monitor.answer import verdict_of_order, verdict_on_proposal, verdict_without_proposal
from fosp_safety_monitor.inputs import CriticValues, LatentInput, ProposalInput, RobotStateInput, Thresholds
from fosp_safety_monitor.state import MonitorState, Standing, Tick
from fosp_safety_monitor.verdict import (
    PASSED,
    RISK,
    STALENESS,
    Decision,
    Finding,
    Reason,
    Verdict,
    most_restrictive,
)

MAX_TICK_S = 0.03
"""A tick later than this changes the command no more than one of this length."""


def judge_latent(
    state: MonitorState, latent: LatentInput, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> tuple[MonitorState, Verdict | None]:
    """Check a latent on receipt and count its surprise; a malformed one latches and gives a verdict at once."""
    fault = checks.check_latent(latent, thresholds)
    if fault is None:
        surprises = (*state.surprises, latent.surprise > thresholds.surprise_limit)
        return replace(state, latent_fault=None, surprises=surprises[-thresholds.parameters.surprise_window :]), None
    state = replace(state, latent_fault=fault, latched=state.latched or fault)
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
            stopped = _effective(most_restrictive([_tick_finding(state, robot, thresholds, now)]), state.latched)
            return state, verdict_of_order(
                state.standing, stopped, proposal, order, robot=robot, thresholds=thresholds, now=now
            )

    values = scored if isinstance(scored, CriticValues) else None
    choice, finding = _judge_content(proposal, malformed, latent, scored, thresholds)
    latent_receipt_s = latent.receipt_s if latent else proposal.receipt_s
    ages = _check_ages(proposal, latent_receipt_s, robot, thresholds, now)
    finding = most_restrictive([finding, *ages, checks.check_surprise(state.surprises, thresholds)])
    vetoes = _count_vetoes(state.vetoes, finding)
    finding = most_restrictive([finding, checks.check_vetoes(vetoes, thresholds)])

    latched = state.latched or (finding if finding.decision is Decision.LATCH else None)
    effective = _effective(finding, latched)
    if effective.decision is Decision.RECOVER and values is not None:
        choice = _least_risk(values)
    target = _target(effective.decision, proposal, choice, thresholds)
    verdict = verdict_on_proposal(
        state, proposal, latent, values, choice, target, effective, robot=robot, thresholds=thresholds, now=now
    )
    standing = Standing(proposal.frame, proposal.step, proposal.receipt_s, latent_receipt_s, finding, verdict)
    state = replace(
        state,
        latched=latched,
        standing=standing,
        waiting=None,
        vetoes=vetoes,
        reported_s=now.monotonic_s,
        limited=False,
    )
    return state, verdict


def judge_tick(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, limits: CommandLimits, now: Now
) -> tuple[MonitorState, Tick]:
    """The next command: towards the standing verdict's target, or on the way to zero; always within the limits."""
    stale = _tick_finding(state, robot, thresholds, now)
    standing = state.standing.finding if state.standing else PASSED
    cause = most_restrictive([stale, standing])
    since_s = state.stale_since_s
    if cause.reason in STALENESS:
        since_s = now.monotonic_s if since_s is None else since_s
        cause = most_restrictive([cause, checks.check_staleness_duration(cause, since_s, thresholds, now)])
    else:
        since_s = None
    fresh_latch = state.latched is None and cause.decision is Decision.LATCH
    latched = state.latched or (cause if cause.decision is Decision.LATCH else None)
    effective = _effective(cause, latched)

    stopping = effective.decision >= Decision.STOP or state.standing is None
    command, limited = _next_command(state, stopping, robot, limits, now)
    state = replace(
        state,
        command=command,
        latched=latched,
        stale_since_s=since_s,
        ticked_s=now.monotonic_s,
        limited=state.limited or limited,
    )
    due = now.monotonic_s - state.reported_s >= thresholds.decision_period_s
    if not due or (stale is None and not fresh_latch):
        return state, Tick(command, effective, None)
    verdict = verdict_without_proposal(state, effective, robot, thresholds, now)
    return replace(state, reported_s=now.monotonic_s, limited=False), Tick(command, effective, verdict)


def halt(state: MonitorState, limits: CommandLimits, now: Now) -> MonitorState:
    """The next step of a decelerating stop that no input can end: the way down of deactivation and shutdown."""
    command = limits.stop(np.array(state.command), _elapsed(state, now))
    return replace(state, command=tuple(command.tolist()), ticked_s=now.monotonic_s)


def reset(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[MonitorState, str]:
    """Leave a latch. The text is empty on success; else it says what still stops the robot, and nothing changes."""
    if state.latched is None:
        return state, ""
    standing = state.standing.finding if state.standing else None
    cause = most_restrictive([_tick_finding(state, robot, thresholds, now), state.latent_fault, standing])
    if cause.decision >= Decision.STOP:
        return state, f"the cause persists: {cause.text}"
    return replace(state, latched=None, stale_since_s=None, standing=_at_rest(state.standing)), ""


def _tick_finding(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Finding | None:
    """What speaks, at this very moment, against following the standing verdict; None when nothing does."""
    robot_state = checks.check_robot_state(robot, thresholds, now)
    standing = state.standing
    if standing is None:
        also = f"; {robot_state.text}" if robot_state else ""
        waiting = "a proposal waits for its latent" if state.waiting else "no proposal came yet"
        return Finding(Decision.STOP, Reason.NOT_READY, f"nothing was judged since activation: {waiting}{also}")
    deadline = checks.check_proposal_age(standing.receipt_s, thresholds, now)
    if deadline is not None and state.waiting is not None:
        text = f"no latent of frame and step {state.waiting.step} came for its proposal; {deadline.text}"
        deadline = Finding(Decision.STOP, Reason.STALE_LATENT, text)
    found = most_restrictive(
        [
            deadline,
            checks.check_image(standing.frame, standing.latent_receipt_s, thresholds, now),
            checks.check_latent_age(standing.latent_receipt_s, thresholds, now),
            robot_state,
        ]
    )
    return None if found is PASSED else found


def _at_rest(standing: Standing | None) -> Standing | None:
    """The same, but steering to zero: after a reset only a new proposal moves the robot."""
    if standing is None:
        return None
    zeros = (0.0,) * len(standing.verdict.action_out)
    return replace(standing, verdict=replace(standing.verdict, action_out=zeros))


def _check_ages(
    proposal: ProposalInput, latent_receipt_s: float, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> list[Finding | None]:
    """Ages of all that a proposal descends from."""
    return [
        checks.check_image(proposal.frame, latent_receipt_s, thresholds, now),
        checks.check_latent_age(latent_receipt_s, thresholds, now),
        checks.check_proposal_age(proposal.receipt_s, thresholds, now),
        checks.check_robot_state(robot, thresholds, now),
    ]


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
    if critic is not None:
        return proposal.chosen, critic
    return _choose(proposal.chosen, scored, thresholds)


def _choose(chosen: int, values: CriticValues, thresholds: Thresholds) -> tuple[int, Finding | None]:
    """Index of the candidate to let through, and the finding when it is not the proposed one as it is."""
    eps, risk = thresholds.eps, values.q_h[chosen]
    if risk <= eps:
        return chosen, None
    feasible = [i for i, q_h in enumerate(values.q_h) if q_h <= eps]
    if feasible:
        best = max(feasible, key=lambda i: values.q_r[i] - thresholds.kappa * values.q_c[i])
        text = (
            f"risk {risk:.3f} of candidate {chosen} is above {eps:.3f}: candidate {best} of risk {values.q_h[best]:.3f}"
        )
        return best, Finding(Decision.SUBSTITUTE, Reason.INFEASIBLE, f"{text} takes its place")
    least = _least_risk(values)
    text = (
        f"risk of all {len(values.q_h)} candidates is above {eps:.3f}: the least, {values.q_h[least]:.3f} of candidate"
    )
    scale = thresholds.parameters.recover_scale
    return least, Finding(Decision.RECOVER, Reason.NO_FEASIBLE, f"{text} {least}, is scaled by {scale:g}")


def _least_risk(values: CriticValues) -> int:
    return min(range(len(values.q_h)), key=values.q_h.__getitem__)


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


def _target(decision: Decision, proposal: ProposalInput, choice: int, thresholds: Thresholds) -> tuple[float, ...]:
    """Normalised action to steer to."""
    if decision >= Decision.STOP or proposal.actions is None:
        return (0.0,) * thresholds.action_size
    scale = thresholds.parameters.recover_scale if decision is Decision.RECOVER else 1.0
    return tuple(scale * min(1.0, max(-1.0, value)) for value in proposal.actions[choice].tolist())


def _next_command(
    state: MonitorState, stopping: bool, robot: RobotStateInput, limits: CommandLimits, now: Now
) -> tuple[tuple[float, ...], bool]:
    """Command after the previous one, and whether the limits changed it."""
    previous, elapsed_s = np.array(state.command), _elapsed(state, now)
    if stopping or state.standing is None:
        return tuple(limits.stop(previous, elapsed_s).tolist()), False
    if elapsed_s == 0.0:
        return state.command, False
    position = None if robot.position is None else np.array(robot.position)
    limited = limits.follow(np.array(state.standing.verdict.action_out), previous, elapsed_s, position)
    return tuple(limited.command.tolist()), limited.limited


def _elapsed(state: MonitorState, now: Now) -> float:
    """Since the last tick, s; the first tick changes nothing, and no tick counts for more than MAX_TICK_S."""
    if state.ticked_s is None:
        return 0.0
    return min(max(now.monotonic_s - state.ticked_s, 0.0), MAX_TICK_S)
