"""feedback_node over real DDS, on messages of every kind that it reads."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped, WrenchStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, JointState, Joy, LaserScan
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_depth
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import StepFeedback
from fosp_msgs.srv import ResetEpisode

CONFIG = Path(__file__).parents[1] / "config"
ROBOT = CONFIG / "robots" / "sim_arm.yaml"
RULES: list[dict[str, Any]] = [
    {"kind": "goal", "topic": "tool_pose", "goal": [0.5, 0.0, 0.2], "within_m": 0.03, "success": True},
    {"kind": "effort", "topic": "joint_states", "above": 10.0, "cost": 1.0},
    {"kind": "wrench", "topic": "wrench", "force_n": 15.0, "cost": 2.0},
    {"kind": "depth", "topic": topics.DEPTH_IMAGE, "closer_m": 0.15, "cost": 3.0},
    {"kind": "scan", "topic": "scan", "closer_m": 0.2, "cost": 4.0},
    {"kind": "bumper", "topic": "bumper", "cost": 5.0},
    {"kind": "button", "button": 1, "cost": 6.0},
]
"""Each with a cost of its own."""


class Robot:
    """Everything that the rules read, at 40 Hz; nothing is near, nothing is touched."""

    def __init__(self, graph: Any) -> None:
        self._node = graph.node
        self.info, self.pose, self.state, self.wrench = CameraInfo(), PoseStamped(), JointState(), WrenchStamped()
        self.depth, self.scan, self.bumper, self.joy = Image(), LaserScan(range_min=0.1), Bool(), Joy(buttons=[0, 0])
        self.odometry = Odometry()
        self.pose.pose.position.x = 0.3
        self.state.name, self.state.effort = ["elbow"], [1.0]
        fill_depth(self.depth, np.full((8, 8), 700, np.uint16))
        self.scan.ranges = array.array("f", [1.0, 2.0])
        names = ("camera/color/camera_info", "tool_pose", "odom", "joint_states", "wrench", topics.DEPTH_IMAGE, "scan")
        messages = (
            *(self.info, self.pose, self.odometry, self.state, self.wrench),
            *(self.depth, self.scan, self.bumper, self.joy),
        )
        self._publishers = [
            (self._node.create_publisher(type(message), name, qos.STEP), message)
            for name, message in zip((*names, "bumper", "joy"), messages, strict=True)
        ]
        self._node.create_timer(0.025, self._publish)

    def _publish(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        for publisher, message in self._publishers:
            if hasattr(message, "header"):
                message.header.stamp = stamp
            publisher.publish(message)


@pytest.fixture
def start_feedback(start_node: Callable[..., Any], graph: Any, tmp_path: Path) -> Callable[..., Any]:
    def start(rules: list[dict[str, Any]] | Path, robot: Path = ROBOT) -> Any:
        path = rules if isinstance(rules, Path) else tmp_path / "rules.yaml"
        if not isinstance(rules, Path):
            path.write_text(yaml.safe_dump({"time_limit_s": 60.0, "rules": rules}))
        return start_node("fosp_recording.feedback_node", "-p", f"rules:={path}", "-p", f"robot:={robot}")

    return start


def activate(node: Any, graph: Any) -> None:
    assert graph.transition("feedback_node", Transition.TRANSITION_CONFIGURE), node.log
    assert graph.transition("feedback_node", Transition.TRANSITION_ACTIVATE), node.log


def begin_episode(graph: Any, wait_until: Callable[..., Any]) -> None:
    """The next one; it is refused until every topic has been heard."""
    request = ResetEpisode.Request(episode=ResetEpisode.Request.EPISODE_NEXT)
    wait_until(lambda: graph.call(ResetEpisode, topics.RESET_EPISODE, request).success, what="an episode")


def test_what_the_robot_measures_becomes_cost_success_and_the_end_of_the_episode(
    start_feedback: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    robot = Robot(graph)
    node = start_feedback(RULES)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    activate(node, graph)
    begin_episode(graph, wait_until)
    wait_until(lambda: len(feedback) > 5, what="feedback")
    assert (feedback[0].is_first, feedback[0].episode) == (True, 0)
    assert [message.is_first for message in feedback[1:5]] == [False] * 4
    assert feedback[4].distance == pytest.approx(0.2828, abs=1e-3)
    assert {message.cost for message in feedback} == {0.0}

    def provoke(cost: float, change: Callable[[], None], undo: Callable[[], None]) -> None:
        change()
        wait_until(lambda: feedback[-1].cost == cost, what=f"cost {cost}")
        undo()
        wait_until(lambda: feedback[-1].cost == 0.0, what="no cost any more")

    def effort(value: float) -> None:
        robot.state.effort = [value]

    def depth(value: int) -> None:
        fill_depth(robot.depth, np.full((8, 8), value, np.uint16))

    def scan(value: float) -> None:
        robot.scan.ranges = array.array("f", [value, 2.0])

    def press(index: int) -> None:
        robot.joy.buttons = [int(i == index) for i in range(2)]

    provoke(1.0, lambda: effort(-11.0), lambda: effort(1.0))
    provoke(
        2.0, lambda: setattr(robot.wrench.wrench.force, "z", 20.0), lambda: setattr(robot.wrench.wrench.force, "z", 0.0)
    )
    provoke(3.0, lambda: depth(100), lambda: depth(700))
    provoke(4.0, lambda: scan(0.15), lambda: scan(1.0))
    provoke(5.0, lambda: setattr(robot.bumper, "data", True), lambda: setattr(robot.bumper, "data", False))
    provoke(6.0, lambda: press(1), lambda: press(-1))

    robot.pose.pose.position.x, robot.pose.pose.position.z = 0.5, 0.2
    wait_until(lambda: feedback[-1].is_last, what="the end of the episode")
    assert (feedback[-1].success, feedback[-1].terminal) == (True, True)
    assert not graph.call(Trigger, "feedback_node/stop", Trigger.Request()).success
    robot.pose.pose.position.x = 0.3
    begin_episode(graph, wait_until)
    wait_until(lambda: feedback[-1].episode == 1, what="its feedback")
    assert graph.call(Trigger, "feedback_node/stop", Trigger.Request()).success
    wait_until(lambda: feedback[-1].is_last, what="its end")
    assert not feedback[-1].terminal
    assert node.stop() == 0


def test_a_base_is_rewarded_for_its_way_by_odometry_and_ends_at_the_goal_of_the_shipped_rules(
    start_feedback: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    robot = Robot(graph)
    rules = CONFIG / "feedback" / "base_goal.yaml"
    values = yaml.safe_load(rules.read_text())
    goal = values["rules"][0]
    node = start_feedback(rules, CONFIG / "robots" / "diff_drive.yaml")
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    activate(node, graph)
    begin_episode(graph, wait_until)
    wait_until(lambda: len(feedback) > 5, what="feedback")
    assert feedback[-1].distance == pytest.approx(2.0)
    assert max(message.reward for message in feedback) <= 0.0, "it stands, and time costs"

    robot.odometry.pose.pose.position.x = 1.0
    wait_until(lambda: feedback[-1].distance == pytest.approx(1.0), what="the base half way")
    way = list(feedback)
    took_s = seconds(way[-1].header.stamp) - seconds(way[0].header.stamp)
    expected = goal["progress_reward"] * 1.0 - values["time_penalty"] * took_s
    assert sum(message.reward for message in way) == pytest.approx(expected, abs=1e-3)

    robot.odometry.pose.pose.position.x = goal["goal"][0] - goal["within_m"] / 2
    wait_until(lambda: feedback[-1].is_last, what="the end of the episode")
    assert (feedback[-1].success, feedback[-1].terminal, feedback[-1].cost) == (True, True, 0.0)
    assert feedback[-1].reward > goal["reward"], "for the goal, and for the rest of the way"

    robot.odometry.pose.pose.position.x = 0.0
    begin_episode(graph, wait_until)
    wait_until(lambda: feedback[-1].episode == 1, what="its feedback")
    assert node.stop() == 0


def test_wrong_rules_fail_the_configuration_in_one_line(start_feedback: Callable[..., Any], graph: Any) -> None:
    node = start_feedback([{"kind": "scan", "topic": "scan", "closer_m": -1.0, "cost": 1.0}])
    assert not graph.transition("feedback_node", Transition.TRANSITION_CONFIGURE)
    assert "closer_m" in node.log
    assert node.log.count("\n") == 1
