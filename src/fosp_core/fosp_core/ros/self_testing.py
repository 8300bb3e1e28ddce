"""The self-test of a node that makes latents or proposals: a fault goes to /diagnostics, and the node falls silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from fosp_core import topics
from fosp_core.bundle.self_testing import LiveSession, SelfTest
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.diagnostics import status_name

REPORT_PERIOD_S = 1.0


class NodeSelfTest:
    """Tests the sessions of a node; `require` stands before everything that the node would publish of them."""

    def __init__(self, node: Node, sessions: Callable[[], Sequence[LiveSession]]) -> None:
        self._node = node
        self._test = SelfTest(sessions)
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(REPORT_PERIOD_S, self._report, clock=steady)

    def require(self) -> None:
        """Raise UserError when the self-test has failed: nothing is published then, and the safety monitor stops."""
        fault = self._test.fault(time.monotonic())
        if fault:
            raise UserError(f"nothing is published: {fault}")

    def close(self) -> None:
        self._test.close()
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._diagnostics)

    def _report(self) -> None:
        fault = self._test.fault(time.monotonic())
        status = DiagnosticStatus(
            level=DiagnosticStatus.ERROR if fault else DiagnosticStatus.OK,
            name=status_name(self._node, "self-test"),
            message=fault or "the networks give their golden outputs",
            values=[KeyValue(key="tests", value=str(self._test.tests))],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(message)
