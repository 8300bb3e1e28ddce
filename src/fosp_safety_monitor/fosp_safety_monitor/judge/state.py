"""What the safety monitor remembers from one input to the next, and what a command tick gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.clock import Now
from fosp_safety_monitor.judge.command_history import NOTHING_SENT, NOTHING_UNSEEN, Travel, Unseen
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import Finding, Frame, Verdict


@dataclass(frozen=True)
class Standing:
    """The last proposal that was judged, and what the command ticks need of it."""

    frame: Frame
    step: int
    receipt_s: float
    latent_receipt_s: float
    finding: Finding
    """Of its own checks; a latch does not change it, so that a reset can see whether the cause persists."""
    verdict: Verdict
    """As published; ticks steer to its `action_out` while nothing stops them."""


@dataclass(frozen=True)
class Stop:
    """The last STOP: motion goes on when nothing has asked for one for release_s."""

    finding: Finding
    held_s: float
    """Monotonic clock of the last moment at which it held."""


@dataclass(frozen=True)
class FrozenImage:
    """How the robot was told to move while the image stayed the same to the pixel."""

    steps: int = 0
    """Latents while it was told to move fast."""
    travel: tuple[float, ...] = ()
    """(n,) What it was told to move while that was slow, in decisions at full speed: there and back cancel out."""


CHANGING = FrozenImage()


@dataclass(frozen=True)
class MonitorState:
    """All that the monitor remembers between two calls."""

    command: tuple[float, ...]
    """Sent last, m/s and rad/s."""
    acceleration: tuple[float, ...]
    """Between the last two commands, per second."""
    travel: Travel = NOTHING_SENT
    """The commands sent lately."""
    unseen: Unseen = NOTHING_UNSEEN
    """Those since the pose last changed."""
    latched: Finding | None = None
    """What was found when it latched."""
    standing: Standing | None = None
    waiting: ProposalInput | None = None
    """Newest proposal whose latent has not come yet."""
    latent_fault: Finding | None = None
    """Of the latent received last."""
    surprises: tuple[bool, ...] = ()
    """Of the last steps, newest last: was the surprise above its limit?"""
    frozen: FrozenImage = CHANGING
    """Since the image last changed."""
    stop: Stop | None = None
    unreported: Finding | None = None
    """A latch that no verdict has told of yet."""
    vetoes: int = 0
    """Proposals in a row that were vetoed for their risk."""
    stale_since_s: float | None = None
    """Monotonic clock; None: nothing is stale."""
    resumed_s: float = -math.inf
    """Monotonic clock of the end of the last pause of the command stream."""
    ticked: Now | None = None
    """The last command tick on both clocks."""
    reported_s: float = -math.inf
    """Monotonic clock of the last verdict."""
    moved: bool = False
    """The robot was told to move since activation."""
    limited: bool = False
    """The hard limits changed a command since the last verdict."""


@dataclass(frozen=True)
class Tick:
    """One step of the command stream."""

    command: tuple[float, ...]
    """m/s and rad/s in the order of the robot's action axes."""
    finding: Finding
    """STOP or LATCH when this tick decelerates to zero; the standing proposal's finding otherwise."""
    verdict: Verdict | None
    """To be published; at most one per decision period, and only when there is no fresh proposal to answer."""


def initial_state(size: int, latched: Finding | None = None) -> MonitorState:
    """State on activation, at rest, for `size` action axes. A latch outlives deactivation: pass it on."""
    return MonitorState(command=(0.0,) * size, acceleration=(0.0,) * size, latched=latched, unreported=latched)
