"""A robot's own trail: the places that it was measured at, and the way back along them. Pure, without ROS.

A place is the measured pose of the commanded point of an arm, or the odometry of a base. Nothing is known about what
is around it but that the robot passed there itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fosp_core.executed import rotation_between
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import TWIST_COMPONENTS

SPACING_S = 0.02
"""Distance of the points of a trail, as a time at full speed."""
HANGING_SHARE = 1.0 / 6.0
"""A robot hangs that gets no further than this share of what it could have gone: 2.5 cm in 0.6 s at 0.25 m/s."""
WISH_SHARE = 0.2
"""Share of full speed from which an action is to move the robot. It is above HANGING_SHARE: a robot that does as it is
told does not hang."""
SAME_TRAP_S = 0.4
"""Distance, as a time at full speed, within which two hangs are of the same trap."""
TOLERANCE_S = 0.05
"""Distance from its trail at which a robot has left it, as a time at full speed."""
LEAST_TOLERANCE_M = 0.01
"""The same for slow robots, m."""
GAP_S = 0.3
"""A trail begins anew after a pause of this length: nobody saw where the robot was."""
HIGHEST_GAIN = 5.0
"""Speed for each unit of distance to the end of the way, 1/s."""
GAIN_BY_LAG = 0.3
"""The same for each second by which the robot follows late: it must not swing about the end."""
_SIDE_GAIN = 40.0
"""Turn for each m of the way and each m beside it, 1/m^2, by which a base that cannot go sideways keeps to its way."""
_FIRST_ANGULAR = 3
_BASE = {0, 1, 5}

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class RobotPlace:
    """A measured pose."""

    position: Vector
    """m: in the action frame for an arm, in that of the odometry, with z = 0, for a base."""
    heading: float = 0.0
    """Heading of a base, rad; 0 for an arm."""
    orientation: tuple[float, float, float, float] | None = None
    """Orientation of the tool, a unit quaternion x, y, z, w; None where the action does not turn it."""


@dataclass(frozen=True)
class WayBack:
    """The way in which one robot goes from a place to another one that is near."""

    is_base: bool
    components: tuple[int, ...]
    """Component of a twist, 0 to 5, that each axis of the action moves."""
    scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1."""
    gain: float
    """Speed for each unit of distance to the end, 1/s."""

    @classmethod
    def of(cls, robot: RobotConfig) -> WayBack | None:
        """Return the way of a robot; None for one that cannot be driven back along measured places.

        Such a robot coasts, moves by axes other than those that are measured, or measures no place at all.
        """
        components = tuple(TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes)
        is_base = robot.kind == "base"
        measured = robot.state_type == "Odometry" if is_base else bool(robot.pose_topic)
        if robot.coasts or not measured or min(components, default=_FIRST_ANGULAR) >= _FIRST_ANGULAR:
            return None
        if is_base and not set(components) <= _BASE:
            return None
        gain = min(HIGHEST_GAIN, GAIN_BY_LAG / (robot.response_s + robot.dead_time_s))
        return cls(is_base, components, robot.action.scale, gain)

    @property
    def speed(self) -> float:
        """Full speed, m/s."""
        return max(s for c, s in zip(self.components, self.scale, strict=True) if c < _FIRST_ANGULAR)

    @property
    def turn(self) -> float:
        """Full speed of turning, rad/s; 0 for a robot that does not turn."""
        return max((s for c, s in zip(self.components, self.scale, strict=True) if c >= _FIRST_ANGULAR), default=0.0)

    @property
    def tolerance_m(self) -> float:
        """Distance from its trail, m, at which the robot has left it."""
        return max(LEAST_TOLERANCE_M, TOLERANCE_S * self.speed)

    def place(
        self,
        position: Vector | None,
        orientation: tuple[float, float, float, float] | None,
        odometry: Vector | None,
    ) -> RobotPlace | None:
        """Return the measured place, from the pose of an arm or the x, y and heading of a base; None: not known."""
        if self.is_base:
            return None if odometry is None else RobotPlace((odometry[0], odometry[1], 0.0), odometry[2])
        turns = self.turn > 0.0
        if position is None or (turns and orientation is None):
            return None
        return RobotPlace(position, orientation=orientation if turns else None)

    def apart(self, one: RobotPlace, other: RobotPlace) -> tuple[float, float]:
        """Return the distance, m, and the angle, rad, between two places."""
        return math.dist(one.position, other.position), math.hypot(*_turned(one, other))

    def lasts(self, one: RobotPlace, other: RobotPlace) -> float:
        """Return the time, s, from a place to another at full speed."""
        distance, angle = self.apart(one, other)
        return max(distance / self.speed, angle / self.turn if self.turn else 0.0)

    def wish(self, at: RobotPlace, target: RobotPlace, left_s: float, share: float) -> tuple[float, ...]:
        """Return the normalised action (n,) towards `target`: no axis, and no norm, above `share` of full speed.

        `left_s` is the time to the end of the way at full speed: the robot slows down before it.
        """
        x, y, z = (goal - here for goal, here in zip(target.position, at.position, strict=True))
        if self.is_base:
            c, s = math.cos(at.heading), math.sin(at.heading)
            x, y = c * x + s * y, c * y - s * x
        moved = (x, y, z, *_turned(at, target))
        share = min(share, self.gain * left_s)
        wanted = [moved[place] / scale for place, scale in zip(self.components, self.scale, strict=True)]
        lasts_s = max(_largest_norm(wanted, self.components), 1e-9) / max(share, 1e-9)
        action = [value / max(lasts_s, 1e-9) for value in wanted]
        if self.is_base and 1 not in self.components and 5 in self.components:
            ahead, about = self.components.index(0), self.components.index(5)
            action[about] += _SIDE_GAIN * action[ahead] * self.scale[ahead] * y / self.scale[about]
            action[about] = min(max(action[about], -share), share)
        return tuple(action)


@dataclass(frozen=True)
class TrailPoint:
    """A place of a trail."""

    place: RobotPlace
    time_s: float
    """Moment at which the robot was measured there last, monotonic clock."""
    safe: bool
    """Whenever the robot was there, what drove it was found safe."""


@dataclass(frozen=True)
class Trail:
    """The places of the last moments, oldest first."""

    points: tuple[TrailPoint, ...] = ()

    def after(self, place: RobotPlace, time_s: float, safe: bool, way: WayBack, age_s: float) -> Trail:
        """Return the trail with one more place, without those older than `age_s`.

        It begins anew where the robot was out of sight for GAP_S, time ran backwards, or the robot went further than
        it can.
        """
        points, last = self.points, self.points[-1] if self.points else None
        if last is not None:
            elapsed_s = time_s - last.time_s
            if not 0.0 <= elapsed_s <= GAP_S or way.lasts(last.place, place) > 1.5 * elapsed_s + 2.0 * TOLERANCE_S:
                points, last = (), None
        if last is not None and way.lasts(last.place, place) <= SPACING_S:
            points, place, safe = points[:-1], last.place, safe and last.safe
        kept = tuple(point for point in points if time_s - point.time_s <= age_s)
        return Trail((*kept, TrailPoint(place, time_s, safe)))

    def back(self, length_s: float, way: WayBack) -> tuple[TrailPoint, ...]:
        """Return the way back from the newest place, of at most `length_s` at full speed, to one that was safe.

        It is empty where there is none. The first point is the newest one.
        """
        ahead: list[TrailPoint] = []
        gone_s = 0.0
        for point in reversed(self.points):
            gone_s += way.lasts(ahead[-1].place, point.place) if ahead else 0.0
            if gone_s > length_s:
                break
            ahead.append(point)
        while ahead and not ahead[-1].safe:
            ahead.pop()
        return tuple(ahead) if len(ahead) > 1 else ()

    def gone_back(self, reached: TrailPoint, here: TrailPoint) -> Trail:
        """Return the trail of a robot that went back to `reached`, one of its points, and is `here` now."""
        return Trail((*(point for point in self.points if point.time_s <= reached.time_s), here))


def remaining(back: Sequence[TrailPoint], at: RobotPlace, way: WayBack) -> tuple[TrailPoint, ...]:
    """Return the points of a way back that a robot at `at` has not reached yet."""
    first = 0
    while first < len(back):
        here = back[first].place
        reached = way.lasts(at, here) <= SPACING_S
        if not reached and first + 1 < len(back):
            following = back[first + 1].place
            reached = way.lasts(at, following) < way.lasts(here, following)
        if not reached:
            break
        first += 1
    return tuple(back[first:])


def left_s(back: Sequence[TrailPoint], at: RobotPlace, way: WayBack) -> float:
    """Return the time, s, that is left to the end of a way back at full speed."""
    places = [at, *(point.place for point in back)]
    return sum(way.lasts(one, other) for one, other in pairwise(places))


def off_trail_m(trail: Sequence[TrailPoint], at: RobotPlace) -> float:
    """Return the distance, m, of a place from the lines between the points of a trail; infinity without points."""
    if not trail:
        return math.inf
    points = np.array([point.place.position for point in trail])
    here = np.array(at.position)
    begin, line = points[:-1], np.diff(points, axis=0)
    length = np.maximum((line * line).sum(1), 1e-12)
    share = np.clip(((here - begin) * line).sum(1) / length, 0.0, 1.0)
    nearest = np.vstack([points, begin + share[:, None] * line])
    return float(np.sqrt(((nearest - here) ** 2).sum(1).min()))


@dataclass(frozen=True)
class Standstill:
    """The places of the last moments in which something wanted the robot to move: it hangs if it got nowhere."""

    seen: tuple[tuple[float, RobotPlace, float], ...] = ()
    """Monotonic clock, place, and risk of the state, oldest first."""

    def after(self, place: RobotPlace, time_s: float, wanted: bool, window_s: float, risk: float = 0.0) -> Standstill:
        """Return the value after one more decision. A moment without a wish to move begins it anew."""
        now = (time_s, place, risk)
        if not wanted or (self.seen and not 0.0 <= time_s - self.seen[-1][0] <= GAP_S):
            return Standstill((now,) if wanted else ())
        begin = 0
        while begin + 1 < len(self.seen) and self.seen[begin + 1][0] <= time_s - window_s:
            begin += 1
        return Standstill((*self.seen[begin:], now))

    def hangs(self, window_s: float, way: WayBack) -> bool:
        """Return True where the robot got no further in `window_s` than HANGING_SHARE of what it could have gone.

        The rule holds for distance and for turning: a base that turns on the spot does not hang. Nor does a robot whose
        risk falls: what little it moves leads out.
        """
        if not self.seen:
            return False
        (begun_s, before, risk), (time_s, now, present) = self.seen[0], self.seen[-1]
        stands = time_s - begun_s >= window_s - 1e-6 and way.lasts(before, now) < HANGING_SHARE * window_s
        return stands and present >= risk


def _turned(one: RobotPlace, other: RobotPlace) -> Vector:
    """Return the rotation vector, rad, that turns a place into another."""
    if one.orientation is not None and other.orientation is not None:
        x, y, z = rotation_between(np.array(one.orientation), np.array(other.orientation)).tolist()
        return x, y, z
    return 0.0, 0.0, math.remainder(other.heading - one.heading, 2.0 * math.pi)


def _largest_norm(action: Sequence[float], components: Sequence[int]) -> float:
    """Return the greater of the norms of the linear and of the angular part of an action (n,)."""
    linear = [value for value, place in zip(action, components, strict=True) if place < _FIRST_ANGULAR]
    angular = [value for value, place in zip(action, components, strict=True) if place >= _FIRST_ANGULAR]
    return max(math.hypot(*linear), math.hypot(*angular))
