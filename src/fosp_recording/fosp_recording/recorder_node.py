"""Records the graph: serialised messages as they come, into one rosbag2 MCAP folder per episode (episode_recorder)."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, end_process, run_node
from fosp_core.ros.model_parameters import path_parameter
from fosp_core.ros.stamps import nanoseconds
from fosp_core.specs import read_robot
from fosp_msgs.msg import StepFeedback
from fosp_recording.episode_recorder import EpisodeRecorder, Record, Topic, has_header, stamp_of
from fosp_recording.recorded_topics import default_topics

DISCOVERY_PERIOD_S = 0.2
FEEDBACK_PATIENCE_S = 3.0


@dataclass(frozen=True)
class Wanted:
    """A topic to record: its resolved name, and its type, empty when it is to be taken from the graph."""

    name: str
    type: str


class RecorderNode(ManagedNode):
    """Writes `out`/episode_000000, episode_000001, ... while active; episodes are split by fosp/feedback.

    Parameters: `out` (folder), `robot` (robot configuration file: gives the default topics), `topics` (instead of the
    default: names, each optionally with ':package/msg/Type'; a type that is not given is taken from the graph),
    `compress` (zstd), `task` (noted in each bag). Feedback is always recorded. A disk that refuses gives one error and
    ends the recording, nothing else. An episode without an end (the node is deactivated, the scene is reset) is kept as
    incomplete_N. Service ~/discard (std_srvs/Trigger) puts the running episode aside, or else the last one, into
    `out`/.discarded.
    """

    def __init__(self, name: str = "recorder_node", beats: bool = True) -> None:
        super().__init__(name, beats)
        self.declare_parameter("out", "")
        self.declare_parameter("robot", "")
        self.declare_parameter("task", "")
        self.declare_parameter("topics", [""])
        self.declare_parameter("compress", True)
        self._recorder: EpisodeRecorder | None = None
        self._subscriptions_made: list[Any] = []
        self._timers_made: list[Any] = []
        self.create_service(Trigger, "~/discard", self._on_discard)

    def configure(self) -> None:
        self._out = path_parameter(self, "out")
        self._missing = self._wanted()
        self._open_recorder(self._out)
        self._timers_made = [self.create_timer(DISCOVERY_PERIOD_S, self._tick)]
        self._discover()

    def activate(self) -> None:
        if self._recorder is None or self._recorder.failed:
            self._open_recorder(self._out)
        self._await_feedback()

    def deactivate(self) -> None:
        if self._recorder is not None:
            self._recorder.close()

    def cleanup(self) -> None:
        for timer in self._timers_made:
            self.destroy_timer(timer)
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._timers_made, self._subscriptions_made, self._recorder = [], [], None

    def _await_feedback(self) -> None:
        """Active means ready for an episode: give its publisher a moment to be discovered."""
        deadline = time.monotonic() + FEEDBACK_PATIENCE_S
        while any(wanted.name == self._feedback_topic for wanted in self._missing):
            if time.monotonic() > deadline:
                self.get_logger().warning(f"nobody publishes {self._feedback_topic} yet: no episode begins without it")
                return
            time.sleep(0.02)
            self._discover()

    def _open_recorder(self, out: Path) -> None:
        compress, robot = bool(self.get_parameter("compress").value), str(self.get_parameter("robot").value)
        metadata = {"robot": read_robot(Path(robot)).name} if robot else {}
        if task := str(self.get_parameter("task").value):
            metadata["task"] = task
        self._recorder = EpisodeRecorder(out, list(self._recorded), compress, self.get_logger().info, metadata)

    # -- which topics --------------------------------------------------------------------------------
    def _wanted(self) -> list[Wanted]:
        self._recorded: list[Topic] = []
        given = [entry for entry in self.get_parameter("topics").value if entry]
        if given:
            pairs = dict(entry.partition(":")[::2] for entry in given)
        else:
            pairs = default_topics(read_robot(path_parameter(self, "robot")))
        pairs[topics.FEEDBACK] = "fosp_msgs/msg/StepFeedback"
        for message_type in filter(None, pairs.values()):
            has_header(message_type)  # refuses a type that cannot be recorded
        self._feedback_topic = self.resolve_topic_name(topics.FEEDBACK)
        return [Wanted(self.resolve_topic_name(name), message_type) for name, message_type in pairs.items()]

    def _discover(self) -> None:
        """Subscribe to the wanted topics that have a publisher by now, with the reliability that it offers."""
        for wanted in list(self._missing):
            publishers = self.get_publishers_info_by_topic(wanted.name)
            publishers = [p for p in publishers if not wanted.type or p.topic_type == wanted.type]
            if not publishers:
                continue
            self._missing.remove(wanted)
            topic = Topic(
                wanted.name,
                publishers[0].topic_type,
                reliable=all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers),
                latched=all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers),
            )
            try:
                self._subscribe(topic)
            except UserError as error:
                self.get_logger().error(f"{topic.name} is not recorded: {error}")

    def _subscribe(self, topic: Topic) -> None:
        assert self._recorder is not None
        has_header(topic.type)
        profile = qos.RECORD if topic.reliable else qos.RECORD_BEST_EFFORT

        def receive(data: bytes) -> None:
            self._on_message(topic, data)

        self._subscriptions_made.append(
            self.create_subscription(message_class(topic.type), topic.name, self._gated(receive), profile, raw=True)
        )
        self._recorded.append(topic)
        self._recorder.add_topic(topic)

    # -- messages ------------------------------------------------------------------------------------
    def _on_message(self, topic: Topic, data: bytes) -> None:
        assert self._recorder is not None
        receipt_ns = self.get_clock().now().nanoseconds
        self._recorder.message(Record(topic, data, receipt_ns, stamp_of(data, topic.type, receipt_ns)))
        if topic.name == self._feedback_topic:
            feedback = deserialize_message(data, StepFeedback)
            self._recorder.feedback(
                nanoseconds(feedback.header.stamp), feedback.is_first, feedback.is_last, feedback.episode
            )

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            discarded = self._recorder.discard() if self._recorder is not None and self.is_active else None
        except UserError as error:
            response.message = str(error)
            return response
        response.success = discarded is not None
        response.message = f"discarded: {discarded}" if discarded else "there is no episode to discard"
        return response

    def _tick(self) -> None:
        if self._missing:
            self._discover()
        if self._recorder is not None and self.is_active:
            try:
                self._recorder.tick(self.get_clock().now().nanoseconds)
            except UserError as error:
                self.get_logger().error(str(error))


def message_class(message_type: str) -> Any:
    """The class of 'package/msg/Name'; UserError when its package is not installed."""
    package, _, name = message_type.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise UserError(f"message type {message_type} is not installed here") from None


def main() -> None:
    end_process(run_node(RecorderNode))


if __name__ == "__main__":
    main()
