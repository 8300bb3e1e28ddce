"""The gripper: where it is, what it was told, and the share of an action that is its own. No ROS.

An action that is one value longer than the twist ends with the wanted position of the gripper. One that has the length
of the twist asks nothing of the gripper, so that it holds: this is what rest, every stop, and a person who presses none
of the gripper's buttons ask for. A factor of the speed never scales a position.
"""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.clock import Now, age
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.gripper import GripperConfig, GripperInput, GripperLimits, GripperSetpoint
from fosp_safety_monitor.judge.verdict import Finding


@dataclass(frozen=True)
class GripperOrder:
    """The position that belongs to one command, normalised."""

    position: float
    """The position that the gripper is told; while it is left alone, where it is."""
    told: bool
    """The gripper is told the position."""


def order(setpoint: GripperSetpoint, measured: GripperInput) -> GripperOrder | None:
    """Return the order of the moment; None while nothing was told and nothing measured, as without a gripper."""
    if setpoint.sent is not None:
        return GripperOrder(setpoint.sent, True)
    return None if measured.position is None else GripperOrder(measured.position, False)


def next_setpoint(
    before: GripperSetpoint,
    action: tuple[float, ...] | None,
    size: int,
    measured: GripperInput,
    limits: GripperLimits | None,
    elapsed_s: float,
) -> GripperSetpoint:
    """Return the setpoint after a tick that steers to a normalised `action`, or stops where it is None.

    `size` is that of the twist.
    """
    if limits is None or action is None or len(action) <= size:
        return before
    return limits.follow(before, action[size], measured.position, elapsed_s)


def scaled(action: tuple[float, ...], share: float, size: int) -> tuple[float, ...]:
    """Return the action whose twist, the first `size` values, is that of `action` times `share`."""
    return (*(share * value for value in action[:size]), *action[size:])


def whole(action: tuple[float, ...], size: int, setpoint: GripperSetpoint, measured: GripperInput) -> tuple[float, ...]:
    """Return the action with all of its `size` values: one that holds the gripper names the position that it holds."""
    if len(action) >= size:
        return action
    held = order(setpoint, measured)
    return (*action, *(0.0 if held is None else min(max(held.position, -1.0), 1.0) for _ in range(size - len(action))))


def check_gripper(measured: GripperInput, config: GripperConfig | None, now: Now) -> Finding | None:
    """STOP while the position of the gripper is missing, too old, or cannot be this gripper's, and while its driver
    does not do what it is told; the gripper holds.
    """
    if config is None:
        return None
    stale = age(measured.received, now, config.timeout_s).stale_because
    if stale:
        text = f"position of the gripper ({config.feedback_topic}, joint {config.joint}) {stale}"
        return Finding(Decision.STOP, Reason.STALE_ROBOT_STATE, text)
    if measured.fault:
        text = f"position of the gripper ({config.feedback_topic}, joint {config.joint}) {measured.fault}"
        return Finding(Decision.STOP, Reason.ROBOT_NOT_READY, text)
    if measured.driver_fault:
        return Finding(Decision.STOP, Reason.ROBOT_NOT_READY, f"the gripper ({config.topic}) {measured.driver_fault}")
    return None
