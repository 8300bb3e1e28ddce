"""Stands in the place of safety_monitor_node while a person drives: the only one that commands the robot."""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from fosp_core import topics
from fosp_core.clock import Now, Received
from fosp_core.errors import UserError
from fosp_core.realtime import MONITOR_PRIORITY
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, events_executor, run_node
from fosp_core.ros.model_parameters import float_field, path_parameter
from fosp_core.ros.stamps import seconds
from fosp_core.ros.twist_message import fill_twist
from fosp_core.specs import read_robot
from fosp_msgs.msg import ActionProposal, SafetyVerdict
from fosp_safety_monitor.command_stream import CommandStream
from fosp_safety_monitor.messages import pose_received, robot_state_received
from fosp_safety_monitor.operator_guard import GuardTick, OperatorAction, OperatorGuard

ZEROS_BEFORE_SILENCE = 5
STOP_TIMEOUT_S = 3.0
REPORT_PERIOD_S = 1.0
_NUMBERS = ("q_h", "q_h_out", "v_h", "eps", "surprise", "surprise_limit", "image_age_s", "image_age_limit_s")
"""Of a verdict, that only a model could give."""


class OperatorGuardNode(ManagedNode):
    """Shapes the operator's fosp/proposal (one candidate, model_id empty) into the robot's command stream.

    Parameter `robot`: robot configuration. Publishes fosp/verdict for each proposal: PASS, or STOP with the reason.
    """

    def __init__(self) -> None:
        super().__init__("safety_monitor_node")
        self.declare_parameter("robot", "")
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self.create_timer(REPORT_PERIOD_S, self._report)
        self._made: list[Any] = []
        self._stream: CommandStream | None = None
        self._ending = threading.Event()
        self._last = GuardTick((), "inactive", False)

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        self._robot = robot = read_robot(path_parameter(self, "robot"))
        stamped = robot.command_type == "TwistStamped"
        self._command: Any = TwistStamped() if stamped else Twist()
        if stamped:
            self._command.header.frame_id = robot.action.frame_id
        self._commands = self.create_publisher(type(self._command), robot.command_topic, qos.COMMAND)
        self._verdicts = self.create_publisher(SafetyVerdict, topics.VERDICT, qos.STEP)
        state_type = JointState if robot.state_type == "JointState" else Odometry
        gated = self.create_gated_subscription
        self._made = [
            gated(state_type, robot.state_topic, self._on_robot_state, qos.SENSOR),
            gated(ActionProposal, topics.PROPOSAL, self._on_proposal, qos.STEP),
        ]
        if robot.pose_topic:
            self._made.append(gated(PoseStamped, robot.pose_topic, self._on_pose, qos.SENSOR))
        if robot.estop_topic:
            self._made.append(gated(Bool, robot.estop_topic, self._on_estop, qos.SENSOR))

    def activate(self) -> None:
        self._guard, self._zeros = OperatorGuard(self._robot, self._now), 0
        self._ending.clear()
        self._stream = CommandStream(1.0 / self._robot.command_rate_hz, self._tick, self._on_stream_failure)
        self._stream.start()

    def deactivate(self) -> None:
        """Decelerate to zero, then fall silent."""
        if self._stream is not None:
            self._ending.set()
            if not self._stream.join(STOP_TIMEOUT_S):
                raise RuntimeError(f"the command stream did not end within {STOP_TIMEOUT_S} s")
            self._stream = None
        self._last = GuardTick((), "inactive", False)

    def cleanup(self) -> None:
        for subscription in self._made:
            self.destroy_subscription(subscription)
        if self._made:
            self.destroy_publisher(self._commands)
            self.destroy_publisher(self._verdicts)
        self._made = []

    # -- inputs --------------------------------------------------------------------------------------
    def _on_robot_state(self, message: JointState | Odometry) -> None:
        received = robot_state_received(message, time.monotonic())
        if received is None:
            raise UserError(f"{self._robot.state_topic}: positions are missing or not finite; message ignored")
        self._guard.receive_robot_state(received)

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_received(message, time.monotonic(), self._robot.action.frame_id)
        if pose is None:
            raise UserError(
                f"{self._robot.pose_topic}: position must be finite and in frame '{self._robot.action.frame_id}', "
                f"is in '{message.header.frame_id}'; message ignored"
            )
        self._guard.receive_pose(*pose)

    def _on_proposal(self, message: ActionProposal) -> None:
        if len(message.candidates) != 1 or message.model_id:
            raise UserError("a proposal that is not the operator's is ignored: is a policy_node running beside?")
        action = tuple(float(value) for value in message.candidates[0].action)
        received = Received(seconds(message.header.stamp), time.monotonic())
        self._guard.receive_action(OperatorAction(action, received))
        last = self._last
        scale = self._robot.action.scale
        verdict = SafetyVerdict(
            decision=SafetyVerdict.STOP if last.held else SafetyVerdict.PASS,
            reason=SafetyVerdict.REASON_NOT_READY if last.held else SafetyVerdict.REASON_OK,
            reason_text=last.held or "the operator drives",
            header=message.header,
            step=message.step,
            action_in=float_field(np.array(action)),
            action_out=float_field(np.array(last.command or [0.0] * len(scale)) / scale),
            limited=last.limited,
            decided=self.get_clock().now().to_msg(),
            **dict.fromkeys(_NUMBERS, math.nan),
        )
        self._verdicts.publish(verdict)

    def _on_estop(self, message: Bool) -> None:
        self._guard.receive_estop(bool(message.data), time.monotonic())

    # -- outputs -------------------------------------------------------------------------------------
    def _tick(self) -> bool:
        """In the stream's thread: one command. False once the robot was told to stand still for good."""
        if self._ending.is_set():
            command = self._guard.halt()
            self._zeros = 0 if any(command) else self._zeros + 1
            self._publish_command(command)
            return self._zeros < ZEROS_BEFORE_SILENCE
        tick = self._guard.tick()
        if tick.held != self._last.held:
            self.get_logger().info(f"held: {tick.held}" if tick.held else "the operator drives")
        self._last = tick
        self._publish_command(tick.command)
        return True

    def _publish_command(self, command: tuple[float, ...]) -> None:
        if isinstance(self._command, TwistStamped):
            self._command.header.stamp = self.get_clock().now().to_msg()
            fill_twist(self._command.twist, list(command), self._robot.action)
        else:
            fill_twist(self._command, list(command), self._robot.action)
        self._commands.publish(self._command)

    def _on_stream_failure(self, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error))
        self.get_logger().fatal(f"the command stream failed, the robot's own timeout stops it:\n{trace}")

    def _report(self) -> None:
        held = self._last.held
        message = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=DiagnosticStatus.WARN if held and self.is_active else DiagnosticStatus.OK,
                    name=f"{self.get_name()}: operator guard",
                    message=held or "the operator drives",
                    values=[KeyValue(key="limited", value=str(self._last.limited).lower())],
                )
            ]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _now(self) -> Now:
        return Now(self.get_clock().now().nanoseconds * 1e-9, time.monotonic())


def main() -> None:
    sys.exit(run_node(OperatorGuardNode, make_executor=events_executor, priority=MONITOR_PRIORITY))


if __name__ == "__main__":
    main()
