"""The table: each row a fault, what the safety monitor is to decide, and within how long the robot is to be told zero.

`timeout_s` is what the configuration grants before the fault counts as one (docs/safety.md); 150 ms come on top of it
for noticing and braking. A row without a stop is one that must not disturb the robot, or slow it down only.
"""

from __future__ import annotations

import array
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import effects
import pictures
from effects import Effect, broken_image, tampered
from graph_under_fault import VETO_LATCH_COUNT
from relay import changed, every_second, nothing, reversed_by, stamped, twice

from fosp_core import topics
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent

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
WATCH_S = 0.05
"""Period at which the monitor looks for other publishers of commands."""
SUPERVISOR_S = 0.15
"""The supervisor looks every 50 ms whether a process has died; a node looks every 100 ms whether it is to end."""

Graph = Literal["real time", "simulated time", "network namespace"]


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


def _actions(*actions: Iterable[float]) -> Callable[[ActionProposal], None]:
    """A proposal of these candidates in place of its own, the first one chosen."""

    def change(message: ActionProposal) -> None:
        message.candidates = [ActionCandidate(action=array.array("f", action)) for action in actions]
        message.chosen = 0

    return change


def _set(name: str, value: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        setattr(message, name, value)

    return change


def _nan_latent(message: Latent) -> None:
    message.deter[0] = math.nan


def _short_latent(message: Latent) -> None:
    message.deter = message.deter[:-1]


def _stop(name: str, reason: str | tuple[str, ...], effect: Effect, timeout_s: float, quick: bool = False) -> Fault:
    return Fault(name, "STOP", (reason,) if isinstance(reason, str) else reason, effect, timeout_s, quick=quick)


def _latch(
    name: str, reason: str | tuple[str, ...], effect: Effect, timeout_s: float = 0.0, quick: bool = False
) -> Fault:
    return Fault(name, "LATCH", (reason,) if isinstance(reason, str) else reason, effect, timeout_s, quick=quick)


def _harmless(name: str, effect: Effect) -> Fault:
    return Fault(name, "PASS", ("OK", "ORDER", "SLOW_DOWN"), effect, None)


def _picture(change: Callable[..., Any]) -> Effect:
    return tampered(topics.COLOR_IMAGE, lambda: pictures.shown(change))


_NO_PROPOSAL = ("DEADLINE", "STALE_LATENT", "STALE_IMAGE")
_IMAGE, _LATENT, _PROPOSAL = topics.COLOR_IMAGE, topics.LATENT, topics.PROPOSAL
_STATE, _POSE, _CLOCK = topics.JOINT_STATES, topics.TOOL_POSE, topics.CLOCK

PROCESSES = (
    _latch("sigkill policy_node, started anew", "NODE_RESTARTED", effects.killed("policy_node"), PROPOSAL_TIMEOUT_S),
    _latch("sigkill encoder_node, started anew", "NODE_RESTARTED", effects.killed("encoder_node"), PROPOSAL_TIMEOUT_S),
    _latch(
        "sigstop policy_node 1 s", "NODE_RESTARTED", effects.hung("policy_node", 1.0), PROPOSAL_TIMEOUT_S, quick=True
    ),
    _latch("sigstop encoder_node 1 s", "NODE_RESTARTED", effects.hung("encoder_node", 1.0), PROPOSAL_TIMEOUT_S),
    _stop("sigstop policy_node 0.3 s", _NO_PROPOSAL, effects.hung("policy_node", 0.3), PROPOSAL_TIMEOUT_S),
    _stop(
        "sigstop sim_node: robot and camera 0.3 s",
        (*_NO_PROPOSAL, "STALE_ROBOT_STATE"),
        effects.hung("sim_node", 0.3),
        PROPOSAL_TIMEOUT_S,
    ),
    _stop(
        "sigstop safety_monitor_node 0.15 s", "HELD_UP", effects.hung("safety_monitor_node", 0.15), COMMAND_TIMEOUT_S
    ),
    _harmless("sigstop lifecycle_manager 0.3 s", effects.hung("lifecycle_manager", 0.3)),
    _harmless("sigkill black_box_node", effects.killed("black_box_node")),
    _harmless("disk full", effects.full_disk("black_box_node")),
    Fault("cpu starvation: 6 busy processes", "ANY", (), effects.starved(6), None),
)

IMAGES = (
    _stop("images dropped", _NO_PROPOSAL, tampered(_IMAGE, lambda: nothing), PROPOSAL_TIMEOUT_S),
    _stop("images delayed by 300 ms", _NO_PROPOSAL, effects.delayed(_IMAGE, 0.3), PROPOSAL_TIMEOUT_S),
    _harmless("every second image dropped", tampered(_IMAGE, every_second)),
    _harmless("images twice", tampered(_IMAGE, lambda: twice)),
    _latch("images frozen, with new stamps", ("CAMERA", "IMAGE"), effects.frozen(_IMAGE), FROZEN_S, quick=True),
    _stop("images black", ("CAMERA", "IMAGE"), tampered(_IMAGE, lambda: broken_image("black")), PERIOD_S),
    _stop("images white", ("CAMERA", "IMAGE"), tampered(_IMAGE, lambda: broken_image("white")), PERIOD_S),
    _stop(
        "images too bright: surprise",
        ("CAMERA", "SURPRISE"),
        tampered(_IMAGE, lambda: broken_image("bright")),
        SURPRISE_S,
    ),
    _stop("images too small", _NO_PROPOSAL, tampered(_IMAGE, lambda: broken_image("small")), PROPOSAL_TIMEOUT_S),
    _stop("images of another size", _NO_PROPOSAL, tampered(_IMAGE, lambda: broken_image("large")), PROPOSAL_TIMEOUT_S),
    _stop(
        "images of an unknown encoding",
        _NO_PROPOSAL,
        tampered(_IMAGE, lambda: broken_image("encoding")),
        PROPOSAL_TIMEOUT_S,
    ),
    _stop("images cut off", _NO_PROPOSAL, tampered(_IMAGE, lambda: broken_image("cut")), PROPOSAL_TIMEOUT_S),
    _stop("images of swapped channels", "CAMERA", _picture(pictures.swapped), NOVEL_S, quick=True),
    _stop("images mirrored", "CAMERA", _picture(pictures.mirrored), NOVEL_S),
    _stop("images upside down", "CAMERA", _picture(pictures.upside_down), NOVEL_S),
    _stop("a hand on the lens, dark", "CAMERA", _picture(pictures.hand_dark), NOVEL_S),
    _stop("a hand on the lens, blurred", "CAMERA", _picture(pictures.hand_blurred), NOVEL_S),
    _stop("images half black", "CAMERA", _picture(pictures.half_black), NOVEL_S),
    _latch(
        "images of a second ago under new stamps",
        ("CAMERA", "IMAGE"),
        tampered(_IMAGE, lambda: pictures.old(1.0)),
        REPEATED_S,
    ),
    _latch(
        "the last three images again and again",
        ("CAMERA", "IMAGE"),
        tampered(_IMAGE, lambda: pictures.repeated(3)),
        REPEATED_S + 3 * PERIOD_S,
        quick=True,
    ),
    _latch(
        "images frozen but for a clock", ("CAMERA", "IMAGE"), tampered(_IMAGE, pictures.clock), REPEATED_S + PERIOD_S
    ),
    _stop("images stamped 1 s ago", _NO_PROPOSAL, tampered(_IMAGE, lambda: stamped(-1.0)), PROPOSAL_TIMEOUT_S),
    _stop("images stamped in 1 s", _NO_PROPOSAL, tampered(_IMAGE, lambda: stamped(1.0)), PROPOSAL_TIMEOUT_S),
    _stop("images with zero stamps", _NO_PROPOSAL, tampered(_IMAGE, lambda: stamped(None)), PROPOSAL_TIMEOUT_S),
)

LATENTS = (
    _stop("latents dropped", _NO_PROPOSAL, tampered(_LATENT, lambda: nothing), PROPOSAL_TIMEOUT_S),
    _stop("latents delayed by 300 ms", _NO_PROPOSAL, effects.delayed(_LATENT, 0.3), PROPOSAL_TIMEOUT_S),
    _latch("latents with NaN", "NOT_FINITE", tampered(_LATENT, lambda: changed(_nan_latent)), PERIOD_S),
    _latch("latents of another size", "WRONG_SHAPE", tampered(_LATENT, lambda: changed(_short_latent)), PERIOD_S),
    _latch(
        "latents of another model", "MODEL_ID", tampered(_LATENT, lambda: changed(_set("model_id", "other"))), PERIOD_S
    ),
    _harmless("latents twice", tampered(_LATENT, lambda: twice)),
)

PROPOSALS = (
    _stop("proposals dropped", "DEADLINE", tampered(_PROPOSAL, lambda: nothing), PROPOSAL_TIMEOUT_S, quick=True),
    _stop("proposals delayed by 300 ms", _NO_PROPOSAL, effects.delayed(_PROPOSAL, 0.3), PROPOSAL_TIMEOUT_S),
    _stop(
        "one proposal again and again",
        ("DEADLINE", "ORDER"),
        effects.frozen(_PROPOSAL, new_stamps=False),
        PROPOSAL_TIMEOUT_S,
    ),
    _stop(
        "proposals stamped in 1 s, without latents",
        _NO_PROPOSAL,
        tampered(_PROPOSAL, lambda: stamped(1.0)),
        PROPOSAL_TIMEOUT_S,
    ),
    _harmless("proposals twice", tampered(_PROPOSAL, lambda: twice)),
    _stop(
        "proposals four and four in the wrong order",
        ("DEADLINE", "ORDER"),
        tampered(_PROPOSAL, lambda: reversed_by(4)),
        PROPOSAL_TIMEOUT_S,
    ),
    _latch(
        "proposals with NaN",
        "NOT_FINITE",
        tampered(_PROPOSAL, lambda: changed(_actions([0.0, math.nan, 0.0]))),
        PERIOD_S,
        quick=True,
    ),
    _latch(
        "proposals with infinity",
        "NOT_FINITE",
        tampered(_PROPOSAL, lambda: changed(_actions([0.0, math.inf, 0.0]))),
        PERIOD_S,
    ),
    _stop(
        "proposals of 1e6: critic out of range",
        "CRITIC_RANGE",
        tampered(_PROPOSAL, lambda: changed(_actions([0.0, 1e6, 0.0]))),
        PERIOD_S,
    ),
    _latch("proposals without candidates", "WRONG_SHAPE", tampered(_PROPOSAL, lambda: changed(_actions())), PERIOD_S),
    _latch(
        "proposals of two axes", "WRONG_SHAPE", tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.5]))), PERIOD_S
    ),
    _latch(
        "proposals choose what is not there",
        "WRONG_SHAPE",
        tampered(_PROPOSAL, lambda: changed(_set("chosen", 99))),
        PERIOD_S,
    ),
    _latch(
        "proposals of another model",
        "MODEL_ID",
        tampered(_PROPOSAL, lambda: changed(_set("model_id", "other"))),
        PERIOD_S,
    ),
    Fault(
        "risky proposals, a safe candidate",
        "SUBSTITUTE",
        ("INFEASIBLE",),
        effects.briefly(tampered(_PROPOSAL, lambda: changed(_actions([0.9, 0.5, 0.0], [0.0, 0.5, 0.0]))), 0.5),
        None,
    ),
    Fault(
        "risky proposals, no safe candidate",
        "RECOVER",
        ("NO_FEASIBLE",),
        effects.briefly(tampered(_PROPOSAL, lambda: changed(_actions([0.9, 0.5, 0.0]))), 0.5),
        None,
    ),
    Fault(
        "proposals close to the risk allowed",
        "PASS",
        ("SLOW_DOWN",),
        tampered(_PROPOSAL, lambda: changed(_actions([0.45, 0.0, 0.0]))),
        None,
    ),
    Fault(
        "proposals of 1e6 where no critic minds: the limits hold",
        "PASS",
        ("OK",),
        tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.0, 1e6]))),
        None,
    ),
    _latch(
        "risky proposals in a row", "VETOES", tampered(_PROPOSAL, lambda: changed(_actions([0.9, 0.5, 0.0]))), VETO_S
    ),
)

ROBOT = (
    _stop("joint states dropped", "STALE_ROBOT_STATE", tampered(_STATE, lambda: nothing), STATE_TIMEOUT_S, quick=True),
    _stop("joint states delayed by 300 ms", "STALE_ROBOT_STATE", effects.delayed(_STATE, 0.3), STATE_TIMEOUT_S),
    _stop(
        "joint states stamped 1 s ago", "STALE_ROBOT_STATE", tampered(_STATE, lambda: stamped(-1.0)), STATE_TIMEOUT_S
    ),
    _stop("joint states stamped in 1 s", "STALE_ROBOT_STATE", tampered(_STATE, lambda: stamped(1.0)), STATE_TIMEOUT_S),
    _stop(
        "joint states with zero stamps", "STALE_ROBOT_STATE", tampered(_STATE, lambda: stamped(None)), STATE_TIMEOUT_S
    ),
    _stop(
        "joint states with NaN",
        "STALE_ROBOT_STATE",
        tampered(_STATE, lambda: changed(effects.nan_joints)),
        STATE_TIMEOUT_S,
    ),
    _stop("tool pose dropped", "STALE_ROBOT_STATE", tampered(_POSE, lambda: nothing), STATE_TIMEOUT_S),
    _stop(
        "tool pose in another frame",
        "STALE_ROBOT_STATE",
        tampered(_POSE, lambda: changed(effects.other_frame)),
        STATE_TIMEOUT_S,
    ),
    _stop(
        "tool pose with NaN", "STALE_ROBOT_STATE", tampered(_POSE, lambda: changed(effects.nan_pose)), STATE_TIMEOUT_S
    ),
    _latch("tool pose frozen, with new stamps", "NOT_FOLLOWING", effects.frozen(_POSE), 0.2, quick=True),
    Fault(
        "tool pose at the wall of the workspace",
        "PASS",
        ("OK", "SLOW_DOWN"),
        tampered(_POSE, lambda: changed(effects.at_the_wall)),
        0.0,
    ),
)

COMMAND = (
    _latch("emergency stop pressed", "ESTOP", effects.pressed(), quick=True),
    _latch("emergency stop silent", "ESTOP", effects.silent_estop(), ESTOP_TIMEOUT_S),
    _latch("emergency stop by service", "ESTOP", effects.estop_service()),
    _latch("a rogue publisher of commands", "FOREIGN_COMMAND", effects.rogue_publisher(), WATCH_S, quick=True),
    _latch("a second safety monitor", "FOREIGN_COMMAND", effects.second_monitor(), WATCH_S),
)

CLOCKS = (
    Fault(
        "simulated time stands still",
        "STOP",
        (*_NO_PROPOSAL, "STALE_ROBOT_STATE"),
        tampered(_CLOCK, lambda: nothing),
        PROPOSAL_TIMEOUT_S,
        "simulated time",
    ),
    Fault(
        "clock jumps back by 0.5 s",
        "STOP",
        ("CLOCK", "STALE_ROBOT_STATE", "STALE_IMAGE"),
        effects.clock_jump(-0.5),
        0.0,
        "simulated time",
    ),
    Fault(
        "clock jumps ahead by 0.5 s",
        "STOP",
        ("CLOCK", "STALE_ROBOT_STATE", "STALE_IMAGE"),
        effects.clock_jump(0.5),
        0.0,
        "simulated time",
    ),
)

NETWORK = (
    Fault(
        "network down for 0.5 s",
        "LATCH",
        ("ESTOP",),
        effects.network_down(0.5),
        PROPOSAL_TIMEOUT_S,
        "network namespace",
    ),
)
"""Nothing reaches anybody then, so the stop is timed by what the monitor tells of it afterwards; the emergency stop,
silent for longer than it may be, latches."""

ENDS = (
    Fault("sigkill lifecycle_manager: all goes down", "END", (), effects.ended("lifecycle_manager"), SUPERVISOR_S),
    Fault(
        "sigkill safety_monitor_node: the robot's watchdog",
        "END",
        (),
        effects.ended("safety_monitor_node"),
        COMMAND_TIMEOUT_S,
        "simulated time",
    ),
)
"""Each ends its graph, so it is the last one there."""

FAULTS: tuple[Fault, ...] = (
    *COMMAND,
    *PROPOSALS,
    *LATENTS,
    *IMAGES,
    *ROBOT,
    *PROCESSES,
    *CLOCKS,
    *NETWORK,
    *ENDS,
)
