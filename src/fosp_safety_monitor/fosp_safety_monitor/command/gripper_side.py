"""The topics of the gripper: its position in, its setpoint out, as the robot's driver takes it and for the record.

What the driver takes is sent from the first order on, which a verdict gives, and repeated while the gripper holds. A
stop sends no other position than the last one, and cancels no goal: to cancel one can loosen a grip. A driver that is
missing, refuses or does not answer is a fault of the gripper, which stops the robot.
"""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import replace
from typing import Any

from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from fosp_core import topics
from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperConfig, GripperInput, OpeningWatch, position_fault
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.stamps import seconds
from fosp_safety_monitor.judge.watch.gripper import GripperOrder

GOAL_PERIOD_S = 0.1
"""Least time between two goals of an action, s: each one replaces the one before it."""
REPEAT_S = 1.0
"""Time after which the goal of a gripper that holds is sent again, s: its driver may have refused or lost it."""
ANSWER_S = 0.5
"""Time within which a driver says whether it takes a goal, s."""
LOOK_S = 0.1
"""Period at which it is looked whether the driver is there, s."""
_TYPES: dict[str, Any] = {"array": Float64MultiArray, "joint_state": JointState}


def gripper_input(message: JointState, gripper: GripperConfig, receipt_s: float) -> GripperInput | None:
    """Return the measured position; None for a message that does not hold the gripper's joint.

    Joint states of an arm and of its gripper may come in turns on one topic.
    """
    if gripper.joint not in message.name:
        return None
    index, received = message.name.index(gripper.joint), Received(seconds(message.header.stamp), receipt_s)
    if index >= len(message.position):
        return GripperInput(received, fault="is missing: the joint has a name and no position")
    value = float(message.position[index])
    fault = position_fault(value, gripper.axis)
    return GripperInput(received, gripper.axis.normalised(value) if math.isfinite(value) else None, fault)


def driver_fault(missing: str, unanswered_s: float | None, refused: bool) -> str:
    """Return why a gripper's driver does not take what it is told; empty while it does.

    `unanswered_s` is the age of the oldest goal that it has not answered, None if there is none; `refused` says that
    it did not take the last one.
    """
    if missing:
        return missing
    if unanswered_s is not None and unanswered_s > ANSWER_S:
        return f"has not answered a goal for {unanswered_s:.1f} s"
    return "has refused a goal" if refused else ""


class GripperSide:
    """Publishers of one robot's gripper, from configuration to clean-up; for a robot without one it does nothing."""

    def __init__(self, node: ManagedNode, robot: RobotConfig) -> None:
        self._node, self._config, self._told = node, robot.gripper, False
        self._record: Any = None
        self._driver: Any = None
        self._client: Any = None
        self._goal: tuple[float, float] | None = None
        """Position of the last goal, in the gripper's unit, and when it was sent, monotonic clock."""
        self._last: GripperOrder | None = None
        self._unanswered_s: float | None = None
        """When the oldest goal without an answer was sent, monotonic clock; None: all were answered."""
        self._refused = False
        self._missing, self._looked_s = "", -math.inf
        self._opening = OpeningWatch()
        if self._config is None:
            return
        self._record = node.create_publisher(JointState, topics.GRIPPER, qos.COMMAND)
        if self._config.how == "action":
            self._action = _gripper_action()
            self._client = ActionClient(node, self._action, self._config.topic)
        else:
            self._driver = node.create_publisher(_TYPES[self._config.how], self._config.topic, qos.COMMAND)

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names of the topics on which nobody else may publish."""
        made = (self._record, self._driver)
        return tuple(str(publisher.topic_name) for publisher in made if publisher is not None)

    def close(self) -> None:
        """Release the publishers, and the client of the action."""
        for publisher in (self._record, self._driver):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        if self._client is not None:
            self._client.destroy()

    def felt(self, message: JointState, receipt_s: float) -> GripperInput | None:
        """Return the measured position with what is wrong with the driver; None for a message of other joints."""
        if self._config is None:
            return None
        measured = gripper_input(message, self._config, receipt_s)
        if measured is None or measured.position is None:
            return measured
        last = self._last
        told = last.position if last is not None and last.told else None
        self._opening = self._opening.after(told, measured.position, receipt_s)
        fault = self._driver_fault(receipt_s) or self._opening.fault(receipt_s)
        return replace(measured, driver_fault=fault)

    def _driver_fault(self, now_s: float) -> str:
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s, self._missing = now_s, ""
            if self._client is None and not self._driver.get_subscription_count():
                self._missing = "has no driver: nobody subscribes to its topic"
            elif self._client is not None and not self._client.server_is_ready():
                self._missing = "has no driver: nobody serves its action"
        waited = self._unanswered_s
        return driver_fault(self._missing, None if waited is None else now_s - waited, self._refused)

    def send(self, order: GripperOrder | None, stamp: Any) -> None:
        """Send the order of one command; None repeats the last one, which is what a gripper that holds was told.

        `stamp` is that of the command.
        """
        config, order = self._config, order or self._last
        if config is None or order is None:
            return
        self._last = order
        value = config.axis.value(order.position)
        state = JointState(name=[config.joint], position=[value])
        state.header.stamp = stamp.to_msg()
        self._record.publish(state)
        if not order.told:
            return
        if self._client is not None:
            self._send_goal(value, config, time.monotonic())
        elif config.how == "joint_state":
            self._driver.publish(state)
        else:
            self._driver.publish(Float64MultiArray(data=[value] * config.fingers))

    def _send_goal(self, value: float, config: GripperConfig, now_s: float) -> None:
        before, since_s = self._goal or (math.nan, -math.inf)
        changes = not abs(value - before) <= 1e-3 * config.stroke
        if now_s - since_s < (GOAL_PERIOD_S if changes else REPEAT_S):
            return
        if not self._client.server_is_ready():
            self._node.get_logger().error(f"nobody serves the action {config.topic}", throttle_duration_sec=1.0)
            return
        self._goal = value, now_s
        if self._unanswered_s is None:
            self._unanswered_s = now_s
        goal = self._action.Goal()
        goal.command.position, goal.command.max_effort = value, config.max_effort
        self._client.send_goal_async(goal).add_done_callback(self._answered)

    def _answered(self, done: Any) -> None:
        self._unanswered_s, self._refused = None, not done.result().accepted
        if self._refused:
            self._node.get_logger().warning("the gripper's driver refused a goal", throttle_duration_sec=1.0)


def _gripper_action() -> Any:
    """Return the type of the action; UserError where its package is not installed."""
    try:
        return importlib.import_module("control_msgs.action").GripperCommand
    except ImportError:
        raise UserError(
            "control_msgs is not installed, which a gripper with how: action needs: run make setup, or install "
            "ros-jazzy-control-msgs"
        ) from None
