"""One row of the table of faults, with the times that the configuration grants and what most rows have in common."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import people
from effects import Effect
from graph_under_fault import VETO_LATCH_COUNT

from fosp_msgs.msg import ActionCandidate, ActionProposal

PERIOD_S = 0.05

PROPOSAL_TIMEOUT_S = 0.1

STATE_TIMEOUT_S = 0.1

COMMAND_TIMEOUT_S = 0.1

ESTOP_TIMEOUT_S = 0.2

IMAGE_TIMEOUT_S = 0.2

FROZEN_S = 10 * PERIOD_S

SURPRISE_S = 12 * PERIOD_S

NOVEL_S = 4 * PERIOD_S
"""Three frames of five that the model does not know, and the one that was on its way."""

REPEATED_S = 7 * PERIOD_S
"""Four of six steps that show a frame again, twice in a row, and the one that was on its way."""

VETO_S = VETO_LATCH_COUNT * PERIOD_S

PACE_S = 20 * 0.075
"""20 decisions of a camera that gives 13 frames per second."""

MOTION_S = 0.4
"""Wrong motion is found within this time at full speed; the arm of these rows moves at half of it."""

WATCH_S = 0.05
"""Period at which the monitor looks for other publishers of commands."""

SWITCH_TIMEOUT_S = 0.2

SWITCH_REPEAT_S = people.REPEAT_S

READY_TIMEOUT_S = people.READY_TIMEOUT_S

FEEDBACK_TIMEOUT_S = 0.3

CONSOLE_TIMEOUT_S = 0.5
"""Silence of a console that ends the consent given at it."""
PAGE_TIMEOUT_S = 2.2
"""A page says every 0.2 s that it is there, and the console waits 2 s."""
FROZEN_FORCE_S = 1.0

SELF_TEST_S = 2.2
"""One network of a process is tested every 2 s."""

SELF_TEST_LIMIT_S = 15.0

SUPERVISOR_S = 0.15
"""The supervisor looks every 50 ms whether a process has died; a node looks every 100 ms whether it is to end."""

Graph = Literal[
    "real time", "simulated time", "network namespace", "consent", "base", "zones", "operated", "arm", "gripper", "cell"
]


@dataclass(frozen=True)
class Fault:
    """One row. `decision` and `reason` are those of fosp_msgs/SafetyVerdict; several reasons: any of them."""

    name: str
    decision: str
    reason: tuple[str, ...]
    effect: Effect
    timeout_s: float | None = 0.0
    """None: the robot must not be stopped."""
    graph: Graph = "real time"
    quick: bool = False
    """Part of `make test`, too."""
    ends_consent: bool = False
    """An operator has to engage anew: the robot must not go on when the fault is over."""
    harmless: bool = False
    """The robot must go on as if nothing had happened."""


NO_PROPOSAL = ("DEADLINE", "STALE_LATENT", "STALE_IMAGE")


def with_actions(*actions: Iterable[float]) -> Callable[[ActionProposal], None]:
    """A proposal of these candidates in place of its own, the first one chosen."""

    def change(message: ActionProposal) -> None:
        message.candidates = [ActionCandidate(action=array.array("f", action)) for action in actions]
        message.chosen = 0

    return change


def with_field(name: str, value: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        setattr(message, name, value)

    return change


def stop(name: str, reason: str | tuple[str, ...], effect: Effect, timeout_s: float, quick: bool = False) -> Fault:
    return Fault(name, "STOP", (reason,) if isinstance(reason, str) else reason, effect, timeout_s, quick=quick)


def latch(
    name: str, reason: str | tuple[str, ...], effect: Effect, timeout_s: float = 0.0, quick: bool = False
) -> Fault:
    return Fault(name, "LATCH", (reason,) if isinstance(reason, str) else reason, effect, timeout_s, quick=quick)


def harmless(name: str, effect: Effect) -> Fault:
    return Fault(name, "PASS", ("OK", "ORDER", "SLOW_DOWN"), effect, None, harmless=True)
