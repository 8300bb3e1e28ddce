"""The motion that was commanded: the history of sent commands, and the next command within the robot's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fosp_core.clock import Now, Received
from fosp_core.limits import CommandLimits
from fosp_safety_monitor.judge.inputs import RobotStateInput

REMEMBERED_S = 0.5
"""Length of the history. It exceeds the greatest age that a pose may have."""
SEEN_MOTION = 0.2
"""Share of full speed from which the camera must see a change within `frozen_image_steps`. Slower motion adds up."""


@dataclass(frozen=True)
class CommandHistory:
    """The commands (n,) sent lately, m/s and rad/s, each with its time on the monotonic clock, s; oldest first."""

    sent: tuple[tuple[float, tuple[float, ...]], ...] = ()

    def after(self, command: tuple[float, ...], now_s: float) -> CommandHistory:
        """Return the history with one more `command`, sent at `now_s`."""
        begin = 0
        while begin + 1 < len(self.sent) and self.sent[begin + 1][0] < now_s - REMEMBERED_S:
            begin += 1
        return CommandHistory((*self.sent[begin:], (now_s, command)))

    def displacement_since(self, measured: Received | None, now: Now) -> tuple[float, ...] | None:
        """Return the integral (n,) of the commands since a pose was measured, m and rad; None before the first command.

        The pose is as old as the later of its stamp and its receipt says.
        """
        if not self.sent or measured is None:
            return None
        now_s = now.monotonic_s
        then_s = now_s - max(now.ros_s - measured.stamp_s, now_s - measured.receipt_s)
        moved, end_s = [0.0] * len(self.sent[-1][1]), now_s
        for begin_s, command in reversed(self.sent):
            span_s = end_s - max(begin_s, then_s)
            if span_s > 0.0:
                moved = [m + span_s * c for m, c in zip(moved, command, strict=True)]
            if begin_s <= then_s:
                break
            end_s = begin_s
        return tuple(moved)


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
            return replace(self, steps=self.steps + 1)
        crept = self.crept or (0.0,) * len(shares)
        return replace(self, crept=tuple(c + share for c, share in zip(crept, shares, strict=True)))


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
        point, moved = robot.position, history.displacement_since(robot.pose, now)
        if robot.lead is not None:
            point, moved = robot.lead.position, None
        position = None if point is None else np.array(point)
        followed = limits.follow(np.array(target), before, elapsed_s, position, slopes, moved)
        reached, limited = followed.command, followed.limited
    if elapsed_s > 0.0:
        slopes = (reached - before) / elapsed_s
    command = tuple(reached.tolist())
    return CommandStep(command, tuple(slopes.tolist()), history.after(command, now.monotonic_s), limited)
