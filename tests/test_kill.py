"""SIGKILL to any process of the running stack, in the middle of a motion: the robot is told to stop within 200 ms."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_bringup.stack import Stack, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_core.robot.config import read_robot

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
STOP_LIMIT_S = 0.2
"""Time, s, after which the commanded velocity is zero."""
SERVO_LAG_S = 0.1
"""Lag, s, with which the arm follows the commanded velocity."""
NODES = ("sim_node", "encoder_node", "policy_node", "safety_monitor_node", "lifecycle_manager")
RECORDER = "recorder_node"


class Arm:
    """The simulated arm as seen from outside: commanded speed, m/s, and speed of its tool, by stamp, s."""

    def __init__(self, graph: Any) -> None:
        from geometry_msgs.msg import PoseStamped, TwistStamped

        from fosp_core.ros import qos

        self._commands = graph.listen(TwistStamped, "arm/twist_command", qos.COMMAND_HISTORY)
        self._poses = graph.listen(PoseStamped, "tool_pose", qos.COMMAND_HISTORY)

    def commands(self) -> np.ndarray:
        """(N, 2) float64: stamp, speed."""
        return np.array(
            [
                (stamp(m), np.linalg.norm([m.twist.linear.x, m.twist.linear.y, m.twist.linear.z]))
                for m in list(self._commands)
            ]
        ).reshape(-1, 2)

    def motion(self) -> np.ndarray:
        """(N, 2) float64: stamp, speed of the tool over the last 10 ms."""
        poses = np.array(
            [(stamp(m), m.pose.position.x, m.pose.position.y, m.pose.position.z) for m in list(self._poses)]
        ).reshape(-1, 4)
        step = np.diff(poses, axis=0)
        return np.column_stack((poses[1:, 0], np.linalg.norm(step[:, 1:], axis=1) / step[:, 0]))

    def moving(self) -> bool:
        """Return whether the arm was told to move for a quarter of a second."""
        commands = self.commands()
        return len(commands) > 25 and bool((commands[-25:, 1] > 0.05).all())


def stamp(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


@pytest.fixture
def arm_stack(tmp_path: Path) -> Stack:
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT), policy_action=[0.0, 0.6, 0.0])
    options = StackOptions(
        bundle=tmp_path / "bundle",
        simulator="mujoco",
        scenario="safe_reach",
        recorder=tmp_path / "bags",
        auto_reset=False,
    )
    return stack(options)


@pytest.fixture
def supervisor(ros_environment: Any, arm_stack: Stack) -> Iterator[Supervisor]:
    with Supervisor(arm_stack, colour=False) as running:
        yield running


def start_episode(graph: Any, arm: Arm, wait_until: Callable[..., Any]) -> None:
    from std_srvs.srv import Trigger

    from fosp_core import topics
    from fosp_msgs.srv import ResetEpisode

    def active() -> bool:
        return bool(graph.call(Trigger, "lifecycle_manager/is_active", Trigger.Request(), 30.0).success)

    wait_until(active, timeout_s=60.0, what="an active graph")
    assert graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=0)).success
    wait_until(arm.moving, timeout_s=20.0, what="a moving arm")


@pytest.mark.parametrize(
    "name",
    [pytest.param(node, marks=pytest.mark.long) if node in ("encoder_node", "policy_node") else node for node in NODES],
)
def test_the_commanded_velocity_is_zero_200_ms_after_any_process_was_killed(
    name: str, supervisor: Supervisor, graph: Any, wait_until: Callable[..., Any]
) -> None:
    arm, robot = Arm(graph), read_robot(ROBOT)
    start_episode(graph, arm, wait_until)
    killed_s = time.time()
    os.kill(supervisor.pid(name), signal.SIGKILL)
    wait_until(lambda: not supervisor.alive, what="the end of the stack")
    assert supervisor.died == f"{name} ended with SIGKILL"
    assert supervisor.stop() == 1
    commands, motion = arm.commands(), arm.motion()
    to_move = commands[commands[:, 1] > 0.0][-1]
    zero_s = to_move[0]
    if name == "safety_monitor_node":  # nobody says zero: the arm's own watchdog brakes
        zero_s += robot.command_timeout_s + to_move[1] / robot.limits["linear.y"].deceleration
    still_s = motion[motion[:, 1] > 5e-3][-1, 0]
    print(f"{name}: zero after {(zero_s - killed_s) * 1e3:.0f} ms, still after {(still_s - killed_s) * 1e3:.0f} ms")
    assert zero_s < killed_s + STOP_LIMIT_S
    assert still_s < killed_s + STOP_LIMIT_S + SERVO_LAG_S


def test_the_robot_goes_on_when_the_recorder_was_killed_and_the_recorder_comes_back(
    supervisor: Supervisor, graph: Any, wait_until: Callable[..., Any]
) -> None:
    from lifecycle_msgs.msg import State

    from fosp_core import topics
    from fosp_core.ros import qos
    from fosp_msgs.msg import Heartbeat, SafetyVerdict

    arm = Arm(graph)
    beats = graph.listen(Heartbeat, topics.HEARTBEAT, qos.STEP)
    verdicts = graph.listen(SafetyVerdict, topics.VERDICT, qos.STEP)
    start_episode(graph, arm, wait_until)
    killed = supervisor.pid(RECORDER)
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        newest = [beat for beat in beats if beat.node == f"/{RECORDER}"][-1]
        return newest.pid != killed and newest.state == State.PRIMARY_STATE_ACTIVE

    wait_until(is_back, timeout_s=30.0, what="an active recorder")
    assert supervisor.alive, supervisor.died
    assert not [verdict.reason_text for verdict in verdicts if verdict.decision == SafetyVerdict.LATCH]


def test_the_stack_of_the_test_has_every_kind_of_process(arm_stack: Stack) -> None:
    assert {process.name for process in arm_stack.processes} == {*NODES, RECORDER}
