"""The recorder of the graph: it writes serialised messages as they come into one bag per episode."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.bag.notes import HAZARDS, SCENE_NOTE, SHOWS_NOTE
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import nanoseconds
from fosp_msgs.msg import StepFeedback
from fosp_recording.background_writer import BackgroundWriter
from fosp_recording.episode_recorder import EpisodeRecorder, Record, Topic, has_header, stamp_of
from fosp_recording.recorded_topics import TOPICS, episode_topics, message_class, required_topics

DISCOVERY_PERIOD_S = 0.2
FEEDBACK_PATIENCE_S = 3.0
WRITING_PATIENCE_S = 15.0
"""Longest wait for the disk at the end of a recording, s."""
LONGEST_PERIOD_S = 60.0
"""Decision period, s, from which on a bag would not be trained on."""
DISCARD_PATIENCE_S = 5.0
"""Longest wait for the disk when an episode is discarded, s."""


PARAMETERS = (
    NodeParameter("out", "", "Folder of the bags."),
    ROBOT,
    NodeParameter("task", "", "Task that is noted in each bag."),
    NodeParameter(
        "topics",
        (),
        "Topics to record in place of the robot's, each optionally with ':package/msg/Type'; empty for the robot's.",
    ),
    NodeParameter("compress", True, "Compress the bags (zstd)."),
    NodeParameter("scene", "", "Kind of scenes, in your words, that is noted in each bag: thresholds are kept by it."),
    NodeParameter("shows", "nothing", "What the episodes show, noted in each bag.", choices=("nothing", HAZARDS)),
    NodeParameter(
        "decision_period_s",
        "",
        "Time in s between two decisions, such as '0.08', that is noted in each bag, and from there taken by training; "
        "empty: that of the bundle where the node has one, else none.",
    ),
)


def period_of(text: str, otherwise: float | None = None) -> float | None:
    """Return the decision period, s, that a parameter says, `otherwise` where it is empty; UserError for no time."""
    if not text:
        return otherwise
    try:
        period_s = float(text)
    except ValueError:
        period_s = math.nan
    if not 0.0 < period_s < LONGEST_PERIOD_S:
        raise UserError(
            f"parameter 'decision_period_s' must be a time in s, above 0 and below {LONGEST_PERIOD_S:g}, got '{text}'"
        )
    return period_s


class GraphRecorder:
    """Subscribes `node` to the topics of the graph, and writes one bag per episode while it records.

    The node declares PARAMETERS. The type of a topic that is not given is taken from the graph, and feedback is always
    recorded.
    A topic whose publisher comes back with another reliability is subscribed anew, because a reliable subscription does
    not hear best effort.
    The service ~/discard (std_srvs/Trigger) moves the running episode, or else the last one, to `out`/.discarded. A
    disk that refuses ends the recording with one error; everything else goes on. A thread of its own writes, so that
    a slow disk holds up neither the node nor its heartbeats; messages that it cannot keep up with are lost and told.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._recorder: EpisodeRecorder | None = None
        self._recording = False
        self._writer = BackgroundWriter()
        self._subscriptions: dict[str, Any] = {}
        """Subscription by the topic's full name."""
        self._timers: list[Any] = []
        node.create_service(Trigger, "~/discard", self._on_discard)

    def open(self, out: Path, period_s: float | None = None) -> None:
        """Find out what to record into `out`, and begin to subscribe; UserError for a wrong parameter or folder.

        Each bag notes `period_s`, the time between two decisions in s, unless the parameter says another.
        """
        self._out = out
        self._period_s = period_of(str(self._parameter("decision_period_s")), period_s)
        self._missing = self._wanted()
        self._open_recorder()
        # On the steady clock: a simulated one may stand still, or not be there before the topics are.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [self._node.create_timer(DISCOVERY_PERIOD_S, self._tick, clock=steady)]
        self._discover()

    def start(self) -> None:
        """Record from now on; when this returns, feedback is heard, unless nobody publishes it yet."""
        if self._recorder is None or self._recorder.failed:
            self._open_recorder()
        self._await_feedback()
        self._recording = True

    def await_end_of_episode(self, timeout_s: float) -> None:
        """Spin until the open episode, if any, has ended: on a busy machine messages of it may wait to be read."""
        executor, until = self._node.executor, time.monotonic() + timeout_s
        while executor is not None and self._recorder is not None and self._unfinished:
            if time.monotonic() > until:
                return
            executor.spin_once(timeout_sec=0.02)

    def stop(self) -> None:
        """Record no more; an episode that is open becomes incomplete_N."""
        self._recording = False
        if self._recorder is not None:
            self._write(self._recorder.close)
            if not self._writer.wait(WRITING_PATIENCE_S):
                self._node.get_logger().error(f"the disk did not take the recording within {WRITING_PATIENCE_S:g} s")

    @property
    def _unfinished(self) -> bool:
        return not self._writer.idle or (self._recorder is not None and self._recorder.recording)

    def close(self) -> None:
        """Unsubscribe; `open` may follow."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._timers, self._subscriptions, self._recorder = [], {}, None

    def _open_recorder(self) -> None:
        compress, robot = bool(self._parameter("compress")), str(self._parameter("robot"))
        metadata = {"robot": read_robot(Path(robot)).name} if robot else {}
        if task := str(self._parameter("task")):
            metadata["task"] = task
        if scene := str(self._parameter("scene")):
            metadata[SCENE_NOTE] = scene
        if self._parameter("shows") == HAZARDS:
            metadata[SHOWS_NOTE] = HAZARDS
        if self._period_s is not None:
            metadata["decision_period_s"] = f"{self._period_s:g}"
        logger = self._node.get_logger()
        self._recorder = EpisodeRecorder(
            self._out, list(self._recorded.values()), compress, logger.info, metadata, self._required, logger.warning
        )

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    # -- which topics --------------------------------------------------------------------------------
    def _wanted(self) -> dict[str, str]:
        """Return the topics to record, resolved name -> type; the type is empty when the graph has to tell it."""
        self._recorded: dict[str, Topic] = {}
        self._other_types: set[str] = set()
        given = [entry for entry in self._parameter("topics") if entry]
        if given:
            feedback = next(topic for topic in TOPICS if topic.name == topics.FEEDBACK)
            pairs = {**dict(entry.partition(":")[::2] for entry in given), feedback.name: feedback.type}
        else:
            pairs = episode_topics(read_robot(path_parameter(self._node, "robot")))
        for message_type in filter(None, pairs.values()):
            has_header(message_type)  # refuses a type that cannot be recorded
        self._feedback_topic = self._node.resolve_topic_name(topics.FEEDBACK)
        wanted = {self._node.resolve_topic_name(name): message_type for name, message_type in pairs.items()}
        robot = str(self._parameter("robot"))
        required = required_topics(read_robot(Path(robot))) if robot else (topics.FEEDBACK,)
        self._required = [name for name in map(self._node.resolve_topic_name, required) if name in wanted]
        return wanted

    def _await_feedback(self) -> None:
        """Give the publisher of feedback a moment to be discovered: who starts a recording may begin an episode."""
        deadline = time.monotonic() + FEEDBACK_PATIENCE_S
        while self._feedback_topic in self._missing:
            if time.monotonic() > deadline:
                text = f"nobody publishes {self._feedback_topic} yet: no episode begins without it"
                self._node.get_logger().warning(text)
                return
            time.sleep(0.02)
            self._discover()

    def _discover(self) -> None:
        """Subscribe to the wanted topics that have a publisher by now, with the reliability that it offers."""
        for name, wanted_type in list(self._missing.items()):
            topic = self._offered(name, wanted_type)
            if topic is None:
                continue
            del self._missing[name]
            try:
                self._subscribe(topic)
            except UserError as error:
                self._node.get_logger().error(f"{topic.name} is not recorded: {error}")

    def _follow_publishers(self) -> None:
        """Subscribe anew where the publishers of a topic offer another reliability than when it was subscribed."""
        for name, before in list(self._recorded.items()):
            topic = self._offered(name, before.type)
            if topic is not None and topic.reliable != before.reliable:
                offer = "reliable" if topic.reliable else "best effort"
                self._node.get_logger().info(f"{name} is {offer} now: subscribed anew")
                self._subscribe(topic)

    def _offered(self, name: str, wanted_type: str) -> Topic | None:
        """Return a topic as its publishers of the wanted type offer it; None while there are none."""
        there = self._node.get_publishers_info_by_topic(name)
        publishers = [p for p in there if not wanted_type or p.topic_type == wanted_type]
        if not publishers:
            if there and name not in self._other_types:
                self._other_types.add(name)
                text = f"{name} is published as {there[0].topic_type}, not as {wanted_type}: it is not recorded"
                self._node.get_logger().warning(text)
            return None
        return Topic(
            name,
            publishers[0].topic_type,
            reliable=all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers),
            latched=all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers),
        )

    def _subscribe(self, topic: Topic) -> None:
        assert self._recorder is not None
        has_header(topic.type)
        profile = qos.RECORD if topic.reliable else qos.RECORD_BEST_EFFORT

        def receive(data: bytes) -> None:
            if self._recording:
                self._on_message(topic, data)

        kind = message_class(topic.type)
        before = self._subscriptions.pop(topic.name, None)
        if before is not None:
            self._node.destroy_subscription(before)
        self._subscriptions[topic.name] = self._node.create_subscription(kind, topic.name, receive, profile, raw=True)
        self._recorded[topic.name] = topic
        recorder = self._recorder
        self._write(lambda: recorder.add_topic(topic))

    # -- messages ------------------------------------------------------------------------------------
    def _on_message(self, topic: Topic, data: bytes) -> None:
        recorder, receipt_ns = self._recorder, self._node.get_clock().now().nanoseconds
        assert recorder is not None
        told = deserialize_message(data, StepFeedback) if topic.name == self._feedback_topic else None
        stamp_ns, steady_ns = stamp_of(data, topic.type, receipt_ns), time.monotonic_ns()
        receipt_ns = receipt_ns or stamp_ns  # a simulated clock that was not heard yet says 0

        def write() -> None:
            recorder.message(Record(topic, data, receipt_ns, stamp_ns))
            if told is not None:
                begin, end = told.is_first, told.is_last
                recorder.feedback(nanoseconds(told.header.stamp), begin, end, told.episode, steady_ns)

        # Feedback, which begins and ends the bags, is never left out.
        if not self._write(write, 0 if told is not None else len(data)):
            recorder.lost += 1
            text = f"the disk is too slow: {recorder.lost} messages were not recorded"
            self._node.get_logger().error(text, throttle_duration_sec=5.0)

    def _write(self, action: Callable[[], object], size: int = 0) -> bool:
        return self._writer.put(lambda: self._logged(action, once_s=1.0), size)

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        recorder = self._recorder
        try:
            asked = self._writer.ask(recorder.discard) if recorder is not None and self._recording else None
            discarded = asked.result(DISCARD_PATIENCE_S) if asked is not None else None
        except UserError as error:
            response.message = str(error)
            return response
        except TimeoutError:
            response.message = (
                f"the disk is slow, and the episode will be discarded later than in {DISCARD_PATIENCE_S:g} s"
            )
            return response
        response.success = discarded is not None
        response.message = f"discarded: {discarded}" if discarded else "there is no episode to discard"
        return response

    def _tick(self) -> None:
        if self._missing:
            self._discover()
        self._follow_publishers()
        recorder = self._recorder
        if recorder is not None and self._recording and recorder.recording:
            now_ns, steady_ns = self._node.get_clock().now().nanoseconds, time.monotonic_ns()
            self._writer.put(lambda: self._logged(lambda: recorder.tick(now_ns, steady_ns)))

    def _logged(self, action: Callable[[], object], once_s: float = 0.0) -> None:
        """Run `action`; log a UserError, at most one in `once_s`. A tick that ends the recording says so but once."""
        try:
            action()
        except UserError as error:
            if once_s:
                self._node.get_logger().error(str(error), throttle_duration_sec=once_s)
            else:
                self._node.get_logger().error(str(error))
        except Exception:  # which would end the thread that writes, and with it the recording, without a word
            text = f"a message was not recorded:\n{traceback.format_exc()}"
            self._node.get_logger().error(text, throttle_duration_sec=5.0)


class RecorderNode(ManagedNode):
    """A managed node that records while it is active; parameters and service are those of its GraphRecorder."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        declare(self, PARAMETERS)
        self._recorder = GraphRecorder(self)

    def configure(self) -> None:
        self._recorder.open(path_parameter(self, "out"))

    def activate(self) -> None:
        self._recorder.start()

    def deactivate(self) -> None:
        self._recorder.stop()

    def cleanup(self) -> None:
        self._recorder.close()


def main() -> None:
    end_process(run_node(RecorderNode))


if __name__ == "__main__":
    main()
