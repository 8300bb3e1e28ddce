"""One protective zone: which readings of a message matter to it, and when the robot's motion would bring them inside.

A message is reduced to a few hundred points once, when it comes. Afterwards, at every command, a zone is asked for the
time until enough of them are inside. More points, nearer points, near and unknown readings never make it later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fosp_core.robot.protective import ZoneConfig, ZoneSourceConfig
from fosp_safety_monitor.zones.decoding import Readings
from fosp_safety_monitor.zones.geometry import Box, ConvexPolygon, PlaneMotion, Points, Times

Point = tuple[float, float, float]
MOST_POINTS = 256
"""Points of one message that a zone keeps: more are merged, cell by cell of a grid."""
_FINEST_CELL_M = 0.01
_CACHED = 6
_HASHES, _MIXER = 1 << 16, 0x9E3779B1
_ROUNDING_M = 1e-5
"""By which a point may lie beside its cell: coordinates are float32."""


@dataclass(frozen=True)
class Twist:
    """Velocity of the commanded point, m/s, and turn of a base, rad/s, in the action frame."""

    linear: Point = (0.0, 0.0, 0.0)
    turn: float = 0.0

    @classmethod
    def of(cls, axes: Sequence[str], command: Sequence[float]) -> Twist:
        """Return the twist of a command (n,), m/s and rad/s, by the names of its axes."""
        values = dict(zip(axes, command, strict=True))
        x, y, z = (float(values.get(f"linear.{name}", 0.0)) for name in "xyz")
        return cls((x, y, z), float(values.get("angular.z", 0.0)))

    @property
    def speed(self) -> float:
        """Return the norm of the linear velocity, m/s."""
        return math.hypot(*self.linear)


@dataclass(frozen=True)
class ZoneCloud:
    """The part of one message that matters to one zone."""

    points: Points
    """Points (M, 3), m, in the action frame."""
    weights: NDArray[np.int64]
    """Number (M,) of readings that each point stands for."""
    spread: float = 0.0
    """Distance, m, by which a reading can differ from the point that stands for it."""
    certain: int = 0
    """Near and unknown readings that count as inside, wherever the robot moves."""
    entries: dict[Twist, float] = field(default_factory=dict, compare=False, repr=False)
    """Times that were computed already."""


class Zone:
    """One zone of a robot; `fastest` is the greatest speed of the commanded point, m/s."""

    def __init__(self, config: ZoneConfig, sources: Sequence[ZoneSourceConfig], fastest: float) -> None:
        self.config, self.name = config, config.name
        self._types = {source.name: source.type for source in sources}
        self._polygon = ConvexPolygon.of(config.polygon) if config.polygon else None
        self._box = Box(config.lower, config.upper) if config.lower and config.upper else None
        latest_s = max((source.timeout_s for source in sources if source.name in config.sources), default=0.0)
        self.horizon_s = (config.time_s or config.grow_s) + latest_s
        """Time ahead, s, within which an entry can matter: a message may be as old as its time-out."""
        self._ahead_m = fastest * (self.horizon_s if self._polygon or config.around_tool else config.grow_s)

    # -- when a message comes ------------------------------------------------------------------------
    def reduce(self, source: str, readings: Readings, tool: Point | None) -> ZoneCloud:
        """Return what the readings of `source` mean to this zone, with the commanded point at `tool`, m."""
        kept = readings.points[self.matters(readings.points, tool)]
        certain = readings.near
        if self.config.unknown == "near":
            certain += self._unknown_inside(readings, tool)
        if len(kept) <= MOST_POINTS:
            return ZoneCloud(kept, np.ones(len(kept), np.int64), 0.0, certain)
        return ZoneCloud(*_merged(kept, planar=self._polygon is not None), certain)

    def matters(self, points: Points, tool: Point | None) -> NDArray[np.bool_]:
        """Return which points (N, 3) could be inside within the horizon; more than these may be said to be."""
        if self._polygon is not None:
            reach = self._polygon.radius + self._ahead_m
            wanted = points[:, 0] ** 2 + points[:, 1] ** 2 <= np.float32(reach * reach * 1.0001)
            if self.config.height is not None:
                lowest, highest = self.config.height
                wanted &= (points[:, 2] >= lowest) & (points[:, 2] <= highest)
            return np.asarray(wanted)
        bounds = self._bounds(tool)
        return np.ones(len(points), np.bool_) if bounds is None else bounds.may_hold(points)

    def _unknown_inside(self, readings: Readings, tool: Point | None) -> int:
        """Return how many of the readings without a distance may be of something that matters."""
        if readings.rays is None or readings.origin is None or not len(readings.rays):
            return readings.unknown
        box = self._bounds(tool)
        return readings.unknown if box is None else int(box.crossed_by(readings.origin, readings.rays).sum())

    def _bounds(self, tool: Point | None) -> Box | None:
        """Return a box that holds all that matters; None: everything may."""
        grown = self._ahead_m
        if self._polygon is not None:
            reach = self._polygon.radius + grown
            low, high = self.config.height or (-1e3, 1e3)
            return Box((-reach, -reach, low), (reach, reach, high))
        if self._box is None or (self.config.around_tool and tool is None):
            return None
        centre = tool if self.config.around_tool and tool is not None else (0.0, 0.0, 0.0)
        grown *= 2.0 if self.config.around_tool else 1.0
        x, y, z = (low + at - grown for low, at in zip(self._box.lower, centre, strict=True))
        a, b, c = (high + at + grown for high, at in zip(self._box.upper, centre, strict=True))
        return Box((x, y, z), (a, b, c))

    # -- at every command ----------------------------------------------------------------------------
    def entry_s(self, source: str, cloud: ZoneCloud, twist: Twist, tool: Point | None) -> float:
        """Return the time, s, until enough points of `cloud` are inside at `twist`: 0 now, infinity beyond the horizon.

        For a fixed box, which the robot's motion does not move, it is 0 or infinity.
        """
        moves = self.config.around_tool
        known = None if moves else cloud.entries.get(twist)
        if known is not None:
            return known
        found = self._entry(source, cloud, twist, tool)
        if not moves:
            if len(cloud.entries) >= _CACHED:
                cloud.entries.clear()
            cloud.entries[twist] = found
        return found

    def _entry(self, source: str, cloud: ZoneCloud, twist: Twist, tool: Point | None) -> float:
        needed = 1 if self._types.get(source) == "Range" else self.config.min_points
        if cloud.certain >= needed:
            return 0.0
        if not len(cloud.points):
            return math.inf
        return _when(self._times(cloud, twist, tool), cloud.weights, needed - cloud.certain)

    def _times(self, cloud: ZoneCloud, twist: Twist, tool: Point | None) -> Times:
        if self._polygon is not None:
            motion = PlaneMotion(twist.linear[0], twist.linear[1], twist.turn)
            return self._polygon.entry_times(cloud.points, motion, self.horizon_s, cloud.spread)
        assert self._box is not None
        if not self.config.around_tool:
            margin = cloud.spread + twist.speed * self.config.grow_s
            return np.where(self._box.distances(cloud.points) <= margin + 1e-6, 0.0, math.inf)
        if tool is None:
            return np.zeros(len(cloud.points))
        return self._box.entry_times(cloud.points - np.array(tool, np.float32), twist.linear, cloud.spread)

    def tool_entry_s(self, twist: Twist, tool: Point | None) -> float:
        """Return the time, s, until the commanded point at `tool` enters this keep-out box; 0 when it is not known."""
        assert self._box is not None
        if tool is None:
            return 0.0
        x, y, z = twist.linear
        return float(self._box.entry_times(np.array([tool], np.float32), (-x, -y, -z))[0])

    def inside_now(self, cloud: ZoneCloud, tool: Point | None) -> tuple[int, float]:
        """Return how many readings are inside at rest, and the distance, m, of the nearest point; for people.

        The distance is that from the centre of a base or from the commanded point of an arm.
        """
        if not len(cloud.points):
            return cloud.certain, math.inf if not cloud.certain else 0.0
        inside = self._times(cloud, Twist(), tool) == 0.0
        centre = np.zeros(3, np.float32) if tool is None or self._polygon else np.array(tool, np.float32)
        offset = cloud.points - centre
        away = np.linalg.norm(offset[:, :2] if self._polygon else offset, axis=1)
        return cloud.certain + int(cloud.weights[inside].sum()), float(away.min())


def _when(times: Times, weights: NDArray[np.int64], needed: int) -> float:
    """Return the time at which `needed` readings are inside, each of which stays so once it has come in."""
    if needed == 1:
        return float(times.min())
    order = np.argsort(times)
    enough = np.cumsum(weights[order]) >= needed
    return float(times[order[enough.argmax()]]) if enough.any() else math.inf


def _merged(points: Points, planar: bool) -> tuple[Points, NDArray[np.int64], float]:
    """Return the cells of the finest grid with at most MOST_POINTS of them that hold points, with their numbers.

    The last value is half of a cell's diagonal, m. The grids' cells double in size, and each holds whole cells of the
    one before. Nothing is sorted before a quick count, which may be too low and never too high, says that it is enough.
    """
    size = _FINEST_CELL_M
    # A row for each axis: numpy is slow along rows of three.
    cells = np.floor(points.T[: 2 if planar else 3] * np.float32(1.0 / size)).astype(np.int32)
    while True:
        flat = np.zeros(len(points), np.int64)
        for row in cells:
            least = int(row.min())
            flat = flat * (int(row.max()) - least + 1) + (row - least)
        if _least_distinct(flat) <= MOST_POINTS:
            distinct, first, counts = np.unique(flat, return_index=True, return_counts=True)
            if len(distinct) <= MOST_POINTS:
                break
        cells >>= 1
        size *= 2.0
    middle = ((cells[:, first].T + 0.5) * size).astype(np.float32)
    if planar:
        middle = np.concatenate([middle, points[first][:, 2:]], axis=1)
    return middle, counts.astype(np.int64), 0.5 * size * math.sqrt(len(cells)) + _ROUNDING_M


def _least_distinct(numbers: NDArray[np.int64]) -> int:
    """Return a number that the count of different numbers (N,) is not below: that of their hashes."""
    seen = np.zeros(_HASHES, np.bool_)
    seen[(numbers * _MIXER) & (_HASHES - 1)] = True
    return int(np.count_nonzero(seen))
