"""Faults of the robot: what it measures, and how it moves."""

from __future__ import annotations

from collections.abc import Callable

import effects
import played_effects
from effects import Effect, tampered
from fault import MOTION_S, STATE_TIMEOUT_S, Fault, harmless, latch, stop, with_actions
from graph_under_fault import BASE_COMMAND
from graph_under_fault import COMMAND as ROBOT_COMMAND
from relay import changed, in_bursts, nothing, stamped

from fosp_core import topics

ROBOT = (
    stop(
        "joint states dropped",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: nothing),
        STATE_TIMEOUT_S,
        quick=True,
    ),
    stop(
        "joint states delayed by 300 ms",
        "STALE_ROBOT_STATE",
        effects.delayed(topics.JOINT_STATES, 0.3),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states stamped 1 s ago",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: stamped(-1.0)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states stamped in 1 s",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: stamped(1.0)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states with zero stamps",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: stamped(None)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states with NaN",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: changed(effects.nan_joints)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states with NaN in a velocity",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: changed(effects.nan_velocity)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "joint states with an infinite effort",
        "STALE_ROBOT_STATE",
        tampered(topics.JOINT_STATES, lambda: changed(effects.inf_effort)),
        STATE_TIMEOUT_S,
    ),
    stop("tool pose dropped", "STALE_ROBOT_STATE", tampered(topics.TOOL_POSE, lambda: nothing), STATE_TIMEOUT_S),
    stop(
        "tool pose in another frame",
        "STALE_ROBOT_STATE",
        tampered(topics.TOOL_POSE, lambda: changed(effects.other_frame)),
        STATE_TIMEOUT_S,
    ),
    stop(
        "tool pose with NaN",
        "STALE_ROBOT_STATE",
        tampered(topics.TOOL_POSE, lambda: changed(effects.nan_pose)),
        STATE_TIMEOUT_S,
    ),
    latch("tool pose frozen, with new stamps", "NOT_FOLLOWING", effects.frozen(topics.TOOL_POSE), 0.2, quick=True),
    Fault(
        "tool pose at the wall of the workspace",
        "PASS",
        ("OK", "SLOW_DOWN"),
        tampered(topics.TOOL_POSE, lambda: changed(effects.at_the_wall)),
        0.0,
    ),
)


def _played(name: str, motion: Callable[[float, float, float], tuple[float, float, float]], within_s: float) -> Fault:
    """A robot that makes another motion of its commands."""
    return latch(name, "MOTION", tampered(ROBOT_COMMAND, lambda: played_effects.obeying(motion)), within_s)


PLAYED = (
    latch(
        "robot goes the opposite way",
        "MOTION",
        tampered(ROBOT_COMMAND, lambda: played_effects.obeying(lambda x, y, z: (-x, -y, -z))),
        MOTION_S,
        quick=True,
    ),
    _played("robot with y for x and x for y", lambda x, y, z: (y, x, z), MOTION_S),
    _played("robot with z for y", lambda x, y, z: (x, z, y), MOTION_S),
    _played("robot turned by 90 degrees", lambda x, y, z: (-y, x, z), MOTION_S),
    _played("robot three times as fast", lambda x, y, z: (3 * x, 3 * y, 3 * z), MOTION_S),
    _played("robot at a quarter of its speed", lambda x, y, z: (x / 4, y / 4, z / 4), 0.6),
    _played("robot goes aside, too", lambda x, y, z: (x, y, z + 0.1), 0.6),
    latch(
        "robot stands, with noise of 10 um",
        "MOTION",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: played_effects.obeying(lambda x, y, z: (0.0, 0.0, 0.0))),
            tampered(topics.TOOL_POSE, lambda: changed(played_effects.trembling)),
        ),
        MOTION_S,
    ),
    latch(
        "robot moves although the policy tells it to stand",
        "MOTION",
        effects.together(
            tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.0, 0.0]))),
            tampered(ROBOT_COMMAND, lambda: played_effects.obeying(lambda x, y, z: (x, y, z + 0.05))),
        ),
        MOTION_S,
    ),
    latch(
        "robot moves although it is latched",
        "MOTION",
        effects.together(
            effects.pressed(), tampered(ROBOT_COMMAND, lambda: played_effects.obeying(lambda x, y, z: (x, y, z + 0.05)))
        ),
    ),
    latch(
        "robot 300 ms late, and told to go up",
        "MOTION",
        effects.together(
            effects.delayed(ROBOT_COMMAND, 0.3),
            tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.0, 0.9]))),
        ),
        MOTION_S,
    ),
    latch(
        "robot with a lag of 0.8 s, and told to go up",
        "MOTION",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: played_effects.lagging(0.8)),
            tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.0, 0.9]))),
        ),
        MOTION_S,
    ),
    harmless(
        "robot with a lag of 20 ms and noise of 10 um",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: played_effects.lagging(0.02)),
            tampered(topics.TOOL_POSE, lambda: changed(played_effects.trembling)),
        ),
    ),
    harmless(
        "joint states and tool poses in bursts of four",
        effects.together(
            tampered(topics.JOINT_STATES, lambda: in_bursts(4)),
            tampered(topics.TOOL_POSE, lambda: in_bursts(4)),
        ),
    ),
    latch(
        "tool pose outside of the workspace",
        "OUTSIDE_WORKSPACE",
        tampered(topics.TOOL_POSE, lambda: changed(effects.outside)),
    ),
)
"""The arm of this graph moves at 0.125 m/s, half of full speed."""


def _base(name: str, motion: Callable[[float, float], tuple[float, float]], within_s: float, *others: Effect) -> Fault:
    """A base that makes another motion of its commands."""
    played = tampered(BASE_COMMAND, lambda: played_effects.driving(motion))
    effect = effects.together(*others, played) if others else played
    return Fault(f"base {name}", "LATCH", ("MOTION",), effect, within_s, "base")


_STANDS = tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.0])))

BASE = (
    _base("drives backwards for forwards", lambda ahead, turn: (-ahead, turn), MOTION_S),
    _base("turns the wrong way", lambda ahead, turn: (ahead, -turn), 0.8),
    _base("drives as it should turn, and turns as it should drive", lambda ahead, turn: (turn, ahead), 0.8),
    _base("three times as fast", lambda ahead, turn: (3 * ahead, 3 * turn), MOTION_S),
    _base("stands", lambda ahead, turn: (0.0, 0.0), 0.8),
    _base("drives although the policy tells it to stand", lambda ahead, turn: (ahead + 0.1, turn), MOTION_S, _STANDS),
    _base("turns although it is latched", lambda ahead, turn: (ahead, turn + 0.3), 0.0, effects.pressed()),
    Fault(
        "base with an error of scale of a tenth",
        "PASS",
        ("OK", "SLOW_DOWN"),
        tampered(BASE_COMMAND, lambda: played_effects.driving(lambda ahead, turn: (0.9 * ahead, 1.1 * turn))),
        None,
        "base",
        harmless=True,
    ),
    Fault("odometry frozen, with new stamps", "LATCH", ("MOTION",), effects.frozen(topics.ODOMETRY), 0.8, "base"),
    Fault(
        "odometry dropped",
        "STOP",
        ("STALE_ROBOT_STATE",),
        tampered(topics.ODOMETRY, lambda: nothing),
        STATE_TIMEOUT_S,
        "base",
    ),
    *(
        Fault(
            f"odometry with NaN in its {what}",
            "STOP",
            ("STALE_ROBOT_STATE",),
            tampered(topics.ODOMETRY, lambda change=change: changed(change)),
            STATE_TIMEOUT_S,
            "base",
        )
        for what, change in (("twist", effects.nan_twist), ("orientation", effects.nan_orientation))
    ),
)
"""The base of this graph drives at 0.15 m/s and 0.3 rad/s, less than a third of full speed."""
