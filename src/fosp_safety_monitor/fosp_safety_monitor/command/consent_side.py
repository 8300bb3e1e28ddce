"""The topics by which a person, the episode and the robot's own controller consent to motion."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import WrenchStamped
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from fosp_core import topics
from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.consent_inputs import ReadyConfig
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.polling import PolledSubscription
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Heartbeat, StepFeedback
from fosp_safety_monitor.command.robot_side import RobotSide
from fosp_safety_monitor.judge.consent_inputs import FeedbackStep
from fosp_safety_monitor.judge.inputs import Judge

WRENCHES_KEPT = 10
"""Wrenches that are read with each command of 100 Hz: all of a sensor of 1 kHz, so that no short blow is missed."""


class ConsentSide:
    """Subscriptions of one robot, from configuration to clean-up; UserError when a vendor's messages are missing.

    `judge` returns the judge of the moment. What the robot repeats all the time is read when `side` reads the robot's
    state. A `policy` drives inside of episodes and while a person holds the enabling switch; a person who drives needs
    neither, a program in a person's place needs the `switch`, and a person who shows hazards the `feedback`.
    """

    def __init__(
        self,
        node: ManagedNode,
        robot: RobotConfig,
        judge: Callable[[], Judge],
        side: RobotSide,
        policy: bool = True,
        switch: bool = False,
        feedback: bool = False,
    ) -> None:
        self._node, self._robot, self._judge = node, robot, judge
        self._said: dict[int, tuple[str, float]] = {}
        """Last word of each entry of `ready`, and its receipt: latched topics speak before the node is active."""
        self._hearing = threading.Lock()
        """Held while the last words change: in the executor, and in the thread of the command stream."""
        gated, self._subscriptions = node.create_gated_subscription, list[Any]()
        self._streams: list[PolledSubscription] = []
        for index, config in enumerate(robot.ready):
            if config.latched:
                read = self._reader(index, config)
                self._subscriptions.append(
                    node.create_subscription(config.message_class(), config.topic, read, qos.LATCHED)
                )
            else:
                self._poll(config.message_class(), config.topic, self._ready_reader(index, config))
        if robot.wrench_topic:
            self._poll(WrenchStamped, robot.wrench_topic, self._read_wrench, WRENCHES_KEPT)
        side.settling.append(self.settle)
        if policy or feedback:
            self._subscriptions.append(gated(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.STEP))
        if policy:
            self._subscriptions.append(gated(Heartbeat, topics.OPERATOR_WATCH, self._on_watch, qos.STEP))
        if robot.enabling is not None and (policy or switch):
            kind, callback = (Joy, self._on_joy) if robot.enabling.type == "Joy" else (Bool, self._on_switch)
            self._subscriptions.append(gated(kind, robot.enabling.topic, callback, qos.SENSOR))

    def _poll(self, kind: Any, topic: str, read: Callable[[bytes, float], None], depth: int = 1) -> None:
        subscription, stream = self._node.create_polled_subscription(kind, topic, read, qos.SENSOR, depth)
        self._subscriptions.append(subscription)
        self._streams.append(stream)

    def settle(self) -> None:
        """Read the newest of what the robot repeats all the time, before a command is computed."""
        for stream in self._streams:
            stream.poll()

    def start(self) -> None:
        """Tell a judge that is new what the robot has said before."""
        for stream in self._streams:
            stream.forget()
        for index, (why_not, receipt_s) in self._said.items():
            self._judge().receive_ready(index, why_not, receipt_s)

    def watch(self) -> None:
        """Look whether the publishers of `ready` are alive; call it often. A new one has to speak again."""
        for index, config in enumerate(self._robot.ready):
            spoke = index in self._said and self._said[index][0] != _gone(config)
            if spoke and self._node.count_publishers(config.topic) == 0:
                self._hear(index, _gone(config), time.monotonic())

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions, self._streams = [], []

    # -- inputs --------------------------------------------------------------------------------------
    def _reader(self, index: int, config: ReadyConfig) -> Callable[[Any], None]:
        return lambda message: self._hear(index, config.why_not(message), time.monotonic())

    def _ready_reader(self, index: int, config: ReadyConfig) -> Callable[[bytes, float], None]:
        kind = config.message_class()
        return lambda data, receipt_s: self._hear(index, config.why_not(deserialize_message(data, kind)), receipt_s)

    def _hear(self, index: int, why_not: str, receipt_s: float) -> None:
        with self._hearing:
            self._said[index] = why_not, receipt_s
            if self._node.is_active:
                self._judge().receive_ready(index, why_not, receipt_s)

    def _read_wrench(self, data: bytes, receipt_s: float) -> None:
        message = deserialize_message(data, WrenchStamped)
        force = message.wrench.force
        received = Received(seconds(message.header.stamp), receipt_s)
        self._judge().receive_wrench((force.x, force.y, force.z), received)

    def _on_feedback(self, message: StepFeedback) -> None:
        received = Received(seconds(message.header.stamp), time.monotonic())
        reward, cost = float(message.reward), float(message.cost)
        self._judge().receive_feedback(
            FeedbackStep(
                message.episode, message.is_first, message.is_last, reward, cost, bool(message.success), received
            )
        )
        if not (math.isfinite(reward) and math.isfinite(cost) and cost >= 0.0):
            raise UserError(f"{topics.FEEDBACK}: reward {reward:g} or cost {cost:g} is none; only an end would count")

    def _on_watch(self, message: Heartbeat) -> None:
        self._judge().receive_watch(int(message.pid), Received(seconds(message.stamp), time.monotonic()))

    def _on_joy(self, message: Joy) -> None:
        config = self._robot.enabling
        assert config is not None
        assert config.button is not None
        buttons, axes = tuple(message.buttons), tuple(message.axes)
        known = config.button < len(buttons) and all(map(math.isfinite, axes))
        received = Received(seconds(message.header.stamp), time.monotonic())
        controls = (len(axes), len(buttons)) if known else ()
        self._judge().receive_enabling(known and buttons[config.button] == 1, (axes, buttons), received, controls)
        if not known:
            raise UserError(f"{config.topic}: no button {config.button}, or an axis is not finite; this is a release")

    def _on_switch(self, message: Bool) -> None:
        now_s = self._node.get_clock().now().nanoseconds * 1e-9
        self._judge().receive_enabling(bool(message.data), None, Received(now_s, time.monotonic()))


def _gone(config: ReadyConfig) -> str:
    return f"nobody publishes on {config.topic} any more"
