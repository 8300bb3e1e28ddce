"""From findings to decisions: which of them stop the robot, how long a stop lasts, and what a latch overrides."""

from __future__ import annotations

from collections.abc import Sequence

from fosp_core.clock import Now
from fosp_core.decisions import MOVES_ANYWAY, RISK, Decision, Reason, WhoDrives
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.state import MonitorState, Stop
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import GATES_IN_SHADOW, Finding, most_restrictive
from fosp_safety_monitor.judge.watch import consent, takeover
from fosp_safety_monitor.judge.watch.gripper import scaled
from fosp_safety_monitor.replacing import replaced

_UNHELD = frozenset({Reason.NOT_READY, Reason.NOT_ENGAGED, Reason.NO_EPISODE, Reason.TAKEN_OVER})
"""Stops that end at once: the robot waits, and no check flickers."""


def gates(finding: Finding, thresholds: Thresholds) -> bool:
    """Return True when the finding stops the robot; in shadow mode most findings are only reported."""
    return finding.decision >= Decision.STOP and (not thresholds.shadow or finding.reason in GATES_IN_SHADOW)


def most_gating(findings: Sequence[Finding | None], thresholds: Thresholds) -> Finding:
    """Return the most restrictive of the findings that stop the robot; PASSED when none does."""
    return most_restrictive(finding for finding in findings if finding is not None and gates(finding, thresholds))


def hold(state: MonitorState, gating: Finding, thresholds: Thresholds, now: Now) -> tuple[Stop | None, Finding | None]:
    """Return the stop to remember, and the finding that prolongs it: a stop begins at once and ends late."""
    if gating.decision >= Decision.STOP and gating.reason not in _UNHELD:
        return Stop(gating, now.monotonic_s), None
    stop, release_s = state.stop, thresholds.parameters.release_s
    if stop is None or now.monotonic_s - stop.held_s >= release_s:
        return None, None
    text = f"stopped until every check has held for {release_s:g} s: {stop.finding.text}"
    return stop, Finding(Decision.STOP, stop.finding.reason, text)


def check_staleness_duration(stale: Finding, since_s: float, thresholds: Thresholds, now: Now) -> Finding | None:
    """LATCH when an input has been stale for too long."""
    lasted = now.monotonic_s - since_s
    limit_s = thresholds.parameters.stale_latch_s
    if lasted < limit_s:
        return None
    text = f"stopped for {lasted:.2f} s, limit {limit_s:g} s, because: {stale.text}"
    return Finding(Decision.LATCH, Reason.STALE_TOO_LONG, text)


def effective_finding(finding: Finding, latched: Finding | None) -> Finding:
    """Return the finding, unless a latch overrides it. A robot that moves although it is latched comes first."""
    if latched is None or finding is latched:
        return finding
    if finding.reason in MOVES_ANYWAY and finding.decision is Decision.LATCH:
        return replaced(finding, text=f"{finding.text}; latched until reset: {latched.text}")
    return Finding(Decision.LATCH, latched.reason, f"latched until reset: {latched.text}")


def count_vetoes(vetoes: int, finding: Finding) -> int:
    """Return the vetoes in a row, `finding` included. Stale and malformed inputs are no vetoes and end no row."""
    if finding.decision is Decision.PASS:
        return 0
    return vetoes + 1 if finding.reason in RISK else vetoes


def checks_of_permission(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> list[Finding | None]:
    """Check that motion is wanted now, by who drives. These stops are no faults."""
    back = takeover.check_hand_back(state.takeover, robot, thresholds, now)
    return [*consent.checks_of_permission(state.consent, robot, thresholds, now), back]


def followed_wish(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[float, ...]:
    """Return the normalised action that the ticks are to follow while nothing stops them; empty for none."""
    gated = state.takeover.driver is WhoDrives.POLICY or thresholds.consent.gate_operator
    if gated or state.takeover.driver is WhoDrives.NOBODY:
        return state.followed.wish if state.followed else ()
    ramp = consent.ramp_scale(state.consent, thresholds, now)
    return scaled(takeover.operator_wish(robot.operator, thresholds), ramp, len(thresholds.action_scale))
