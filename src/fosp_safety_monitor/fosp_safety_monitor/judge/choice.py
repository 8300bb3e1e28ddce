"""Which candidate goes on to the robot, and how fast, by the risks that the monitor's own critic gives them. No ROS."""

from __future__ import annotations

import numpy as np

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import checks
from fosp_safety_monitor.judge.inputs import CheckedProposal, CriticValues, ProposalInput
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding


def choose(chosen: int, values: CriticValues, thresholds: Thresholds) -> tuple[int, Finding | None]:
    """Return the index of the candidate to execute, and a finding unless it is the proposed one at full speed."""
    eps, risk = thresholds.eps, values.q_h[chosen]
    if risk <= eps:
        scale = speed_scale(risk, thresholds)
        text = f"risk {risk:.3f} of candidate {chosen} is close to {eps:.3f}: its speed is scaled by {scale:.2f}"
        return chosen, Finding(Decision.PASS, Reason.SLOW_DOWN, text) if scale < 1.0 else None
    feasible = [i for i, q_h in enumerate(values.q_h) if q_h <= eps]
    if feasible:
        best = max(feasible, key=lambda i: values.q_r[i] - thresholds.kappa * values.q_c[i])
        text = (
            f"risk {risk:.3f} of candidate {chosen} is above {eps:.3f}: candidate {best} of risk {values.q_h[best]:.3f}"
        )
        return best, Finding(Decision.SUBSTITUTE, Reason.INFEASIBLE, f"{text} takes its place")
    least = least_risk(values)
    text = (
        f"risk of all {len(values.q_h)} candidates is above {eps:.3f}: the least, {values.q_h[least]:.3f} of candidate"
    )
    scale = speed_scale(values.q_h[least], thresholds)
    return least, Finding(Decision.RECOVER, Reason.NO_FEASIBLE, f"{text} {least}, is scaled by {scale:.2f}")


def speed_scale(risk: float, thresholds: Thresholds) -> float:
    """Return the factor of the speed at a risk in [0, 1]; it never grows with the risk.

    It is 1 up to slow_down_share * eps, falls from there in a line to recover_scale at eps, and on to
    recover_scale_least at risk 1. It is 1 throughout for a robot that coasts, whose way out is its own thrust.
    """
    eps, (at_eps, least) = thresholds.eps, thresholds.recover_scales
    begin = thresholds.parameters.slow_down_share * eps
    if risk <= begin:
        return 1.0
    if risk <= eps:
        return 1.0 - (1.0 - at_eps) * (risk - begin) / (eps - begin)
    beyond = min(1.0, (risk - eps) / (1.0 - eps))
    return at_eps - (at_eps - least) * beyond


def least_risk(values: CriticValues) -> int:
    """Return the index of the candidate of least risk."""
    return min(range(len(values.q_h)), key=values.q_h.__getitem__)


def executed_candidate(
    decision: Decision,
    stops: bool,
    proposal: ProposalInput,
    choice: int,
    values: CriticValues | None,
    thresholds: Thresholds,
) -> tuple[int, float]:
    """Return the index of the candidate that goes on to the robot, and the factor of its speed, 0 for a stop."""
    if stops:
        return choice, 0.0
    if thresholds.shadow or values is None:
        return proposal.chosen, 1.0
    scale = speed_scale(values.q_h[choice], thresholds)
    return choice, min(scale, thresholds.recover_scales[0]) if decision is Decision.RECOVER else scale


def target_of(
    scale: float, proposal: ProposalInput, choice: int, thresholds: Thresholds, decision: Decision = Decision.PASS
) -> tuple[float, ...]:
    """Return the normalised action to steer to; the gripper holds in a RECOVER and at rest, and is never scaled."""
    size = len(thresholds.action_scale)
    if scale == 0.0 or proposal.actions is None:
        return (0.0,) * size
    # What is not finite stays so, and the limits make a stop of it.
    action = np.clip(proposal.actions[choice].astype(np.float64), -1.0, 1.0)
    holds = decision is Decision.RECOVER and not thresholds.shadow
    return (*(scale * action[:size]).tolist(), *(() if holds else action[size:].tolist()))


def wanted_action(
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


def judge_content(
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
