"""Which candidate goes on to the robot, and how fast, by the risks that the monitor's own critic gives them. No ROS."""

from __future__ import annotations

import numpy as np

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.inputs import CriticValues, ProposalInput, Thresholds
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
    recover_scale_least at risk 1.
    """
    parameters, eps = thresholds.parameters, thresholds.eps
    begin = parameters.slow_down_share * eps
    if risk <= begin:
        return 1.0
    if risk <= eps:
        return 1.0 - (1.0 - parameters.recover_scale) * (risk - begin) / (eps - begin)
    beyond = min(1.0, (risk - eps) / (1.0 - eps))
    return parameters.recover_scale - (parameters.recover_scale - parameters.recover_scale_least) * beyond


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
    return choice, min(scale, thresholds.parameters.recover_scale) if decision is Decision.RECOVER else scale


def target_of(scale: float, proposal: ProposalInput, choice: int, thresholds: Thresholds) -> tuple[float, ...]:
    """Return the normalised action to steer to."""
    if scale == 0.0 or proposal.actions is None:
        return (0.0,) * thresholds.action_size
    # What is not finite stays so, and the limits make a stop of it.
    return tuple((scale * np.clip(proposal.actions[choice].astype(np.float64), -1.0, 1.0)).tolist())
