"""The joint states of an arm whose robot file has `joints`: they are read in a thread of their own, so that no command
waits for kinematics and distances.

An arm whose joint states are late, malformed or incomplete, or whose description is missing, stops.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from fosp_core import topics
from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.urdf import read_urdf
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.stamps import seconds
from fosp_safety_monitor.arm.model import model_of, pinocchio
from fosp_safety_monitor.arm.view import ArmObserver, ArmView, MeasuredPose
from fosp_safety_monitor.judge.inputs import Judge

MESSAGES_KEPT = 10
"""Messages that are kept from one view to the next, so that each of several publishers of joint states is heard."""
_NO_URDF = f"no URDF came on {topics.ROBOT_DESCRIPTION} yet, and the robot file names none"


class ArmSide:
    """Subscriptions and thread of one arm, from configuration to clean-up; none for a robot without `joints`.

    `judge` returns the judge of the moment, `folder` is that of the robot file. Raise UserError when Pinocchio is
    missing, or the URDF of the robot file does not fit.
    """

    def __init__(self, node: ManagedNode, robot: RobotConfig, judge: Callable[[], Judge], folder: Path) -> None:
        self._node, self._robot, self._judge, self._folder = node, robot, judge, folder
        self._closing = threading.Event()
        self._subscriptions: list[Any] = []
        self._observer: ArmObserver | None = None
        self._description, self._fault = "", _NO_URDF
        self._thread = threading.Thread(target=self._observe, name="arm", daemon=True)
        self._period_s = 1.0 / robot.command_rate_hz
        self._heard = False
        """Joint states came since the last view."""
        if robot.joints is None:
            return
        pinocchio()
        if robot.urdf:
            self._observer = self._made(read_urdf(robot.urdf, folder), robot.urdf)
        else:
            take = self._take_description
            self._subscriptions.append(node.create_subscription(String, topics.ROBOT_DESCRIPTION, take, qos.LATCHED))
        topic = robot.joints.topic or robot.state_topic
        subscription, self._stream = node.create_polled_subscription(
            JointState, topic, self._hear, qos.SENSOR, MESSAGES_KEPT
        )
        self._subscriptions.append(subscription)
        self._topic = topic
        self._thread.start()

    def close(self) -> None:
        """Release the subscriptions and end the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _made(self, urdf: str, source: str) -> ArmObserver:
        return ArmObserver(self._robot, model_of(self._robot, urdf, source, self._folder))

    # -- executor thread -----------------------------------------------------------------------------
    def _take_description(self, message: String) -> None:
        """Take in a URDF. One that differs from the first is a fault: the arm would be another one in motion."""
        if not self._description:
            self._description = message.data
        elif message.data != self._description:
            self._fault = f"another URDF came on {topics.ROBOT_DESCRIPTION}: configure the monitor anew"

    # -- the thread of the arm -----------------------------------------------------------------------
    def _observe(self) -> None:
        next_s = time.monotonic()
        while not self._closing.is_set():
            self._build()
            if self._node.is_active:
                self._tell()
            next_s = max(next_s + self._period_s, time.monotonic() + 0.2 * self._period_s)
            self._closing.wait(next_s - time.monotonic())

    def _build(self) -> None:
        """Make the observer once a URDF has come."""
        if self._observer is not None or not self._description or self._fault != _NO_URDF:
            return
        try:
            self._observer = self._made(self._description, topics.ROBOT_DESCRIPTION)
        except Exception as error:  # whatever was published, the thread goes on, and the arm stops
            self._fault = _in_words(error)

    def _tell(self) -> None:
        """Tell the judge what the joint states say that came since the last call, if any did."""
        try:
            view = self._view()
        except Exception as error:  # whatever the joint states hold, as above
            view = self._faulty(f"{self._topic}: {_in_words(error)}")
        if view is not None:
            self._judge().receive_arm_view(view)

    def _view(self) -> ArmView | None:
        if self._observer is None or self._fault != _NO_URDF:
            return self._faulty(self._fault)
        self._heard = False
        self._stream.poll()
        return self._observer.view(self._pose()) if self._heard else None

    def _hear(self, data: bytes, receipt_s: float) -> None:
        message = deserialize_message(data, JointState)
        self._heard = True
        assert self._observer is not None
        received = Received(seconds(message.header.stamp), receipt_s)
        self._observer.hear(message.name, message.position, message.velocity, received)

    def _pose(self) -> MeasuredPose | None:
        robot = self._judge().robot_state
        if robot.pose is None or robot.position is None:
            return None
        return MeasuredPose(robot.pose, robot.position, robot.orientation)

    def _faulty(self, fault: str) -> ArmView:
        """Return the view of joint states that tell nothing, and log the fault."""
        self._node.get_logger().error(fault, throttle_duration_sec=5.0)
        return ArmView(Received(math.nan, time.monotonic()), fault)


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
