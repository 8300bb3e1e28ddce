"""Faults of an arm whose joints and tool have limits: its joint states, its pose, and a motion to a limit."""

from __future__ import annotations

import math
from typing import Any

import effects
from effects import Effect, tampered
from fault import PERIOD_S, Fault, with_actions
from geometry_msgs.msg import PoseStamped
from relay import changed
from sensor_msgs.msg import JointState

from fosp_bringup.paths import robot_path
from fosp_core import topics
from fosp_core.robot.arm_limits import JointsConfig
from fosp_core.robot.extending import read_robot_content
from fosp_core.robot.urdf import product, quaternion_of

_SHIPPED = read_robot_content(robot_path("sim_arm").with_name("sim_arm.joints.yaml"))
ARM: dict[str, Any] = {
    "orientation_limit": _SHIPPED["orientation_limit"],
    "joints": {**_SHIPPED["joints"], "joint_limit_margins": {"joint4": 0.65}},
}
"""Keys of a robot file. The elbow reaches its margin where the tool is 0.36 m in front of the arm, in its workspace."""
_TIMEOUT_S = JointsConfig(tip_link="tool").timeout_s
_REACHES_S = 2.5
"""Time in which the arm reaches the margin of its elbow."""
_MOVES_S = 0.35
"""Time in which the arm moves by what pose and joint states may differ."""


def _arm(name: str, reason: str, effect: Effect, timeout_s: float) -> Fault:
    return Fault(name, "STOP", (reason,), effect, timeout_s, "arm")


def _said(change: Any) -> Effect:
    return tampered(topics.JOINT_STATES, lambda: changed(change))


def _in_another_order(message: JointState) -> None:
    message.name = message.name[::-1]


def _without_a_joint(message: JointState) -> None:
    message.name, message.position = message.name[:-1], message.position[:-1]
    message.velocity = message.velocity[:-1]


def _short(message: JointState) -> None:
    message.position = message.position[:-1]


def _in_degrees(message: JointState) -> None:
    for index, value in enumerate(message.position):
        message.position[index] = math.degrees(value)


def _tilted(message: PoseStamped) -> None:
    turned = message.pose.orientation
    tilt = quaternion_of(0.5, 0.0, 0.0)
    turned.x, turned.y, turned.z, turned.w = product(tilt, (turned.x, turned.y, turned.z, turned.w))


def _shifted(message: PoseStamped) -> None:
    message.pose.position.z += 0.04


ARMED = (
    _arm(
        "an arm driven towards the margin of its elbow",
        "JOINT_LIMIT",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([-1.0, 0.0, 0.0]))),
        _REACHES_S,
    ),
    _arm("joint states frozen while the arm moves", "JOINT_STATES", effects.frozen(topics.JOINT_STATES), _MOVES_S),
    _arm("names of joint states in another order", "JOINT_STATES", _said(_in_another_order), PERIOD_S),
    _arm("joint states in degrees", "JOINT_STATES", _said(_in_degrees), PERIOD_S),
    _arm("joint states without the last joint", "JOINT_STATES", _said(_without_a_joint), _TIMEOUT_S),
    _arm("joint states with fewer positions than names", "JOINT_STATES", _said(_short), PERIOD_S),
    _arm(
        "the measured pose is not where the joints are",
        "JOINT_STATES",
        tampered(topics.TOOL_POSE, lambda: changed(_shifted)),
        PERIOD_S,
    ),
    _arm(
        "the tool is tilted beyond its cone",
        "ORIENTATION_LIMIT",
        tampered(topics.TOOL_POSE, lambda: changed(_tilted)),
        PERIOD_S,
    ),
)
