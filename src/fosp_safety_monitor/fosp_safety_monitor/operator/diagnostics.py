"""The safety monitor's message on /diagnostics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from fosp_core.clock import Received
from fosp_core.decisions import Decision
from fosp_safety_monitor.command.command_stream import StreamStatistics
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.state import MonitorState
from fosp_safety_monitor.judge.verdict import Finding


@dataclass
class Activity:
    """Counts since activation. The difference of two reports gives the rates."""

    messages: Counter[str] = field(default_factory=Counter)
    """Received messages by kind of topic."""
    decisions: Counter[str] = field(default_factory=lambda: Counter({decision.name: 0 for decision in Decision}))
    """Verdicts by decision. All names exist from the start, because the command thread counts while a report reads."""
    reported: Counter[str] = field(default_factory=Counter)
    """Value of `messages` at the last report."""
    reported_at_s: float = -inf
    reported_late_ticks: int = 0


def diagnostic_array(
    *,
    name: str,
    hardware_id: str,
    model_id: str,
    active: bool,
    finding: Finding,
    state: MonitorState,
    robot: RobotStateInput,
    stream: StreamStatistics,
    scheduling: str,
    shadow: bool,
    activity: Activity,
    monotonic_s: float,
    speed_cap: float = 1.0,
) -> DiagnosticArray:
    """Return one status: OK while proposals are executed, WARN on a stop, late ticks or shadow mode, ERROR on a latch.

    A speed cap below 1 is a WARN, too.

    The caller stamps it. The function updates the `reported` fields of `activity`.
    """
    elapsed_s = monotonic_s - activity.reported_at_s
    late = stream.late_ticks - activity.reported_late_ticks
    level, summary = _summary(active, finding, late)
    if speed_cap < 1.0:
        level, summary = max(level, DiagnosticStatus.WARN), f"speed capped at {speed_cap:g} of the limits: {summary}"
    if shadow:
        level, summary = max(level, DiagnosticStatus.WARN), f"SHADOW, nothing is gated: {summary}"
    judged = state.judged
    values: dict[str, object] = {
        "state": "active" if active else "inactive",
        "model id": model_id,
        "mode": "SHADOW: nothing is gated" if shadow else "gating",
        "speed cap": f"{speed_cap:g}",
        "decision": finding.decision.name,
        "reason": finding.reason.name,
        "latched": state.latched.text if state.latched else "no",
        "engaged": "yes" if state.consent.engaged else f"no: {state.consent.why_not}",
        "episode": _episode(robot),
        "driver": state.takeover.driver.name,
        "operator's device": _device(robot, monotonic_s),
        "vetoes in a row": state.vetoes,
        "disagreement of the critic's heads": _spread(state),
        "proposals not passed": sum(n for decision, n in activity.decisions.items() if decision != Decision.PASS.name),
        "surprises in the window": sum(state.surprises),
        "robot state age (ms)": _age_ms(robot.state, monotonic_s),
        "pose age (ms)": _age_ms(robot.pose, monotonic_s),
        "emergency stop": _estop(robot, monotonic_s),
        "others on the command topic": ", ".join(robot.other_publishers) or "none",
        "proposal age (ms)": f"{(monotonic_s - judged.receipt_s) * 1e3:.1f}" if judged else "never",
        "image age at the decision (ms)": f"{judged.verdict.image_age_s * 1e3:.1f}" if judged else "never",
        "scheduling": scheduling,
        "command ticks": stream.ticks,
        "commands": stream.commands,
        "late ticks": stream.late_ticks,
        "worst tick lateness (ms)": f"{stream.worst_lateness_s * 1e3:.2f}",
    }
    for kind, count in activity.messages.items():
        values[f"{kind} rate (Hz)"] = f"{(count - activity.reported[kind]) / elapsed_s:.1f}"
    activity.reported = Counter(activity.messages)
    activity.reported_at_s = monotonic_s
    activity.reported_late_ticks = stream.late_ticks
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=summary,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])


def _summary(active: bool, finding: Finding, late_ticks: int) -> tuple[bytes, str]:
    if not active:
        return DiagnosticStatus.OK, "inactive: no command is sent"
    if finding.decision is Decision.LATCH:
        return DiagnosticStatus.ERROR, finding.text
    if finding.decision is Decision.STOP:
        return DiagnosticStatus.WARN, finding.text
    if late_ticks:
        return DiagnosticStatus.WARN, f"{late_ticks} late command ticks since the last report"
    return DiagnosticStatus.OK, finding.text


def _age_ms(received: Received | None, monotonic_s: float) -> str:
    return "never" if received is None else f"{(monotonic_s - received.receipt_s) * 1e3:.1f}"


def _episode(robot: RobotStateInput) -> str:
    episode = robot.consent.episode
    return f"{episode.number} runs" if episode.running else episode.ended or "none since activation"


def _spread(state: MonitorState) -> str:
    """Return the greatest disagreement of the critic's heads on the candidates that were judged last."""
    spread = () if state.judged is None else state.judged.spread
    return f"{max(spread):.3f}, part of the risk" if spread else "not counted"


def _device(robot: RobotStateInput, monotonic_s: float) -> str:
    operator = robot.operator
    if operator.received is None:
        return "none was heard"
    said = operator.fault or ("held" if operator.holds else "let go")
    never = "" if operator.releases else ", never seen to be let go, so a press does not count"
    return f"{operator.device}: {said}{never}, {(monotonic_s - operator.received.receipt_s) * 1e3:.0f} ms ago"


def _estop(robot: RobotStateInput, monotonic_s: float) -> str:
    if robot.estop_receipt_s is None:
        return "never received"
    pressed = "pressed" if robot.estop_pressed else "released"
    return f"{pressed}, {(monotonic_s - robot.estop_receipt_s) * 1e3:.0f} ms ago"
