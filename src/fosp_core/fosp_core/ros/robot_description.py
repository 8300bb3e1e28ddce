"""The publishers that show a robot in RViz and Foxglove: its description (URDF) and its frames. No node reads them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import String

from fosp_core import topics
from fosp_core.robot.urdf import FramePose, parse_urdf
from fosp_core.ros import qos
from fosp_core.ros.stamps import time_message


class RobotDescription:
    """Publishes robot_description and tf_static once, for late joiners too, and tf with every `show`.

    One process publishes the frames of a robot: a second one would make them jump. Without the package tf2_msgs there
    is a description and there are no frames, which the log says.
    """

    def __init__(self, node: Node, urdf: str) -> None:
        """Begin with the description, and the frames that do not move; UserError when `urdf` cannot be read."""
        self._tree = parse_urdf(urdf, topics.ROBOT_DESCRIPTION)
        self._description = node.create_publisher(String, topics.ROBOT_DESCRIPTION, qos.LATCHED)
        self._description.publish(String(data=urdf))
        self._frames: Any = None
        try:
            self._message_type = importlib.import_module("tf2_msgs.msg").TFMessage
        except ImportError:
            node.get_logger().warning(
                "tf2_msgs is not installed, so viewers see no frames of the robot: run make setup, or install "
                "ros-jazzy-tf2-msgs"
            )
            return
        self._frames = node.create_publisher(self._message_type, topics.TF, qos.STEP)
        self._fixed = node.create_publisher(self._message_type, topics.TF_STATIC, qos.LATCHED)
        self._fixed.publish(self._message(self._tree.fixed(), 0))

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the names of the joints whose positions `show` needs."""
        moving = (joint for joint in self._tree.joints if joint.kind != "fixed")
        return tuple(joint.name for joint in moving if not joint.mimics)

    @property
    def is_watched(self) -> bool:
        """Return True while somebody listens to the frames."""
        return self._frames is not None and self._frames.get_subscription_count() > 0

    def show(self, positions: Mapping[str, float], stamp_ns: int, base: FramePose | None = None) -> None:
        """Publish the frames at these joint positions, rad or m, if somebody listens; `base` is where a base stands."""
        if not self.is_watched:
            return
        poses = [*([base] if base is not None else []), *self._tree.moving(positions)]
        if poses:
            self._frames.publish(self._message(poses, stamp_ns))

    def _message(self, poses: Iterable[FramePose], stamp_ns: int) -> Any:
        return self._message_type(transforms=[transform(pose, stamp_ns) for pose in poses])


def transform(pose: FramePose, stamp_ns: int) -> TransformStamped:
    """Return the message of one frame."""
    message = TransformStamped(child_frame_id=pose.child)
    message.header.frame_id, message.header.stamp = pose.parent, time_message(stamp_ns)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = pose.position
    rotation.x, rotation.y, rotation.z, rotation.w = pose.orientation
    return message
