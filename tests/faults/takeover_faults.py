"""Faults of a person who takes the robot over from the policy, and of their device."""

from __future__ import annotations

import array
import math

import hands
import strangers
from effects import Effect, delayed, frozen, tampered
from fault import PROPOSAL_TIMEOUT_S, WATCH_S, Fault
from relay import changed, nothing

from fosp_core import topics
from fosp_msgs.msg import OperatorAction
from fosp_safety_monitor.parameters import MonitorParameters

OPERATOR_TIMEOUT_S = MonitorParameters().operator_timeout_s
DISCOVERED_S = 0.15
"""Time in which one node of the graph hears of another."""
DEVICE_TIMEOUT_S = 0.3
"""teleop_node tells that a device is silent after this time."""


def _operated(
    name: str, reason: str, effect: Effect, timeout_s: float | None = 0.0, decision: str = "STOP", quick: bool = False
) -> Fault:
    """Return a row on the graph whose policy shares the robot with a person at a gamepad, who drives when it begins."""
    return Fault(name, decision, (reason,), hands.taken(effect), timeout_s, "operated", quick)


def _not_a_number(message: OperatorAction) -> None:
    message.action[1] = math.nan


def _of_one_axis(message: OperatorAction) -> None:
    message.action = array.array("f", [0.5])


def _silent(name: str, effect: Effect, timeout_s: float = 0.0, quick: bool = False) -> Fault:
    return _operated(name, "OPERATOR_SILENT", effect, timeout_s, quick=quick)


OPERATED = (
    Fault("taken over", "PASS", ("TAKEN_OVER",), hands.taken(), None, "operated"),
    _operated(
        "proposals dropped while a person drives",
        "TAKEN_OVER",
        tampered(topics.PROPOSAL, lambda: nothing),
        None,
        "PASS",
    ),
    _operated("a person lets go", "TAKEN_OVER", hands.let_go(tampered(topics.PROPOSAL, lambda: nothing))),
    _operated(
        "a person lets go, and no proposal comes",
        "STALE_TOO_LONG",
        hands.let_go(tampered(topics.PROPOSAL, lambda: nothing)),
        PROPOSAL_TIMEOUT_S,
        "LATCH",
    ),
    _silent("the operator's messages stop", tampered(topics.OPERATOR, lambda: nothing), OPERATOR_TIMEOUT_S, quick=True),
    _silent("the operator's messages are late by 300 ms", delayed(topics.OPERATOR, 0.3), OPERATOR_TIMEOUT_S),
    _silent("the operator's messages under their old stamp", frozen(topics.OPERATOR, False), OPERATOR_TIMEOUT_S),
    _silent("the gamepad is pulled out while it drives", hands.gamepad("silent"), DEVICE_TIMEOUT_S),
    _silent("the gamepad hangs while it drives", hands.gamepad("hangs"), hands.REPEAT_S),
    _silent("the gamepad says NaN", hands.gamepad("nan")),
    _silent("the gamepad lacks an axis", hands.gamepad("short")),
    _silent("two gamepads", hands.second_gamepad(), DISCOVERED_S),
    _operated(
        "the operator's action with NaN",
        "NOT_FINITE",
        tampered(topics.OPERATOR, lambda: changed(_not_a_number)),
        0.0,
        "LATCH",
    ),
    _operated(
        "the operator's action of another size",
        "WRONG_SHAPE",
        tampered(topics.OPERATOR, lambda: changed(_of_one_axis)),
        0.0,
        "LATCH",
    ),
    _operated("a second source of operator actions", "FOREIGN_INPUT", strangers.second_operator(), WATCH_S, "LATCH"),
)
