"""Transforms, convex polygons, boxes and capsules on arrays of points; and when moving shapes reach points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""Points (N, 3), m."""
Times = NDArray[np.float64]
"""Seconds (N,); infinity: never."""

_STEP_M = 0.01
"""Way that a point makes between two looks along an arc, m, as long as `_MOST_STEPS` are enough."""
_MOST_STEPS = 60
_ROUNDING_M = 1e-5


@dataclass(frozen=True)
class Transform:
    """A rotation matrix and an origin, m: where a sensor is, in the action frame."""

    rotation: NDArray[np.float32]
    origin: NDArray[np.float32]

    @classmethod
    def of(cls, position: tuple[float, float, float], rpy: tuple[float, float, float]) -> Transform:
        """Return the transform of a position, m, and of fixed-axis roll, pitch and yaw, rad."""
        (cr, cp, cy), (sr, sp, sy) = map(math.cos, rpy), map(math.sin, rpy)
        rotation = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
        return cls(np.array(rotation, np.float32), np.array(position, np.float32))

    def apply(self, points: Points) -> Points:
        """Return points (N, 3) of the sensor's frame in the action frame."""
        return points @ self.rotation.T + self.origin


@dataclass(frozen=True)
class PlaneMotion:
    """Velocity of a base: ahead and to the left, m/s, and of its turn, rad/s."""

    ahead: float
    left: float
    turn: float

    @property
    def rests(self) -> bool:
        """Return True at rest."""
        return not (self.ahead or self.left or self.turn)


@dataclass(frozen=True)
class ConvexPolygon:
    """A convex polygon as half-planes: a point p (2,) is inside where `normals` @ p <= `offsets`; m."""

    normals: NDArray[np.float32]
    """Unit normals (E, 2) that point outwards."""
    offsets: NDArray[np.float32]
    radius: float
    """Distance of the corner furthest from the origin, m."""

    @classmethod
    def of(cls, corners: tuple[tuple[float, float], ...]) -> ConvexPolygon:
        """Return the polygon with these corners, m, in either sense."""
        points = np.array(corners, np.float64)
        edges = np.roll(points, -1, axis=0) - points
        around = points[:, 0] @ np.roll(points[:, 1], -1) - points[:, 1] @ np.roll(points[:, 0], -1)
        outwards = np.stack([edges[:, 1], -edges[:, 0]], axis=1) * math.copysign(1.0, around)
        normals = outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
        offsets = (normals * points).sum(axis=1)
        radius = float(np.linalg.norm(points, axis=1).max())
        return cls(normals.astype(np.float32), offsets.astype(np.float32), radius)

    def contains(self, x: NDArray[np.float32], y: NDArray[np.float32], margin: float = 0.0) -> NDArray[np.bool_]:
        """Return for arrays of coordinates, m, of one shape which are inside, or outside by at most `margin`.

        Corners are widened to where the shifted edges meet, so more is inside rather than less. NaN is inside.
        """
        outside = np.zeros(np.broadcast(x, y).shape, np.bool_)
        for (nx, ny), offset in zip(self.normals.tolist(), self.offsets.tolist(), strict=True):
            outside |= nx * x + ny * y > offset + margin + 1e-6
        return ~outside

    def reach(self, speed: float, horizon_s: float) -> float:
        """Return how far from the origin, m, anything is that the polygon can reach within `horizon_s`."""
        return self.radius + speed * horizon_s

    def entry_times(self, points: Points, motion: PlaneMotion, horizon_s: float, margin: float = 0.0) -> Times:
        """Return when each point (N, 3) is inside first while the polygon moves with the base; infinity beyond.

        The way along an arc is looked at in steps, with the polygon grown by half of a step, so that a time is never
        later than the true one. Along a line it is exact.
        """
        x, y = points[:, 0], points[:, 1]
        times = np.where(self.contains(x, y, margin), 0.0, math.inf)
        if motion.rests or not len(points) or horizon_s <= 0.0:
            return times
        if motion.turn == 0.0:
            ahead = self._line_entry_times(x, y, motion, margin)
            return np.where(ahead <= horizon_s, np.minimum(times, ahead), times)
        # Of a point that is about to be inside; it is no further away than the furthest corner.
        fastest = math.hypot(motion.ahead, motion.left) + abs(motion.turn) * (self.radius + margin)
        count = min(max(math.ceil(fastest * horizon_s / _STEP_M), 1), _MOST_STEPS)
        step_s = horizon_s / count
        moments = (step_s * np.arange(count + 1)).astype(np.float32)
        there_x, there_y, angle = _arc(motion, moments)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        dx, dy = x[None] - there_x[:, None], y[None] - there_y[:, None]
        grown = margin + 0.5 * fastest * step_s * (1.0 + abs(motion.turn) * step_s)
        inside = self.contains(c * dx + s * dy, c * dy - s * dx, grown)
        first = np.where(inside.any(axis=0), (inside.argmax(axis=0) - 0.5) * step_s, math.inf)
        return np.minimum(times, np.maximum(first, 0.0))

    def _line_entry_times(
        self, x: NDArray[np.float32], y: NDArray[np.float32], motion: PlaneMotion, margin: float
    ) -> Times:
        begin, end = np.zeros(len(x)), np.full(len(x), math.inf)
        for (nx, ny), offset in zip(self.normals.tolist(), self.offsets.tolist(), strict=True):
            closing = nx * motion.ahead + ny * motion.left
            gap = nx * x.astype(np.float64) + ny * y - offset - margin
            if abs(closing) < 1e-9:
                end = np.where(gap > 0.0, -math.inf, end)
            elif closing > 0.0:
                begin = np.fmax(begin, gap / closing)
            else:
                end = np.fmin(end, gap / closing)
        return np.where(begin <= end, begin, math.inf)


def _arc(
    motion: PlaneMotion, moments: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return x, y, m, and the heading, rad, of a base at each moment (T,) of a steady motion that begins at zero."""
    angle = motion.turn * moments
    # The chord is shorter than the arc by sin(a/2) / (a/2), and leads along the mean of both headings.
    half = 0.5 * angle
    chord = np.sinc(half / np.float32(math.pi)) * moments
    c, s = chord * np.cos(half), chord * np.sin(half)
    return c * motion.ahead - s * motion.left, s * motion.ahead + c * motion.left, angle


@dataclass(frozen=True)
class Box:
    """An axis-aligned box, m."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.array(self.lower, np.float32), np.array(self.upper, np.float32)

    def distances(self, points: Points) -> Times:
        """Return the distance, m, of each point (N, 3) from the box; zero inside, and for NaN."""
        squared = np.zeros(len(points))
        for along, low, high in zip(points.T, *self._bounds, strict=True):
            squared += np.maximum(np.maximum(low - along, along - high), 0.0, dtype=np.float64) ** 2
        found = np.sqrt(squared)
        found[np.isnan(found)] = 0.0
        return found

    def may_hold(self, points: Points) -> NDArray[np.bool_]:
        """Return which points (N, 3) are inside, or outside by no more than rounding; NaN is inside."""
        outside = np.zeros(len(points), np.bool_)
        for axis, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            along = points[:, axis]
            outside |= along < np.float32(low - _ROUNDING_M)
            outside |= along > np.float32(high + _ROUNDING_M)
        return ~outside

    def entry_times(self, points: Points, velocity: tuple[float, float, float], margin: float = 0.0) -> Times:
        """Return when each point (N, 3) is inside first while the box moves at `velocity` (3,), m/s."""
        begin, end = np.zeros(len(points)), np.full(len(points), math.inf)
        lower, upper = self._bounds
        for axis, speed in enumerate(velocity):
            low, high = points[:, axis] - upper[axis] - margin, points[:, axis] - lower[axis] + margin
            if speed == 0.0:
                end = np.where((low > 0.0) | (high < 0.0), -math.inf, end)
                continue
            a, b = (low / speed, high / speed) if speed > 0.0 else (high / speed, low / speed)
            begin, end = np.fmax(begin, a), np.fmin(end, b)
        times = np.where(begin <= end, begin, math.inf)
        times[~np.isfinite(points).all(axis=1)] = 0.0
        return times

    def crossed_by(self, origin: NDArray[np.float32], directions: Points) -> NDArray[np.bool_]:
        """Return which rays from `origin` (3,) along `directions` (N, 3) cross the box."""
        begin, end = np.zeros(len(directions)), np.full(len(directions), math.inf)
        lower, upper = self._bounds
        for axis in range(3):
            step = directions[:, axis].astype(np.float64)
            low, high = float(lower[axis] - origin[axis]), float(upper[axis] - origin[axis])
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = low / step, high / step
            parallel = np.abs(step) < 1e-9
            outside = parallel & (low * high > 0.0)
            begin = np.where(parallel, begin, np.maximum(begin, np.minimum(a, b)))
            end = np.where(outside, -math.inf, np.where(parallel, end, np.minimum(end, np.maximum(a, b))))
        return begin <= end


def near_capsule(
    points: Points, start: NDArray[np.float64], end: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    """Return which points (N, 3) are within `radius`, m, of the segment from `start` to `end` (3,); NaN is not."""
    way = (end - start).astype(np.float32)
    length = float(way @ way)
    x, y, z = (along - np.float32(at) for along, at in zip(points.T, start, strict=True))
    if length > 0.0:
        share = np.clip((x * way[0] + y * way[1] + z * way[2]) / np.float32(length), 0.0, 1.0)
        x, y, z = x - share * way[0], y - share * way[1], z - share * way[2]
    return np.asarray(x * x + y * y + z * z <= np.float32(radius * radius))


def rotated(vector: tuple[float, float, float], quaternion: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Return a vector (3,) turned by a unit quaternion (x, y, z, w)."""
    v, q, w = np.array(vector), np.array(quaternion[:3]), quaternion[3]
    return np.asarray(v + 2.0 * np.cross(q, np.cross(q, v) + w * v))
