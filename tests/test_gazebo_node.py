"""The robot in Gazebo as a live node: a stand-in takes Gazebo's place behind the bridge, and its command line tool."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)

CONFIG = Path(__file__).parents[1] / "config"


def parameters(task: str, robot: str) -> list[str]:
    """ROS arguments of a Gazebo process."""
    return ["-p", f"scenario:={CONFIG}/scenarios/{task}.yaml", "-p", f"robot:={CONFIG}/robots/{robot}.yaml"]


class StandIn:
    """Gazebo's end of the bridge: joints that go where they are told, a clock, and camera frames."""

    def __init__(self, node: Any) -> None:
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, JointState
        from std_msgs.msg import Float64

        from fosp_core import topics
        from fosp_core.ros import qos
        from fosp_sim.gazebo.topics import ros_joint_command
        from fosp_sim.task.arm_kinematics import JOINTS

        self.joints = [0.0] * len(JOINTS)
        self.time_ns = 1_000_000_000
        self._names = list(JOINTS)
        self._clock = node.create_publisher(Clock, topics.CLOCK, qos.STEP)
        self._states = node.create_publisher(JointState, "joint_states", qos.STEP)
        self._infos = node.create_publisher(CameraInfo, topics.CAMERA_INFO, qos.STEP)
        for number, joint in enumerate(JOINTS):

            def obey(message: Float64, number: int = number) -> None:
                self.joints[number] = message.data

            node.create_subscription(Float64, ros_joint_command(joint), obey, qos.STEP)
        node.create_timer(0.005, self._tick)

    def _tick(self) -> None:
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, JointState

        from fosp_core.ros.stamps import time_message

        self.time_ns += 5_000_000
        stamp = time_message(self.time_ns)
        self._clock.publish(Clock(clock=stamp))
        state = JointState(name=self._names, position=list(self.joints))
        state.header.stamp = stamp
        self._states.publish(state)
        if self.time_ns % 25_000_000 == 0:
            info = CameraInfo()
            info.header.stamp = stamp
            self._infos.publish(info)


@pytest.fixture
def gazebo_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `gz` that agrees with everything and writes down what it was asked; and the messages that the node imports."""
    calls = tmp_path / "calls.txt"
    tool = tmp_path / "bin" / "gz"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "data: true"\n')
    tool.chmod(0o755)
    package = tmp_path / "python" / "ros_gz_interfaces"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "msg.py").write_text("from std_msgs.msg import Empty as Contacts\n")
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{os.environ['PYTHONPATH']}")
    return calls


def test_an_episode_is_placed_driven_by_commands_and_ends_at_the_goal(
    gazebo_tool: Path, ros_environment: Any, start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from geometry_msgs.msg import PoseStamped, TwistStamped

    from fosp_core import topics
    from fosp_core.ros import qos
    from fosp_msgs.msg import StepFeedback
    from fosp_msgs.srv import ResetEpisode
    from fosp_sim.task.draw import draw_scene
    from fosp_sim.task.scenario import read_scenario

    ros_environment.variables.update({name: os.environ[name] for name in ("PATH", "PYTHONPATH")})
    scene = draw_scene(read_scenario(CONFIG / "scenarios/safe_reach.yaml"), 4)
    StandIn(graph.node)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    poses = graph.listen(PoseStamped, "tool_pose", qos.STEP)
    commands = graph.node.create_publisher(TwistStamped, "arm/twist_command", qos.COMMAND)
    start_node("fosp_sim.gazebo_node", *parameters("safe_reach", "sim_arm"), "-p", "use_sim_time:=true")

    answer = graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=4), 60.0)
    assert (answer.success, answer.episode) == (True, 4), answer.message
    first = wait_until(lambda: feedback and feedback[0], 60.0, "the first feedback")
    assert first.is_first
    asked = gazebo_tool.read_text().splitlines()
    assert len(asked) == 2
    assert "/world/safe_reach/remove" in asked[0]
    assert "scene_0" in asked[0]
    assert "/world/safe_reach/create" in asked[1]
    assert "scene_1" in asked[1]
    tip = poses[-1].pose.position
    assert (tip.x, tip.y, tip.z) == pytest.approx(scene.start, abs=0.02)

    command = TwistStamped()
    command.header.frame_id = "base_link"

    def drive() -> bool:
        tip = poses[-1].pose.position
        for axis, target, at in zip(
            "xyz", (scene.goal.x, scene.goal.y, scene.goal.z), (tip.x, tip.y, tip.z), strict=True
        ):
            setattr(command.twist.linear, axis, max(-0.25, min(0.25, 3 * (target - at))))
        commands.publish(command)
        return any(message.is_last for message in feedback)

    wait_until(drive, 100.0, "the end of the episode")
    last = feedback[-1]
    assert (last.success, last.terminal, last.episode) == (True, True, 4)
    assert sum(message.reward for message in feedback) > 0


def test_without_gazebos_packages_the_node_says_what_to_install(
    ros_environment: Any, start_node: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    nodes = [
        start_node(f"fosp_sim.{name}", *parameters("safe_goal", "sim_base"))
        for name in ("gazebo_node", "gazebo_bridge")
    ]
    for node in nodes:
        wait_until(lambda node=node: not node.running, 100.0, "its end")
        assert node.process.returncode == 2
        (line,) = node.log.strip().splitlines()[-1:]
        assert line.startswith("fosp: ")
        assert "apt install ros-jazzy-ros-gz" in line


def test_gazebo_is_started_with_the_world_of_the_scenario(
    tmp_path: Path, ros_environment: Any, start_node: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    tool = tmp_path / "bin" / "gz"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "started: $@"\ngrep -c "<model" "$4"\n')
    tool.chmod(0o755)
    ros_environment.variables["PATH"] = f"{tool.parent}:{ros_environment.variables['PATH']}"
    ros_environment.variables["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    node = start_node("fosp_sim.gazebo_server", *parameters("safe_goal", "sim_base"))
    wait_until(lambda: not node.running, 100.0, "its end")
    assert f"started: sim -r -s {tmp_path}/cache/fosp/gazebo/" in node.log
    assert node.log.strip().splitlines()[-1] == "3"
