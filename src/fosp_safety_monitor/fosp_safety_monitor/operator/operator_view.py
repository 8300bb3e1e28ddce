"""The topics that show a person what the safety monitor does: events, diagnostics and markers."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from fosp_core import topics
from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig, Workspace
from fosp_core.ros import qos
from fosp_core.ros.diagnostics import hardware_id, status_name
from fosp_msgs.msg import SafetyEvent
from fosp_safety_monitor.command.command_stream import CommandStream, StreamStatistics
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.monitor import SafetyMonitor
from fosp_safety_monitor.judge.verdict import Finding, Verdict
from fosp_safety_monitor.operator.diagnostics import Activity, diagnostic_array
from fosp_safety_monitor.operator.zone_view import arm_values, lifetime, zone_markers, zone_values

COLOURS = {
    Decision.PASS: (0.1, 0.8, 0.2),
    Decision.SUBSTITUTE: (0.9, 0.8, 0.1),
    Decision.RECOVER: (1.0, 0.55, 0.1),
    Decision.STOP: (0.9, 0.2, 0.1),
    Decision.LATCH: (0.8, 0.1, 0.6),
}
CANDIDATE = (0.6, 0.6, 0.6)
"""Colour of the candidates."""
CANDIDATES_S = 0.5
"""Age from which on candidates are no longer drawn."""
ARROW_S = 0.5
"""The arrow of the command ends where it would lead in this time."""
STOP_TOLD_EVERY_S = 1.0
_EDGES = tuple((a, a | 1 << axis) for axis in range(3) for a in range(8) if not a & 1 << axis)
"""Pairs of corners. The bits of a corner choose the lower or upper bound of x, y and z."""


class OperatorView:
    """Publishers for people. Any thread may `note` an event; the executor's thread publishes it."""

    def __init__(self, node: Node, shadow: bool, speed_cap: float = 1.0) -> None:
        self._node, self._shadow, self._speed_cap = node, shadow, speed_cap
        self._events = node.create_publisher(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self._markers = node.create_publisher(MarkerArray, topics.SAFETY_MARKERS, qos.STEP)
        self._pending: deque[OperatorEvent] = deque()
        self._stop_told_s = -math.inf
        self._candidates: NDArray[np.float32] | None = None
        self._candidates_s = 0.0
        """Time of their receipt on the monotonic clock, s."""
        self.model_id = ""

    def note(self, event: OperatorEvent | None) -> None:
        """Put an event, if there is one, in the queue of `publish_events`. The calling thread does not wait."""
        if event is not None:
            self._pending.append(event)

    def tell_stop(self, text: str) -> None:
        """Log a STOP, at most once a second.

        rclpy's own throttle looks up the calling line each time, which is a tenth of what the command stream takes.
        """
        now_s = time.monotonic()
        if now_s - self._stop_told_s >= STOP_TOLD_EVERY_S:
            self._stop_told_s = now_s
            self._node.get_logger().warning(f"STOP: {text}")

    def publish_events(self) -> None:
        """Publish the events in the queue."""
        while self._pending:
            event = self._pending.popleft()
            self._events.publish(
                SafetyEvent(
                    kind=int(event.kind),
                    reason=int(event.reason),
                    text=event.text,
                    stamp=self._node.get_clock().now().to_msg(),
                    node=self._node.get_fully_qualified_name(),
                    model_id=self.model_id,
                    shadow=self._shadow,
                )
            )

    def mark(self, robot: RobotConfig, monitor: SafetyMonitor, finding: Finding, verdict: Verdict | None) -> None:
        """Publish the markers of the present state, if somebody listens."""
        if not self._markers.get_subscription_count():
            return
        stamp = self._node.get_clock().now().to_msg()
        position, command = monitor.robot_state.position, monitor.state.command
        fresh = time.monotonic() - self._candidates_s < CANDIDATES_S
        candidates = self._candidates if fresh else None
        message = marker_array(robot, position, command, finding, verdict, stamp, candidates)
        message.markers += zone_markers(robot, position, stamp)
        self._markers.publish(message)

    def shown(self, proposal: ProposalInput) -> ProposalInput:
        """Remember the candidates of a proposal for the markers, and return it."""
        self._candidates, self._candidates_s = proposal.actions, time.monotonic()
        return proposal

    def report(
        self,
        robot: RobotConfig,
        monitor: SafetyMonitor,
        active: bool,
        finding: Finding,
        stream: CommandStream | None,
        activity: Activity,
    ) -> None:
        """Publish the diagnostics since the last report."""
        message = diagnostic_array(
            name=status_name(self._node, "safety monitor"),
            hardware_id=hardware_id(self._node, robot.name),
            model_id=self.model_id,
            active=active,
            finding=finding,
            state=monitor.state,
            robot=monitor.robot_state,
            stream=stream.statistics if stream is not None else StreamStatistics(),
            scheduling=stream.scheduling if stream is not None else "not started",
            shadow=self._shadow,
            activity=activity,
            monotonic_s=time.monotonic(),
            speed_cap=self._speed_cap,
        )
        now = Now(self._node.get_clock().now().nanoseconds * 1e-9, time.monotonic())
        values = zone_values(monitor.zones, monitor.robot_state, now)
        values |= arm_values(monitor.arm, monitor.robot_state, now)
        for key, value in values.items():
            message.status[0].values.append(KeyValue(key=key, value=value))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(message)


# -- events ------------------------------------------------------------------------------------------
class EventKind(IntEnum):
    """Kind of an event, with the values of fosp_msgs/SafetyEvent."""

    MOVING = SafetyEvent.MOVING
    STOPPED = SafetyEvent.STOPPED
    LATCHED = SafetyEvent.LATCHED
    RESET = SafetyEvent.RESET
    RESET_REFUSED = SafetyEvent.RESET_REFUSED
    ACTIVATED = SafetyEvent.ACTIVATED
    DEACTIVATED = SafetyEvent.DEACTIVATED
    ENGAGED = SafetyEvent.ENGAGED
    ENGAGE_REFUSED = SafetyEvent.ENGAGE_REFUSED
    DISENGAGED = SafetyEvent.DISENGAGED


@dataclass(frozen=True)
class OperatorEvent:
    """One line for the operator."""

    kind: EventKind
    reason: Reason
    text: str


def kind_of(finding: Finding) -> EventKind:
    """Return what the finding of a command tick means for the robot."""
    if finding.decision is Decision.LATCH:
        return EventKind.LATCHED
    return EventKind.STOPPED if finding.decision is Decision.STOP else EventKind.MOVING


class EventLog:
    """Turns findings of the command ticks and answers to resets into events, one for each change of kind or reason.

    A repeated refusal of a reset is no new event: the event that latched the robot must stay among the last ones, which
    late joiners see.
    """

    def __init__(self) -> None:
        self._last: tuple[EventKind, Reason] | None = None
        self._answered: tuple[EventKind, Reason] | None = None

    def see(self, finding: Finding) -> OperatorEvent | None:
        """Return the event of a tick's finding; None when nothing changed."""
        kind = kind_of(finding)
        told = kind is not EventKind.MOVING or finding.reason is Reason.TAKEN_OVER
        reason = finding.reason if told else Reason.OK
        if (kind, reason) == self._last:
            return None
        self._last, self._answered = (kind, reason), None
        return OperatorEvent(kind, finding.reason, finding.text)

    def engage_answered(self, granted: bool, text: str) -> OperatorEvent | None:
        """Return the event of the answer to ~/engage; None when it repeats the last one."""
        kind = EventKind.ENGAGED if granted else EventKind.ENGAGE_REFUSED
        if (kind, Reason.NOT_ENGAGED) == self._answered:
            return None
        self._answered = kind, Reason.NOT_ENGAGED
        return OperatorEvent(kind, Reason.OK if granted else Reason.NOT_ENGAGED, text)

    def reset_answered(self, granted: bool, reason: Reason, text: str) -> OperatorEvent | None:
        """Return the event of the answer to a reset; None when it repeats the last one. `reason` is the latch's."""
        kind = EventKind.RESET if granted else EventKind.RESET_REFUSED
        if (kind, reason) == self._answered:
            return None
        self._answered = kind, reason
        return OperatorEvent(kind, reason, text)


# -- markers -----------------------------------------------------------------------------------------
def marker_array(
    robot: RobotConfig,
    position: tuple[float, float, float] | None,
    command: tuple[float, ...],
    finding: Finding,
    verdict: Verdict | None,
    stamp: Any,
    candidates: NDArray[np.float32] | None = None,
) -> MarkerArray:
    """Return the markers in the frame of the actions; a robot without a workspace has no box.

    `candidates` (K, A) are the normalised actions of the newest proposal; malformed ones are not drawn. Nor are
    candidates and command of an arm whose `position` is not known. What is not drawn is taken away.
    """
    colour = COLOURS[finding.decision]
    markers = []
    if robot.workspace is not None:
        markers.append(_box(robot.workspace, colour))
    centre = position or (0.0, 0.0, 0.0)
    markers += [_arrow(robot, centre, command, colour), _label(centre, finding, verdict, colour)]
    markers.append(_fan(robot, centre, candidates))
    if position is None and robot.kind == "arm":
        markers[-3].points, markers[-1].points = [], []
    for index, marker in enumerate(markers):
        if marker.type != Marker.TEXT_VIEW_FACING and not marker.points:
            marker.action = Marker.DELETE
        marker.header.frame_id, marker.header.stamp = robot.action.frame_id, stamp
        marker.ns, marker.id = "fosp_safety_monitor", index
    return MarkerArray(markers=markers)


def _box(box: Workspace, colour: tuple[float, float, float]) -> Marker:
    marker = _marker(Marker.LINE_LIST, colour, 0.005)
    corners = [
        Point(**{name: (box.upper if corner >> i & 1 else box.lower)[i] for i, name in enumerate("xyz")})
        for corner in range(8)
    ]
    marker.points = [corners[end] for edge in _EDGES for end in edge]
    return marker


def _arrow(
    robot: RobotConfig,
    centre: tuple[float, float, float],
    command: tuple[float, ...],
    colour: tuple[float, float, float],
) -> Marker:
    """Return an arrow for the linear part of the command."""
    marker = _marker(Marker.ARROW, colour, 0.01)
    marker.scale.y = marker.scale.z = 0.02
    marker.points = [_point(centre), _point(_tip(robot, centre, command))]
    return marker


def _fan(robot: RobotConfig, centre: tuple[float, float, float], candidates: NDArray[np.float32] | None) -> Marker:
    """Return a line for each candidate; none where the candidates are malformed, which the judge tells of."""
    marker = _marker(Marker.LINE_LIST, CANDIDATE, 0.003)
    shape = (robot.action.size,)
    if candidates is None or candidates.shape[1:] != shape or not np.isfinite(candidates).all():
        return marker
    twists = candidates[:, : robot.action.twist_size]
    for action in np.clip(twists, -1.0, 1.0).astype(float) * robot.action.scale:
        marker.points += [_point(centre), _point(_tip(robot, centre, tuple(action.tolist())))]
    return marker


def _tip(robot: RobotConfig, centre: tuple[float, float, float], command: tuple[float, ...]) -> tuple[float, ...]:
    """Return where the linear part of a command would lead in ARROW_S."""
    tip = list(centre)
    for axis, value in zip(robot.action.axes, command, strict=True):
        part, component = axis.name.split(".")
        if part == "linear":
            tip["xyz".index(component)] += ARROW_S * value
    return tuple(tip)


def _point(position: tuple[float, ...]) -> Point:
    return Point(**dict(zip("xyz", position, strict=True)))


def _label(
    centre: tuple[float, float, float], finding: Finding, verdict: Verdict | None, colour: tuple[float, float, float]
) -> Marker:
    marker = _marker(Marker.TEXT_VIEW_FACING, colour, 0.03)
    risk = f" q_h {verdict.q_h:.2f}, eps {verdict.eps:.2f}" if verdict is not None else ""
    shadow = "SHADOW " if verdict is not None and verdict.shadow else ""
    marker.text = f"{shadow}{finding.decision.name} {finding.reason.name}{risk}"
    marker.scale.z = 0.04
    marker.pose.position = Point(x=centre[0], y=centre[1], z=centre[2] + 0.1)
    return marker


def _marker(kind: int, colour: tuple[float, float, float], width: float) -> Marker:
    marker = Marker(type=kind, action=Marker.ADD, lifetime=lifetime())
    marker.pose.orientation.w = 1.0
    marker.scale.x = width
    marker.color = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=0.9)
    return marker
