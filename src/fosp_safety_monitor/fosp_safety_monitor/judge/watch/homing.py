"""The way home between episodes, as a pure state machine: an operator's order begins it, and whatever stops it ends it.

The robot drives itself to the pose of its file, in a straight line, slowly, under every limit and every check that
needs no model. Nothing but another order begins it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.home_drive import HomeDrive
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.replacing import replaced

TOLD_S = 1.0
"""Time for which the end is told, and for which the robot is held at rest after it."""


@dataclass(frozen=True)
class Homing:
    """The order to drive home that is being carried out, if any, and how the last way ended."""

    begun_s: float | None = None
    """Moment of the order, monotonic clock; None while the robot is not on its way."""
    outcome: str = ""
    """How the last way ended, in words; empty before the first."""
    ended_s: float = -math.inf
    """Monotonic clock."""
    arrived: bool = False
    """The last way ended at home."""

    @property
    def running(self) -> bool:
        return self.begun_s is not None

    def ended(self, outcome: str, now: Now, arrived: bool = False) -> Homing:
        """Return the value after the end; only another order begins anew."""
        return Homing(None, outcome, now.monotonic_s, arrived) if self.running else self

    def told(self, now: Now) -> str:
        """Return how the last way ended, as long as it is told."""
        return self.outcome if 0.0 <= now.monotonic_s - self.ended_s <= TOLD_S else ""


def begun(now: Now) -> Homing:
    """Return the value after an operator's order."""
    return replaced(Homing(), begun_s=now.monotonic_s)


def after_tick(
    homing: Homing,
    drive: HomeDrive | None,
    position: tuple[float, float, float] | None,
    orientation: tuple[float, float, float, float] | None,
    command: tuple[float, ...],
    now: Now,
) -> Homing:
    """Return the value at a command tick: ended when the robot has arrived and stands, or when its time is over."""
    if homing.begun_s is None:
        return homing
    if drive is None or position is None or (drive.home.orientation is not None and orientation is None):
        return homing.ended("the way home ended: the pose of the commanded point is not known", now)
    distance, angle = drive.left(position, orientation)
    at = f"{distance * 1e3:.0f} mm" + (f" and {angle:.2f} rad" if drive.home.orientation else "")
    if drive.arrived(position, orientation) and not any(command):
        return homing.ended(f"at home, {at} off", now, arrived=True)
    if not 0.0 <= now.monotonic_s - homing.begun_s <= drive.home.timeout_s:
        return homing.ended(f"the way home ended: not there after {drive.home.timeout_s:g} s, {at} are left", now)
    return homing


def next_wish(
    drive: HomeDrive | None,
    position: tuple[float, float, float] | None,
    orientation: tuple[float, float, float, float] | None,
) -> tuple[float, ...]:
    """Return the normalised action (n,) of this moment, empty for rest: at home, or where the pose is not known."""
    if drive is None or position is None or (drive.home.orientation is not None and orientation is None):
        return ()
    return () if drive.arrived(position, orientation) else drive.wish(position, orientation)


def check_homing(
    homing: Homing, drive: HomeDrive | None, position: tuple[float, float, float] | None, now: Now
) -> Finding | None:
    """PASS with the distance while the robot is on its way home; STOP for a moment after the end, with its cause."""
    if not homing.running:
        told = homing.told(now)
        return Finding(Decision.STOP, Reason.NO_EPISODE, told) if told else None
    left = "" if drive is None or position is None else f": {math.dist(position, drive.home.position):.3f} m to go"
    return Finding(Decision.PASS, Reason.SLOW_DOWN, f"an operator sends the robot home{left}")
