"""Node that brings the managed nodes up, watches their heartbeats, and takes them down (bringup_sequence.py)."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import Transition as TransitionMessage
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from fosp_bringup.bringup_sequence import BringupSequence, Deadlines, Phase, Request
from fosp_bringup.neighbours import HOST, PROCESS
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, DISPENSABLE, end_process
from fosp_core.ros import qos
from fosp_core.ros.diagnostics import status_name
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Heartbeat

POLL_PERIOD_S = 0.05
"""Period of the look at deadlines; what is heard is acted on at once."""
REPORT_PERIOD_S = 1.0
END_TIMEOUT_S = 4.0
"""Longest time to take the graph down; nodes that are still up then end by their own signal."""
_LEVELS = {Phase.ACTIVE: DiagnosticStatus.OK, Phase.FAILED: DiagnosticStatus.ERROR}


_DEADLINES = {
    "appear_s": "Longest time from the start until every node has sent a heartbeat.",
    "transition_s": "Longest duration of one transition; loading a model onto a GPU takes seconds.",
    "heartbeat_s": "Longest silence of a node, which beats ten times per second.",
    "recover_s": "Longest absence of a node; a longer one fails the graph.",
}
PARAMETERS = (
    NodeParameter("nodes", (), "Names of the managed nodes in the order of their bring-up, the safety monitor last."),
    NodeParameter("autostart", True, "Bring the graph up at once, and not when `~/startup` is called."),
    NodeParameter(
        "respawn", False, "Bring a node up again when its process was started anew, but never the safety monitor."
    ),
    *(
        NodeParameter(name, getattr(Deadlines(), name), meaning, "s", 0.01, 3600.0)
        for name, meaning in _DEADLINES.items()
    ),
)


class LifecycleManager(Node):
    """Lifecycle manager of a stack. When the first bring-up fails, its process ends with 1.

    Parameters: `nodes` (names in bring-up order, the safety monitor last), `autostart`, `respawn` (bring a node up
    again when its process was started anew, never the monitor), and the fields of bringup_sequence.Deadlines.

    Services (std_srvs/Trigger): `~/is_active` succeeds when every node is active, and its message gives the phase and
    the reason; `~/startup` brings the graph up, also after a failure; `~/shutdown` takes it down. Diagnostics are
    published at 1 Hz.
    """

    def __init__(self) -> None:
        super().__init__("lifecycle_manager")
        declare(self, PARAMETERS)
        self._autostart = bool(self.get_parameter("autostart").value)
        self._was_active = False
        self.failed = False
        self._sequence = BringupSequence(
            self._read_nodes(), self._read_deadlines(), bool(self.get_parameter("respawn").value), DISPENSABLE
        )
        self._prefix = self.get_namespace().rstrip("/") + "/"
        # The names of the services are relative, as those of the nodes are: a namespace applies to both.
        self._clients_of = {name: self.create_client(ChangeState, f"{name}/change_state") for name in self._nodes}
        self.create_subscription(Heartbeat, topics.HEARTBEAT, self._on_heartbeat, qos.STEP)
        self.create_service(Trigger, "~/is_active", self._on_is_active)
        self.create_service(Trigger, "~/startup", self._on_startup)
        self.create_service(Trigger, "~/shutdown", self._on_shutdown)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        # The deadlines are in real time, also where the graph runs on simulated time.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(POLL_PERIOD_S, self._poll, clock=steady)
        self.create_timer(REPORT_PERIOD_S, self._report, clock=steady)
        if self._autostart:
            self._sequence.start(time.monotonic())

    def _read_nodes(self) -> tuple[str, ...]:
        self._nodes = tuple(name for name in self.get_parameter("nodes").value if name)
        if not self._nodes or len(set(self._nodes)) != len(self._nodes):
            raise UserError("parameter 'nodes' of lifecycle_manager must name each managed node once, the monitor last")
        return self._nodes

    def _read_deadlines(self) -> Deadlines:
        return Deadlines(**{name: float(self.get_parameter(name).value) for name in _DEADLINES})

    # -- the sequence and the graph ------------------------------------------------------------------
    def _on_heartbeat(self, message: Heartbeat) -> None:
        name = message.node.removeprefix(self._prefix)
        age_s = self.get_clock().now().nanoseconds * 1e-9 - seconds(message.stamp)
        before = self._sequence.states().get(name)
        self._sequence.heartbeat(name, message.state, message.pid, time.monotonic(), age_s)
        if self._sequence.states().get(name) is not before:
            self._poll()

    def _poll(self) -> None:
        request = self._sequence.next_request(time.monotonic())
        if request is not None:
            self._ask(request)
        self._log_events()
        self._was_active = self._was_active or self._sequence.phase is Phase.ACTIVE
        if self._autostart and not self._was_active and self._sequence.phase is Phase.FAILED and request is None:
            self._give_up()

    def _give_up(self) -> None:
        """End the process with 1: the graph did not come up, so there is nothing to manage."""
        self.failed = True
        signal.raise_signal(signal.SIGINT)

    def _ask(self, request: Request) -> None:
        message = ChangeState.Request(transition=TransitionMessage(id=request.transition.value))
        future = self._clients_of[request.node].call_async(message)

        def answered(done: Any) -> None:
            self._sequence.answered(request, done.result() is not None and done.result().success, time.monotonic())
            self._poll()

        future.add_done_callback(answered)

    def _log_events(self) -> None:
        for event in self._sequence.events:
            # rclpy allows one severity at each place in the code.
            if self._sequence.phase is Phase.FAILED:
                self.get_logger().error(event)
            elif self._sequence.phase is Phase.STOPPED:
                self.get_logger().warning(event)
            else:
                self.get_logger().info(event)
        self._sequence.events.clear()

    def _report(self) -> None:
        status = DiagnosticStatus(
            level=_LEVELS.get(self._sequence.phase, DiagnosticStatus.WARN),
            name=status_name(self, "graph"),
            message=self._describe(),
            hardware_id=socket.gethostname(),
            values=[
                KeyValue(key=HOST, value=socket.gethostname()),
                KeyValue(key=PROCESS, value=str(os.getpid())),
                *(
                    KeyValue(key=name, value=state.name.lower() if state else "unknown")
                    for name, state in self._sequence.states().items()
                ),
            ],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _describe(self) -> str:
        reason = self._sequence.reason
        return f"{self._sequence.phase.value}: {reason}" if reason else self._sequence.phase.value

    # -- services ------------------------------------------------------------------------------------
    def _on_is_active(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._sequence.phase is Phase.ACTIVE, self._describe()
        return response

    def _on_startup(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._order(self._sequence.start, response)

    def _on_shutdown(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._order(self._sequence.stop, response)

    def _order(self, order: Callable[[float], None], response: Trigger.Response) -> Trigger.Response:
        order(time.monotonic())
        response.success, response.message = True, self._describe()
        return response

    @property
    def _ended(self) -> bool:
        return self._sequence.phase is Phase.ENDED

    def close(self) -> None:
        """Take the nodes that are still there down in order, within END_TIMEOUT_S; called on a signal."""
        self._autostart = False
        sequence = self._sequence
        if sequence.phase in (Phase.IDLE, Phase.ENDED):
            return
        sequence.stop(time.monotonic())
        deadline = time.monotonic() + END_TIMEOUT_S
        while self.executor is not None and not self._ended and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=POLL_PERIOD_S)


def main() -> None:
    managers: list[LifecycleManager] = []

    def make() -> LifecycleManager:
        managers.append(LifecycleManager())
        return managers[0]

    # It fails the graph for silence of the nodes, so it must not be what is late.
    code = run_node(make, priority=CONTROL_PRIORITY)
    end_process(code or int(any(manager.failed for manager in managers)))


if __name__ == "__main__":
    main()
