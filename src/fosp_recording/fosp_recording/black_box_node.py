"""The black box keeps the last 30 s of what the safety monitor saw, said and sent; after a stop it writes a bag.

It is a process of its own, so that neither the disk nor the writing can hold up a command, and so that it keeps the
last seconds of a monitor that was killed or hangs, too. A stack that goes down while the monitor is active leaves a bag
as well. The node publishes nothing but its diagnostics.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from fosp_core import topics
from fosp_core.clock import HEARTBEAT_GAP_BOUNDS_S, HEARTBEAT_GAP_S
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.diagnostics import hardware_id, status_name
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Heartbeat, SafetyEvent, SafetyVerdict, StepFeedback
from fosp_recording.black_box import (
    PREFIX,
    EpisodeEnd,
    Heard,
    Memory,
    SilenceDetector,
    ThinnedMemory,
    is_history,
    make_room,
    write_box,
)
from fosp_recording.recorded_topics import black_box_topics, image_source, message_class

SPAN_S = 30.0
MEMORY_BYTES = 64_000_000
"""Most that messages may take in memory, without the images."""
IMAGE_BYTES = 192_000_000
"""Most that images may take in memory."""
AFTERMATH_S = 2.0
"""Time from a stop to the writing of its bag, which thus holds the consequences of the stop."""
MOST_CAUSES = 5
"""Most causes that a bag names."""
IMAGE_PERIOD_S = 0.2
"""Shortest time between two images of a topic that are taken in; ThinnedMemory forgets some of them later."""
READ_S = 0.1
"""Time after an event until which what was sent before it has been read, on whatever topic."""
POLL_S = 0.2
LATE_S = 0.05
"""A poll that is later than this does not judge silence: messages that came meanwhile are still to be read."""
LAST_WORDS_S = 1.0
"""How long the node, going down, waits for an active monitor to be deactivated or to fall silent."""
MONITOR = "safety_monitor_node"
Callback = Callable[[bytes], None]


PARAMETERS = (
    NodeParameter("out", "", "Folder of the bags."),
    ROBOT,
    NodeParameter("image_topics", (topics.COLOR_IMAGE,), "Image topics, as bundles name them."),
    NodeParameter("limit_mb", 1000, "Size of all bags on disk together.", "MB", 1, 1_000_000),
    NodeParameter(
        "heartbeat_gap_s",
        HEARTBEAT_GAP_S,
        "Write a bag when the heartbeats of the active safety monitor cease for so long.",
        "s",
        *HEARTBEAT_GAP_BOUNDS_S,
    ),
)


class BlackBoxNode(Node):
    """Remembers the topics of recorded_topics.py, and writes a bag when the monitor stops, latches or falls silent.

    PARAMETERS lists its parameters; give `heartbeat_gap_s` the value of the monitor.
    """

    def __init__(self) -> None:
        super().__init__("black_box_node")
        declare(self, PARAMETERS)
        gap_s = float(self.get_parameter("heartbeat_gap_s").value)
        self._out = path_parameter(self, "out")
        self._limit_bytes = 1_000_000 * int(self.get_parameter("limit_mb").value)
        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._out}: cannot hold the black box: {error.strerror or error}") from None
        self._memory, self._images = Memory(SPAN_S, MEMORY_BYTES), ThinnedMemory(SPAN_S, IMAGE_BYTES)
        self._types: dict[str, str] = {}
        self._image_due_s: dict[str, float] = {}
        self._due_s: float | None = None
        self._causes: list[str] = []
        self._episode_end = EpisodeEnd()
        self._ends: deque[tuple[float, str]] = deque()
        self._written, self._failure = 0, ""
        self._writing = threading.Thread()
        self._polled_s = self._started_s = time.monotonic()
        robot = read_robot(path_parameter(self, "robot"))
        self._hardware = hardware_id(self, robot.name)
        simulated_time = bool(self.get_parameter("use_sim_time").value)
        self._detector = SilenceDetector(robot.command_timeout_s, gap_s, simulated_time)
        self._monitor = f"{self.get_namespace().rstrip('/')}/{MONITOR}"
        self._listen(robot)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        # The timers run on real time: simulated time may end with the simulator.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(POLL_S, self._poll, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    def _listen(self, robot: RobotConfig) -> None:
        """Subscribe to the topics of the black box and to the images; a topic of the graph has the QoS of a step."""
        images: dict[str, str] = {}
        for topic in self.get_parameter("image_topics").value:
            images |= image_source(robot, topic)
        self._image_due_s = {self.resolve_topic_name(topic): 0.0 for topic in images}
        measured = (robot.state_topic, robot.pose_topic, robot.gripper.feedback_topic if robot.gripper else "")
        profiles = {
            topics.SAFETY_EVENT: qos.LATCHED_EVENTS,
            robot.command_topic: qos.COMMAND_HISTORY,
            **dict.fromkeys((*measured, *robot.estop_topics), qos.SENSOR),
            **dict.fromkeys(images, qos.IMAGE),
        }
        callbacks: dict[str, Callback] = {
            topics.SAFETY_EVENT: self._on_event,
            topics.HEARTBEAT: self._on_heartbeat,
            topics.FEEDBACK: self._on_feedback,
            robot.command_topic: self._on_command,
        }
        for topic, message_type in (black_box_topics(robot) | images).items():
            self._remember(topic, message_type, profiles.get(topic, qos.STEP), callbacks.get(topic, _ignore))

    def _remember(self, topic: str, message_type: str, profile: QoSProfile, callback: Callback) -> None:
        """Keep what comes on `topic`, serialised, and call `callback` with each message that is kept."""
        name = self.resolve_topic_name(topic)
        self._types[name] = message_type
        memory = self._images if name in self._image_due_s else self._memory

        def heard(data: bytes) -> None:
            now_s = time.monotonic()
            if now_s < self._image_due_s.get(name, now_s):
                return
            if name in self._image_due_s:
                self._image_due_s[name] = now_s + IMAGE_PERIOD_S
            memory.add(Heard(name, time.time_ns(), data, now_s))
            callback(data)

        self.create_subscription(message_class(message_type), topic, heard, profile, raw=True)

    # -- when to write -------------------------------------------------------------------------------
    def _on_command(self, data: bytes) -> None:
        self._detector.command(time.monotonic())

    def _on_heartbeat(self, data: bytes) -> None:
        beat = deserialize_message(data, Heartbeat)
        if beat.node == self._monitor:
            self._detector.beat(beat.state == State.PRIMARY_STATE_ACTIVE, time.monotonic())

    def _on_feedback(self, data: bytes) -> None:
        feedback = deserialize_message(data, StepFeedback)
        self._episode_end.hear(feedback.is_first, feedback.is_last, feedback.cost, time.monotonic())

    def _on_event(self, data: bytes) -> None:
        """Write a bag of a stop; one from before our start, which late joiners receive, is not ours to write.

        The end of an episode in which nothing was violated is worth none; the next poll knows how it ended.
        """
        event, now_s = deserialize_message(data, SafetyEvent), time.monotonic()
        ros_s = self.get_clock().now().nanoseconds * 1e-9
        if is_history(seconds(event.stamp), ros_s, now_s - self._started_s):
            return
        if event.kind == SafetyEvent.DEACTIVATED:
            self._detector.end(now_s)
        elif event.kind == SafetyEvent.STOPPED and event.reason == SafetyVerdict.REASON_NO_EPISODE:
            self._ends.append((now_s, event.text))
        elif event.kind == SafetyEvent.STOPPED and event.reason == SafetyVerdict.REASON_TAKEN_OVER:
            pass  # a person hands the robot back, which is no failure
        elif event.kind in (SafetyEvent.STOPPED, SafetyEvent.LATCHED):
            self._write_soon(event.text)

    def _write_soon(self, cause: str) -> None:
        """Write a bag after the aftermath of the first of its causes; what happens meanwhile is named as well."""
        if self._due_s is None:
            self._due_s, self._causes = time.monotonic() + AFTERMATH_S, [cause]
        elif cause not in self._causes and len(self._causes) < MOST_CAUSES:
            self._causes.append(cause)

    def _poll(self) -> None:
        now_s = time.monotonic()
        late, self._polled_s = now_s - self._polled_s > POLL_S + LATE_S, now_s
        if not late:
            self._note_silence(now_s)
        self._note_ends(now_s)
        self._write_if_due()

    def _note_ends(self, now_s: float) -> None:
        """Judge the ends of episodes whose last feedback may have been read after the event."""
        while self._ends and now_s - self._ends[0][0] >= READ_S:
            ended_s, cause = self._ends.popleft()
            if not self._episode_end.was_clean_at(ended_s):
                self._write_soon(cause)

    def _note_silence(self, now_s: float) -> None:
        cause = self._detector.silence(now_s)
        if cause:
            self._write_soon(cause)

    # -- writing -------------------------------------------------------------------------------------
    def _write_if_due(self) -> None:
        """Begin to write the bag that is due, unless another is being written: then it comes afterwards."""
        if self._due_s is None or time.monotonic() < self._due_s or self._writing.is_alive():
            return
        self._due_s = None
        messages = heapq.merge(self._memory.messages(), self._images.messages(), key=lambda heard: heard.monotonic_s)
        held = list(messages), "; ".join(self._causes), self._memory.seconds
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
        status = DiagnosticStatus(level=level, name=status_name(self, "black box"), hardware_id=self._hardware)
        status.message = f"not written: {self._failure}" if self._failure else "remembers"
        status.values = [
            KeyValue(key="folder", value=str(self._out)),
            KeyValue(key="bags written", value=str(self._written)),
            KeyValue(key="remembered (s)", value=f"{self._memory.seconds:.1f}"),
        ]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """Wait for the last words of an active monitor, and write the bag that is due."""
        if self._detector.monitor_is_active:
            self._await_last_words()
        if self._due_s is not None:
            self._due_s = 0.0
            if self._writing.is_alive():
                self._writing.join()
            self._write_if_due()
        if self._writing.is_alive():
            self._writing.join()

    def _await_last_words(self) -> None:
        """Spin until the monitor is deactivated or falls silent, for LAST_WORDS_S at most; a bag is due then."""
        deadline_s = time.monotonic() + LAST_WORDS_S
        while self._detector.monitor_is_active and self.executor is not None and time.monotonic() < deadline_s:
            self.executor.spin_once(timeout_sec=POLL_S / 10)
            self._note_silence(time.monotonic())
        self._write_soon("the stack went down while the safety monitor was active")


def _ignore(data: bytes) -> None:
    """Do nothing: the message is remembered anyway."""


def main() -> None:
    end_process(run_node(BlackBoxNode))


if __name__ == "__main__":
    main()
