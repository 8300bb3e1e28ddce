"""The table: each row a fault, what the safety monitor is to decide, and within how long the robot is to be told zero.

`timeout_s` is what the configuration grants before the fault counts as one (docs/safety.md); 150 ms come on top of it
for noticing and braking. A row without a stop is one that must not disturb the robot, or slow it down only.
"""

from __future__ import annotations

import array
import math
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import consent_effects
import effects
import judge_effects
import people
import pictures
import strangers
from effects import Effect, broken_image, tampered
from graph_under_fault import BASE_COMMAND, VETO_LATCH_COUNT
from graph_under_fault import COMMAND as ROBOT_COMMAND
from relay import changed, every_second, nothing, reversed_by, stamped, twice

from fosp_core import topics
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, StepFeedback

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
FROZEN_FORCE_S = 1.0
SELF_TEST_S = 2.2
"""One network of a process is tested every 2 s."""
SELF_TEST_LIMIT_S = 15.0
SUPERVISOR_S = 0.15
"""The supervisor looks every 50 ms whether a process has died; a node looks every 100 ms whether it is to end."""

Graph = Literal["real time", "simulated time", "network namespace", "consent", "base"]


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
    _stop("a camera of 13 Hz", _NO_PROPOSAL, tampered(_IMAGE, effects.every_third), PACE_S),
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
    _latch("latents frozen under new steps", "STALE_LATENT", tampered(_LATENT, effects.frozen_latents), FROZEN_S),
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
    _harmless("each proposal 20 times at once", tampered(_PROPOSAL, lambda: lambda message: (message,) * 20)),
    _harmless("each decision three times at once", effects.multiplied((_LATENT, _PROPOSAL), 3)),
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
    _stop(
        "joint states with NaN in a velocity",
        "STALE_ROBOT_STATE",
        tampered(_STATE, lambda: changed(effects.nan_velocity)),
        STATE_TIMEOUT_S,
    ),
    _stop(
        "joint states with an infinite effort",
        "STALE_ROBOT_STATE",
        tampered(_STATE, lambda: changed(effects.inf_effort)),
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


def _played(name: str, motion: Callable[[float, float, float], tuple[float, float, float]], within_s: float) -> Fault:
    """A robot that makes another motion of its commands."""
    return _latch(name, "MOTION", tampered(ROBOT_COMMAND, lambda: effects.obeying(motion)), within_s)


PLAYED = (
    _latch(
        "robot goes the opposite way",
        "MOTION",
        tampered(ROBOT_COMMAND, lambda: effects.obeying(lambda x, y, z: (-x, -y, -z))),
        MOTION_S,
        quick=True,
    ),
    _played("robot with y for x and x for y", lambda x, y, z: (y, x, z), MOTION_S),
    _played("robot with z for y", lambda x, y, z: (x, z, y), MOTION_S),
    _played("robot turned by 90 degrees", lambda x, y, z: (-y, x, z), MOTION_S),
    _played("robot three times as fast", lambda x, y, z: (3 * x, 3 * y, 3 * z), MOTION_S),
    _played("robot at a quarter of its speed", lambda x, y, z: (x / 4, y / 4, z / 4), 0.6),
    _played("robot goes aside, too", lambda x, y, z: (x, y, z + 0.1), 0.6),
    _latch(
        "robot stands, with noise of 10 um",
        "MOTION",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: effects.obeying(lambda x, y, z: (0.0, 0.0, 0.0))),
            tampered(_POSE, lambda: changed(effects.trembling)),
        ),
        MOTION_S,
    ),
    _latch(
        "robot moves although the policy tells it to stand",
        "MOTION",
        effects.together(
            tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.0, 0.0]))),
            tampered(ROBOT_COMMAND, lambda: effects.obeying(lambda x, y, z: (x, y, z + 0.05))),
        ),
        MOTION_S,
    ),
    _latch(
        "robot moves although it is latched",
        "MOTION",
        effects.together(
            effects.pressed(), tampered(ROBOT_COMMAND, lambda: effects.obeying(lambda x, y, z: (x, y, z + 0.05)))
        ),
    ),
    _latch(
        "robot 300 ms late, and told to go up",
        "MOTION",
        effects.together(
            effects.delayed(ROBOT_COMMAND, 0.3), tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.0, 0.9])))
        ),
        MOTION_S,
    ),
    _latch(
        "robot with a lag of 0.8 s, and told to go up",
        "MOTION",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: effects.lagging(0.8)),
            tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.0, 0.9]))),
        ),
        MOTION_S,
    ),
    _harmless(
        "robot with a lag of 20 ms and noise of 10 um",
        effects.together(
            tampered(ROBOT_COMMAND, lambda: effects.lagging(0.02)), tampered(_POSE, lambda: changed(effects.trembling))
        ),
    ),
    _latch(
        "tool pose outside of the workspace", "OUTSIDE_WORKSPACE", tampered(_POSE, lambda: changed(effects.outside))
    ),
)
"""The arm of this graph moves at 0.125 m/s, half of full speed."""


def _base(name: str, motion: Callable[[float, float], tuple[float, float]], within_s: float, *others: Effect) -> Fault:
    """A base that makes another motion of its commands."""
    played = tampered(BASE_COMMAND, lambda: effects.driving(motion))
    effect = effects.together(*others, played) if others else played
    return Fault(f"base {name}", "LATCH", ("MOTION",), effect, within_s, "base")


_STANDS = tampered(_PROPOSAL, lambda: changed(_actions([0.0, 0.0])))
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
        tampered(BASE_COMMAND, lambda: effects.driving(lambda ahead, turn: (0.9 * ahead, 1.1 * turn))),
        None,
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

COMMAND = (
    _latch("emergency stop pressed", "ESTOP", effects.pressed(), quick=True),
    _latch("emergency stop silent", "ESTOP", effects.silent_estop(), ESTOP_TIMEOUT_S),
    _latch("emergency stop by service", "ESTOP", effects.estop_service()),
    _latch("a rogue publisher of commands", "FOREIGN_COMMAND", effects.rogue_publisher(), WATCH_S, quick=True),
    _latch("a second safety monitor", "FOREIGN_COMMAND", effects.second_monitor(), WATCH_S),
)

_FEEDBACK = topics.FEEDBACK


def _asked(
    name: str,
    reason: str,
    effect: Effect,
    timeout_s: float = 0.0,
    decision: str = "STOP",
    ends_consent: bool = True,
    quick: bool = False,
) -> Fault:
    """Return a row on the graph whose robot moves only when a person, the episode and its controller consent."""
    return Fault(name, decision, (reason,), effect, timeout_s, "consent", quick, ends_consent)


def _ending(message: StepFeedback) -> None:
    message.is_last = True


def _violating(message: StepFeedback) -> None:
    message.is_last, message.cost = True, 1.0


CONSENT = (
    _asked("disengaged in motion", "NOT_ENGAGED", consent_effects.disengaged(), quick=True),
    _asked("enabling switch released", "NOT_ENGAGED", consent_effects.switch("released"), quick=True),
    _asked("enabling switch released for one message", "NOT_ENGAGED", consent_effects.switch("tapped")),
    _asked("enabling switch silent", "NOT_ENGAGED", consent_effects.switch("silent"), SWITCH_TIMEOUT_S),
    _asked("enabling switch: one message for ever", "NOT_ENGAGED", consent_effects.switch("repeated"), SWITCH_REPEAT_S),
    _asked("enabling switch under its old stamp", "NOT_ENGAGED", consent_effects.switch("old"), SWITCH_TIMEOUT_S),
    _asked("enabling switch with NaN", "NOT_ENGAGED", consent_effects.switch("nan")),
    _asked("enabling switch without its button", "NOT_ENGAGED", consent_effects.switch("short")),
    _asked("episode over", "NO_EPISODE", tampered(_FEEDBACK, lambda: changed(_ending)), PERIOD_S, ends_consent=False),
    _asked(
        "a violation ends the episode",
        "NO_EPISODE",
        tampered(_FEEDBACK, lambda: changed(_violating)),
        PERIOD_S,
        ends_consent=False,
        quick=True,
    ),
    _asked(
        "feedback dropped", "NO_EPISODE", tampered(_FEEDBACK, lambda: nothing), FEEDBACK_TIMEOUT_S, ends_consent=False
    ),
    _asked(
        "feedback with NaN",
        "NO_EPISODE",
        tampered(_FEEDBACK, lambda: changed(_set("cost", math.nan))),
        FEEDBACK_TIMEOUT_S,
        ends_consent=False,
    ),
    _asked(
        "feedback stamped 1 s ago",
        "NO_EPISODE",
        tampered(_FEEDBACK, lambda: stamped(-1.0)),
        FEEDBACK_TIMEOUT_S,
        ends_consent=False,
    ),
    _asked("robot says that it is not ready", "ROBOT_NOT_READY", consent_effects.ready("false"), quick=True),
    _asked("ready topic silent", "ROBOT_NOT_READY", consent_effects.ready("silent"), READY_TIMEOUT_S),
    _asked("publisher of ready gone", "ROBOT_NOT_READY", consent_effects.ready("gone"), WATCH_S),
    _asked("a force above the limit", "FORCE", consent_effects.force("strong"), decision="LATCH", quick=True),
    _asked("force with NaN", "FORCE", consent_effects.force("nan"), ends_consent=False),
    _asked("force silent", "FORCE", consent_effects.force("silent"), STATE_TIMEOUT_S, ends_consent=False),
    _asked(
        "force frozen, with new stamps", "FORCE", consent_effects.force("frozen"), FROZEN_FORCE_S, ends_consent=False
    ),
    _asked(
        "force at the end of its range", "FORCE", consent_effects.force("saturated"), FROZEN_FORCE_S, ends_consent=False
    ),
    _asked(
        "engaged while the emergency stop is pressed",
        "ESTOP",
        consent_effects.engaged_while_pressed(),
        decision="LATCH",
        quick=True,
    ),
    _asked("reset without engaging", "ESTOP", consent_effects.reset_only(), decision="LATCH"),
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

_NODES = {"encoder": "fosp_perception.encoder_node", "policy": "fosp_policy.policy_node"}
IDENTITY = (
    _latch("the second of two emergency stops pressed", "ESTOP", strangers.other_button(True), quick=True),
    _latch("the second of two emergency stops silent", "ESTOP", strangers.other_button(None), ESTOP_TIMEOUT_S),
    _latch(
        "emergency stop pressed, a second publisher releases it",
        ("ESTOP", "FOREIGN_INPUT"),
        strangers.second_publisher_of_the_button(),
    ),
    _latch("a rogue of one command", "FOREIGN_COMMAND", strangers.brief_rogue(1), quick=True),
    _latch(
        "a rogue commander of 46 ms", "FOREIGN_COMMAND", strangers.brief_rogue(strangers.ROGUE_COMMANDS), quick=True
    ),
    _latch("an echo of the monitor's commands", "FOREIGN_COMMAND", strangers.echo_of_commands(), WATCH_S),
    _latch("a second pose source, inside the box", "FOREIGN_INPUT", strangers.second_pose(), WATCH_S, quick=True),
    _latch("a second source of joint states", "FOREIGN_INPUT", strangers.second_state(), WATCH_S),
    _latch("a second camera driver", "FOREIGN_INPUT", strangers.second_camera(), WATCH_S),
    _latch("a second source of feedback", "FOREIGN_INPUT", strangers.second_feedback(), WATCH_S),
    _latch(
        "a second encoder under another name",
        "FOREIGN_INPUT",
        strangers.second_node(_NODES["encoder"], "second_encoder", topics.LATENT),
        WATCH_S,
    ),
    _latch(
        "a second policy under another name",
        "FOREIGN_INPUT",
        strangers.second_node(_NODES["policy"], "second_policy", topics.PROPOSAL),
        WATCH_S,
    ),
    *(
        _harmless(f"'{name}' of the monitor set at run time", strangers.set_at_run_time(name, value))
        for name, value in (("robot", "/other.yaml"), ("bundle", "/other"), ("provider", "cpu"))
    ),
)
_MONITOR = "safety_monitor_node"
_NO_EPISODES = {"episodes": 0, "violating_episodes": 0}
JUDGES = (
    *(
        _harmless(f"offered in motion: {name}", judge_effects.offered(said, **options))
        for name, said, options in (
            ("a critic that says 0", "actions before a violation", {"judge": (0.0, 0.0)}),
            ("a critic that is inverted", "safe actions", {"judge": (-1.0, 1.0)}),
            ("a critic that says 0.5", "rank correlation", {"judge": (0.0, 0.5)}),
            ("a critic that vetoes everything", "safe actions", {"judge": (0.0, 0.9)}),
            ("eps of 0.999", "eps_ceiling", {"calibration": {"eps": 0.999}}),
            ("a calibration that is unsupported", "accept it in words", {"calibration": {"supported": False}}),
            ("a calibration on no episode", "on no episode", {"calibration": _NO_EPISODES}),
            ("support claimed with 3 violations", "cannot support", {"calibration": {"violating_episodes": 3}}),
        )
    ),
    _harmless("offered in motion: probes cut off", judge_effects.offered_with_probes_cut_off()),
    _latch(
        "the encoder's network goes wrong in memory",
        "NODE_RESTARTED",
        judge_effects.goes_wrong("encoder_node"),
        SELF_TEST_S + PROPOSAL_TIMEOUT_S,
    ),
    _latch(
        "the policy's network goes wrong in memory",
        "NODE_RESTARTED",
        judge_effects.goes_wrong("policy_node"),
        2 * SELF_TEST_S + PROPOSAL_TIMEOUT_S,
    ),
    _latch(
        "the critic goes wrong in memory", "SELF_TEST", judge_effects.goes_wrong("safety_monitor_node"), SELF_TEST_S
    ),
    _latch(
        "the critic's self-test hangs",
        "SELF_TEST",
        judge_effects.goes_wrong(_MONITOR, signal.SIGALRM),
        SELF_TEST_LIMIT_S,
    ),
)
"""The monitor is killed at the end of its rows, since it does not believe its memory again, and so is its graph."""

FAULTS: tuple[Fault, ...] = (
    *COMMAND,
    *IDENTITY,
    *PROPOSALS,
    *LATENTS,
    *IMAGES,
    *ROBOT,
    *CONSENT,
    *PLAYED,
    *BASE,
    *PROCESSES,
    *CLOCKS,
    *NETWORK,
    *JUDGES,
    *ENDS,
)
