"""The last node before the robot: judges every proposal and is the only one that sends commands.

Messages in, monitor.SafetyMonitor, messages out. The command stream runs in a thread of its own, on a plain publisher
(a lifecycle publisher would be silent exactly when the last stop has to go out).
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.clock import Now
from fosp_core.errors import UserError
from fosp_core.realtime import MONITOR_PRIORITY, has_realtime_priority
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, events_executor, run_node
from fosp_core.ros.model_parameters import (
    create_status_publisher,
    declare_model_parameters,
    load_model,
    publish_status,
)
from fosp_core.ros.twist_message import fill_twist
from fosp_msgs.msg import ActionProposal, Latent, ModelStatus, SafetyVerdict
from fosp_safety_monitor.command_stream import CommandStream, StreamStatistics
from fosp_safety_monitor.diagnostics import Activity, diagnostic_array
from fosp_safety_monitor.messages import (
    latent_input,
    pose_received,
    proposal_input,
    robot_state_received,
    verdict_message,
)
from fosp_safety_monitor.monitor import SafetyMonitor
from fosp_safety_monitor.parameters import DESCRIPTIONS, Description, MonitorParameters
from fosp_safety_monitor.verdict import Decision, Finding, Reason, Verdict

DIAGNOSTICS_PERIOD_S = 1.0
ZEROS_BEFORE_SILENCE = 5
"""Zero commands that end the stream, so that the loss of one leaves no motion."""
STOP_TIMEOUT_S = 3.0
_INACTIVE = Finding(Decision.STOP, Reason.NOT_READY, "inactive")


class SafetyMonitorNode(ManagedNode):
    """Answers fosp/proposal with fosp/verdict and publishes the robot's command topic at its command rate.

    Parameters: those of the model, and those of parameters.MonitorParameters. Service ~/reset ends a latch.
    """

    def __init__(self) -> None:
        super().__init__("safety_monitor_node")
        declare_model_parameters(self)
        declare_monitor_parameters(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._status = create_status_publisher(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._made: list[Any] = []
        self._monitor: SafetyMonitor | None = None
        self._stream: CommandStream | None = None
        self._latched: Finding | None = None
        self._ending = threading.Event()
        self._finding = _INACTIVE
        self._activity = Activity()

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        self._robot, self._bundle = load_model(self)
        self._model_id = self._bundle.manifest.id
        self._make_monitor()
        robot = self._robot
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
            gated(Latent, topics.LATENT, self._on_latent, qos.STEP),
            gated(ActionProposal, topics.PROPOSAL, self._on_proposal, qos.STEP),
        ]
        if robot.pose_topic:
            self._made.append(gated(PoseStamped, robot.pose_topic, self._on_pose, qos.SENSOR))
        self._report_timer = self.create_timer(DIAGNOSTICS_PERIOD_S, self._report)
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def activate(self) -> None:
        if not has_realtime_priority():
            self.get_logger().info("no real-time priority; to have it, grant rtprio 20 in /etc/security/limits.d")
        self._make_monitor()
        self._activity = Activity(reported_at_s=time.monotonic())
        self._ending.clear()
        self._zeros = 0
        self._stream = CommandStream(1.0 / self._robot.command_rate_hz, self._tick, self._on_stream_failure)
        self._stream.start()
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_ACTIVE)

    def deactivate(self) -> None:
        """Decelerate to zero, then fall silent."""
        if self._stream is not None:
            self._ending.set()
            if not self._stream.join(STOP_TIMEOUT_S):
                raise RuntimeError(f"the command stream did not end within {STOP_TIMEOUT_S} s")
            self._stream = None
        self._keep_latch()
        self._finding = _INACTIVE
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def cleanup(self) -> None:
        self._keep_latch()
        for subscription in self._made:
            self.destroy_subscription(subscription)
        if self._made:
            self.destroy_timer(self._report_timer)
            self.destroy_publisher(self._commands)
            self.destroy_publisher(self._verdicts)
        self._made = []
        self._monitor = None

    def _make_monitor(self) -> None:
        """A monitor that has judged nothing yet, under the latch of the one before it."""
        self._keep_latch()
        self._monitor = SafetyMonitor(
            self._bundle.manifest,
            self._bundle.critic,
            self._robot,
            monitor_parameters(self),
            self._now,
            self._latched,
        )

    def _keep_latch(self) -> None:
        """Only ~/reset ends a latch, not a round through the lifecycle."""
        if self._monitor is not None:
            self._latched = self._monitor.state.latched

    # -- inputs --------------------------------------------------------------------------------------
    def _on_robot_state(self, message: JointState | Odometry) -> None:
        received = robot_state_received(message, time.monotonic())
        if received is None:
            raise UserError(f"{self._robot.state_topic}: positions are missing or not finite; message ignored")
        self._activity.messages["robot state"] += 1
        self._active_monitor.receive_robot_state(received)

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_received(message, time.monotonic(), self._robot.action.frame_id)
        if pose is None:
            raise UserError(
                f"{self._robot.pose_topic}: position must be finite and in frame '{self._robot.action.frame_id}', "
                f"is in '{message.header.frame_id}'; message ignored"
            )
        self._activity.messages["pose"] += 1
        self._active_monitor.receive_pose(*pose)

    def _on_latent(self, message: Latent) -> None:
        self._activity.messages["latent"] += 1
        self._publish_verdicts(self._active_monitor.receive_latent(latent_input(message, time.monotonic())))

    def _on_proposal(self, message: ActionProposal) -> None:
        self._activity.messages["proposal"] += 1
        verdict = self._active_monitor.receive_proposal(proposal_input(message, time.monotonic()))
        if verdict is not None:
            self._publish_verdicts([verdict])
            if self._stream is not None and verdict.decision < Decision.STOP:
                self._stream.align(time.monotonic())

    # -- outputs -------------------------------------------------------------------------------------
    def _tick(self) -> bool:
        """In the stream's thread: one command. False once the robot was told to stand still for good."""
        monitor = self._active_monitor
        if self._ending.is_set():
            command = monitor.halt()
            self._zeros = 0 if any(command) else self._zeros + 1
            self._publish_command(command)
            return self._zeros < ZEROS_BEFORE_SILENCE
        tick = monitor.tick()
        self._publish_command(tick.command)
        self._finding = tick.finding
        if tick.verdict is not None:
            self._publish_verdicts([tick.verdict])
        return True

    def _publish_command(self, command: tuple[float, ...]) -> None:
        if isinstance(self._command, TwistStamped):
            self._command.header.stamp = self.get_clock().now().to_msg()
            fill_twist(self._command.twist, list(command), self._robot.action)
        else:
            fill_twist(self._command, list(command), self._robot.action)
        self._commands.publish(self._command)

    def _publish_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self._verdicts.publish(verdict_message(verdict))
            self._activity.decisions[verdict.decision.name] += 1
            if verdict.decision is Decision.LATCH:
                self.get_logger().error(f"LATCH: {verdict.reason_text}", throttle_duration_sec=1.0)
            elif verdict.decision is Decision.STOP:
                self.get_logger().warning(f"STOP: {verdict.reason_text}", throttle_duration_sec=1.0)

    def _on_stream_failure(self, error: BaseException) -> None:
        """No more commands: the robot's own watchdog stops it within its command timeout."""
        trace = "".join(traceback.format_exception(error))
        self._finding = Finding(Decision.LATCH, Reason.NOT_READY, f"the command stream failed: {error}")
        self.get_logger().fatal(f"the command stream failed, the robot's own timeout stops it:\n{trace}")

    def _report(self) -> None:
        monitor = self._active_monitor
        message = diagnostic_array(
            name=f"{self.get_name()}: safety monitor",
            hardware_id=self._robot.name,
            model_id=self._model_id,
            active=self.is_active,
            finding=self._finding,
            state=monitor.state,
            robot=monitor.robot_state,
            stream=self._stream.statistics if self._stream is not None else StreamStatistics(),
            activity=self._activity,
            monotonic_s=time.monotonic(),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    # -- operator ------------------------------------------------------------------------------------
    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, "refused: the node is not active, nothing can be checked"
            return response
        was = self._active_monitor.state.latched
        refusal = self._active_monitor.reset()
        response.success = not refusal
        response.message = f"refused, {refusal}" if refusal else ("latch ended" if was else "nothing was latched")
        self.get_logger().info(f"reset: {response.message}" + (f" ({was.text})" if was else ""))
        return response

    def _on_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """All or nothing: what is refused leaves the old values in force."""
        names = {description.name for description in DESCRIPTIONS}
        values = {parameter.name: parameter.value for parameter in changed if parameter.name in names}
        if not values:
            return SetParametersResult(successful=True)
        try:
            parameters = MonitorParameters.of({**_values(self), **values})
            if self._monitor is not None:
                self._monitor.change_parameters(parameters, self.is_active)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    @property
    def _active_monitor(self) -> SafetyMonitor:
        assert self._monitor is not None
        return self._monitor

    def _now(self) -> Now:
        return Now(self.get_clock().now().nanoseconds * 1e-9, time.monotonic())


def declare_monitor_parameters(node: Node) -> None:
    """Declare every parameter with its description and range; UserError when a given value is out of it."""
    for description in DESCRIPTIONS:
        try:
            node.declare_parameter(description.name, description.kind(description.default), _descriptor(description))
        except (InvalidParameterValueException, InvalidParameterTypeException):
            kind = "a whole number " if description.kind is int else ""
            raise UserError(f"parameter '{description.name}' must be {kind}in {description.range}") from None
    monitor_parameters(node)


def monitor_parameters(node: Node) -> MonitorParameters:
    """Their present values; UserError when they contradict each other."""
    return MonitorParameters.of(_values(node))


def _values(node: Node) -> dict[str, Any]:
    return {description.name: node.get_parameter(description.name).value for description in DESCRIPTIONS}


def _descriptor(description: Description) -> ParameterDescriptor:
    unit = f" Unit: {description.unit}." if description.unit else ""
    text = f"{description.meaning}{unit} While active it can only be made {description.stricter}."
    if description.kind is int:
        bounds = IntegerRange(from_value=int(description.lower), to_value=int(description.upper))
        return ParameterDescriptor(description=text, integer_range=[bounds])
    limits = FloatingPointRange(from_value=description.lower, to_value=description.upper)
    return ParameterDescriptor(description=text, floating_point_range=[limits])


def main() -> None:
    sys.exit(run_node(SafetyMonitorNode, make_executor=events_executor, priority=MONITOR_PRIORITY))


if __name__ == "__main__":
    main()
