"""The robot in Gazebo: it obeys the command topic, publishes pose and feedback and serves resets, as sim_node does.

Camera images, joint states or odometry, and the clock come from Gazebo through ros_gz_bridge, so all times in this
module are simulated.
"""

from __future__ import annotations

import importlib
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Float64

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.robot_description import RobotDescription
from fosp_core.ros.stamps import nanoseconds, seconds
from fosp_msgs.msg import StepFeedback
from fosp_sim import simulator_node
from fosp_sim.description import base_pose, robot_urdf
from fosp_sim.env import make_arena
from fosp_sim.gazebo import topics as gazebo_topics
from fosp_sim.gazebo.episode import GazeboEpisode
from fosp_sim.gazebo.real_time_factor import RealTimeFactor, require_fast_enough, too_slow_because
from fosp_sim.gazebo.sdf import ROBOT, SCENE, gazebo_scene, scene_name, scene_sdf
from fosp_sim.gazebo.services import APT, WorldServices, missing_because
from fosp_sim.robot_messages import feedback_message
from fosp_sim.simulator_node import SimulatorNode
from fosp_sim.task.arm_kinematics import GUARD, JOINTS, advanced, joints_of_tip, tip_of_joints
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.mjcf import WHEEL_RADIUS
from fosp_sim.task.render import CAMERA_FRAME

CONTROL_PERIOD_S = 0.01
AUTO_RESET_PAUSE_S = 1.0
RETRY_S = 1.0
"""Simulated time after which a scene that Gazebo did not take is tried again, s."""
_SERVICE_TIMEOUT_S = 15.0


PARAMETERS = simulator_node.PARAMETERS


class GazeboNode(SimulatorNode):
    """A simulator node whose robot is in Gazebo.

    With `auto_reset` episodes begin by themselves, as those of sim_node do. Without it nothing happens until
    fosp/reset_episode is called. While Gazebo runs too slowly for the safety monitor no episode begins, and the robot
    stands. The node takes commands and requests once Gazebo's speed is known.
    """

    def __init__(self) -> None:
        super().__init__("gazebo_node", PARAMETERS)
        self._world = make_arena(self._scenario, self._robot)
        self._gazebo = WorldServices(self._scenario.task)
        self._worker = ThreadPoolExecutor(1)  # a service of Gazebo takes half a second, in which frames go on
        self._factor = RealTimeFactor()
        self._serving = False
        self._episode: GazeboEpisode | None = None
        self._scenes = 0
        self._shown: str | None = scene_name(0)  # the world file contains the first one
        self._creating: Future[str] | None = None
        self._in_doubt = False
        """Gazebo did not answer, so scenes may be in the world of which this node does not know."""
        self._retry_s = 0.0
        self._ended_s = 0.0
        self._position: tuple[float, float, float] | None = None
        self._heading: float | None = None
        self._speed = 0.0
        self._reference: list[float] | None = None
        self._make_interface()

    def _make_interface(self) -> None:
        robot = self._robot
        self._feedback = self.create_publisher(StepFeedback, topics.FEEDBACK, qos.FEEDBACK_SOURCE)
        self._description = RobotDescription(self, robot_urdf(self._world.model, robot))
        self.create_subscription(CameraInfo, topics.CAMERA_INFO, self._on_frame, qos.SENSOR)
        self.create_subscription(_contacts(), gazebo_topics.ROS_CONTACTS, self._on_contacts, qos.SENSOR)
        if robot.kind == "arm":
            self._poses = self.create_publisher(PoseStamped, robot.pose_topic, qos.STEP)
            self._joints = [
                self.create_publisher(Float64, gazebo_topics.ros_joint_command(joint), qos.STEP) for joint in JOINTS
            ]
            self.create_subscription(JointState, robot.state_topic, self._on_joints, qos.SENSOR)
        else:
            self._wheels = self.create_publisher(Twist, gazebo_topics.ROS_WHEEL_COMMAND, qos.COMMAND)
            self.create_subscription(Odometry, robot.state_topic, self._on_odometry, qos.SENSOR)
        self.create_subscription(Clock, topics.CLOCK, self._on_clock, qos.SENSOR)
        self.create_timer(CONTROL_PERIOD_S, self._control)

    # -- from Gazebo ---------------------------------------------------------------------------------
    def _on_clock(self, message: Clock) -> None:
        now_s = time.monotonic()
        self._factor.clock(seconds(message.clock), now_s)
        factor = self._factor.value(now_s)
        if not self._serving and factor is not None:
            self._serving = True
            self.get_logger().info(f"Gazebo runs at {factor:.2f} of real time")
            self._listen_to_the_graph()

    def _on_joints(self, message: JointState) -> None:
        positions = dict(zip(message.name, message.position, strict=False))
        if any(joint not in positions for joint in JOINTS):
            return
        self._description.show(positions, nanoseconds(message.header.stamp))
        tip = tip_of_joints([positions[joint] for joint in JOINTS])
        self._moved(tip)
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = message.header.stamp, self._robot.action.frame_id
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = tip
        pose.pose.orientation.y, pose.pose.orientation.w = 1.0, 0.0
        self._poses.publish(pose)

    def _on_odometry(self, message: Odometry) -> None:
        point, turned, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
        self._heading = 2 * math.atan2(turned.z, turned.w)
        self._speed = max(math.hypot(twist.linear.x, twist.linear.y), abs(twist.angular.z))
        wheels = dict.fromkeys(self._description.joints, 0.0)  # nobody measures them, and nobody sees a sphere turn
        pose = base_pose(self._robot, point.x, point.y, self._heading)
        self._description.show(wheels, nanoseconds(message.header.stamp), pose)
        self._moved((point.x, point.y, 0.0))

    def _moved(self, position: tuple[float, float, float]) -> None:
        self._position = position
        if self._episode is not None:
            self._episode.moved(position)

    def _on_contacts(self, message: Any) -> None:
        if self._episode is not None and message.contacts:
            self._episode.touched(seconds(message.header.stamp))

    def _on_frame(self, message: CameraInfo) -> None:
        if self._episode is None:
            return
        feedback = self._episode.frame(seconds(message.header.stamp))
        if feedback is None:
            return
        number = self._episode.scene.episode
        self._feedback.publish(feedback_message(feedback, number, nanoseconds(message.header.stamp), CAMERA_FRAME))
        if feedback.is_last:
            self._ended_s = self.now_s()

    # -- to Gazebo -----------------------------------------------------------------------------------
    def _control(self) -> None:
        """Begin an episode, place the robot, or drive it; called at 100 Hz of simulated time."""
        episode = self._episode
        factor = self._factor.value(time.monotonic())
        too_slow = too_slow_because(factor)
        if too_slow:
            if factor is not None:
                self.get_logger().error(f"{too_slow}. The robot stands", throttle_duration_sec=5.0)
            self._intake.forget()
        elif self._wants_next(episode):
            try:
                self.begin(self._next_episode)
            except UserError as error:
                self._retry_s = self.now_s() + RETRY_S
                self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        if episode is not None and not episode.placed:
            self._place(episode)
        elif self._position is not None:
            self._drive(self._position)

    def _wants_next(self, episode: GazeboEpisode | None) -> bool:
        if not self.get_parameter("auto_reset").value or self._position is None or self.now_s() < self._retry_s:
            return False
        return episode is None or (episode.done and self.now_s() > self._ended_s + AUTO_RESET_PAUSE_S)

    def begin(self, episode: int) -> None:
        """Remove the old scene and let the robot go to its start. Raise UserError when Gazebo refuses or is too slow.

        A scene that could not be removed ends the episode in it: none goes on in a world that is half changed.
        """
        require_fast_enough(self._factor.value(time.monotonic()))
        scene = gazebo_scene(draw_scene(self._scenario, episode))
        self._intake.forget()
        if self._robot.kind == "base":
            self._wheels.publish(Twist())
        if self._creating is not None:
            if wait([self._creating], _SERVICE_TIMEOUT_S).not_done:
                raise UserError("Gazebo is still busy with the previous scene; ask again")
            self._created()
        self._episode = None
        try:
            self._clear()
            if self._robot.kind == "base":
                start = (scene.start[0], scene.start[1], WHEEL_RADIUS)
                self._gazebo.place(ROBOT, start, scene.heading)
        except UserError:
            self._in_doubt = True
            raise
        rate_hz = self._robot.camera_frame_rate_hz
        self._episode = GazeboEpisode(scene, self._world.rules, self._scenario.max_steps, rate_hz)
        self._next_episode = episode + 1
        self._reference = list(scene.start)

    def _clear(self) -> None:
        """Remove every scene that is in the world, or may be. Raise UserError when Gazebo does not."""
        if self._in_doubt:
            shown = [name for name in self._gazebo.models() if name.startswith(f"{SCENE}_")]
        else:
            shown = [] if self._shown is None else [self._shown]
        for name in shown:
            self._gazebo.remove(name)
        self._shown, self._in_doubt = None, False

    def _place(self, episode: GazeboEpisode) -> None:
        """Move towards the start, and once there put the scene's obstacles and goal into the world.

        The episode begins one tick after that was carried out, on the clock that went on meanwhile.
        """
        if self._robot.kind == "arm":
            self._send_joints(joints_of_tip(*episode.scene.start))
        if self._creating is not None:
            if self._creating.done() and self._created():
                episode.begin(self.now_s() + CONTROL_PERIOD_S)
            return
        if self.now_s() < self._retry_s or self._position is None:
            return
        if episode.at_start(self._position, self._heading, self._speed):
            self._scenes += 1  # of a request that failed it is not known whether its name is taken
            name = scene_name(self._scenes)
            self._creating = self._worker.submit(self._show, scene_sdf(self._world, episode.scene, self._scenes), name)

    def _show(self, sdf: str, name: str) -> str:
        """Put a scene into the world in place of all others; called in the worker's thread."""
        if self._in_doubt:
            self._clear()
        self._gazebo.create(sdf, name)
        return name

    def _created(self) -> bool:
        """Take the outcome of `_creating`, which is done, and return True if the scene is in the world."""
        assert self._creating is not None
        creating, self._creating = self._creating, None
        try:
            self._shown = creating.result()
        except UserError as error:
            self._in_doubt, self._retry_s = True, self.now_s() + RETRY_S
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return False
        return True

    def _drive(self, position: tuple[float, float, float]) -> None:
        speeds = self._intake.current(self.now_s(), CONTROL_PERIOD_S).tolist()
        velocity = {str(axis.name): speed for axis, speed in zip(self._robot.action.axes, speeds, strict=True)}
        if self._robot.kind == "base":
            command = Twist()
            command.linear.x, command.angular.z = velocity["linear.x"], velocity["angular.z"]
            self._wheels.publish(command)
            return
        workspace = self._robot.workspace
        assert workspace is not None  # an arm has one
        self._reference = advanced(
            self._reference or position,
            position,
            [velocity.get(name, 0.0) for name in ("linear.x", "linear.y", "linear.z")],
            CONTROL_PERIOD_S,
            [low - GUARD for low in workspace.lower],
            [high + GUARD for high in workspace.upper],
        )
        self._send_joints(joints_of_tip(*self._reference))

    def _send_joints(self, positions: tuple[float, ...]) -> None:
        for publisher, position in zip(self._joints, positions, strict=True):
            if math.isfinite(position):
                publisher.publish(Float64(data=position))

    def now_s(self) -> float:
        """Return the simulated time, s."""
        return float(self.get_clock().now().nanoseconds) * 1e-9


def _contacts() -> Any:
    """Return the message type of contact sensors. Raise UserError when Gazebo's ROS packages are not installed."""
    try:
        return importlib.import_module("ros_gz_interfaces.msg").Contacts
    except ImportError:
        raise UserError(f"ros_gz_interfaces {missing_because(APT)}") from None


def main() -> None:
    end_process(run_node(GazeboNode))


if __name__ == "__main__":
    main()
