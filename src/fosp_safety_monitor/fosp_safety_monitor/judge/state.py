"""The state that the safety monitor keeps from one input to the next, and the result of a command tick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fosp_core.clock import Now
from fosp_core.decisions import WhoDrives
from fosp_core.robot.gripper import GripperSetpoint
from fosp_core.robot.limits import CommandHistory, Response
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp, Verdict
from fosp_safety_monitor.judge.watch.camera import CameraWatch
from fosp_safety_monitor.judge.watch.consent import Consent
from fosp_safety_monitor.judge.watch.following import Following
from fosp_safety_monitor.judge.watch.gripper import GripperOrder
from fosp_safety_monitor.judge.watch.homing import Homing
from fosp_safety_monitor.judge.watch.latent_stream import LatentStream
from fosp_safety_monitor.judge.watch.motion import FrozenImage, FrozenPose
from fosp_safety_monitor.judge.watch.retreat import Retreat
from fosp_safety_monitor.judge.watch.takeover import Takeover


@dataclass(frozen=True)
class JudgedProposal:
    """The last proposal that was judged, as far as the command ticks need it."""

    frame: FrameStamp
    step: int
    receipt_s: float
    latent_receipt_s: float
    finding: Finding
    """Finding of its own checks. A latch does not change it, so that a reset can see whether the cause persists."""
    verdict: Verdict
    """The published verdict."""
    wish: tuple[float, ...]
    """Normalised action (n,) that the ticks steer to while nothing stops them: what the verdict grants, before the
    protective zones of the moment take their share."""
    spread: tuple[float, ...] = ()
    """Disagreement of the critic's heads on each candidate; empty: it is not part of the risk."""


@dataclass(frozen=True)
class OperatorJudgement:
    """The last action of a person that was judged, as far as the command ticks need it."""

    frame: FrameStamp
    step: int
    latent_receipt_s: float
    finding: Finding
    """Finding of the critic, where it gates a person; otherwise that a person drives."""
    wish: tuple[float, ...]
    """Normalised action (n,) that the ticks steer to where the critic gates a person."""


@dataclass(frozen=True)
class Stop:
    """The last STOP. Motion goes on when nothing has asked for a stop for `release_s`."""

    finding: Finding
    held_s: float
    """Last moment at which a check asked for the stop, monotonic clock."""


@dataclass(frozen=True)
class MonitorState:
    """The monitor's whole memory between two calls."""

    command: tuple[float, ...]
    """Last command, m/s and rad/s."""
    acceleration: tuple[float, ...]
    """Change between the last two commands, per second."""
    history: CommandHistory = field(default_factory=CommandHistory)
    frozen_pose: FrozenPose = field(default_factory=FrozenPose)
    frozen_image: FrozenImage = field(default_factory=FrozenImage)
    following: Following = field(default_factory=Following)
    latents: LatentStream = field(default_factory=LatentStream)
    camera: CameraWatch = field(default_factory=CameraWatch)
    latched: Finding | None = None
    """Finding that latched the robot."""
    judged: JudgedProposal | None = None
    waiting: ProposalInput | None = None
    """Newest proposal whose latent has not come yet."""
    latent_fault: Finding | None = None
    """Finding on the last latent."""
    surprises: tuple[bool, ...] = ()
    """For each of the last steps, newest last: the surprise was above its limit."""
    stop: Stop | None = None
    unreported: Finding | None = None
    """A latch that no verdict has reported yet."""
    vetoes: int = 0
    """Proposals in a row that were vetoed for their risk."""
    stale_since_s: float | None = None
    """Monotonic clock; None: nothing is stale."""
    resumed_s: float = -math.inf
    """End of the last pause of the command stream, monotonic clock."""
    ticked: Now | None = None
    """Time of the last command tick."""
    reported_s: float = -math.inf
    """Time of the last verdict, monotonic clock."""
    moved: bool = False
    """A motion was commanded since activation."""
    limited: bool = False
    """The hard limits changed a command since the last verdict."""
    consent: Consent = field(default_factory=Consent)
    homing: Homing = field(default_factory=Homing)
    takeover: Takeover = field(default_factory=Takeover)
    operated: OperatorJudgement | None = None
    """The action of a person that was judged last since they took over; None: no latent has come since then."""
    gripper: GripperSetpoint = field(default_factory=GripperSetpoint)
    retreat: Retreat = field(default_factory=Retreat)

    @property
    def followed(self) -> JudgedProposal | OperatorJudgement | None:
        """The action that was judged last of who drives; None while nobody does."""
        if self.takeover.driver is WhoDrives.POLICY:
            return self.judged
        return self.operated if self.takeover.driver is WhoDrives.OPERATOR else None


@dataclass(frozen=True)
class Tick:
    """One step of the command stream."""

    command: tuple[float, ...]
    """m/s and rad/s in the order of the robot's action axes."""
    finding: Finding
    """STOP or LATCH when this tick decelerates to zero; the finding on the last proposal otherwise."""
    verdict: Verdict | None
    """Verdict to publish, at most one per decision period and only when there is no fresh proposal to answer."""
    gripper: GripperOrder | None = None
    """None: the robot has no gripper, or nothing is known of it."""


def initial_state(size: int, latched: Finding | None = None, response: Response | None = None) -> MonitorState:
    """Return the state on activation, at rest, for `size` axes of the twist; `latched` outlived a deactivation.

    `response` is that of the robot; None: it follows at once.
    """
    history = CommandHistory() if response is None else CommandHistory(response)
    zeros = (0.0,) * size
    return MonitorState(command=zeros, acceleration=zeros, history=history, latched=latched, unreported=latched)
