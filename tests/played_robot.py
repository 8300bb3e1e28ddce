"""A played arm for the tests of commissioning: it can be swapped, inverted, late, deaf to silence, and wired wrongly.

    python played_robot.py ROBOT_FILE [KEY=VALUE ...]

Keys: matrix (rows of x, y, z of what it makes of a command, as JSON), lag (s), dead (s), watchdog (0 or 1), wired (0 or
1: the emergency stop reaches its topic), camera (0 or 1). A Bool on `hand/TOPIC` presses the emergency stop of TOPIC.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool

from fosp_cli.commissioning.looking import estops_of
from fosp_core import topics
from fosp_core.processes import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import time_message

STEP_S = 0.005


class PlayedRobot:
    """Follows the twists that it is sent with a dead time and a first-order lag, turned by a matrix."""

    def __init__(self, node: Any, robot_file: Path, settings: dict[str, Any]) -> None:
        self._node, self._robot = node, read_robot(robot_file)
        robot = self._robot
        self._matrix = np.array(settings.get("matrix", np.eye(3)), np.float64)
        self._lag, self._dead = float(settings.get("lag", 0.0)), float(settings.get("dead", 0.0))
        self._watchdog = bool(settings.get("watchdog", 1))
        self._wired = bool(settings.get("wired", 1))
        self._camera = bool(settings.get("camera", 1))
        assert robot.workspace is not None
        self._position = (np.array(robot.workspace.lower) + np.array(robot.workspace.upper)) / 2
        self._velocity = np.zeros(3)
        self._sent: deque[tuple[float, np.ndarray]] = deque([(-math.inf, np.zeros(3))])
        self._pressed: dict[str, bool] = dict.fromkeys(estops_of(robot), False)
        self._noise = np.random.default_rng(0)
        self._image, self._info = Image(), CameraInfo(height=48, width=64)
        make = node.create_publisher
        self._images = make(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
        self._infos = make(CameraInfo, topics.CAMERA_INFO, qos.IMAGE_SOURCE)
        self._states = make(JointState, robot.state_topic, qos.STEP)
        self._poses = make(PoseStamped, robot.pose_topic, qos.STEP)
        self._estops = {topic: make(Bool, topic, qos.STEP) for topic in self._pressed}
        node.create_subscription(TwistStamped, robot.command_topic, self._obey, qos.COMMAND)
        for topic in self._pressed:
            node.create_subscription(Bool, f"hand/{topic}", partial(self._press, topic), qos.STEP)

    def live(self) -> None:
        """Move and publish until ROS ends: in a thread of its own, as regular as a driver."""
        claim_realtime_priority(CONTROL_PRIORITY)
        deadline, tick = time.monotonic(), 0
        frames = max(1, round(1.0 / (STEP_S * self._robot.camera_frame_rate_hz)))
        while rclpy.ok():
            self._advance(deadline)
            if tick % 2 == 0:
                self._publish_state()
            if tick % 8 == 0:
                for topic, publisher in self._estops.items():
                    publisher.publish(Bool(data=self._wired and self._pressed[topic]))
            if self._camera and tick % frames == 0:
                self._publish_frame()
            tick, deadline = tick + 1, deadline + STEP_S
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _advance(self, now_s: float) -> None:
        while len(self._sent) > 1 and self._sent[1][0] + self._dead <= now_s:
            self._sent.popleft()
        sent_s, wanted = self._sent[0]
        if self._watchdog and now_s - self._dead - sent_s > self._robot.command_timeout_s:
            wanted = np.zeros(3)
        rate = -math.expm1(-STEP_S / self._lag) if self._lag > 0.0 else 1.0
        self._velocity = self._velocity + rate * (self._matrix @ wanted - self._velocity)
        self._position = self._position + self._velocity * STEP_S

    def _obey(self, message: TwistStamped) -> None:
        twist = message.twist.linear
        self._sent.append((time.monotonic(), np.array([twist.x, twist.y, twist.z])))

    def _press(self, topic: str, message: Bool) -> None:
        self._pressed[topic] = bool(message.data)

    def _publish_state(self) -> None:
        stamp = time_message(self._node.get_clock().now().nanoseconds)
        state, pose = JointState(name=["joint1"], position=[0.0]), PoseStamped()
        state.header.stamp = pose.header.stamp = stamp
        pose.header.frame_id = self._robot.action.frame_id
        seen = self._position + self._noise.normal(0.0, 1e-5, 3)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = map(float, seen)
        self._states.publish(state)
        self._poses.publish(pose)

    def _publish_frame(self) -> None:
        fill_image(self._image, self._noise.integers(20, 200, (48, 64, 3), np.uint8))
        self._image.header.stamp = self._info.header.stamp = self._node.get_clock().now().to_msg()
        self._images.publish(self._image)
        self._infos.publish(self._info)


def main() -> None:
    settings = {key: json.loads(value) for key, _, value in (word.partition("=") for word in sys.argv[2:])}
    rclpy.init()
    node = rclpy.create_node("played_robot")
    robot = PlayedRobot(node, Path(sys.argv[1]), settings)
    threading.Thread(target=robot.live, daemon=True).start()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with suppress(KeyboardInterrupt):
        executor.spin()


if __name__ == "__main__":
    main()
