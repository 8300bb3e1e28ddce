"""The newest measured place of the robot, for a policy that may have to go back along its trail."""

from __future__ import annotations

import math
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message

from fosp_core.robot.config import RobotConfig
from fosp_core.robot.trail import RobotPlace, WayBack
from fosp_core.ros import qos
from fosp_core.ros.fields import heading_of
from fosp_core.ros.lifecycle import ManagedNode

TIMEOUT_S = 0.1
"""Greatest age of a place, by its receipt, s."""
_UNIT = 0.01
"""Allowed difference of a quaternion's norm from 1."""


class MeasuredPlace:
    """Reads the pose of an arm, or the odometry of a base, when it is asked for."""

    def __init__(self, node: ManagedNode, robot: RobotConfig, way: WayBack) -> None:
        self._robot, self._way = robot, way
        self._heard: tuple[float, RobotPlace] | None = None
        kind, topic = (Odometry, robot.state_topic) if way.is_base else (PoseStamped, robot.pose_topic)
        self._kind: Any = kind
        self.subscription, self._stream = node.create_polled_subscription(kind, topic, self._read, qos.SENSOR)

    def now(self) -> RobotPlace | None:
        """Return the newest place; None where there is none that is fresh and well-formed."""
        self._stream.poll()
        if self._heard is None or not 0.0 <= time.monotonic() - self._heard[0] <= TIMEOUT_S:
            return None
        return self._heard[1]

    def _read(self, data: bytes, receipt_s: float) -> None:
        message = deserialize_message(data, self._kind)
        pose = message.pose.pose if self._way.is_base else message.pose
        p, q = pose.position, pose.orientation
        values, norm = (p.x, p.y, p.z), math.hypot(q.x, q.y, q.z, q.w)
        framed = self._way.is_base or message.header.frame_id == self._robot.action.frame_id
        oriented = abs(norm - 1.0) <= _UNIT
        self._heard = None
        if not framed or not all(map(math.isfinite, values)):
            return
        whole = (q.x / norm, q.y / norm, q.z / norm, q.w / norm) if oriented else None
        odometry = (p.x, p.y, heading_of(q)) if oriented else None
        place = self._way.place(values, whole, odometry)
        self._heard = None if place is None else (receipt_s, place)
