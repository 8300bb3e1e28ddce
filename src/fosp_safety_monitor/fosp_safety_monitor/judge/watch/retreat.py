"""The retreat of a robot that hangs, as a pure state machine: back along its own trail, then a call for help.

The critic finds the way back as infeasible as all else where a robot brakes. The evidence for it is another one: the
robot was measured there a moment ago, and what drove it then was found safe. docs/safety.md says where that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.gripper import GripperInput
from fosp_core.robot.trail import (
    GAP_S,
    SAME_TRAP_S,
    WISH_SHARE,
    RobotPlace,
    Standstill,
    Trail,
    TrailPoint,
    WayBack,
    left_s,
    off_trail_m,
    remaining,
)
from fosp_safety_monitor.judge.inputs import CriticValues, ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, most_restrictive
from fosp_safety_monitor.judge.watch import consent, takeover
from fosp_safety_monitor.judge.watch.consent import Consent
from fosp_safety_monitor.judge.watch.takeover import Takeover
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_safety_monitor.replacing import replaced

GRIPPED = 0.1
"""Change of the normalised position of a gripper at which the robot may carry something else than before."""
TIMEOUT_SHARE = 2.0
"""A way back is given up after this many times what it should last."""


@dataclass(frozen=True)
class Judged:
    """The findings on one proposal, as far as a retreat needs them."""

    wants: bool
    """The proposal wants the robot to move, and nothing but its risk is in the way."""
    safe: bool
    """A candidate is feasible, and every other check holds."""
    cornered: bool
    """No candidate is feasible, and every other check holds."""
    v_h: float
    """Risk of the state, in [0, 1]."""


@dataclass(frozen=True)
class Retreat:
    """The trail of the robot, and the way back along it that is being gone, if any."""

    trail: Trail = field(default_factory=Trail)
    still: Standstill = field(default_factory=Standstill)
    grip: float | None = None
    """Normalised position of the gripper when the trail began; None: it is not known, or there is none."""
    path: tuple[TrailPoint, ...] = ()
    """The way back as it began, newest point first; empty while the robot is on none."""
    left: tuple[TrailPoint, ...] = ()
    """The part of the path that is left."""
    begun_s: float = 0.0
    """Moment at which the way back began, monotonic clock."""
    risk: float = 0.0
    """Risk of the state at that moment."""
    tries: int = 0
    """Times in a row that the robot hung in the same trap."""
    trap: RobotPlace | None = None
    """RobotPlace where it hung first."""
    ended: str = ""
    """How the last way back ended, in words."""
    driving: bool = False
    """The robot is to go back now. A way back rests while a candidate is feasible: then the policy drives."""
    judged_s: float | None = None
    """Moment of the last decision, monotonic clock."""

    @property
    def running(self) -> bool:
        return bool(self.left)


NO_RETREAT = Retreat()
"""Nothing is known of the way that the robot came."""


def after(
    retreat: Retreat,
    judged: Judged,
    place: RobotPlace,
    gripper: GripperInput,
    way: WayBack,
    parameters: MonitorParameters,
    now: Now,
) -> Retreat:
    """Return the value after one more proposal was judged, with the robot measured at `place`."""
    time_s = now.monotonic_s
    if _lost(retreat, gripper, time_s):
        retreat = Retreat(tries=retreat.tries, trap=retreat.trap)
    retreat = replaced(retreat, grip=gripper.position, judged_s=time_s)
    if retreat.running:
        return _went_on(retreat, judged, place, way, parameters, time_s)
    trail = retreat.trail.after(place, time_s, judged.safe, way, parameters.trail_age_s)
    still = retreat.still.after(place, time_s, judged.wants, parameters.hang_window_s, judged.v_h)
    retreat = replaced(retreat, trail=trail, still=still)
    if not still.hangs(parameters.hang_window_s, way):
        return retreat
    same = retreat.trap is not None and way.lasts(retreat.trap, place) <= SAME_TRAP_S
    tries = retreat.tries + 1 if same else 1
    path = trail.back(tries * parameters.retreat_length_s, way) if judged.cornered else ()
    return replaced(
        retreat,
        still=Standstill(),
        tries=tries,
        trap=retreat.trap if same else place,
        path=path,
        left=path,
        begun_s=time_s,
        risk=judged.v_h,
        driving=bool(path),
    )


def _lost(retreat: Retreat, gripper: GripperInput, time_s: float) -> bool:
    """Return True where the trail says nothing any more: nobody looked for a while, or the gripper moved meanwhile.

    A robot that has gripped something sweeps more than it did on its way there.
    """
    if retreat.judged_s is None:
        return False
    if not 0.0 <= time_s - retreat.judged_s <= GAP_S:
        return True
    if retreat.grip is None or gripper.position is None:
        return retreat.grip is not gripper.position
    return abs(gripper.position - retreat.grip) > GRIPPED


def _went_on(
    retreat: Retreat, judged: Judged, place: RobotPlace, way: WayBack, parameters: MonitorParameters, time_s: float
) -> Retreat:
    """Return the value after one more decision on the way back."""
    left = remaining(retreat.left, place, way)
    ended = _end(retreat, left, judged, place, way, parameters, time_s)
    if not ended:
        return replaced(retreat, left=left, driving=judged.cornered)
    reached = (left or retreat.left[-1:])[0]
    trail = retreat.trail.gone_back(reached, TrailPoint(place, time_s, judged.safe))
    return replaced(retreat, trail=trail, path=(), left=(), ended=ended, driving=False)


def _end(
    retreat: Retreat,
    left: tuple[TrailPoint, ...],
    judged: Judged,
    place: RobotPlace,
    way: WayBack,
    parameters: MonitorParameters,
    time_s: float,
) -> str:
    """Return why the way back ends here, in words; empty while it goes on."""
    if not left:
        return "the trail is gone back"
    return (
        _too_old(left[0], parameters, time_s)
        or _off_trail(retreat.path, place, way)
        or _riskier(retreat.risk, judged.v_h, parameters)
        or _too_long(retreat, parameters, time_s)
    )


def _too_old(point: TrailPoint, parameters: MonitorParameters, time_s: float) -> str:
    """Return that the robot was at `point` too long ago, in words: things may have moved since then."""
    old = time_s - point.time_s > parameters.trail_age_s
    return f"the trail is older than {parameters.trail_age_s:g} s" if old else ""


def _off_trail(path: tuple[TrailPoint, ...], place: RobotPlace, way: WayBack) -> str:
    """Return that the robot is where it never was, in words: it slips, is pushed, or its casters swing."""
    off_m = off_trail_m(path, place)
    return f"the robot is {off_m * 1e3:.0f} mm off its trail" if off_m > way.tolerance_m else ""


def _riskier(before: float, v_h: float, parameters: MonitorParameters) -> str:
    """Return that the critic sees the risk rise on the way, in words: something else may come near."""
    rose = v_h > before + parameters.retreat_risk_rise
    return f"the risk of the state rose from {before:.2f} to {v_h:.2f}" if rose else ""


def _too_long(retreat: Retreat, parameters: MonitorParameters, time_s: float) -> str:
    """Return that the robot does not get back, in words: something holds it."""
    lasts_s = max(retreat.tries, 1) * parameters.retreat_length_s / parameters.recover_scale
    return "it takes too long" if time_s - retreat.begun_s > TIMEOUT_SHARE * lasts_s else ""


def wish_of(retreat: Retreat, place: RobotPlace | None, way: WayBack | None, share: float) -> tuple[float, ...]:
    """Return the normalised action (n,) back along the trail, at most at `share` of full speed; empty for none."""
    if way is None or place is None or not retreat.driving:
        return ()
    return way.wish(place, retreat.left[0].place, left_s(retreat.left, place, way), share)


def check_hang(retreat: Retreat, parameters: MonitorParameters) -> Finding | None:
    """LATCH when the robot hangs in the same place for too many times: a person has to help it."""
    if retreat.running or retreat.tries <= parameters.retreat_tries:
        return None
    ended = f"; the last way back ended because {retreat.ended}" if retreat.ended else ""
    text = f"the robot hangs and asks for help: {retreat.tries} times in a row it got nowhere in the same place{ended}"
    return Finding(Decision.LATCH, Reason.VETOES, text)


# -- in the verdict on a proposal ---------------------------------------------------------------------
class WatchedState(Protocol):
    """The part of the monitor's state that a retreat depends on."""

    @property
    def retreat(self) -> Retreat: ...
    @property
    def consent(self) -> Consent: ...
    @property
    def takeover(self) -> Takeover: ...
    @property
    def latched(self) -> Finding | None: ...


def retreat_after(
    state: WatchedState,
    content: Finding | None,
    others: Sequence[Finding | None],
    proposal: ProposalInput,
    values: CriticValues | None,
    robot: RobotStateInput,
    thresholds: Thresholds,
    now: Now,
) -> tuple[Retreat, tuple[float, ...]]:
    """Return the retreat after one more proposal, and the normalised action (n,) of the way back, empty for none.

    It follows from the finding on the `content` of the proposal, and from those of all `others`. Whatever stops the
    robot takes its trail away: things may have moved since then.
    """
    if thresholds.way_back is None:
        return NO_RETREAT, ()
    place = thresholds.way_back.place(robot.position, robot.orientation, robot.odometry)
    held = most_restrictive([*others, state.latched])
    stops = held.decision >= Decision.STOP or (content is not None and content.decision >= Decision.STOP)
    if place is None or stops or values is None or proposal.actions is None:
        return NO_RETREAT, ()
    ramps = (consent.ramp_scale(state.consent, thresholds, now), takeover.ramp_scale(state.takeover, thresholds, now))
    size, calm = len(thresholds.action_scale), held.decision < Decision.RECOVER
    wish = proposal.actions[proposal.chosen][:size].tolist()
    cornered = content is not None and content.reason is Reason.NO_FEASIBLE
    judged = Judged(
        wants=min(ramps) >= 1.0 and (cornered or max(map(abs, wish), default=0.0) >= WISH_SHARE),
        safe=calm and (content is None or content.decision < Decision.RECOVER),
        cornered=calm and cornered,
        v_h=values.v_h,
    )
    parameters = thresholds.parameters
    gone = after(state.retreat, judged, place, robot.gripper, thresholds.way_back, parameters, now)
    return gone, wish_of(gone, place, thresholds.way_back, parameters.recover_scale)


def told(content: Finding | None, back: tuple[float, ...]) -> Finding | None:
    """Return the finding on the content of a proposal, with the way back in words."""
    if content is None or not back:
        return content
    return replaced(content, text=f"{content.text}; the robot hangs, and goes back along its own trail")


def kept(retreat: Retreat, stops: bool) -> Retreat:
    """Return the retreat to remember: nothing after what `stops` the robot, as its surroundings may be others then."""
    return NO_RETREAT if stops else retreat
