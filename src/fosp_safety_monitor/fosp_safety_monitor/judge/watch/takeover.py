"""Who drives, the policy or a person who has taken over, as a pure state machine, with its checks.

A person has the robot from the moment at which the dead-man's button of their device is held until it is let go. Then
nobody drives, for `release_s` and until the policy has proposed something for a frame that was taken after the release;
from there on the policy drives, at a speed that grows from a fifth. A device that falls silent or tells a fault while a
person drives stops the robot, and does not hand it back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.clock import Now, age
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_safety_monitor.judge.inputs import ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.operator_input import OperatorInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.judge.watch.consent import LEAST_SCALE
from fosp_safety_monitor.replacing import replaced

LET_GO_FIRST = Finding(Decision.STOP, Reason.TAKEN_OVER, "let go of the controls first: the dead-man's button is held")


@dataclass(frozen=True)
class Takeover:
    """Who drives, and what has to be remembered for the next change."""

    driver: WhoDrives = WhoDrives.POLICY
    """POLICY, OPERATOR, or NOBODY between the two."""
    released: Now | None = None
    """While nobody drives: moment from which the device has been let go; None: it is not."""
    handed_back_s: float = -math.inf
    """Moment at which the policy began again, monotonic clock."""
    releases_needed: int = 1
    """Releases of the device that must have been seen for a press to count: a button that is stuck is never seen to be
    let go."""


# -- the changes -------------------------------------------------------------------------------------
def on_tick(
    takeover: Takeover, operator: OperatorInput, latched: Finding | None, thresholds: RobotThresholds, now: Now
) -> Takeover:
    """Return who drives at a command tick; only `handed_back` gives the robot back to the policy."""
    silent, fault = device_silence(operator, thresholds, now), device_fault(operator, thresholds, now)
    driver, needed = takeover.driver, takeover.releases_needed
    if operator.holds if latched is not None else fault and driver is WhoDrives.OPERATOR:
        needed = max(needed, operator.releases + 1)  # a press that was made before counts no more
        takeover = replaced(takeover, releases_needed=needed)
    if driver is WhoDrives.OPERATOR:
        if latched is not None:
            return replaced(takeover, driver=WhoDrives.NOBODY, released=None)
        if fault or operator.holds:
            return takeover
        return replaced(takeover, driver=WhoDrives.NOBODY, released=now)
    if operator.holds and not silent:
        takes = operator.releases >= needed and latched is None
        return replaced(takeover, driver=WhoDrives.OPERATOR if takes else WhoDrives.NOBODY, released=None)
    if driver is WhoDrives.NOBODY:
        let_go = latched is None and not fault
        return replaced(takeover, released=(takeover.released or now) if let_go else None)
    return takeover


def handed_back(takeover: Takeover, proposal: ProposalInput, thresholds: RobotThresholds, now: Now) -> Takeover:
    """Return who drives when `proposal` is judged: the policy, if the robot was let go long enough before its frame."""
    released = takeover.released
    if takeover.driver is not WhoDrives.NOBODY or released is None:
        return takeover
    waited = now.monotonic_s - released.monotonic_s >= thresholds.parameters.release_s
    if not waited or not proposal.frame.stamp_s > released.ros_s:
        return takeover
    return replaced(takeover, driver=WhoDrives.POLICY, released=None, handed_back_s=now.monotonic_s)


def after_reset(takeover: Takeover, now: Now) -> Takeover:
    """Return who drives after a reset: the policy, since a person decided so. A button that is held stops it again."""
    if takeover.driver is WhoDrives.POLICY:
        return takeover
    return replaced(takeover, driver=WhoDrives.POLICY, released=None, handed_back_s=now.monotonic_s)


def ramp_scale(takeover: Takeover, thresholds: RobotThresholds, now: Now) -> float:
    """Return the factor of the policy's speed, in [LEAST_SCALE, 1], after a hand-back."""
    share = (now.monotonic_s - takeover.handed_back_s) / thresholds.parameters.ramp_in_s
    return LEAST_SCALE + (1.0 - LEAST_SCALE) * min(max(share, 0.0), 1.0)


# -- the device in words -----------------------------------------------------------------------------
def device_silence(operator: OperatorInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why the device counts as silent; an empty text while it speaks."""
    return age(operator.received, now, thresholds.parameters.operator_timeout_s).stale_because


def device_fault(operator: OperatorInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why the device cannot be followed; an empty text while it can."""
    silent = device_silence(operator, thresholds, now)
    return f"is silent: {silent}" if silent else operator.fault


def operator_wish(operator: OperatorInput, thresholds: RobotThresholds) -> tuple[float, ...]:
    """Return the normalised action that the person wants, clipped to [-1, 1]; empty when it is malformed.

    The value of a gripper may be left out, so that it holds.
    """
    sizes = (len(thresholds.action_scale), thresholds.action_size)
    if len(operator.action) not in sizes or not all(map(math.isfinite, operator.action)):
        return ()
    return tuple(min(max(value, -1.0), 1.0) for value in operator.action)


# -- the checks --------------------------------------------------------------------------------------
def checks_while_taken_over(
    takeover: Takeover,
    unjudged: bool,
    latched: Finding | None,
    robot: RobotStateInput,
    thresholds: RobotThresholds,
    now: Now,
) -> list[Finding | None]:
    """Check the device and what it asks for while a person has the robot, and that the policy is there after that.

    `unjudged` says that no action of the person was judged since they took over.
    """
    return [
        check_judged(takeover, unjudged, thresholds),
        check_operator_action(takeover, robot, thresholds),
        check_device(takeover, latched, robot, thresholds, now),
        check_proposals_after(takeover, thresholds, now),
    ]


def check_operator_action(takeover: Takeover, robot: RobotStateInput, thresholds: RobotThresholds) -> Finding | None:
    """LATCH when a person drives by an action that has another size than the robot, or is not finite."""
    action = robot.operator.action
    if takeover.driver is not WhoDrives.OPERATOR:
        return None
    if len(action) not in (len(thresholds.action_scale), thresholds.action_size):
        text = f"the operator's action has {len(action)} axes, but the robot has {thresholds.action_size}"
        return Finding(Decision.LATCH, Reason.WRONG_SHAPE, text)
    if not all(map(math.isfinite, action)):
        return Finding(Decision.LATCH, Reason.NOT_FINITE, "the operator's action holds NaN or infinity")
    return None


def check_judged(takeover: Takeover, unjudged: bool, thresholds: RobotThresholds) -> Finding | None:
    """STOP while a person drives whom the critic gates, and no latent has come by which it can judge them."""
    if takeover.driver is not WhoDrives.OPERATOR or not unjudged or not thresholds.consent.gate_operator:
        return None
    text = "no latent came by which the operator's action can be judged"
    return Finding(Decision.STOP, Reason.STALE_LATENT, text)


def check_device(
    takeover: Takeover, latched: Finding | None, robot: RobotStateInput, thresholds: RobotThresholds, now: Now
) -> Finding | None:
    """STOP when the device is silent, or tells a fault, while a person drives and until it was handed back.

    A reset of a latched robot gives it back to the policy whatever the device says.
    """
    if takeover.driver is WhoDrives.POLICY or latched is not None:
        return None
    fault = device_fault(robot.operator, thresholds, now)
    if not fault:
        return None
    return Finding(Decision.STOP, Reason.OPERATOR_SILENT, f"the operator's device {robot.operator.device} {fault}")


def check_hand_back(
    takeover: Takeover, robot: RobotStateInput, thresholds: RobotThresholds, now: Now
) -> Finding | None:
    """STOP while nobody drives, and while a press is held that does not count. No reset is refused for it."""
    if takeover.driver is WhoDrives.OPERATOR and robot.operator.releases < takeover.releases_needed:
        return LET_GO_FIRST
    if takeover.driver is not WhoDrives.NOBODY:
        return None
    if takeover.released is None:
        return LET_GO_FIRST
    since_s, release_s = now.monotonic_s - takeover.released.monotonic_s, thresholds.parameters.release_s
    waits = "for a proposal for a frame after that" if since_s >= release_s else f"for {release_s:g} s"
    text = f"the operator let go {since_s:.2f} s ago: the policy waits {waits}"
    return Finding(Decision.STOP, Reason.TAKEN_OVER, text)


def check_proposals_after(takeover: Takeover, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP when no fresh proposal comes after a person has let the robot go; such a stop latches when it lasts."""
    if takeover.driver is not WhoDrives.NOBODY or takeover.released is None:
        return None
    parameters = thresholds.parameters
    since_s = now.monotonic_s - takeover.released.monotonic_s - parameters.release_s
    if since_s <= parameters.proposal_timeout_s:
        return None
    text = f"no proposal for a frame after the operator let go came for {since_s:.2f} s"
    return Finding(Decision.STOP, Reason.DEADLINE, text)


def check_ramp_back(scale: float) -> Finding | None:
    """PASS with a reduced speed while the policy's speed grows after a hand-back."""
    if scale >= 1.0:
        return None
    text = f"the operator has handed back just now: the speed is scaled by {scale:.2f}"
    return Finding(Decision.PASS, Reason.SLOW_DOWN, text)


def notice(robot: RobotStateInput, content: Finding | None) -> Finding:
    """Return what is told while a person drives: also what the critic finds of their action, where it gates nothing."""
    text = f"the operator drives by {robot.operator.device}"
    return Finding(Decision.PASS, Reason.TAKEN_OVER, f"{text}; not gated: {content.text}" if content else text)
