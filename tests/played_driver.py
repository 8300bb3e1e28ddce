"""Plays the driver of a robot on the wire, as tests/driver_facts.yaml says that it behaves.

    python played_driver.py ROBOT_FILE ur|franka|crisp|turtlebot|diff_drive [HZ of states and poses]
    python played_driver.py take_twists           calls Servo's service switch_command_type

Topics, types, rates, quality of service, latching and the time-out of commands are the driver's; the motion is a point
that follows twists, or target poses, with a lag. Servo takes twists only after it was told so, and refuses those that
are older than its time-out by their stamps. A Bool on `hand/protective_stop` stops the robot as it would stop itself,
and releases it: then its program runs on, and its controllers are active again. Vendors' messages are published, and
Servo's service is offered, where their packages are installed (built_vendor_messages.py).
"""

from __future__ import annotations

import importlib
import math
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool

from fosp_core import topics
from fosp_core.processes import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.consent_inputs import READY_KINDS
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import seconds, time_message

SYSTEM_DEFAULT = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
PROTECTIVE_STOP_S = 0.1
"""Time in which the robot comes to rest by itself."""
FRAME_HZ = 40.0


@dataclass(frozen=True)
class Driver:
    """One driver as it is seen on the wire."""

    rate_hz: float
    timeout_s: float
    servo_hz: float = 0.0
    """Rate of MoveIt Servo's status; 0 without Servo. Servo takes the age of a command from its stamp, every other
    driver from its receipt."""


DRIVERS = {
    "ur": Driver(rate_hz=500.0, timeout_s=0.1, servo_hz=250.0),
    "franka": Driver(rate_hz=1000.0, timeout_s=0.1, servo_hz=100.0),
    "crisp": Driver(rate_hz=1000.0, timeout_s=math.inf),
    "turtlebot": Driver(rate_hz=20.0, timeout_s=0.5),
    "diff_drive": Driver(rate_hz=50.0, timeout_s=0.5),
}
LAG_S = 0.05
"""Time constant with which the point follows."""
TWIST = 1
"""Command type of Servo (moveit_servo/utils/datatypes.hpp)."""
SWITCH = "servo_node/switch_command_type"


def vendor_class(vendors_type: str, kind: str = "msg") -> Any:
    """Return the class of PACKAGE/NAME, a message or a service (`kind`); None where the package is not installed."""
    package, name = vendors_type.split("/")
    with suppress(ImportError):
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    return None


class Template:
    """A message that is serialised once, and published with another stamp and other numbers: as cheap as a driver's.

    The message begins with a header, and `numbers` are the first doubles behind it.
    """

    def __init__(self, publisher: Any, message: Any) -> None:
        self._publisher, self._data = publisher, bytearray(serialize_message(message))
        name = len(message.header.frame_id) + 1
        self._numbers = 4 + -(-(12 + name) // 8) * 8  # behind stamp and name, aligned

    def publish(self, stamp: Any, *numbers: float) -> None:
        struct.pack_into("<iI", self._data, 4, stamp.sec, stamp.nanosec)
        struct.pack_into(f"<{len(numbers)}d", self._data, self._numbers, *numbers)
        self._publisher.publish(bytes(self._data))


class PlayedDriver:
    """Publishes state, pose and modes, and follows the twists that are not refused."""

    def __init__(self, node: Any, robot: RobotConfig, kind: str, rate_hz: float | None = None) -> None:
        self._node, self._robot, self._kind, self._driver = node, robot, kind, DRIVERS[kind]
        self._rate_hz = rate_hz or self._driver.rate_hz
        make = node.create_publisher
        self._stopped = False
        self._velocity, self._position, self._yaw, self._turn = np.zeros(3), self._start(), 0.0, 0.0
        self._wanted, self._wanted_turn, self._heard_s = np.zeros(3), 0.0, -math.inf
        self._target: Any = None
        self._noise = np.random.default_rng(0)
        self._pictures = self._noise.integers(20, 200, (16, 64, 80, 3), np.uint8)
        self._image, self._info = Image(), CameraInfo(height=64, width=80)
        self._images = make(Image, robot.image_topic(topics.COLOR_IMAGE), qos.IMAGE_SOURCE)
        self._infos = make(CameraInfo, robot.image_topic(topics.COLOR_IMAGE).rpartition("/")[0] + "/camera_info", 5)
        odometry = robot.state_type == "Odometry"
        self._states = make(Odometry if odometry else JointState, robot.state_topic, self._profile(robot.state_topic))
        joints = [f"joint{number}" for number in range(1, 8)]
        state = JointState(name=joints, position=[0.1] * 7, velocity=[0.0] * 7, effort=[0.0] * 7)
        self._state = None if odometry else Template(self._states, state)
        pose, wrench = PoseStamped(), WrenchStamped()
        pose.header.frame_id, wrench.wrench.force.z = robot.action.frame_id, 2.0
        of = self._profile
        self._pose = self._wrench = None
        if robot.pose_topic:
            self._pose = Template(make(PoseStamped, robot.pose_topic, of(robot.pose_topic)), pose)
        if robot.wrench_topic:
            self._wrench = Template(make(WrenchStamped, robot.wrench_topic, of(robot.wrench_topic)), wrench)
        self._latched: dict[str, Any] = {}
        self._repeated: dict[str, Any] = {}
        for ready in robot.ready:
            message = Bool if ready.kind == "bool" else vendor_class(READY_KINDS[ready.kind].message_type)
            if message is not None:
                kept = self._latched if ready.latched else self._repeated
                kept[ready.kind] = make(message, ready.topic, LATCHED if ready.latched else SYSTEM_DEFAULT)
        self._franka_states, self._servo_status = self._serialised()
        if robot.command_type == "PoseStamped":
            node.create_subscription(PoseStamped, robot.command_topic, self._aim, 1)
        else:
            node.create_subscription(TwistStamped, robot.command_topic, self._obey, SYSTEM_DEFAULT)
        self._command_type = TWIST
        switch = vendor_class("moveit_msgs/ServoCommandType", "srv")
        if self._driver.servo_hz and switch is not None:
            self._command_type = 0
            node.create_service(switch, SWITCH, self._switch)
        node.create_subscription(Bool, "hand/protective_stop", self._press, qos.STEP)
        self._tell()

    def _profile(self, topic: str) -> QoSProfile:
        """Return the quality of service of a state, pose or wrench: best effort from Franka's broadcaster."""
        return BEST_EFFORT if topic.startswith("franka_robot_state_broadcaster/") else SYSTEM_DEFAULT

    def _serialised(self) -> tuple[dict[bool, bytes], bytes]:
        """Return a Franka's state by whether it is stopped (MOVE or REFLEX), and Servo's status; serialised once."""
        made = {kind: publisher.msg_type for kind, publisher in self._repeated.items()}
        franka, servo = made.get("franka_robot_mode"), made.get("servo_status")
        states = {stopped: franka(robot_mode=4 if stopped else 2) for stopped in (False, True)} if franka else {}
        status = serialize_message(servo(code=0)) if servo else b""
        return {stopped: serialize_message(state) for stopped, state in states.items()}, status

    def _start(self) -> Any:
        box = self._robot.workspace
        return np.zeros(3) if box is None else (np.array(box.lower) + np.array(box.upper)) / 2

    # -- what it is told ------------------------------------------------------------------------------
    def _switch(self, request: Any, response: Any) -> Any:
        self._command_type = int(request.command_type)
        response.success = True
        return response

    def _obey(self, message: TwistStamped) -> None:
        if self._command_type != TWIST:
            print("refused: the command type has not been set", flush=True)
            return
        age_s = 0.0
        if self._driver.servo_hz:
            age_s = self._node.get_clock().now().nanoseconds * 1e-9 - seconds(message.header.stamp)
        stale = age_s >= self._driver.timeout_s
        if stale:
            print("refused: a command is older than the time-out", flush=True)
        if stale or self._stopped:
            return
        twist = message.twist
        self._wanted = np.array([twist.linear.x, twist.linear.y, twist.linear.z])
        self._wanted_turn, self._heard_s = twist.angular.z, time.monotonic() - age_s

    def _aim(self, message: PoseStamped) -> None:
        point = message.pose.position
        self._target, self._heard_s = np.array([point.x, point.y, point.z]), time.monotonic()

    def _press(self, message: Bool) -> None:
        self._stopped = bool(message.data)
        print("protective stop" if self._stopped else "released", flush=True)
        self._tell()

    def _tell(self) -> None:
        """Publish what is published on changes only, and kept for late subscribers."""
        modes = {"bool": not self._stopped, "ur_safety_mode": 3 if self._stopped else 1, "ur_robot_mode": 7}
        for kind, publisher in self._latched.items():
            message = publisher.msg_type()
            setattr(message, "data" if kind == "bool" else "mode", modes[kind])
            publisher.publish(message)

    # -- what it does ---------------------------------------------------------------------------------
    def live(self) -> None:
        """Move and publish until ROS ends, at absolute deadlines, as a driver does."""
        claim_realtime_priority(CONTROL_PRIORITY)
        fastest_hz = max(self._rate_hz, self._driver.servo_hz, 1000.0 if self._kind == "franka" else 100.0)
        period_s = 1.0 / fastest_hz
        deadline, tick, frames = time.monotonic(), 0, 0

        def due(hz: float) -> bool:
            return math.floor(tick * hz * period_s) > math.floor((tick - 1) * hz * period_s)

        while rclpy.ok():
            self._advance(period_s)
            stamp = time_message(self._node.get_clock().now().nanoseconds)
            if due(self._rate_hz):
                self._publish_state(stamp)
            if due(FRAME_HZ):
                self._publish_frame(stamp, frames)
                frames += 1
            self._publish_status(due(self._driver.servo_hz or 100.0))
            tick, deadline = tick + 1, deadline + period_s
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _advance(self, period_s: float) -> None:
        if self._target is not None:
            self._wanted = (self._target - self._position) / LAG_S
        elif time.monotonic() - self._heard_s > self._driver.timeout_s:
            self._wanted, self._wanted_turn = np.zeros(3), 0.0
        if self._stopped:
            self._wanted, self._wanted_turn = np.zeros(3), 0.0
            self._velocity = self._velocity * max(0.0, 1.0 - period_s / PROTECTIVE_STOP_S)
        share = -math.expm1(-period_s / LAG_S)
        self._velocity = self._velocity + share * (self._wanted - self._velocity)
        self._turn += share * (self._wanted_turn - self._turn)
        ahead = np.array([math.cos(self._yaw), math.sin(self._yaw), 0.0]) * self._velocity[0]
        moves = ahead if self._robot.kind == "base" else self._velocity
        self._position, self._yaw = self._position + moves * period_s, self._yaw + self._turn * period_s

    def _publish_state(self, stamp: Any) -> None:
        seen = self._position + self._noise.normal(0.0, 1e-6, 3)
        if self._state is not None:
            self._state.publish(stamp)
        else:
            self._publish_odometry(stamp, *map(float, seen[:2]))
        if self._pose is not None:
            self._pose.publish(stamp, *seen.tolist())
        if self._wrench is not None:
            self._wrench.publish(stamp, *self._noise.normal(0.0, 0.1, 3).tolist())

    def _publish_odometry(self, stamp: Any, x: float, y: float) -> None:
        state = Odometry(child_frame_id="base_link")
        state.header.frame_id, state.header.stamp = "odom", stamp
        state.pose.pose.position.x, state.pose.pose.position.y = x, y
        turned = state.pose.pose.orientation
        turned.z, turned.w = math.sin(self._yaw / 2), math.cos(self._yaw / 2)
        state.twist.twist.linear.x, state.twist.twist.angular.z = float(self._velocity[0]), self._turn
        self._states.publish(state)

    def _publish_status(self, servo: bool) -> None:
        """Publish what is repeated: a Franka's state always, Servo's status and a Bool when it is their turn."""
        for kind, publisher in self._repeated.items():
            if kind == "franka_robot_mode":
                publisher.publish(self._franka_states[self._stopped])
            elif kind == "servo_status" and servo:
                publisher.publish(self._servo_status)
            elif kind == "bool" and servo:
                publisher.publish(Bool(data=not self._stopped))

    def _publish_frame(self, stamp: Any, number: int) -> None:
        fill_image(self._image, self._pictures[number % len(self._pictures)])
        self._image.header.frame_id = self._info.header.frame_id = "camera"
        self._image.header.stamp = self._info.header.stamp = stamp
        self._images.publish(self._image)
        self._infos.publish(self._info)


def take_twists() -> int:
    """Say to Servo that it takes twists, as the pages do by `ros2 service call`; return 0 when it does."""
    node, switch = rclpy.create_node("person"), vendor_class("moveit_msgs/ServoCommandType", "srv")
    client = node.create_client(switch, SWITCH)
    if not client.wait_for_service(20.0):
        return 1
    answer = client.call_async(switch.Request(command_type=TWIST))
    rclpy.spin_until_future_complete(node, answer, timeout_sec=10.0)
    return 0 if answer.done() and answer.result().success else 1


def main() -> int:
    rclpy.init()
    if sys.argv[1] == "take_twists":
        return take_twists()
    node = rclpy.create_node("played_driver")
    driver = PlayedDriver(node, read_robot(Path(sys.argv[1])), sys.argv[2], *map(float, sys.argv[3:]))
    threading.Thread(target=driver.live, daemon=True).start()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with suppress(KeyboardInterrupt):
        executor.spin()
    return 0


if __name__ == "__main__":
    sys.exit(main())
