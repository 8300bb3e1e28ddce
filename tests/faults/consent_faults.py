"""Faults of what a person, the episode and the robot's controller consent to."""

from __future__ import annotations

import math

import consent_effects
import console_effects
from effects import Effect, tampered
from fault import (
    CONSOLE_TIMEOUT_S,
    FEEDBACK_TIMEOUT_S,
    FROZEN_FORCE_S,
    PAGE_TIMEOUT_S,
    PERIOD_S,
    READY_TIMEOUT_S,
    STATE_TIMEOUT_S,
    SWITCH_REPEAT_S,
    SWITCH_TIMEOUT_S,
    WATCH_S,
    Fault,
    with_field,
)
from relay import changed, nothing, stamped

from fosp_core import topics
from fosp_msgs.msg import StepFeedback


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
    _asked("disengaged on the way home", "NOT_ENGAGED", consent_effects.on_the_way_home(consent_effects.disengaged())),
    _asked(
        "pose silent on the way home",
        "STALE_ROBOT_STATE",
        consent_effects.on_the_way_home(tampered(topics.TOOL_POSE, lambda: nothing)),
        STATE_TIMEOUT_S,
    ),
    _asked("enabling switch released", "NOT_ENGAGED", consent_effects.switch("released"), quick=True),
    _asked("enabling switch released for one message", "NOT_ENGAGED", consent_effects.switch("tapped")),
    _asked("enabling switch silent", "NOT_ENGAGED", consent_effects.switch("silent"), SWITCH_TIMEOUT_S),
    _asked("enabling switch: one message for ever", "NOT_ENGAGED", consent_effects.switch("repeated"), SWITCH_REPEAT_S),
    _asked("enabling switch under its old stamp", "NOT_ENGAGED", consent_effects.switch("old"), SWITCH_TIMEOUT_S),
    _asked("enabling switch with NaN", "NOT_ENGAGED", consent_effects.switch("nan")),
    _asked("enabling switch without its button", "NOT_ENGAGED", consent_effects.switch("short")),
    _asked(
        "episode over", "NO_EPISODE", tampered(topics.FEEDBACK, lambda: changed(_ending)), PERIOD_S, ends_consent=False
    ),
    _asked(
        "a violation ends the episode",
        "NO_EPISODE",
        tampered(topics.FEEDBACK, lambda: changed(_violating)),
        PERIOD_S,
        ends_consent=False,
        quick=True,
    ),
    _asked(
        "feedback dropped",
        "NO_EPISODE",
        tampered(topics.FEEDBACK, lambda: nothing),
        FEEDBACK_TIMEOUT_S,
        ends_consent=False,
    ),
    _asked(
        "feedback with NaN",
        "NO_EPISODE",
        tampered(topics.FEEDBACK, lambda: changed(with_field("cost", math.nan))),
        FEEDBACK_TIMEOUT_S,
        ends_consent=False,
    ),
    _asked(
        "feedback stamped 1 s ago",
        "NO_EPISODE",
        tampered(topics.FEEDBACK, lambda: stamped(-1.0)),
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
    _asked(
        "console killed while it had engaged", "NOT_ENGAGED", console_effects.console_lost("killed"), CONSOLE_TIMEOUT_S
    ),
    _asked("console hung while it had engaged", "NOT_ENGAGED", console_effects.console_lost("hung"), CONSOLE_TIMEOUT_S),
    _asked(
        "page closed that had engaged", "NOT_ENGAGED", console_effects.console_lost("page closed"), CONSOLE_TIMEOUT_S
    ),
    _asked("page silent that had engaged", "NOT_ENGAGED", console_effects.console_lost("page silent"), PAGE_TIMEOUT_S),
    _asked("reset without engaging", "ESTOP", consent_effects.reset_only(), decision="LATCH"),
)
