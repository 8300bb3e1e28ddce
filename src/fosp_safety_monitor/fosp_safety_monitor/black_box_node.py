"""Keeps the last 30 s of what the safety monitor saw, said and sent, and writes a bag of it after every stop.

A process of its own, so that neither the disk nor the writing can hold up a command, and so that the last seconds of a
monitor that was killed are kept, too. It sends nothing but its diagnostics.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.command_message import command_message_type
from fosp_core.ros.lifecycle import end_process, run_node
from fosp_core.ros.model_parameters import path_parameter
from fosp_core.specs import RobotConfig, read_robot
from fosp_msgs.msg import ActionProposal, Heartbeat, Latent, SafetyEvent, SafetyVerdict
from fosp_safety_monitor.black_box import PREFIX, Heard, Memory, make_room, write_box

SPAN_S = 30.0
MEMORY_BYTES = 256_000_000
AFTERMATH_S = 2.0
"""A bag is written so long after the stop, and holds what came of it."""
IMAGE_PERIOD_S = 0.2
POLL_S = 0.2


class BlackBoxNode(Node):
    """Parameters: `out` (folder), `robot` (file), `image_topics`, `limit_mb` (of all bags on disk together)."""

    def __init__(self) -> None:
        super().__init__("black_box_node")
        self.declare_parameter("out", "")
        self.declare_parameter("robot", "")
        self.declare_parameter("image_topics", [topics.COLOR_IMAGE])
        self.declare_parameter("limit_mb", 1000)
        self._out = path_parameter(self, "out")
        self._limit_bytes = 1_000_000 * int(self.get_parameter("limit_mb").value)
        if self._limit_bytes <= 0:
            raise UserError("parameter 'limit_mb' of black_box_node must be at least 1")
        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._out}: cannot hold the black box: {error.strerror or error}") from None
        self._memory = Memory(SPAN_S, MEMORY_BYTES)
        self._types: dict[str, str] = {}
        self._image_due_s: dict[str, float] = {}
        self._due_s: float | None = None
        self._cause = ""
        self._written, self._failure = 0, ""
        self._writing = threading.Thread()
        self._listen(read_robot(path_parameter(self, "robot")))
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self.create_timer(POLL_S, self._write_if_due)
        self.create_timer(1.0, self._report)

    def _listen(self, robot: RobotConfig) -> None:
        state = JointState if robot.state_type == "JointState" else Odometry
        self._remember(Latent, topics.LATENT, qos.STEP)
        self._remember(ActionProposal, topics.PROPOSAL, qos.STEP)
        self._remember(SafetyVerdict, topics.VERDICT, qos.STEP)
        self._remember(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
        self._remember(Heartbeat, topics.HEARTBEAT, qos.STEP)
        self._remember(state, robot.state_topic, qos.SENSOR)
        self._remember(command_message_type(robot), robot.command_topic, qos.COMMAND_HISTORY)
        self._remember(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        if robot.pose_topic:
            self._remember(PoseStamped, robot.pose_topic, qos.SENSOR)
        if robot.estop_topic:
            self._remember(Bool, robot.estop_topic, qos.SENSOR)
        for topic in self.get_parameter("image_topics").value:
            self._remember(Image, topic, qos.IMAGE)
            self._image_due_s[self.resolve_topic_name(topic)] = 0.0

    def _remember(self, kind: Any, topic: str, profile: QoSProfile) -> None:
        name = self.resolve_topic_name(topic)
        package, _, _ = kind.__module__.partition(".")
        self._types[name] = f"{package}/msg/{kind.__name__}"

        def heard(data: bytes) -> None:
            self._heard(name, data)

        self.create_subscription(kind, topic, heard, profile, raw=True)

    def _heard(self, topic: str, data: bytes) -> None:
        now_s = time.monotonic()
        if topic in self._image_due_s:
            if now_s < self._image_due_s[topic]:
                return
            self._image_due_s[topic] = now_s + IMAGE_PERIOD_S
        self._memory.add(Heard(topic, time.time_ns(), data))
        if topic == self.resolve_topic_name(topics.SAFETY_EVENT):
            event = deserialize_message(data, SafetyEvent)
            if event.kind in (SafetyEvent.STOPPED, SafetyEvent.LATCHED) and self._due_s is None:
                self._due_s, self._cause = now_s + AFTERMATH_S, event.text

    def _write_if_due(self) -> None:
        """One bag at a time; a stop while one is written has its own bag after it."""
        if self._due_s is None or time.monotonic() < self._due_s or self._writing.is_alive():
            return
        self._due_s = None
        self._writing = threading.Thread(target=self._write, args=(self._memory.messages(), self._cause))
        self._writing.start()

    def _write(self, messages: list[Heard], cause: str) -> None:
        folder = self._out / f"{PREFIX}{time.strftime('%Y%m%d_%H%M%S')}_{time.time_ns() // 1_000_000 % 1000:03d}"
        heard = {message.topic for message in messages}
        types = {topic: kind for topic, kind in self._types.items() if topic in heard}
        try:
            make_room(self._out, self._limit_bytes)
            write_box(folder, messages, types, {"cause": cause})
            make_room(self._out, self._limit_bytes)
        except Exception as error:  # a full disk, for one: it must not end the process, and with it the stack
            self._failure = f"{folder}: {error}"
            self.get_logger().error(f"black box not written: {self._failure}", throttle_duration_sec=10.0)
        else:
            self._written, self._failure = self._written + 1, ""
            self.get_logger().info(f"black box: {folder} ({cause})")

    def _report(self) -> None:
        level = DiagnosticStatus.ERROR if self._failure else DiagnosticStatus.OK
        status = DiagnosticStatus(level=level, name="black_box_node: black box", hardware_id=str(self._out))
        status.message = f"not written: {self._failure}" if self._failure else "remembers"
        status.values = [KeyValue(key="bags written", value=str(self._written))]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """Write what a stop has left to be written."""
        if self._due_s is not None:
            self._due_s = 0.0
            if self._writing.is_alive():
                self._writing.join()
            self._write_if_due()
        if self._writing.is_alive():
            self._writing.join()


def main() -> None:
    end_process(run_node(BlackBoxNode))


if __name__ == "__main__":
    main()
