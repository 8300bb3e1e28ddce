"""Keeps the last 30 s of what the safety monitor saw, said and sent, and writes a bag of it after every stop.

A process of its own, so that neither the disk nor the writing can hold up a command, and so that the last seconds of a
monitor that was killed or hangs are kept, too: it falls silent without a word (vigil.py). A stack that goes down while
the monitor is active leaves a bag as well. It sends nothing but its diagnostics.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.command_message import command_message_type
from fosp_core.ros.lifecycle import end_process, run_node
from fosp_core.ros.model_parameters import path_parameter
from fosp_core.specs import RobotConfig, read_robot
from fosp_msgs.msg import ActionProposal, Heartbeat, Latent, SafetyEvent, SafetyVerdict
from fosp_recording.black_box import PREFIX, Heard, Memory, Vigil, make_room, write_box

SPAN_S = 30.0
MEMORY_BYTES = 256_000_000
AFTERMATH_S = 2.0
"""A bag is written so long after the stop, and holds what came of it."""
IMAGE_PERIOD_S = 0.2
POLL_S = 0.2
LATE_S = 0.05
"""A poll that is late itself accuses nobody of silence: what came meanwhile is still to be read."""
HISTORY_S = 10.0
"""In its first seconds a node is told of the events before its time."""
LAST_WORDS_S = 1.0
"""At the end an active monitor may take so long to say that it is deactivated, or fall silent."""
MONITOR = "safety_monitor_node"
Then = Callable[[bytes, int], None]


class BlackBoxNode(Node):
    """Parameters: `out` (folder), `robot` (file), `image_topics` (as bundles name them; the robot file may map them),
    `limit_mb` (of all bags on disk together).
    """

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
        self._started_ns, self._started_s = time.time_ns(), time.monotonic()
        self._polled_s = self._started_s
        robot = read_robot(path_parameter(self, "robot"))
        self._vigil = Vigil(robot.command_timeout_s, bool(self.get_parameter("use_sim_time").value))
        self._monitor = f"{self.get_namespace().rstrip('/')}/{MONITOR}"
        self._listen(robot)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        # Of real time, also where the graph runs on simulated time, which may end with the simulator.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(POLL_S, self._poll, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    def _listen(self, robot: RobotConfig) -> None:
        state = JointState if robot.state_type == "JointState" else Odometry
        self._remember(Latent, topics.LATENT, qos.STEP)
        self._remember(ActionProposal, topics.PROPOSAL, qos.STEP)
        self._remember(SafetyVerdict, topics.VERDICT, qos.STEP)
        self._remember(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS, self._on_event)
        self._remember(Heartbeat, topics.HEARTBEAT, qos.STEP, self._on_heartbeat)
        self._remember(state, robot.state_topic, qos.SENSOR)
        self._remember(command_message_type(robot), robot.command_topic, qos.COMMAND_HISTORY, self._on_command)
        self._remember(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        if robot.pose_topic:
            self._remember(PoseStamped, robot.pose_topic, qos.SENSOR)
        if robot.estop_topic:
            self._remember(Bool, robot.estop_topic, qos.SENSOR)
        for topic in self.get_parameter("image_topics").value:
            mapped = robot.image_topic(topic)
            self._image_due_s[self.resolve_topic_name(mapped)] = 0.0
            self._remember(CompressedImage if robot.is_compressed(topic) else Image, mapped, qos.IMAGE)

    def _remember(self, kind: Any, topic: str, profile: QoSProfile, then: Then = lambda data, sent_ns: None) -> None:
        """Keep what comes on `topic`, and call `then` with each message and when it was sent, ns on the wall clock."""
        name = self.resolve_topic_name(topic)
        package, _, _ = kind.__module__.partition(".")
        self._types[name] = f"{package}/msg/{kind.__name__}"

        def heard(data: bytes, info: dict[str, Any]) -> None:
            now_s = time.monotonic()
            if now_s < self._image_due_s.get(name, now_s):
                return
            if name in self._image_due_s:
                self._image_due_s[name] = now_s + IMAGE_PERIOD_S
            self._memory.add(Heard(name, time.time_ns(), data, now_s))
            then(data, int(info["source_timestamp"]))

        self.create_subscription(kind, topic, heard, profile, raw=True)

    # -- when to write -------------------------------------------------------------------------------
    def _on_command(self, data: bytes, sent_ns: int) -> None:
        self._vigil.command(time.monotonic())

    def _on_heartbeat(self, data: bytes, sent_ns: int) -> None:
        beat = deserialize_message(data, Heartbeat)
        if beat.node == self._monitor:
            self._vigil.beat(beat.state == State.PRIMARY_STATE_ACTIVE, time.monotonic())

    def _on_event(self, data: bytes, sent_ns: int) -> None:
        """A stop before our time, which late joiners are told of, has its bag already, or none."""
        now_s = time.monotonic()
        if sent_ns < self._started_ns and now_s < self._started_s + HISTORY_S:
            return
        event = deserialize_message(data, SafetyEvent)
        if event.kind == SafetyEvent.DEACTIVATED:
            self._vigil.end(now_s)
        elif event.kind in (SafetyEvent.STOPPED, SafetyEvent.LATCHED):
            self._write_soon(event.text)

    def _write_soon(self, cause: str) -> None:
        if self._due_s is None:
            self._due_s, self._cause = time.monotonic() + AFTERMATH_S, cause

    def _poll(self) -> None:
        now_s = time.monotonic()
        late, self._polled_s = now_s - self._polled_s > POLL_S + LATE_S, now_s
        if not late:
            self._note_silence(now_s)
        self._write_if_due()

    def _note_silence(self, now_s: float) -> None:
        cause = self._vigil.silence(now_s)
        if cause:
            self._write_soon(cause)

    # -- writing -------------------------------------------------------------------------------------
    def _write_if_due(self) -> None:
        """One bag at a time; a stop while one is written has its own bag after it."""
        if self._due_s is None or time.monotonic() < self._due_s or self._writing.is_alive():
            return
        self._due_s = None
        held = self._memory.messages(), self._cause, self._memory.seconds
        self._writing = threading.Thread(target=self._write, args=held)
        self._writing.start()

    def _write(self, messages: list[Heard], cause: str, seconds: float) -> None:
        folder = self._out / f"{PREFIX}{time.strftime('%Y%m%d_%H%M%S')}_{time.time_ns() // 1_000_000 % 1000:03d}"
        heard = {message.topic for message in messages}
        types = {topic: kind for topic, kind in self._types.items() if topic in heard}
        try:
            make_room(self._out, self._limit_bytes)
            write_box(folder, messages, types, {"cause": cause, "seconds": f"{seconds:.1f}"})
            make_room(self._out, self._limit_bytes)
        except Exception as error:  # a full disk, for one: it must not end the process, and with it the stack
            self._failure = f"{folder}: {error}"
            self.get_logger().error(f"black box not written: {self._failure}", throttle_duration_sec=10.0)
        else:
            self._written, self._failure = self._written + 1, ""
            self.get_logger().info(f"black box: {folder} ({cause}), the last {seconds:.1f} s")

    def _report(self) -> None:
        level = DiagnosticStatus.ERROR if self._failure else DiagnosticStatus.OK
        status = DiagnosticStatus(level=level, name="black_box_node: black box", hardware_id=str(self._out))
        status.message = f"not written: {self._failure}" if self._failure else "remembers"
        status.values = [
            KeyValue(key="bags written", value=str(self._written)),
            KeyValue(key="remembered (s)", value=f"{self._memory.seconds:.1f}"),
        ]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """Hear an active monitor out, and write what a stop, its death, or its end with the stack has left to write."""
        if self._vigil.on:
            self._hear_out()
        if self._due_s is not None:
            self._due_s = 0.0
            if self._writing.is_alive():
                self._writing.join()
            self._write_if_due()
        if self._writing.is_alive():
            self._writing.join()

    def _hear_out(self) -> None:
        """Until it is deactivated or falls silent, for LAST_WORDS_S at most; there is a bag to write then."""
        deadline_s = time.monotonic() + LAST_WORDS_S
        while self._vigil.on and self.executor is not None and time.monotonic() < deadline_s:
            self.executor.spin_once(timeout_sec=POLL_S / 10)
            self._note_silence(time.monotonic())
        self._write_soon("the stack went down while the safety monitor was active")


def main() -> None:
    end_process(run_node(BlackBoxNode))


if __name__ == "__main__":
    main()
