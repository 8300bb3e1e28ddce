"""An arm, a gamepad, and `fosp record` as a process: what the tests of recording by a person share."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image, JointState, Joy

from fosp_bringup.environment import settings
from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import seconds, time_message

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
START, STOP, DISCARD, MARK, SUCCESS, DEADMAN = 7, 6, 3, 2, 0, 5


class Gamepad:
    """joy_node with a gamepad: repeats its state 20 times per second.

    The stick is let go for a moment every two seconds: after a stop (a busy machine makes some) that is asked for.
    """

    def __init__(self, graph: Any) -> None:
        self.axes, self.buttons, self._clock = [0.0] * 6, [0] * 8, graph.node.get_clock()
        self._count = 0
        self._publisher = graph.node.create_publisher(Joy, "joy", qos.STEP)
        graph.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        self._count = (self._count + 1) % 40
        message = Joy(axes=[0.0] * 6 if self._count < 5 else self.axes, buttons=self.buttons)
        message.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(message)

    def hold(self, *buttons: int) -> None:
        self.buttons = [int(i in buttons) for i in range(8)]


class Arm:
    """Camera, joint states and tool pose at 40 Hz of an arm that obeys its commands."""

    def __init__(self, graph: Any) -> None:
        self._node = graph.node
        self.position = [0.5, 0.0, 0.2]
        self.commands: list[TwistStamped] = []
        self._as_of = Time()
        self.ahead_s = 0.0
        """How far its clock runs ahead of ours."""
        self.images_come = True
        self._image, self._info = Image(), CameraInfo(height=96, width=128)
        fill_image(self._image, np.full((96, 128, 3), 80, np.uint8))
        kinds = ((Image, topics.COLOR_IMAGE), (CameraInfo, topics.CAMERA_INFO))
        self._images, self._infos = (self._node.create_publisher(k, name, qos.IMAGE_SOURCE) for k, name in kinds)
        self._states = self._node.create_publisher(JointState, "joint_states", qos.STEP)
        self._poses = self._node.create_publisher(PoseStamped, "tool_pose", qos.STEP)
        self._node.create_subscription(TwistStamped, "arm/twist_command", self._obey, qos.COMMAND)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        """In a thread of its own: as regular as a driver, also beside a busy executor."""
        begin, ticks = time.monotonic(), 0
        while not self._ending.wait(max(0.0, begin + 0.025 * ticks - time.monotonic())):
            self._publish_state()
            self._publish_frame()
            ticks += 1

    def command_too(self) -> None:
        """Somebody else may command it, too."""
        self._node.create_publisher(TwistStamped, "arm/twist_command", qos.COMMAND)

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _now(self) -> Time:
        return time_message(self._node.get_clock().now().nanoseconds + int(self.ahead_s * 1e9))

    def _obey(self, message: TwistStamped) -> None:
        self.commands.append(message)
        self.position[0] += message.twist.linear.x * 0.01
        self._as_of = message.header.stamp

    def _publish_state(self) -> None:
        state, pose = JointState(name=["joint1"], position=[0.0]), PoseStamped()
        now = self._now()
        state.header.stamp, pose.header.stamp = now, now
        if seconds(now) - seconds(self._as_of) < 0.05:  # commands come; those still under way have not moved it yet
            pose.header.stamp = self._as_of
        pose.header.frame_id = "base_link"
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = self.position
        self._states.publish(state)
        self._poses.publish(pose)

    def _publish_frame(self) -> None:
        self._image.header.stamp = self._info.header.stamp = self._now()
        if self.images_come:
            self._images.publish(self._image)
        self._infos.publish(self._info)


def bare(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a terminal in which nothing of the stack is set but the domain."""
    return {name: value for name, value in variables.items() if name not in settings()}


class Command:
    """`fosp record` in a process of its own, in the environment of a plain terminal."""

    def __init__(self, arguments: list[str], variables: dict[str, str], folder: Path) -> None:
        self._log_file = folder / "record.txt"
        with self._log_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fosp_cli.cli", "record", *arguments],
                env={**bare(variables), "ROS_LOG_DIR": str(folder / "ros_log")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")


def contents(bag: Path, *names: str) -> dict[str, list[Any]]:
    """Messages of a bag by topic."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    with AnyReader([bag], default_typestore=typestore()) as reader:
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic in names]):
            found[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return found


def goal_rules(path: Path, *more: dict[str, Any]) -> Path:
    """A file of rules: a goal that the arm is far from, and `more`."""
    goal = {"kind": "goal", "topic": "tool_pose", "goal": [0.4, 0.2, 0.3], "within_m": 0.05, "success": True}
    path.write_text(yaml.safe_dump({"time_limit_s": 60.0, "rules": [goal, *more]}))
    return path
