"""The way home between episodes, as a pure state machine: an operator's order begins it, and whatever stops it ends it.

The robot drives itself to the pose of its file, in a straight line, slowly, under every limit and every check that
needs no model. Nothing but another order begins it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.home import HomeConfig, way_home
from fosp_core.specs import TWIST_COMPONENTS
from fosp_safety_monitor.judge.replacing import replaced
from fosp_safety_monitor.judge.verdict import Finding

HIGHEST_GAIN = 1.0
"""Speed for each unit of distance, 1/s, at which the robot comes to its home."""
GAIN_BY_LAG = 0.3
"""The same for each second by which the robot follows late: it must not swing about its home."""
TOLD_S = 1.0
"""Time for which the end is told, and for which the robot is held at rest after it."""
_FIRST_ANGULAR = 3


@dataclass(frozen=True)
class HomeDrive:
    """The home pose of one robot, and what its action can do about the way there."""

    home: HomeConfig
    places: tuple[int, ...]
    """Component, 0 to 5, that each axis of the action moves."""
    scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1."""
    gain: float
    """1/s."""

    @classmethod
    def of(cls, robot: RobotConfig) -> HomeDrive | None:
        """Return the drive of a robot; None for one without a home."""
        if robot.home is None:
            return None
        places = tuple(TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes)
        gain = min(HIGHEST_GAIN, GAIN_BY_LAG / (robot.response_s + robot.dead_time_s))
        return cls(robot.home, places, robot.action.scale, gain)

    def left(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> tuple[float, float]:
        """Return the distance, m, and the angle, rad, to the home pose; ValueError as in `way_home`."""
        way, turn = way_home(self.home, position, orientation)
        return math.hypot(*way), math.hypot(*turn)

    def arrived(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> bool:
        """Return whether the robot is at home."""
        distance, angle = self.left(position, orientation)
        return distance <= self.home.tolerance_m and angle <= self.home.tolerance_rad

    def unreachable(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> str:
        """Return which part of the way no axis of the action can go; an empty text when there is none."""
        way, turn = way_home(self.home, position, orientation)
        allowed = (*[self.home.tolerance_m] * 3, *[self.home.tolerance_rad] * 3)
        for place, (left, most) in enumerate(zip((*way, *turn), allowed, strict=True)):
            if place not in self.places and abs(left) > most:
                unit = "m" if place < _FIRST_ANGULAR else "rad"
                return f"home is {abs(left):.3f} {unit} away along {TWIST_COMPONENTS[place]}, which the action lacks"
        return ""

    def wish(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> tuple[float, ...]:
        """Return the normalised action (n,) straight towards home: no faster than its `speed`, slower near the end."""
        way = [part for vector in way_home(self.home, position, orientation) for part in vector]
        wanted = [self.gain * way[place] / scale for place, scale in zip(self.places, self.scale, strict=True)]
        for group in (range(_FIRST_ANGULAR), range(_FIRST_ANGULAR, 6)):
            axes = [i for i, place in enumerate(self.places) if place in group]
            largest = max((abs(wanted[i]) for i in axes), default=0.0)
            if largest > self.home.speed:
                for i in axes:
                    wanted[i] *= self.home.speed / largest
        return tuple(wanted)


@dataclass(frozen=True)
class Homing:
    """Whether the robot is on its way home, and how the last way ended."""

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
