"""Node for an operator's device, in place of a policy or beside one: actions, and orders by button or service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.clock import Now, Received, age
from fosp_core.processes import end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.fields import float_field
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionCandidate, ActionProposal, OperatorAction
from fosp_msgs.srv import ResetEpisode
from fosp_policy.teleoperation import (
    DEVICE_TIMEOUT_S,
    DeviceHistory,
    Grip,
    OperatorOrder,
    Repetition,
    device_fault,
    missing_controls,
    operator_action,
    orders,
    read_mapping,
    stream_fault,
)

PERIOD_S = 0.02

PARAMETERS = (
    NodeParameter("mapping", "", "File of the mapping from the device's axes and buttons."),
    NodeParameter(
        "beside_policy", False, "A policy drives, and a person takes over: publish fosp/operator, not fosp/proposal."
    ),
    ROBOT,
)


class TeleopNode(ManagedNode):
    """Publishes fosp/proposal at 50 Hz, each with one candidate, without a model; beside a policy fosp/operator.

    Parameters: `mapping` (file, see teleoperation.Mapping), `beside_policy` and `robot` (robot file). The services
    ~/start, ~/stop, ~/discard and ~/mark (std_srvs/Trigger) do what the buttons do: they are passed on to
    fosp/reset_episode, feedback_node/stop, recorder_node/discard, and the topic fosp/mark.
    """

    def __init__(self) -> None:
        super().__init__("teleop_node")
        declare(self, PARAMETERS)
        self._made: list[Any] = []
        self._reset = self.create_client(ResetEpisode, topics.RESET_EPISODE)
        self._stop = self.create_client(Trigger, "feedback_node/stop")
        self._discard = self.create_client(Trigger, "recorder_node/discard")
        self._marks = self.create_publisher(String, topics.MARK, qos.STEP)
        for order in OperatorOrder:
            self.create_service(Trigger, f"~/{order.value}", self._service(order))

    def configure(self) -> None:
        robot = read_robot(path_parameter(self, "robot"))
        self._spec = robot.action
        self._yaw = 0.0 if robot.operator_frame is None else robot.operator_frame.yaw
        self._mapping = read_mapping(path_parameter(self, "mapping"), self._spec)
        self._beside = bool(self.get_parameter("beside_policy").value)
        said = (OperatorAction, topics.OPERATOR) if self._beside else (ActionProposal, topics.PROPOSAL)
        self._proposals = self.create_publisher(*said, qos.STEP)
        self._made = [self.create_gated_subscription(Joy, self._mapping.topic, self._on_joy, qos.SENSOR)]
        self._timer = self.create_gated_timer(PERIOD_S, self._propose)

    def activate(self) -> None:
        self._joy: Joy | None = None
        self._heard_s = 0.0
        self._repetition, self._grip, self._history = Repetition(), Grip(), DeviceHistory()
        self._missing, self._faulty = "", False
        self._step = 0

    def cleanup(self) -> None:
        if self._made:
            self.destroy_timer(self._timer)
            self.destroy_publisher(self._proposals)
        for subscription in self._made:
            self.destroy_subscription(subscription)
        self._made = []

    # -- motion --------------------------------------------------------------------------------------
    def _on_joy(self, message: Joy) -> None:
        before, self._joy, self._heard_s = self._joy, message, time.monotonic()
        self._history = self._history.after(self._mapping, self._spec, message.axes, message.buttons, self._heard_s)
        missing = missing_controls(self._mapping, self._spec, len(message.axes), len(message.buttons))
        if missing != self._missing:
            self._missing = missing
            if missing:
                self.get_logger().warning(missing)
        if before is not None and not self._stream_fault():
            for order in orders(self._mapping, list(before.buttons), list(message.buttons)):
                self._obey(order)

    def _late(self) -> str:
        """Return why the last message of the device is an old one by its stamp; an empty text while it is not.

        Where the graph runs on simulated time the stamps of a device are those of another clock.
        """
        if self._joy is None or self.get_parameter("use_sim_time").value:
            return ""
        now = Now(self.get_clock().now().nanoseconds * 1e-9, time.monotonic())
        return age(Received(seconds(self._joy.header.stamp), self._heard_s), now, DEVICE_TIMEOUT_S).stale_because

    def _stream_fault(self) -> str:
        devices = self.count_publishers(self._mapping.topic)
        return stream_fault(self._mapping, self._spec, devices, self._late(), self._history)

    def _propose(self) -> None:
        now_s = time.monotonic()
        joy = self._joy if now_s - self._heard_s <= DEVICE_TIMEOUT_S else None
        axes, buttons = (list(joy.axes), list(joy.buttons)) if joy is not None else ([], [])
        action = operator_action(self._mapping, self._spec, axes, buttons, self._yaw)
        before = self._repetition
        self._repetition = before.after(axes, buttons, any(action), now_s, self._mapping.repeat_s)
        if self._repetition.withheld:
            action = [0.0] * self._spec.twist_size
            if not before.withheld:
                self.get_logger().warning(
                    f"{self._mapping.topic} has said the same for {self._mapping.repeat_s:g} s, as a device that hangs "
                    "does: let go of the controls to go on"
                )
        if self._beside:
            self._offer(action, buttons, now_s)
            return
        fault = "" if joy is None else self._stream_fault()
        if fault:
            action = [0.0] * self._spec.twist_size
            if not self._faulty:
                self.get_logger().warning(f"{self._mapping.topic} {fault}; it moves nothing")
        self._faulty = bool(fault)
        proposal = ActionProposal(step=self._step, candidates=[ActionCandidate(action=float_field(np.array(action)))])
        proposal.header.stamp = self.get_clock().now().to_msg()
        self._proposals.publish(proposal)
        self._step += 1

    def _offer(self, action: list[float], buttons: list[int], now_s: float) -> None:
        """Publish what the operator wants beside a policy; a device that cannot be followed asks for rest."""
        joy, topic = self._joy, self._mapping.topic
        said = None if joy is None else (joy.axes, joy.buttons)
        devices, hangs = self.count_publishers(topic), self._repetition.withheld
        silence_s, late = now_s - self._heard_s, self._late()
        fault = device_fault(self._mapping, self._spec, said, silence_s, devices, hangs, late, self._history)
        self._grip = self._grip.after(any(action), now_s)
        holds = self._grip.holds(self._mapping, buttons, now_s)
        wish = action if holds and not fault else [0.0] * self._spec.twist_size
        message = OperatorAction(holds=holds, action=float_field(np.array(wish)), fault=fault, device=topic)
        message.header.stamp = self.get_clock().now().to_msg()
        self._proposals.publish(message)

    # -- orders --------------------------------------------------------------------------------------
    def _service(self, order: OperatorOrder) -> Callable[[Any, Trigger.Response], Trigger.Response]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = self._obey(order) if self.is_active else "the node is not active"
            response.success = self.is_active and not response.message
            return response

        return serve

    def _obey(self, order: OperatorOrder) -> str:
        """Pass an order on, log the answer, and return the reason when it cannot be passed on, else an empty string."""
        if order is OperatorOrder.MARK:
            self._marks.publish(String(data="operator"))
            self.get_logger().info("marked")
            return ""
        client, request = {
            OperatorOrder.START: (self._reset, ResetEpisode.Request(episode=ResetEpisode.Request.EPISODE_NEXT)),
            OperatorOrder.STOP: (self._stop, Trigger.Request()),
            OperatorOrder.DISCARD: (self._discard, Trigger.Request()),
        }[order]
        if not client.service_is_ready():
            refusal = f"{order.value}: nobody serves {client.srv_name}"
            self.get_logger().warning(refusal)
            return refusal
        if order is OperatorOrder.DISCARD and self._stop.service_is_ready():
            self._stop.call_async(Trigger.Request())
        client.call_async(request).add_done_callback(lambda done: self._log_answer(order, done.result()))
        return ""

    def _log_answer(self, order: OperatorOrder, answer: Any) -> None:
        if answer is None or not answer.success:
            self.get_logger().warning(f"{order.value} refused: {answer.message if answer else 'no answer'}")
        else:
            self.get_logger().info(f"{order.value}: {answer.message}")


def main() -> None:
    end_process(run_node(TeleopNode))


if __name__ == "__main__":
    main()
