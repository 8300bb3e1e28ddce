"""A person at a gamepad, scripted: drives the simulated arm through its scenes as a demonstrator would."""

from __future__ import annotations

from pathlib import Path

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Joy

from fosp_bringup.paths import teleop_path
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.specs import read_yaml
from fosp_msgs.msg import StepFeedback
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import DECISION_PERIOD
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import read_scenario
from fosp_sim.task.world import RobotState

PERIOD_S = 0.05
LET_GO_TICKS = 5
"""Ticks out of forty with the sticks released, as a robot that stopped requires before it moves again."""


class ScriptedGamepad:
    """joy_node with hands on it: presses start, holds the dead-man's button and the sticks, until it is closed."""

    def __init__(self, scenario: Path, robot: Path, domain_id: int) -> None:
        self._scenario, self._robot = read_scenario(scenario), read_robot(robot)
        layout = read_yaml(teleop_path("gamepad"))
        self._start, self._deadman = int(layout["buttons"]["start"]), int(layout["deadman"])
        self._sticks = [int(layout["axes"][axis.name]["axis"]) for axis in self._robot.action.axes]
        self._demonstrator: Demonstrator | None = None
        self._episode, self._running = -1, False
        self._steps, self._count = 0, 0
        self._position: tuple[float, float, float] | None = None
        self._client = GraphClient("joy_node", domain_id=domain_id)
        self._node = self._client.node
        self._joy = self._node.create_publisher(Joy, "joy", qos.STEP)
        self._node.create_subscription(PoseStamped, self._robot.pose_topic, self._on_pose, qos.SENSOR)
        self._node.create_subscription(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.STEP)
        self._node.create_timer(PERIOD_S, self._tick)
        self._client.spin_in_thread()

    def __enter__(self) -> ScriptedGamepad:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def _on_pose(self, message: PoseStamped) -> None:
        point = message.pose.position
        self._position = (point.x, point.y, point.z)

    def _on_feedback(self, message: StepFeedback) -> None:
        if message.episode != self._episode or message.is_first:
            self._episode = message.episode
            seed = self._scenario.seed + self._episode
            scene = draw_scene(self._scenario, self._episode)
            self._demonstrator = Demonstrator("mixed", scene, self._robot, seed)
            self._steps = 0
        self._running = not message.is_last

    def _tick(self) -> None:
        self._count = (self._count + 1) % 40
        message = Joy(axes=[0.0] * 8, buttons=[0] * 11)
        message.header.stamp = self._node.get_clock().now().to_msg()
        if not self._running:
            message.buttons[self._start] = int(self._count % 10 < 2)
        elif self._demonstrator is not None and self._position is not None:
            message.buttons[self._deadman] = 1
            if self._count >= LET_GO_TICKS:
                state = RobotState(self._position, 0.0, (), (), (0.0,) * 4)
                action = self._demonstrator.act(state, self._steps * DECISION_PERIOD)
                for stick, value in zip(self._sticks, action.tolist(), strict=True):
                    message.axes[stick] = float(value)
            self._steps += 1
        self._joy.publish(message)
