"""The topics between a commanding node and its robot: state, pose and emergency stop in, the command stream out."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from fosp_core.clock import Now, Received, age
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.command_message import command_message_type, fill_twist
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.polling import PolledSubscription
from fosp_core.ros.robot_parameter import path_parameter
from fosp_msgs.msg import Heartbeat
from fosp_safety_monitor.command.arm_side import ArmSide
from fosp_safety_monitor.command.command_stream import CommandStream
from fosp_safety_monitor.command.gripper_side import GripperSide
from fosp_safety_monitor.command.messages import (
    fill_pose,
    measured_pose,
    odometry_pose,
    pose_received,
    robot_state_received,
)
from fosp_safety_monitor.command.pose_target import PoseTarget, ToolPose
from fosp_safety_monitor.command.zone_side import ZoneSide
from fosp_safety_monitor.judge.identity import OwnCommands, Publishers, Restarts, allowed_publishers, in_words
from fosp_safety_monitor.judge.inputs import Judge
from fosp_safety_monitor.judge.watch.gripper import GripperOrder

ZEROS_BEFORE_SILENCE = 5
"""Number of zero commands that end the stream, so that the loss of one leaves no motion."""
STOP_TIMEOUT_S = 3.0
"""Time that a stream may take to decelerate and end."""
WATCH_PERIOD_S = 0.05
"""Period at which a node looks for other publishers of commands."""
FIRST_POSE_AGE_S = 0.1
"""Greatest age of the measured pose at which a target pose begins."""


class RobotSide:
    """Subscriptions and command publisher of one robot, from configuration to clean-up.

    The publisher is no lifecycle publisher, which would be silent exactly when the last stop has to go out. A robot
    that takes poses is sent the integral of the commands, so that zero holds the target where it is. `judge` returns
    the judge of the moment; `heard` is called with the kind of each message. Of states and poses the newest is read
    before each command, and with `settle`. One node may publish each of the robot's inputs and of the topics in
    `inputs`; `look_around` finds a second one.
    """

    def __init__(
        self,
        node: ManagedNode,
        robot: RobotConfig,
        judge: Callable[[], Judge],
        heard: Callable[[str], None] = lambda kind: None,
        inputs: Sequence[str] = (),
    ) -> None:
        self._node, self._robot, self._judge, self._heard = node, robot, judge, heard
        self._arm = ArmSide(node, robot, judge, path_parameter(node, "robot").parent if robot.joints else Path())
        self._command: TwistStamped | Twist | PoseStamped = command_message_type(robot)()
        if not isinstance(self._command, Twist):
            self._command.header.frame_id = robot.action.frame_id
        turns = any(axis.name.startswith("angular") for axis in robot.action.axes)
        limited = robot.orientation_limit is not None or robot.joints is not None
        self._oriented = turns or limited or isinstance(self._command, PoseStamped)
        """The orientation of the pose is needed."""
        self._measured: tuple[Received, ToolPose] | None = None
        self._target: PoseTarget | None = None
        self._sent_s = 0.0
        self._publisher = node.create_publisher(type(self._command), robot.command_topic, qos.COMMAND)
        self._state_type = JointState if robot.state_type == "JointState" else Odometry
        gated = node.create_gated_subscription
        self._streams: list[PolledSubscription] = []
        self.settling: list[Callable[[], None]] = []
        """Called by `settle` for other inputs that wait for a command."""
        self._subscriptions = [
            self._subscribe_newest("robot state", self._state_type, robot.state_topic, self._read_robot_state)
        ]
        if robot.pose_topic:
            self._subscriptions.append(self._subscribe_newest("pose", PoseStamped, robot.pose_topic, self._read_pose))
        for topic in robot.estop_topics:
            self._subscriptions.append(gated(Bool, topic, partial(self._on_estop, topic), qos.SENSOR))
        self._gripper = GripperSide(node, robot)
        if robot.gripper is not None:
            topic = robot.gripper.feedback_topic
            self._subscriptions.append(gated(JointState, topic, self._on_gripper, qos.SENSOR))
        self._zones = ZoneSide(node, robot, judge, heard)
        self._own = OwnCommands()
        # Not gated, so that the last commands before a pause are heard as our own, too.
        hear = node.create_subscription
        self._subscriptions.append(
            hear(type(self._command), robot.command_topic, self._on_command, qos.COMMAND_HISTORY, raw=True)
        )
        allowed = allowed_publishers(robot, inputs)
        self._allowed = {node.resolve_topic_name(topic): count for topic, count in allowed.items()}
        self._publishers = Publishers({})
        self._restarts = Restarts()
        self._ending = threading.Event()
        self.stream: CommandStream | None = None
        """The stream while commands are sent, else None."""

    def _subscribe_newest(self, kind: str, message_type: Any, topic: str, read: Callable[[bytes, float], None]) -> Any:
        def heard(data: bytes, receipt_s: float) -> None:
            self._heard(kind)
            read(data, receipt_s)

        subscription, stream = self._node.create_polled_subscription(message_type, topic, heard, qos.SENSOR)
        self._streams.append(stream)
        return subscription

    @property
    def topic(self) -> str:
        """Resolved name of the command topic."""
        return str(self._publisher.topic_name)

    def other_publishers(self) -> tuple[str, ...]:
        """Return the other nodes that publish commands, among them a second node of the same name."""
        others: list[str] = []
        for topic in (self.topic, *self._gripper.topics):
            if self._publisher_count(topic) == 1:  # our own, which is always known here
                continue
            names = self._publishing(topic)
            if self._node.get_fully_qualified_name() in names:
                names.remove(self._node.get_fully_qualified_name())
            others += names
        return tuple(sorted({in_words(name) for name in others}))

    def look_around(self, anew: bool = False) -> None:
        """Tell the judge who else publishes commands, and which inputs come from other nodes than before.

        With `anew`, on activation, the nodes that publish the inputs now are those that may.
        """
        if anew:
            self._publishers = Publishers(self._allowed)
        counts = {topic: self._publisher_count(topic) for topic in self._allowed}
        for topic in self._publishers.to_look_at(counts):
            self._publishers.look(topic, self._restarts.without_dead(self._publishing(topic), time.monotonic()))
        self._judge().receive_other_publishers(self.other_publishers())
        self._judge().receive_strangers(self._publishers.strangers)

    def heard_from(self, heartbeat: Heartbeat) -> None:
        """Take in a heartbeat: it excuses the publishers of a process that died and was started anew."""
        self._restarts.heard(heartbeat.node, heartbeat.pid, time.monotonic())

    def _publisher_count(self, topic: str) -> int:
        """Return the number of publishers of a topic by its resolved name.

        The method of the node would expand and validate the name at every look, which takes four times as long.
        """
        handle = self._node.handle
        with handle:
            return int(handle.get_count_publishers(topic))

    def _publishing(self, topic: str) -> list[str]:
        """Return the full name of the node of each publisher of `topic`."""
        return [
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(topic)
        ]

    def close(self) -> None:
        """Release publisher and subscriptions."""
        self._zones.close()
        self._gripper.close()
        self._arm.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._publisher)

    # -- the command stream --------------------------------------------------------------------------
    def start(self, tick: Callable[[], None], failed: Callable[[str], None] = lambda text: None, cpu: int = -1) -> None:
        """Call `tick` at the command rate in a thread of its own until `stop`. Each call must `send` one command.

        `send_now` calls it in between. An error ends the thread, which then calls `failed` with its text: without
        commands the robot's own watchdog stops the robot within its command timeout. `cpu` is the core of the thread;
        -1: any.
        """
        zeros = 0

        def send_next() -> bool:
            nonlocal zeros
            if not self._ending.is_set():
                self.settle()
                tick()
                return True
            command = self._judge().halt()
            zeros = 0 if any(command) else zeros + 1
            self.send(command)
            return zeros < ZEROS_BEFORE_SILENCE

        def on_failure(error: BaseException) -> None:
            trace = "".join(traceback.format_exception(error))
            failed(f"the command stream failed: {error}")
            self._node.get_logger().fatal(f"the command stream failed, the robot's own timeout stops it:\n{trace}")

        self._ending.clear()
        self._measured = self._target = None
        for stream in self._streams:
            stream.forget()
        self.stream = CommandStream(1.0 / self._robot.command_rate_hz, send_next, on_failure, cpu)
        self.stream.start()

    def stop(self) -> None:
        """Decelerate to zero, then fall silent. RuntimeError when the stream does not end."""
        if self.stream is None:
            return
        self.stream.close()
        self._ending.set()
        if not self.stream.join(STOP_TIMEOUT_S):
            raise RuntimeError(f"the command stream did not end within {STOP_TIMEOUT_S} s")
        self.stream = None

    def send_now(self) -> None:
        """Have a tick send its command at once, in the calling thread, because a decision was made.

        The command follows from the state of that moment, so a stop that came since the decision wins. Nothing is sent
        once `stop` has begun or the stream has failed.
        """
        if self.stream is not None:
            self.stream.tick_now()

    def send(self, command: tuple[float, ...], gripper: GripperOrder | None = None) -> None:
        """Send one command (n,), m/s and rad/s, to the robot; without an order its gripper holds.

        Only ticks of the stream may call it.
        """
        message, stamp, monotonic_s = self._command, self._node.get_clock().now(), time.monotonic()
        now = Now(stamp.nanoseconds * 1e-9, monotonic_s)
        self._gripper.send(gripper, stamp)
        if isinstance(message, PoseStamped) and not self._fill_target(message, command, now):
            return
        if not isinstance(message, Twist):
            message.header.stamp = stamp.to_msg()
        if not isinstance(message, PoseStamped):
            twist = message.twist if isinstance(message, TwistStamped) else message
            fill_twist(twist, list(command), self._robot.action)
        data = serialize_message(message)
        self._own.sending(data)
        self._publisher.publish(data)

    def _fill_target(self, message: PoseStamped, command: tuple[float, ...], now: Now) -> bool:
        """Write the target pose of the moment `now`, which is that of its stamp: readers divide by stamps' differences.

        Return False while there is none, because no fresh pose was measured yet.
        """
        measured, now_s = self._measured, now.monotonic_s
        if self._target is None:
            if measured is None or age(measured[0], now, FIRST_POSE_AGE_S).stale_because:
                return False
            self._target, self._sent_s = PoseTarget(self._robot), now_s
        assert measured is not None
        fill_pose(message, self._target.follow(command, measured[1], now_s - self._sent_s))
        self._sent_s = now_s
        self._judge().receive_lead(self._target.lead(command, measured[1]))
        return True

    # -- inputs --------------------------------------------------------------------------------------
    def settle(self) -> None:
        """Read the newest state and pose, before a command is computed or a proposal judged."""
        for stream in self._streams:
            try:
                stream.poll()
            except UserError as error:
                self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
        for settle in self.settling:
            settle()

    def _read_robot_state(self, data: bytes, receipt_s: float) -> None:
        message = deserialize_message(data, self._state_type)
        received = robot_state_received(message, receipt_s)
        if received is None:
            raise UserError(
                f"{self._robot.state_topic}: positions are missing, a value is not finite, or an orientation is no "
                "unit quaternion; message ignored"
            )
        odometry = odometry_pose(message) if isinstance(message, Odometry) else None
        self._judge().receive_robot_state(received, odometry)

    def _read_pose(self, data: bytes, receipt_s: float) -> None:
        message, frame_id = deserialize_message(data, PoseStamped), self._robot.action.frame_id
        pose = pose_received(message, receipt_s, frame_id)
        if pose is None:
            raise UserError(
                f"{self._robot.pose_topic}: position must be finite and in frame '{frame_id}', "
                f"is in '{message.header.frame_id}'; message ignored"
            )
        measured = measured_pose(message)
        if self._oriented and measured is None:
            raise UserError(f"{self._robot.pose_topic}: orientation must be a unit quaternion; message ignored")
        if isinstance(self._command, PoseStamped) and measured is not None:
            self._measured = pose[0], measured
        x, y, z, w = (0.0, 0.0, 0.0, 1.0) if measured is None else measured.orientation.tolist()
        self._judge().receive_pose(*pose, None if measured is None else (x, y, z, w))

    def _on_gripper(self, message: JointState) -> None:
        self._heard("gripper")
        measured = self._gripper.felt(message, time.monotonic())
        if measured is not None:
            self._judge().receive_gripper(measured)

    def _on_estop(self, topic: str, message: Bool) -> None:
        self._heard("emergency stop")
        self._judge().receive_estop(bool(message.data), time.monotonic(), topic)

    def _on_command(self, data: bytes) -> None:
        """Take in a command on the robot's topic, serialised: one that we did not send stops at once."""
        if self._own.hear(data) or not self._node.is_active:
            return
        others = self.other_publishers()
        self._node.get_logger().error(
            f"heard a command on {self.topic} that this node did not send; other publishers now: "
            f"{', '.join(others) or 'none'}",
            throttle_duration_sec=1.0,
        )
        self._judge().receive_foreign_command(others)
