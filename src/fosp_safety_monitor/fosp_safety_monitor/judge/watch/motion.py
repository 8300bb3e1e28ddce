"""The motion that was commanded while an input stayed the same, and the next command within the robot's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.limits import CommandHistory, CommandLimits
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds, Thresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.replacing import replaced

SEEN_MOTION = 0.2
"""Share of full speed from which the camera must see a change within `frozen_image_steps`. Slower motion adds up."""

LEAST_TRAVEL_M = 0.01
"""Distance that the robot may be told to move before its pose has to change."""


@dataclass(frozen=True)
class FrozenPose:
    """The motion that was commanded while the measured pose stayed the same to the last bit."""

    position: tuple[float, float, float] | None = None
    """Measured position, m; None: no pose came yet."""
    since_s: float = 0.0
    """Receipt of the first pose that was the same, monotonic clock."""
    until_s: float = 0.0
    """Receipt of the last pose that was the same. A pose that no longer comes is stale, not frozen."""
    moved: tuple[float, ...] = ()
    """Integral (n,) of the commands since the first pose that was the same, m and rad."""

    def after(self, robot: RobotStateInput, command: tuple[float, ...], elapsed_s: float) -> FrozenPose:
        """Return the value one tick later, after `command` (n,), m/s and rad/s, was in force for `elapsed_s`."""
        receipt_s = 0.0 if robot.pose is None else robot.pose.receipt_s
        if robot.position is None or robot.position != self.position:
            return FrozenPose(robot.position, receipt_s, receipt_s, (0.0,) * len(command))
        moved = tuple(m + elapsed_s * c for m, c in zip(self.moved, command, strict=True))
        return FrozenPose(robot.position, self.since_s, receipt_s, moved)


@dataclass(frozen=True)
class FrozenImage:
    """The motion that was commanded while the image stayed the same to the pixel."""

    steps: int = 0
    """Decisions during which fast motion was commanded."""
    crept: tuple[float, ...] = ()
    """Sum (n,) of the slow commands, in decisions at full speed. Motion there and back cancels out."""

    def after(self, command: tuple[float, ...], scale: tuple[float, ...]) -> FrozenImage:
        """Return the value after one more equal image under `command` (n,); `scale` (n,) is full speed, m/s and rad/s.

        Standing still adds nothing and resets nothing: a frozen camera does not recover by standing still.
        """
        shares = [value / full for value, full in zip(command, scale, strict=True)]
        if any(abs(share) >= SEEN_MOTION for share in shares):
            return replaced(self, steps=self.steps + 1)
        crept = self.crept or (0.0,) * len(shares)
        return replaced(self, crept=tuple(c + share for c, share in zip(crept, shares, strict=True)))


def check_frozen(frozen: FrozenImage, thresholds: Thresholds) -> Finding | None:
    """LATCH when the image does not change while the robot moves: a driver that repeats a frame looks alive."""
    limit = thresholds.parameters.frozen_image_steps
    crept = max(map(abs, frozen.crept), default=0.0)
    if frozen.steps < limit and crept < SEEN_MOTION * limit:
        return None
    text = f"the image is frozen: it stayed the same to the pixel for {frozen.steps} decisions of fast motion"
    return Finding(
        Decision.LATCH, Reason.IMAGE, f"{text}, and for slow motion as far as {crept:.1f} decisions at full speed"
    )


def check_pose_changes(frozen: FrozenPose, thresholds: RobotThresholds) -> Finding | None:
    """LATCH when the pose does not change while the robot is told to move.

    A driver that repeats a pose under new stamps looks alive, and the workspace would not hold. For robots that take
    poses check_lead does this.
    """
    if not thresholds.needs_pose or thresholds.target_lead is not None or not frozen.moved:
        return None
    lasted_s, limit_s = frozen.until_s - frozen.since_s, thresholds.parameters.frozen_pose_s
    told = max((abs(frozen.moved[i]) for i in thresholds.linear_axes), default=0.0)
    if lasted_s < limit_s or told <= LEAST_TRAVEL_M:
        return None
    return Finding(
        Decision.LATCH,
        Reason.NOT_FOLLOWING,
        f"the pose of the commanded point is frozen: the same to the last bit for {lasted_s:.2f} s (limit {limit_s:g}) "
        f"while the robot was told to move {told * 1e3:.0f} mm; it is blocked, or its driver froze",
    )


@dataclass(frozen=True)
class CommandStep:
    """The next command (n,), m/s and rad/s, and what the one after it needs."""

    command: tuple[float, ...]
    acceleration: tuple[float, ...]
    """Change (n,) from the previous command, per second."""
    history: CommandHistory
    limited: bool
    """The limits changed the command."""


def next_command(
    target: Sequence[float] | None,
    previous: tuple[float, ...],
    acceleration: tuple[float, ...],
    history: CommandHistory,
    robot: RobotStateInput,
    limits: CommandLimits,
    elapsed_s: float,
    now: Now,
) -> CommandStep:
    """Return the command `elapsed_s` after `previous` (n,), within the limits.

    It steers to `target` (n,), a normalised action, or to zero when `target` is None. The workspace holds the measured
    pose, or the target pose of a robot that takes poses.
    """
    before, slopes, limited = np.array(previous), np.array(acceleration), False
    if target is None:
        reached = limits.stop(before, elapsed_s, slopes)
    else:
        point, moved = robot.position, None
        if robot.lead is not None:
            point = robot.lead.position
        elif robot.pose is not None:
            now_s = now.monotonic_s
            age_s = max(now.ros_s - robot.pose.stamp_s, now_s - robot.pose.receipt_s)
            moved = history.outstanding(now_s - age_s, now_s)
        position = None if point is None else np.array(point)
        followed = limits.follow(np.array(target), before, elapsed_s, position, slopes, moved)
        reached, limited = followed.command, followed.limited
    if elapsed_s > 0.0:
        slopes = (reached - before) / elapsed_s
    command = tuple(reached.tolist())
    return CommandStep(command, tuple(slopes.tolist()), history.after(command, now.monotonic_s), limited)
