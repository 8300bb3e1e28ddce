"""Inputs that the consent to motion rests on: enabling switch, episode, readiness of the robot, and wrench. No ROS.

Each is a frozen value with a method that returns the value after the next message. Releases and falls are counted, so
that none which happens between two command ticks is lost.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Literal

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_safety_monitor.parameters import ENGAGE, EPISODES

Force = tuple[float, float, float]
"""N, in the frame of the sensor."""

MOST_WATCHES = 4
"""Processes whose beats are remembered."""
WRENCH_WINDOW_S = 0.2
"""Time for which readings of the force are kept: the bias is their mean."""


@dataclass(frozen=True)
class ConsentSettings:
    """Which consents motion needs; by default all of them. UserError for any other word."""

    engage: Literal["operator", "by_itself"] = "operator"
    """by_itself: nobody has to engage. For a simulated robot, which can hurt nobody."""
    episodes: Literal["required", "not_used"] = "required"
    """not_used: the robot may move while no episode runs."""
    gate_operator: bool = False
    """The critic gates a person who has taken over, too; otherwise it only tells the risk of their action."""

    def __post_init__(self) -> None:
        for name, allowed in (("engage", ENGAGE), ("episodes", EPISODES)):
            if getattr(self, name) not in allowed:
                raise UserError(f"parameter '{name}' must be {' or '.join(allowed)}, got '{getattr(self, name)}'")


NOTHING_NEEDED = ConsentSettings("by_itself", "not_used")
"""For a monitor that is asked in-process, where no robot moves."""


@dataclass(frozen=True)
class EnablingInput:
    """The enabling switch as its messages tell it."""

    received: Received | None = None
    """Last message with a stamp later than that of the one before: a repetition of an old message is none."""
    pressed: bool = False
    content: Hashable = None
    """The whole content of the last message, without its stamp."""
    changed_s: float = -math.inf
    """Moment at which the content changed last, monotonic clock."""
    releases: int = 0
    """Number of times that the switch was seen to be released."""
    controls: tuple[int, ...] = ()
    """Number of axes and buttons of the device that the switch is part of; empty where it is a switch alone."""
    another: str = ""
    """The last message is that of another device, in words; empty while it is not."""

    def after(
        self, pressed: bool, content: Hashable, received: Received, controls: tuple[int, ...] = ()
    ) -> EnablingInput:
        """Return the input after a message. What says "released" counts whatever its stamp is.

        `controls` are the axes and buttons of a device that has the button of the switch. A device with other ones than
        the first is another: its button of this number may be any, so that it counts as released.
        """
        first, another = self.controls or controls, ""
        if controls and controls != first:
            another, pressed = (
                f"has {controls[0]} axes and {controls[1]} buttons, and had {first[0]} and {first[1]}",
                False,
            )
        if not pressed:
            seen = self.received is None or self.pressed or bool(self.another and not another)
            releases = self.releases + int(seen)
            return EnablingInput(received, False, content, received.receipt_s, releases, first, another)
        if self.received is not None and not received.stamp_s > self.received.stamp_s:
            return self
        changed_s = self.changed_s if content == self.content and self.pressed else received.receipt_s
        return EnablingInput(received, True, content, changed_s, self.releases, first)


@dataclass(frozen=True)
class FeedbackStep:
    """One message of fosp/feedback."""

    episode: int
    is_first: bool
    is_last: bool
    reward: float
    cost: float
    success: bool
    received: Received


@dataclass(frozen=True)
class EpisodeInput:
    """The episode as the feedback tells it."""

    number: int = -1
    """Number of the last episode; -1: none was heard of since activation."""
    running: bool = False
    received: Received | None = None
    """Last well-formed feedback of the running episode."""
    ended: str = ""
    """How the last episode ended, in words."""

    def after(self, step: FeedbackStep) -> EpisodeInput:
        """Return the input after a message.

        What says that an episode ends counts whatever else it says. An episode that already ran when the monitor was
        activated is joined; apart from that only a first step begins one, so that a late message does not.
        """
        if step.is_last:
            how = f" with a violation (cost {step.cost:g})" if step.cost > 0 else " at its goal" if step.success else ""
            return EpisodeInput(step.episode, False, None, f"episode {step.episode} ended{how}")
        if not (math.isfinite(step.reward) and math.isfinite(step.cost) and step.cost >= 0.0):
            return self
        begins = step.is_first or self.number == -1
        if not begins and not (self.running and step.episode == self.number):
            return self
        if not begins and self.received is not None and not step.received.stamp_s > self.received.stamp_s:
            return self
        return EpisodeInput(step.episode, True, step.received, "")


@dataclass(frozen=True)
class ReadyInput:
    """The word of one topic of the robot file's `ready`."""

    receipt_s: float = -math.inf
    """Last message, monotonic clock."""
    why_not: str = "has sent nothing yet"
    """Empty: ready."""
    falls: int = 0
    """Number of times that it said, or showed by its publisher's end, that the robot is not ready."""

    def after(self, why_not: str, receipt_s: float) -> ReadyInput:
        """Return the input after a message, or after the end of the last publisher."""
        return ReadyInput(receipt_s, why_not, self.falls + int(bool(why_not)))


@dataclass(frozen=True)
class WrenchInput:
    """Readings of the force of the last WRENCH_WINDOW_S."""

    received: Received | None = None
    samples: tuple[tuple[float, Force], ...] = ()
    """Receipt on the monotonic clock, and the force, which may be NaN."""
    constant_since_s: Force = (math.nan,) * 3
    """Since when each component has been the same to the last bit, monotonic clock."""

    def after(self, force: Force, received: Received) -> WrenchInput:
        """Return the input after a reading."""
        now_s = received.receipt_s
        if self.received is not None and not received.stamp_s > self.received.stamp_s:
            return self
        last = self.samples[-1][1] if self.samples else (math.nan,) * 3
        since = tuple(
            old if value == before else now_s
            for value, before, old in zip(force, last, self.constant_since_s, strict=True)
        )
        kept = tuple(sample for sample in self.samples if sample[0] > now_s - WRENCH_WINDOW_S)
        return WrenchInput(received, (*kept, (now_s, force)), (since[0], since[1], since[2]))


@dataclass(frozen=True)
class WatchInput:
    """The beats of consoles at which an operator watches the robot, by the process that sends them."""

    beats: tuple[tuple[int, Received], ...] = ()
    """Process id and its newest beat; the process heard last stands last."""

    def after(self, pid: int, received: Received) -> WatchInput:
        """Return the input after a beat; one that is stamped no later than the last of its process is none."""
        before = self.of(pid)
        if before is not None and not received.stamp_s > before.stamp_s:
            return self
        others = [(other, beat) for other, beat in self.beats if other != pid]
        return WatchInput((*others[-MOST_WATCHES + 1 :], (pid, received)))

    def of(self, pid: int | None) -> Received | None:
        """Return the newest beat of a process; None when nothing was heard of it."""
        return next((beat for other, beat in self.beats if other == pid), None)

    @property
    def newest(self) -> int | None:
        """The process that was heard last; None when none was."""
        return self.beats[-1][0] if self.beats else None


@dataclass(frozen=True)
class ConsentInputs:
    """Newest inputs of all kinds."""

    enabling: EnablingInput = field(default_factory=EnablingInput)
    episode: EpisodeInput = field(default_factory=EpisodeInput)
    ready: tuple[ReadyInput, ...] = ()
    """One for each entry of the robot file's `ready`; missing ones have sent nothing yet."""
    wrench: WrenchInput = field(default_factory=WrenchInput)
    watch: WatchInput = field(default_factory=WatchInput)

    def with_ready(self, index: int, after: ReadyInput) -> ConsentInputs:
        """Return the inputs with another value for entry `index` of `ready`."""
        ready = list(self.ready) + [ReadyInput()] * (index + 1 - len(self.ready))
        ready[index] = after
        return replace(self, ready=tuple(ready))

    def ready_of(self, index: int) -> ReadyInput:
        """Return what entry `index` of `ready` says."""
        return self.ready[index] if index < len(self.ready) else ReadyInput()
