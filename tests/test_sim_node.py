"""sim_node over real DDS: it looks like a robot."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CONFIG = Path(__file__).parents[1] / "config"
ARM, BASE = (
    ("-p", f"scenario:={CONFIG}/scenarios/{task}.yaml", "-p", f"robot:={CONFIG}/robots/{robot}.yaml")
    for task, robot in (("safe_reach", "sim_arm"), ("safe_goal", "sim_base"))
)

START_S = 60.0
"""Until a process has come up: a bound on a hang, not on a busy machine."""


def stamp(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


class Robot:
    """The simulated robot as a test sees it."""

    def __init__(self, graph: Any, state_type: Any, state_topic: str) -> None:
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import CameraInfo, Image

        from fosp_core import topics
        from fosp_core.ros import qos
        from fosp_msgs.msg import StepFeedback

        self.graph = graph
        self.images = graph.listen(Image, topics.COLOR_IMAGE, qos.IMAGE)
        self.infos = graph.listen(CameraInfo, topics.CAMERA_INFO, qos.IMAGE)
        self.feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
        self.states = graph.listen(state_type, state_topic, qos.SENSOR)
        self.poses = graph.listen(PoseStamped, topics.TOOL_POSE, qos.SENSOR)

    def reset(self, episode: int) -> Any:
        from fosp_core import topics
        from fosp_msgs.srv import ResetEpisode

        return self.graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=episode))

    def tip(self) -> Any:
        position = self.poses[-1].pose.position
        return np.array([position.x, position.y, position.z])

    def drive_until(
        self, moved: Callable[[], bool], topic: str, forward: float, wait_until: Callable[..., Any]
    ) -> None:
        """Commands until the robot has `moved`, however late the first of them reaches it; then silence."""
        from geometry_msgs.msg import TwistStamped

        from fosp_core.ros import qos

        publisher = self.graph.node.create_publisher(TwistStamped, topic, qos.COMMAND)
        command = TwistStamped()
        command.header.frame_id = "base_link"
        command.twist.linear.x = forward

        def moved_on_command() -> bool:
            command.header.stamp = self.graph.node.get_clock().now().to_msg()
            publisher.publish(command)
            return moved()

        wait_until(moved_on_command, what="a motion")


@pytest.fixture
def arm(start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]) -> Robot:
    """In episode 3, of which all feedback is heard."""
    from sensor_msgs.msg import JointState

    robot = Robot(graph, JointState, "joint_states")
    start_node("fosp_sim.sim_node", *ARM)
    # The service may be found before the node has found who listens; it finds the listener to poses last.
    wait_until(lambda: robot.poses, START_S, "a pose")
    assert robot.reset(3).success
    wait_until(lambda: robot.feedback, what="feedback")
    wait_until(lambda: stamp(robot.poses[-1]) >= stamp(robot.feedback[0]), what="a pose of the episode")
    return robot


def test_a_viewer_that_comes_late_gets_the_robot_and_its_frames(arm: Robot, wait_until: Callable[..., Any]) -> None:
    from std_msgs.msg import String
    from tf2_msgs.msg import TFMessage

    from fosp_core import topics
    from fosp_core.robot.urdf import parse_urdf, rotated
    from fosp_core.ros import qos

    description = arm.graph.listen(String, f"/{topics.ROBOT_DESCRIPTION}", qos.LATCHED)
    fixed = arm.graph.listen(TFMessage, "/tf_static", qos.LATCHED)
    moving = arm.graph.listen(TFMessage, "/tf", qos.STEP)
    urdf = wait_until(lambda: description and description[0].data, what="the description")
    tree = parse_urdf(urdf, "robot_description")
    wait_until(lambda: fixed and len(moving) > 5, what="the frames")

    def tool(message: Any) -> Any:
        """Where the frames put the tool, m."""
        transforms = [*fixed[0].transforms, *message.transforms]
        assert {one.child_frame_id for one in transforms} == set(tree.frames[1:])
        above = {one.child_frame_id: one for one in transforms}
        point, frame = (0.0, 0.0, 0.0), "tool"
        while frame in above:
            place, turn = above[frame].transform.translation, above[frame].transform.rotation
            x, y, z = rotated((turn.x, turn.y, turn.z, turn.w), point)
            point, frame = (place.x + x, place.y + y, place.z + z), above[frame].header.frame_id
        assert frame == "base_link"
        return point

    def measured() -> list[tuple[Any, Any]]:
        poses = {stamp(pose): pose for pose in arm.poses}
        return [(poses[at], one) for one in moving if (at := stamp(one.transforms[0])) in poses]

    pose, message = wait_until(measured, what="a pose of the same moment")[-1]
    position = pose.pose.position
    assert tool(message) == pytest.approx((position.x, position.y, position.z), abs=1e-6)


def test_the_camera_runs_at_40_hz_with_true_stamps(arm: Robot, wait_until: Callable[..., Any]) -> None:
    wait_until(lambda: len(arm.images) >= 60 and arm.infos)
    stamps = np.array([stamp(m) for m in arm.images[5:60]])
    assert np.median(np.diff(stamps)) == pytest.approx(0.025, abs=1e-3)
    assert abs(time.time() - stamp(arm.images[-1])) < 0.5
    image, info = arm.images[-1], arm.infos[-1]
    assert (image.height, image.width, image.encoding) == (240, 320, "rgb8")
    assert (info.height, info.width) == (240, 320)
    assert info.k[0] > 0
    assert np.asarray(image.data).std() > 10


def test_no_frame_comes_before_the_moment_that_it_shows(arm: Robot, wait_until: Callable[..., Any]) -> None:
    from sensor_msgs.msg import Image

    from fosp_core import topics
    from fosp_core.ros import qos

    ages: list[float] = []
    arm.graph.node.create_subscription(
        Image, topics.COLOR_IMAGE, lambda message: ages.append(time.time() - stamp(message)), qos.IMAGE
    )
    wait_until(lambda: len(ages) >= 60)
    assert min(ages) > 0.0


def test_every_episode_frame_has_feedback_of_its_stamp(arm: Robot, wait_until: Callable[..., Any]) -> None:
    begun = stamp(arm.feedback[0])
    assert arm.feedback[0].is_first
    assert arm.feedback[0].episode == 3

    def frames() -> set[float]:
        return {stamp(m) for m in arm.images if stamp(m) >= begun}

    wait_until(lambda: len(frames()) >= 15, what="15 frames of the episode")
    seen = frames()
    wait_until(lambda: stamp(arm.feedback[-1]) >= max(seen), what="feedback up to the last of them")
    assert seen <= {stamp(m) for m in arm.feedback}


def test_the_arm_obeys_and_stops_by_itself_when_commands_end(arm: Robot, wait_until: Callable[..., Any]) -> None:
    start = arm.tip()
    toward = 0.1 if start[0] < 0.5 else -0.1
    arm.drive_until(lambda: (arm.tip()[0] - start[0]) / toward > 0.2, "arm/twist_command", toward, wait_until)
    ended = time.time()
    wait_until(lambda: stamp(arm.poses[-1]) > ended + 0.5)
    track = [(stamp(m), m.pose.position.x) for m in arm.poses]
    late = [x for when, x in track if when > ended + 0.25]
    assert np.ptp(late) < 1e-3


def test_a_reset_begins_the_asked_or_the_next_episode(arm: Robot) -> None:
    assert arm.reset(-1).episode == 4
    again = arm.reset(3)
    assert (again.success, again.episode) == (True, 3)
    refused = arm.reset(-5)
    assert not refused.success
    assert refused.message


def test_a_base_publishes_odometry_and_ends_clean_on_sigterm(
    start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from nav_msgs.msg import Odometry

    robot = Robot(graph, Odometry, "odom")
    node = start_node("fosp_sim.sim_node", *BASE, "-p", "auto_reset:=true")
    wait_until(lambda: robot.feedback, START_S, "an episode that begins by itself")
    wait_until(lambda: robot.states)
    robot.drive_until(lambda: robot.states[-1].twist.twist.linear.x > 0.2, "cmd_vel", 0.3, wait_until)
    assert node.stop(signal.SIGTERM) == 0


def test_with_publish_clock_stamps_are_simulated_time(
    start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import JointState

    from fosp_core.ros import qos

    robot = Robot(graph, JointState, "joint_states")
    clock = graph.listen(Clock, "/clock", qos.SENSOR)
    start_node("fosp_sim.sim_node", *ARM, "-p", "publish_clock:=true")
    wait_until(lambda: len(clock) > 20 and len(robot.images) > 5, START_S, "clock and images")
    assert clock[-1].clock.sec < 1000
    assert stamp(robot.images[-1]) < 1000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (ARM[:2], "parameter 'robot'"),
        pytest.param(("-p", "scenario:=missing.yaml", *ARM[2:]), "missing.yaml", marks=pytest.mark.long),
        pytest.param((*ARM[:2], *BASE[2:]), "sim_base is not", marks=pytest.mark.long),
        pytest.param((*ARM, "-p", "camera_rate_hz:=33.0"), "camera_rate_hz must divide 200", marks=pytest.mark.long),
    ],
)
def test_wrong_parameters_end_it_with_one_line_and_exit_code_2(
    start_node: Callable[..., Any], wait_until: Callable[..., Any], arguments: tuple[str, ...], reason: str
) -> None:
    node = start_node("fosp_sim.sim_node", *arguments)
    wait_until(lambda: not node.running, START_S, "its end")
    assert node.process.returncode == 2
    assert reason in node.log
    assert len(node.log.strip().splitlines()) == 1
