"""A robot, an encoder and a policy played by the test, in front of a real safety_monitor_node."""

from __future__ import annotations

import array
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from tiny_bundle import DETER, STOCH

from fosp_core import topics
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.command_message import command_message_type
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, SafetyVerdict

MODULE = "fosp_safety_monitor.safety_monitor_node"
NODE = "/safety_monitor_node"
ROBOT_FILE = Path(__file__).resolve().parents[1] / "config" / "robots" / "sim_arm.yaml"
MOVES_UNASKED = ["-p", "engage:=by_itself", "-p", "episodes:=not_used"]
"""Arguments of a monitor that needs no consent: what it does with the inputs alone is under test."""
FORWARD = [0.3, 0.2, 0.0]
DANGER = [0.9, 0.0, 0.0]
BRAKING_STEP = 6.0 * 0.03
"""m/s: what the deceleration limit allows in a tick that is late by two."""
TREADMILL_M = 0.05
"""Distance from its start at which the robot jumps back there, as a simulated one does for an episode."""


class Chain:
    """Stands for the robot, the encoder and the policy: joint states and poses at 100 Hz, decisions at 20 Hz."""

    def __init__(self, graph: Any, robot: RobotConfig, model_id: str) -> None:
        self.node = graph.node
        self.model_id = model_id
        self.actions: list[list[float]] = [FORWARD]
        self.robot_lives = True
        self.encoder_lives = True
        self.policy_lives = True
        self.pose = Pose(position=Point(x=0.5, z=0.2))
        self.timeout_s = robot.command_timeout_s
        self.moved_s, self.heard = time.monotonic(), (0, 0.0)
        self.pose_noise_m = 1e-9
        """No two measured poses are the same to the last bit; 0: they are."""
        self.obeys = True
        """The robot does as it was told, and one that takes target poses is where it was told to be."""
        self.step = 0
        create = self.node.create_publisher
        self.states = create(JointState, robot.state_topic, qos.STEP)
        self.poses = create(PoseStamped, robot.pose_topic, qos.STEP)
        self.latents = create(Latent, topics.LATENT, qos.STEP)
        self.proposals = create(ActionProposal, topics.PROPOSAL, qos.STEP)
        self.frame_id = robot.action.frame_id
        self.commands = graph.listen(command_message_type(robot), robot.command_topic, qos.RECORD)
        self.verdicts = graph.listen(SafetyVerdict, topics.VERDICT, qos.RECORD)
        self.diagnostics = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.RECORD)
        self.node.create_timer(0.01, self.robot)
        self.node.create_timer(0.05, self.decide)

    def robot(self) -> None:
        if not self.robot_lives:
            return
        state, pose = JointState(name=["joint"], position=[0.0]), PoseStamped()
        state.header.stamp = pose.header.stamp = self.node.get_clock().now().to_msg()
        pose.header.frame_id = self.frame_id
        if self.obeys and self.commands:
            self.move(self.commands[-1])
        self.pose_noise_m = -self.pose_noise_m
        at = self.pose.position
        pose.pose = Pose(position=Point(x=at.x + self.pose_noise_m, y=at.y, z=at.z), orientation=self.pose.orientation)
        self.states.publish(state)
        self.poses.publish(pose)

    def move(self, command: Any) -> None:
        """Be where a target pose says, or go on at the speed of a twist that is not too old."""
        now_s = time.monotonic()
        elapsed_s, self.moved_s = min(now_s - self.moved_s, self.timeout_s), now_s
        if self.heard[0] != len(self.commands):
            self.heard = len(self.commands), now_s
        if isinstance(command, PoseStamped):
            self.pose = command.pose
            return
        if now_s - self.heard[1] > self.timeout_s:
            return
        at, (vx, vy, vz) = self.pose.position, components(command)
        at.x, at.y, at.z = at.x + elapsed_s * vx, at.y + elapsed_s * vy, at.z + elapsed_s * vz
        if TREADMILL_M < math.dist((at.x, at.y, at.z), (0.5, 0.0, 0.2)) < 2 * TREADMILL_M:
            at.x, at.y, at.z = 0.5, 0.0, 0.2

    def decide(self) -> None:
        latent = Latent(
            step=self.step,
            model_id=self.model_id,
            deter=array.array("f", [0.25] * (DETER - 1) + [1e-3 * self.step]),
            stoch=array.array("f", [0.0] * STOCH),
            surprise=0.1,
            contrast=0.2,
        )
        latent.header.stamp = self.node.get_clock().now().to_msg()
        latent.header.frame_id = "camera"
        if self.encoder_lives:
            self.latents.publish(latent)
        if self.policy_lives:
            candidates = [ActionCandidate(action=array.array("f", action)) for action in self.actions]
            proposal = ActionProposal(header=latent.header, step=self.step, model_id=self.model_id)
            proposal.candidates = candidates
            self.proposals.publish(proposal)
        self.step += 1


def components(command: Any) -> list[float]:
    linear = (command.twist if isinstance(command, TwistStamped) else command).linear
    return [linear.x, linear.y, linear.z]


def moves(chain: Chain) -> bool:
    return bool(chain.commands) and components(chain.commands[-1]) == pytest.approx([0.075, 0.05, 0.0])


def stands(chain: Chain) -> bool:
    return bool(chain.commands) and components(chain.commands[-1]) == [0.0, 0.0, 0.0]


def decided(chain: Chain, decision: int, reason: int) -> Callable[[], Any]:
    """Return a condition for wait_until, which then returns the verdict: on a stalled machine the next may differ."""

    def newest() -> Any:
        verdict = chain.verdicts[-1] if chain.verdicts else None
        return verdict if verdict and (verdict.decision, verdict.reason) == (decision, reason) else None

    return newest


def reset(graph: Any, wait_until: Callable[..., Any]) -> None:
    """Call ~/reset until it is granted: every check must have held for release_s."""
    wait_until(lambda: graph.call(Trigger, f"{NODE}/reset", Trigger.Request()).success, 5.0, "a granted reset")


def braking_was_smooth(commands: list[Any]) -> bool:
    speeds = np.array([components(command) for command in commands])
    return bool((np.abs(np.diff(speeds, axis=0)) <= BRAKING_STEP).all())
