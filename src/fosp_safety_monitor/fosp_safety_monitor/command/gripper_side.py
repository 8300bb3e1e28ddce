"""The topics of the gripper: its position in, its setpoint out, as the robot's driver takes it and for the record.

What the driver takes is sent from the first order on, which a verdict gives, and repeated while the gripper holds. A
stop sends no other position than the last one, and cancels no goal: to cancel one can loosen a grip.
"""

from __future__ import annotations

import importlib
import math
import time
from typing import Any

from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from fosp_core import topics
from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperConfig, GripperInput, position_fault
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.stamps import seconds
from fosp_safety_monitor.judge.watch.gripper import GripperOrder

GOAL_PERIOD_S = 0.1
"""Least time between two goals of an action, s: each one replaces the one before it."""
REPEAT_S = 1.0
"""Time after which the goal of a gripper that holds is sent again, s: its driver may have refused or lost it."""
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
        goal = self._action.Goal()
        goal.command.position, goal.command.max_effort = value, config.max_effort
        self._client.send_goal_async(goal).add_done_callback(self._answered)

    def _answered(self, done: Any) -> None:
        if not done.result().accepted:
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
