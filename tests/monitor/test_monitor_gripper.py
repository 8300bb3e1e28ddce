"""A gripper behind a real safety_monitor_node: it is told what the verdicts say, and holds in every stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from monitored_chain import MOVES_UNASKED, ROBOT_FILE, Chain, decided, stands
from rclpy.action import ActionServer
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import SafetyVerdict

CLOSING, OPENING = [[0.3, 0.2, 0.0, -1.0]], [[0.3, 0.2, 0.0, 1.0]]
OPEN_M, RATE_M_S = 0.1, 0.2


class GripperChain(Chain):
    """The chain with a gripper that is open at first and goes at once where its driver is told."""

    def __init__(self, graph: Any, robot: RobotConfig, model_id: str) -> None:
        assert robot.gripper is not None
        self.gripper, self.at, self.gripper_lives = robot.gripper, OPEN_M, True
        self.told: list[float] = []
        """Positions that the driver was told, m."""
        self.felt = graph.node.create_publisher(JointState, robot.gripper.feedback_topic, qos.STEP)
        self.recorded = graph.listen(JointState, topics.GRIPPER, qos.RECORD)
        create = graph.node.create_subscription
        if robot.gripper.how == "action":
            from control_msgs.action import GripperCommand

            self.server = ActionServer(graph.node, GripperCommand, robot.gripper.topic, self.execute)
            self.result = GripperCommand.Result
        elif robot.gripper.how == "array":
            create(Float64MultiArray, robot.gripper.topic, lambda m: self.obey(m.data[0]), qos.RECORD)
        else:
            create(JointState, robot.gripper.topic, lambda m: self.obey(m.position[0]), qos.RECORD)
        super().__init__(graph, robot, model_id)
        self.actions = CLOSING

    def execute(self, goal: Any) -> Any:
        self.obey(goal.request.command.position)
        goal.succeed()
        return self.result(position=self.at, reached_goal=True)

    def obey(self, position: float) -> None:
        self.told.append(position)
        self.at = position

    def robot(self) -> None:
        super().robot()
        if self.gripper_lives:
            state = JointState(name=[self.gripper.joint], position=[self.at])
            state.header.stamp = self.node.get_clock().now().to_msg()
            self.felt.publish(state)


@pytest.mark.parametrize("how", ["action", "array", pytest.param("joint_state", marks=pytest.mark.long)])
def test_the_gripper_follows_verdicts_and_holds_in_every_stop(
    bring_up: Any, graph: Any, tmp_path: Path, wait_until: Any, how: str
) -> None:
    content = yaml.safe_load((ROBOT_FILE.parent / "sim_pick.yaml").read_text())
    content["gripper"] |= {"how": how}
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    robot = read_robot(file)
    manifest = write_tiny_bundle(tmp_path / "bundle", robot)
    bring_up(["-p", f"bundle:={tmp_path / 'bundle'}", "-p", f"robot:={file}", *MOVES_UNASKED])
    chain = GripperChain(graph, robot, manifest.id)
    wait_until(lambda: chain.told and chain.told[-1] < 0.8 * OPEN_M, 20.0, "a closing gripper")
    chain.policy_lives = False
    wait_until(lambda: stands(chain), 5.0, "standstill")
    _held(chain, wait_until)
    chain.policy_lives = True
    wait_until(lambda: chain.told[-1] < 0.01 * OPEN_M, 10.0, "a closed gripper")

    chain.gripper_lives = False
    wait_until(decided(chain, SafetyVerdict.STOP, SafetyVerdict.REASON_STALE_ROBOT_STATE), 5.0, "a stop")
    chain.actions = OPENING
    assert _held(chain, wait_until) == pytest.approx(0.0, abs=0.01 * OPEN_M)
    chain.gripper_lives = True
    wait_until(lambda: chain.told[-1] > 0.9 * OPEN_M, 10.0, "an open gripper")

    recorded = np.array([message.position[0] for message in chain.recorded])
    assert np.abs(np.diff(recorded)).max() <= RATE_M_S * 0.03 + 1e-6, "a tick that is late by two"
    verdict = chain.verdicts[-1]
    assert (len(verdict.action_in), len(verdict.action_out)) == (4, 4)


def _held(chain: GripperChain, wait_until: Any) -> float:
    """Return the position at which the gripper stays for half a second of commands."""
    first, begin_s = len(chain.commands), time.monotonic()
    before = chain.recorded[-1].position[0]
    wait_until(
        lambda: len(chain.commands) > first + 30 and time.monotonic() > begin_s + 0.5, 5.0, "half a second of commands"
    )
    assert {message.position[0] for message in chain.recorded[-30:]} == {before}
    assert chain.at == pytest.approx(before, abs=1e-3 * OPEN_M + 1e-9)
    return before
