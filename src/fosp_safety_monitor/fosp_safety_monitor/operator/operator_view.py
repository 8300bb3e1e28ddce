"""What a person sees of the safety monitor: events, diagnostics, markers. Publishes in the executor's thread only."""

from __future__ import annotations

import time
from collections import deque

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from visualization_msgs.msg import MarkerArray

from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.specs import RobotConfig
from fosp_msgs.msg import SafetyEvent
from fosp_safety_monitor.command.command_stream import CommandStream, StreamStatistics
from fosp_safety_monitor.judge.monitor import SafetyMonitor
from fosp_safety_monitor.judge.verdict import Finding, Verdict
from fosp_safety_monitor.operator.diagnostics import Activity, diagnostic_array
from fosp_safety_monitor.operator.events import Event
from fosp_safety_monitor.operator.markers import marker_array


class OperatorView:
    """Publishers of the node that show what it does. Any thread may `note` an event; it is told by `tell`."""

    def __init__(self, node: Node, shadow: bool) -> None:
        self._node, self._shadow = node, shadow
        self._events = node.create_publisher(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self._markers = node.create_publisher(MarkerArray, topics.SAFETY_MARKERS, qos.STEP)
        self._pending: deque[Event] = deque()
        self.model_id = ""

    def note(self, event: Event | None) -> None:
        """To be told of soon, if there is one; costs the calling thread nothing."""
        if event is not None:
            self._pending.append(event)

    def tell(self) -> None:
        """Publish the events noted so far."""
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
        """Publish the markers of this moment."""
        stamp = self._node.get_clock().now().to_msg()
        position, command = monitor.robot_state.position, monitor.state.command
        self._markers.publish(marker_array(robot, position, command, finding, verdict, stamp))

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
            name=f"{self._node.get_name()}: safety monitor",
            hardware_id=robot.name,
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
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(message)
