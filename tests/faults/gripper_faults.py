"""Faults of a gripper, of its driver and of what it is told, most of them while it closes."""

from __future__ import annotations

import math

import effects
import fingers
import hands
import strangers
from effects import Effect, tampered
from fault import NO_PROPOSAL, PERIOD_S, WATCH_S, Fault, with_actions
from graph_under_fault import POLICY_ACTION
from relay import changed, nothing
from sensor_msgs.msg import JointState

from fosp_core import topics
from fosp_core.robot.gripper import BEHIND, OPENS_WITHIN_S
from fosp_msgs.msg import OperatorAction
from fosp_safety_monitor.command.gripper_side import ANSWER_S, GOAL_PERIOD_S, LOOK_S

_GONE_S = ANSWER_S + GOAL_PERIOD_S
"""Time in which the monitor finds out that an action server has ended: by the discovery, or as no answer comes."""
_BEHIND_S = 0.5 * BEHIND * (fingers.OPEN - fingers.CLOSED) / fingers.MAX_RATE
"""Time until the setpoint of an opening gripper is so far ahead that the gripper should have moved."""


def _gripper(
    name: str,
    reason: str | tuple[str, ...],
    effect: Effect,
    timeout_s: float | None = PERIOD_S,
    decision: str = "STOP",
) -> Fault:
    """Return a row on the graph whose arm has a gripper, and a person at a gamepad beside the policy."""
    return Fault(name, decision, (reason,) if isinstance(reason, str) else reason, effect, timeout_s, "gripper")


def _closing(
    name: str,
    reason: str | tuple[str, ...],
    effect: Effect,
    timeout_s: float | None = PERIOD_S,
    decision: str = "STOP",
) -> Fault:
    """Return such a row, in which the gripper is closing when the fault begins."""
    return _gripper(name, reason, fingers.closing(effect), timeout_s, decision)


def _harmless(name: str, effect: Effect) -> Fault:
    return Fault(name, "PASS", ("OK", "ORDER", "SLOW_DOWN"), effect, None, "gripper", harmless=True)


def _second_position() -> Effect:
    def make(graph: object, stamp: object) -> JointState:
        state = JointState(name=[fingers.JOINT], position=[fingers.OPEN])
        state.header.stamp = stamp
        return state

    return strangers.second_source(JointState, fingers.FEEDBACK, make)


def _gripper_not_a_number(message: OperatorAction) -> None:
    message.action = [*message.action[:3], math.nan]


def _stale(name: str, effect: Effect) -> Fault:
    return _closing(name, "STALE_ROBOT_STATE", effect, fingers.TIMEOUT_S)


def _not_ready(name: str, effect: Effect, timeout_s: float = PERIOD_S) -> Fault:
    return _closing(name, "ROBOT_NOT_READY", effect, timeout_s)


GRIPPED = (
    # -- what is measured
    _stale("the position of the gripper is silent", fingers.gripper(change=None)),
    _stale("the position of the gripper is late by 400 ms", fingers.gripper(delay_s=0.4)),
    _stale("the position of the gripper under its old stamp", fingers.gripper(change=fingers.old())),
    _stale("the position of another joint", fingers.gripper(change=fingers.of_another_joint)),
    _not_ready("the position of the gripper is NaN", fingers.gripper(change=fingers.said_at(math.nan))),
    _not_ready("the position of the gripper in millimetres", fingers.gripper(change=fingers.said_at(60.0))),
    _not_ready("the gripper's joint has no position", fingers.gripper(change=fingers.without_position)),
    _closing("a second source of gripper positions", "FOREIGN_INPUT", _second_position(), WATCH_S, "LATCH"),
    _gripper(
        "the position of the gripper stays closed while it opens",
        "ROBOT_NOT_READY",
        fingers.frozen_closed(),
        _BEHIND_S + OPENS_WITHIN_S + PERIOD_S,
    ),
    _harmless(
        "the position of the gripper is frozen while it closes",
        fingers.closing(fingers.gripper(change=fingers.said_at(0.06), opens_now=True)),
    ),
    # -- its driver
    _not_ready("the gripper's driver ends", fingers.without_driver(), _GONE_S + LOOK_S),
    _not_ready("the gripper's driver refuses goals", fingers.gripper(accepts=False), GOAL_PERIOD_S + PERIOD_S),
    _not_ready("the gripper's driver hangs", fingers.hung_driver(), ANSWER_S + GOAL_PERIOD_S + PERIOD_S),
    # -- what it is told
    _closing(
        "a gripper command with NaN",
        "NOT_FINITE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([*POLICY_ACTION, math.nan]))),
        decision="LATCH",
    ),
    _closing(
        "a proposal without the gripper's value",
        "WRONG_SHAPE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions(POLICY_ACTION))),
        decision="LATCH",
    ),
    _harmless(
        "a gripper command beyond its end",
        fingers.closing(tampered(topics.PROPOSAL, lambda: changed(with_actions([*POLICY_ACTION, -7.0])))),
    ),
    _harmless(
        "a gripper command that jumps from open to closed",
        fingers.closing(fingers.jumping(tampered(topics.PROPOSAL, fingers.in_turns))),
    ),
    # -- a stop while it closes
    _closing(
        "the policy falls silent while the gripper closes", NO_PROPOSAL, tampered(topics.PROPOSAL, lambda: nothing), 0.1
    ),
    _closing("an emergency stop while the gripper closes", "ESTOP", effects.pressed(), 0.02, "LATCH"),
    # -- a person
    _closing("taken over while the gripper closes", "TAKEN_OVER", fingers.held_by_a_person(), None, "PASS"),
    _closing(
        "a person lets go of an arm with a half closed gripper",
        "TAKEN_OVER",
        hands.taken(hands.let_go(tampered(topics.PROPOSAL, lambda: nothing))),
    ),
    _closing(
        "the operator's gripper value is NaN",
        "NOT_FINITE",
        hands.taken(tampered(topics.OPERATOR, lambda: changed(_gripper_not_a_number))),
        decision="LATCH",
    ),
)
