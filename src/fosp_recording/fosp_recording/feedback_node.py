"""Publishes fosp/feedback on a robot: for each camera frame reward, cost, success and episode ends, by rules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState, LaserScan
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import image_view
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.polling import PolledSubscription
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import StepFeedback
from fosp_msgs.srv import ResetEpisode
from fosp_recording.episode_feedback import EpisodeFeedback
from fosp_recording.feedback_rules import (
    AnyRule,
    BumperRule,
    ButtonRule,
    DepthRule,
    EffortRule,
    GoalRule,
    ScanRule,
    WrenchRule,
    read_feedback_config,
)
from fosp_recording.recorded_topics import frame_topic, message_class

PARAMETERS = (
    NodeParameter("rules", "", "File of the rules of reward, cost and the end of an episode."),
    ROBOT,
    NodeParameter(
        "ends_at_cost",
        False,
        "End an episode where a violation begins, as when hazards are shown: the robot then stands still.",
    ),
)

PUBLISHERS_PERIOD_S = 0.2


class FeedbackNode(ManagedNode):
    """Publishes fosp/feedback from the start of an episode to its end.

    PARAMETERS lists its parameters. The camera_info of the robot's first camera gives the stamps of the frames.
    Services: fosp/reset_episode (starts an episode, as a simulator does), ~/stop, ~/success (std_srvs/Trigger).
    """

    def __init__(self) -> None:
        super().__init__("feedback_node")
        declare(self, PARAMETERS)
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._made: list[Any] = []
        self._periodic: list[Any] = []
        self._streams: list[PolledSubscription] = []
        """Poses and joint states, of which the newest is read at the command rate; of all others each message."""
        self._outputs: list[Any] = []
        """Publishers that end with the configuration: a second one of the same topic would count as a stranger's."""
        self.create_service(ResetEpisode, topics.RESET_EPISODE, self._on_start)
        self.create_service(Trigger, "~/stop", lambda request, response: self._order(response, "stop"))
        self.create_service(Trigger, "~/success", lambda request, response: self._order(response, "succeed"))

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        robot = read_robot(path_parameter(self, "robot"))
        self._config = read_feedback_config(path_parameter(self, "rules"))
        self._episodes = EpisodeFeedback(self._config, bool(self.get_parameter("ends_at_cost").value))
        self._feedback = self.create_publisher(StepFeedback, topics.FEEDBACK, qos.FEEDBACK_SOURCE)
        self._outputs = [self._feedback]
        self._made = [self.create_gated_subscription(CameraInfo, frame_topic(robot), self._on_frame, qos.SENSOR)]
        counting = self.create_timer(PUBLISHERS_PERIOD_S, self._count_publishers)
        for index, rule in enumerate(self._config.rules):
            kind, read = message_class(rule.message_type), self._reader(index, rule)
            if isinstance(rule, GoalRule | EffortRule):
                made, stream = self.create_polled_subscription(kind, rule.topic, _decoded(kind, read), qos.SENSOR)
                self._streams.append(stream)
            else:
                made = self.create_gated_subscription(kind, rule.topic, read, qos.SENSOR)
            self._made.append(made)
        self._periodic = [self.create_gated_timer(1.0 / robot.command_rate_hz, self._poll), counting]

    def activate(self) -> None:
        episode = self._episodes.episode
        self._episodes = EpisodeFeedback(self._config, bool(self.get_parameter("ends_at_cost").value))
        self._episodes.episode = episode

    def cleanup(self) -> None:
        for timer in self._periodic:
            self.destroy_timer(timer)
        self._periodic, self._streams = [], []
        for subscription in self._made:
            self.destroy_subscription(subscription)
        for publisher in self._outputs:
            self.destroy_publisher(publisher)
        self._made, self._outputs = [], []

    # -- measurements --------------------------------------------------------------------------------
    def _reader(self, index: int, rule: AnyRule) -> Callable[[Any], None]:
        """Return the callback of the messages on a rule's topic."""
        if isinstance(rule, GoalRule):
            return lambda message: self._on_pose(index, rule, message)
        holds = _CONDITIONS[type(rule)]
        return lambda message: self._observe(index, rule, holds(rule, message))

    def _poll(self) -> None:
        for stream in self._streams:
            stream.poll()

    def _on_pose(self, index: int, rule: GoalRule, message: PoseStamped | Odometry) -> None:
        pose = message.pose if isinstance(message, PoseStamped) else message.pose.pose
        position = (pose.position.x, pose.position.y, pose.position.z)
        self._observe(index, rule, rule.holds(position), rule.distance(position))

    def _observe(self, index: int, rule: AnyRule, holds: bool | None, distance: float = math.nan) -> None:
        if holds is None:
            text = f"{rule.topic}: a message by which its {rule.kind} rule cannot be judged: taken for {rule.unknown}"
            self.get_logger().warning(text, throttle_duration_sec=5.0)
        self._episodes.observe(index, holds, self._now_s(), distance)

    def _count_publishers(self) -> None:
        """Notice that a bumper or a gamepad, which may say nothing for long, is not there any more."""
        for index, rule in enumerate(self._config.rules):
            if isinstance(rule, BumperRule | ButtonRule):
                self._episodes.publishers(index, self.count_publishers(rule.topic))

    def _on_frame(self, message: CameraInfo) -> None:
        self._poll()
        stamp_s, before = seconds(message.header.stamp), self._episodes.running
        values = self._episodes.frame(stamp_s, self._now_s(stamp_s))
        if values is None:
            if before and not self._episodes.running:
                self.get_logger().warning(f"episode {self._episodes.episode} {self._episodes.ended_because}")
            return
        feedback = StepFeedback(header=message.header, **vars(values))
        self._feedback.publish(feedback)
        if values.is_first:
            self.get_logger().info(f"episode {values.episode} begins")
        if values.is_last:
            self.get_logger().info(f"episode {values.episode} ends: {self._episodes.ended_because}")

    def _now_s(self, stamp_s: float = -math.inf) -> float:
        """Return the time by which messages grow old: simulated time stands still with what it simulates.

        `stamp_s` is that of a frame, with which simulated time passes, too, when nobody publishes its clock any more.
        """
        if not self._simulated:
            return time.monotonic()
        return max(self.get_clock().now().nanoseconds * 1e-9, stamp_s)

    # -- operator ------------------------------------------------------------------------------------
    def _on_start(self, request: ResetEpisode.Request, response: ResetEpisode.Response) -> ResetEpisode.Response:
        if not self.is_active:
            response.message = "the feedback node is not active"
            return response
        following = request.episode == ResetEpisode.Request.EPISODE_NEXT
        if not following and not 0 <= request.episode < 2**32:
            response.message = f"episode must be 0 or more, or {ResetEpisode.Request.EPISODE_NEXT} for the next one"
            return response
        refusal = self._episodes.start(self._now_s(), None if following else request.episode)
        response.success, response.episode = not refusal, max(self._episodes.episode, 0)
        response.message = refusal or f"episode {self._episodes.episode} begins with the next frame"
        return response

    def _order(self, response: Trigger.Response, order: str) -> Trigger.Response:
        if not self.is_active:
            response.message = "the feedback node is not active"
            return response
        refusal = getattr(self._episodes, order)()
        response.success = not refusal
        response.message = refusal or f"episode {self._episodes.episode} ends with the next frame"
        return response


def _decoded(kind: Any, read: Callable[[Any], None]) -> Callable[[bytes, float], None]:
    """Return what reads a serialised message as `read` reads one of class `kind`."""
    return lambda data, receipt_s: read(deserialize_message(data, kind))


def _effort(rule: EffortRule, message: JointState) -> bool | None:
    efforts = [float(value) for value in message.effort]
    return rule.holds(dict(zip(message.name, efforts or [math.nan] * len(message.name), strict=False)))


def _wrench(rule: WrenchRule, message: WrenchStamped) -> bool | None:
    force, torque = message.wrench.force, message.wrench.torque
    return rule.holds((force.x, force.y, force.z), (torque.x, torque.y, torque.z))


def _depth(rule: DepthRule, message: Image) -> bool | None:
    depth = image_view(message)
    if depth.ndim != 2:
        raise UserError(f"{rule.topic}: depth must be 16UC1 in mm or 32FC1 in m, is {message.encoding}")
    try:
        return rule.holds(depth)
    except UserError as error:
        raise UserError(f"{rule.topic} {error}") from None


def _scan(rule: ScanRule, message: LaserScan) -> bool | None:
    return rule.holds(np.asarray(message.ranges, np.float32), message.range_min)


_CONDITIONS: dict[type, Callable[[Any, Any], bool | None]] = {
    EffortRule: _effort,
    WrenchRule: _wrench,
    DepthRule: _depth,
    ScanRule: _scan,
    BumperRule: lambda rule, message: rule.holds(message.data),
    ButtonRule: lambda rule, message: rule.holds(list(message.buttons)),
}
"""Rule -> whether its condition holds by a message; None when the message does not tell."""


def main() -> None:
    end_process(run_node(FeedbackNode, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
