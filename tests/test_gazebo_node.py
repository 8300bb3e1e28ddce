"""The robot in Gazebo as a live node: a stand-in takes Gazebo's place behind the bridge, and its command line tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from played_gazebo import PlayedGazebo

pytestmark = pytest.mark.timeout(300)

CONFIG = Path(__file__).parents[1] / "config"


def parameters(task: str, robot: str) -> list[str]:
    """ROS arguments of a Gazebo process."""
    return ["-p", f"scenario:={CONFIG}/scenarios/{task}.yaml", "-p", f"robot:={CONFIG}/robots/{robot}.yaml"]


@pytest.fixture
def play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ros_environment: Any, graph: Any
) -> Iterator[Callable[..., PlayedGazebo]]:
    """Call it for a stand-in of Gazebo; its `gz`, and the messages that the node imports, are found by new nodes."""
    package = tmp_path / "python" / "ros_gz_interfaces"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "msg.py").write_text("from std_msgs.msg import Empty as Contacts\n")
    ros_environment.variables["PATH"] = f"{tmp_path}:{ros_environment.variables['PATH']}"
    ros_environment.variables["PYTHONPATH"] = f"{package.parent}:{ros_environment.variables['PYTHONPATH']}"
    played: list[PlayedGazebo] = []

    def start(world: str, kind: str, blocking: bool) -> PlayedGazebo:
        played.append(PlayedGazebo(graph.node, tmp_path, world, kind, blocking))
        return played[-1]

    yield start
    for server in played:
        server.close()


def test_an_episode_is_placed_driven_by_commands_and_ends_at_the_goal(
    play: Callable[..., PlayedGazebo], start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from geometry_msgs.msg import PoseStamped, TwistStamped

    from fosp_core import topics
    from fosp_core.ros import qos
    from fosp_core.ros.stamps import nanoseconds
    from fosp_msgs.msg import StepFeedback
    from fosp_msgs.srv import ResetEpisode
    from fosp_sim.task.draw import draw_scene
    from fosp_sim.task.scenario import read_scenario

    scene = draw_scene(read_scenario(CONFIG / "scenarios/safe_reach.yaml"), 4)
    gazebo = play("safe_reach", "arm", blocking=True)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    poses = graph.listen(PoseStamped, "tool_pose", qos.STEP)
    commands = graph.node.create_publisher(TwistStamped, "arm/twist_command", qos.COMMAND)
    start_node("fosp_sim.gazebo_node", *parameters("safe_reach", "sim_arm"), "-p", "use_sim_time:=true")

    answer = graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=4), 60.0)
    assert (answer.success, answer.episode) == (True, 4), answer.message
    first = wait_until(lambda: feedback and feedback[0], 60.0, "the first feedback")
    assert first.is_first
    assert gazebo.asked == ["remove/blocking", "create/blocking"]
    assert nanoseconds(first.header.stamp) > gazebo.created_ns["scene_1"], "frames of before do not show the scene"
    tip = poses[-1].pose.position
    assert (tip.x, tip.y, tip.z) == pytest.approx(scene.start, abs=0.02)
    frames = [graph.node.get_publishers_info_by_topic(f"/{topic}") for topic in (topics.TF, topics.TF_STATIC)]
    assert [[one.node_name for one in publishers] for publishers in frames] == [["gazebo_node"], ["gazebo_node"]]

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


@pytest.mark.long
def test_a_base_of_an_old_server_begins_when_all_is_done_and_never_in_a_world_that_is_too_slow(
    play: Callable[..., PlayedGazebo], start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from geometry_msgs.msg import TwistStamped

    from fosp_core import topics
    from fosp_core.ros import qos
    from fosp_core.ros.stamps import nanoseconds
    from fosp_msgs.msg import StepFeedback
    from fosp_msgs.srv import ResetEpisode

    gazebo = play("safe_goal", "base", blocking=False)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    commands = graph.node.create_publisher(TwistStamped, "cmd_vel", qos.COMMAND)
    node = start_node("fosp_sim.gazebo_node", *parameters("safe_goal", "sim_base"), "-p", "use_sim_time:=true")

    def reset(episode: int) -> Any:
        return graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=episode), 60.0)

    answer = reset(2)
    assert answer.success, answer.message
    first = wait_until(lambda: feedback and feedback[0], 60.0, "the first feedback")
    begun_ns = nanoseconds(first.header.stamp)
    assert gazebo.asked == ["remove", "set_pose", "create"]
    assert begun_ns > gazebo.created_ns["scene_1"]
    assert max(speed for _, speed in gazebo.twists) > 1.0, "the stand-in's odometry spikes as Gazebo's"
    assert max(speed for stamp, speed in gazebo.twists if stamp >= begun_ns) < 0.05, "and no episode has seen that"

    gazebo.factor = 0.3
    wait_until(lambda: "The robot stands" in node.log, 20.0, "the node to notice")
    command = TwistStamped()
    command.header.frame_id, command.twist.linear.x = "base_link", 0.3
    at, until = gazebo.base, gazebo.time_ns + 200_000_000
    wait_until(lambda: commands.publish(command) or gazebo.time_ns > until, 20.0, "a while of commands")
    assert gazebo.base == at, "it stands in a world that is too slow"
    answer = reset(3)
    assert not answer.success
    assert "of real time, and the safety monitor needs at least 0.5" in answer.message
    assert "Gazebo runs at 0." in answer.message


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


@pytest.mark.long
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
