"""Messages of scanners, depth cameras and range sensors as points; a malformed message raises UserError.

A reading is a point, free (nothing within the sensor's range), near (closer than the sensor can tell) or unknown.
REP 117 and REP 118 say which value means what: -inf is near, +inf is free, NaN is unknown. Zero, negative and other
distances below the least range are unknown, too: drivers mean "nothing" or "too close" by them, and by a point of a
cloud in the sensor itself. A finite distance beyond the greatest range is a point where it says: what a driver with too
small a range_max sees near is not free, and the numbers that others send for "nothing" are far beyond every zone.

What a sensor covers must not shrink while the node runs: a zone would lie open without a word. Nor may a camera change
its lens, which would put what it sees elsewhere. Distances of another unit than m are refused, because a hand at 500 mm
is not 500 m away. No Python loop runs over the readings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image.depth import FARTHEST_M, depth_of_raw, require_metres
from fosp_core.robot.protective import ZoneSourceConfig
from fosp_safety_monitor.zones.geometry import Points, Transform

MOST_READINGS = 4_000_000
"""Largest number of readings in a message: decoding more would take too long."""
_RANGE_SPACING_M = 0.02
_MODELS = ("plumb_bob", "rational_polynomial")
"""Distortion models that are undone. A lens without distortion may have any."""
_FLOAT32, _FLOAT32_BYTES = 7, 4
"""Data type of sensor_msgs/PointField, and its size."""
_SHORTEST_FOCAL, _LONGEST_FOCAL = 0.1, 50.0
"""Focal length that a camera can have, as a share of the longer side of its image."""
_NARROWER = 0.1
"""Angle, rad, by which a side of what a sensor covers may fall behind the widest seen: scanners count a beam or two
more or less, and turn at a varying speed."""
_NOTHING_M = 10_000.0
"""Distance from which on a finite one stands for nothing, too: the largest float, or a counter's last value."""
_STRETCHED = 2.0
"""Ratio of the two focal lengths, which differ as the sides of a pixel do, from which on one of them is wrong."""


@dataclass(frozen=True)
class Readings:
    """The content of one message, in the action frame."""

    points: Points
    """Finite points (N, 3), m."""
    count: int
    """Number of readings, the free ones included."""
    near: int = 0
    """Number of readings that are closer than the sensor can tell."""
    unknown: int = 0
    """Number of readings without a distance."""
    rays: Points | None = None
    """Directions (unknown, 3) of the readings without a distance; None: they have none."""
    origin: Points | None = None
    """Origin (3,) of these rays, m."""


class SourceDecoder:
    """Decodes the messages of one source; rays are computed once for each geometry of the sensor."""

    def __init__(self, config: ZoneSourceConfig) -> None:
        self.config = config
        self._mounting = Transform.of(config.position, config.rotation)
        self._lens: tuple[float, ...] | None = None
        """Width and height, fx, fy, cx, cy and distortion of the camera_info; None: it has not come."""
        self._rays: tuple[tuple[Any, ...], Points] | None = None
        self._widest: tuple[float, ...] | None = None
        """Greatest angles, rad, that the sensor covered to its sides, and beams per rad; None: no message yet."""
        self._first: tuple[float, ...] | None = None
        """Angles, rad, that the first camera_info covered to its sides; None: it has not come."""

    def read(self, message: Any) -> Readings:
        """Return the readings of a message of the source's type; raise UserError when it is malformed."""
        if message.header.frame_id != self.config.frame_id:
            raise UserError(f"is in frame '{message.header.frame_id}', and not in '{self.config.frame_id}'")
        decode = {
            "LaserScan": self._scan,
            "PointCloud2": self._cloud,
            "Depth": self._depth,
            "Range": self._range,
        }[self.config.type]
        return decode(message)

    def take_info(self, message: Any) -> None:
        """Take in the camera_info of a depth camera; raise UserError when it is malformed, which leaves none.

        So does one of another camera or of another lens than the first one: the points would be elsewhere.
        """
        self._lens = None
        if message.header.frame_id != self.config.frame_id:
            raise UserError(
                f"camera_info is in frame '{message.header.frame_id}', and not in '{self.config.frame_id}': is it that "
                "of another camera?"
            )
        lens = (message.width, message.height, *(float(message.k[i]) for i in (0, 4, 2, 5)))
        if not (message.width and message.height and all(map(math.isfinite, lens)) and min(lens[2:4]) > 0.0):
            raise UserError("camera_info holds no size, or no positive focal lengths")
        _require_lens(*lens)
        distortion = tuple(float(value) for value in message.d)
        if any(distortion) and (message.distortion_model not in _MODELS or not all(map(math.isfinite, distortion))):
            raise UserError(
                f"camera_info has the distortion model '{message.distortion_model}': publish rectified depth"
            )
        width, height, fx, fy, cx, cy = lens
        sides = [math.atan2(*side) for side in ((cx, fx), (width - cx, fx), (cy, fy), (height - cy, fy))]
        if any(side > before + _NARROWER for side, before in zip(sides, self._first or sides, strict=True)):
            told, before = _degrees(sides), _degrees(self._first or sides)
            raise UserError(
                f"camera_info covers {told} degrees to its sides, and covered {before}: it is of another lens"
            )
        self._require_cover(*sides)
        self._first = self._first or tuple(sides)
        self._lens = (*lens, *(distortion if any(distortion) else ()))

    # -- scans ---------------------------------------------------------------------------------------
    def _scan(self, message: Any) -> Readings:
        ranges = np.asarray(message.ranges, np.float32)
        first, step, last = map(float, (message.angle_min, message.angle_increment, message.angle_max))
        least, most = float(message.range_min), float(message.range_max)
        _require_size(len(ranges))
        if not all(map(math.isfinite, (first, step, last, least))) or step == 0.0 or not 0.0 <= least < most:
            raise UserError("has angles or a range_min and range_max that make no sense")
        expected = (last - first) / step + 1.0
        if abs(expected - len(ranges)) > 1.01:  # some drivers count the last angle, some do not
            raise UserError(f"holds {len(ranges)} ranges, but its angles are those of {expected:.0f}")
        low, high = sorted((first, first + step * (len(ranges) - 1)))
        self._require_cover(-low, high, beams_per_rad=1.0 / abs(step))
        rays = self._cached(("scan", first, step, len(ranges)), lambda: _fan(first, step, len(ranges)))
        return self._along(rays, ranges, least)

    def _range(self, message: Any) -> Readings:
        distance, width = float(message.range), float(message.field_of_view)
        least, most = float(message.min_range), float(message.max_range)
        if not all(map(math.isfinite, (width, least))) or not 0.0 <= width <= math.pi or not 0.0 <= least <= most:
            raise UserError("has a field of view or a min_range and max_range that make no sense")
        if FARTHEST_M < most < _NOTHING_M:
            raise UserError(f"has a max_range of {most:g} m, which no range sensor has: it must be in m")
        self._require_cover(0.5 * width)
        reach = distance if least <= distance <= most else (most if math.isfinite(most) else 1.0)
        across = max(2, math.ceil(min(reach * width / _RANGE_SPACING_M, 200.0)))
        rays = self._cached(("range", width, across), lambda: _cone(width, across))
        return self._along(rays, np.full(len(rays), distance, np.float32), least)

    def _along(self, rays: Points, distances: NDArray[np.float32], least: float) -> Readings:
        """Return the readings of `distances` (N,) along unit `rays` (N, 3) of the sensor's mounting."""
        with np.errstate(invalid="ignore"):
            near = distances == -math.inf
            free = distances >= _NOTHING_M
            known = (distances >= least) & (distances > 0.0) & ~free
        unknown = ~(near | free | known)
        _require_scanned_metres(distances[known])
        points = rays[known] * distances[known, None] + self._mounting.origin
        count = len(distances)
        return Readings(points, count, int(near.sum()), int(unknown.sum()), rays[unknown], self._mounting.origin)

    # -- clouds --------------------------------------------------------------------------------------
    def _cloud(self, message: Any) -> Readings:
        width, height, step, row = message.width, message.height, message.point_step, message.row_step
        _require_size(width * height)
        offsets = [f.offset for name in "xyz" for f in message.fields if f.name == name and f.datatype == _FLOAT32]
        if len(offsets) != 3 or sum(field.name in ("x", "y", "z") for field in message.fields) != 3:
            raise UserError("has no fields x, y and z of float32, each of them once")
        if min(abs(a - b) for a, b in combinations(offsets, 2)) < _FLOAT32_BYTES:
            raise UserError(f"has fields x, y and z that overlap, at the bytes {', '.join(map(str, offsets))}")
        data = np.frombuffer(message.data, np.uint8)
        if max(offsets) + 4 > step or row < width * step or len(data) != row * height:
            raise UserError(f"holds {len(data)} bytes, which do not fit its {width} x {height} points of {step} bytes")
        order = ">" if message.is_bigendian else "<"
        kind = np.dtype({"names": ["x", "y", "z"], "formats": [f"{order}f4"] * 3, "offsets": offsets, "itemsize": step})
        table = np.ndarray((height, width), kind, data, strides=(row, step))
        points = np.stack([table[name].ravel() for name in "xyz"], axis=1).astype(np.float32)
        known = np.isfinite(points).all(axis=1) & points.any(axis=1)
        _require_scanned_metres(np.abs(points[known]).max(axis=1))
        return Readings(self._mounting.apply(points[known]), len(points), 0, int(len(points) - known.sum()))

    # -- depth ---------------------------------------------------------------------------------------
    def _depth(self, message: Any) -> Readings:
        width, height, row, encoding = message.width, message.height, message.step, message.encoding
        lens = self._lens
        if lens is None:
            raise UserError("came before a sound camera_info")
        if (width, height) != lens[:2]:
            raise UserError(f"is {width} x {height}, and its camera_info {lens[0]} x {lens[1]}")
        _require_size(width * height)
        data, big_endian = np.frombuffer(message.data, np.uint8), bool(message.is_bigendian)
        image = depth_of_raw(data, encoding, height, width, row, big_endian)
        stride = self.config.stride
        depth = image[stride // 2 :: stride, stride // 2 :: stride].astype(np.float32).ravel()
        if not len(depth):
            raise UserError(f"has no pixel at a stride of {stride}")
        if image.dtype.kind == "u":
            depth *= np.float32(1e-3)
        rays = self._cached(("depth", lens, stride), lambda: _pinhole(lens, stride))
        with np.errstate(invalid="ignore"):
            near, free = depth == -math.inf, depth == math.inf
            known = (depth > 0.0) & ~free
        require_metres(depth[known])
        unknown = ~(near | free | known)
        points = rays[known] * depth[known, None] + self._mounting.origin
        return Readings(points, len(depth), int(near.sum()), int(unknown.sum()), rays[unknown], self._mounting.origin)

    def _require_cover(self, *sides: float, beams_per_rad: float = 0.0) -> None:
        """Take in the angles, rad, that the sensor covers to its sides; raise UserError when it covered more before."""
        widest = self._widest or (*sides, beams_per_rad)
        if any(side < before - _NARROWER for side, before in zip(sides, widest, strict=False)):
            told, before = _degrees(sides), _degrees(widest[: len(sides)])
            raise UserError(f"covers {told} degrees to its sides, and covered {before}: a zone may be out of its view")
        if beams_per_rad < 0.5 * widest[-1]:
            raise UserError(f"has {beams_per_rad:.0f} beams per rad, and had {widest[-1]:.0f}: it sees too little now")
        self._widest = tuple(map(max, (*sides, beams_per_rad), widest))

    def _cached(self, key: tuple[Any, ...], make: Any) -> Points:
        """Return the rays that `make` gives in the sensor's frame, turned into the action frame."""
        if self._rays is None or self._rays[0] != key:
            self._rays = key, (make() @ self._mounting.rotation.T).astype(np.float32)
        return self._rays[1]


def _require_lens(width: float, height: float, fx: float, fy: float, cx: float, cy: float) -> None:
    """Raise UserError when no camera has such a lens, as where a driver fills its camera_info in part."""
    longer = max(width, height)
    if not (_SHORTEST_FOCAL * longer <= min(fx, fy) and max(fx, fy) <= _LONGEST_FOCAL * longer):
        raise UserError(f"camera_info has focal lengths of {fx:g} and {fy:g} pixels at {width:g} x {height:g}")
    if max(fx, fy) >= _STRETCHED * min(fx, fy):
        raise UserError(f"camera_info has focal lengths that contradict each other, {fx:g} and {fy:g} pixels")
    if not (0.0 < cx < width and 0.0 < cy < height):
        raise UserError(f"camera_info has its optical centre outside of the image, at {cx:g}, {cy:g}")


def _degrees(angles: Iterable[float]) -> str:
    return ", ".join(f"{math.degrees(angle):.0f}" for angle in angles)


def _require_scanned_metres(distances: NDArray[np.floating]) -> None:
    """Raise UserError when (n,) known distances in m are of another unit.

    What a driver sends for "nothing" may be far away, too: it is the same number again and again, and the greatest.
    """
    sample = distances[:: max(1, len(distances) // 1000)]
    varied = sample[sample < sample.max()] if len(sample) else sample
    if len(varied) and float(np.median(varied)) > FARTHEST_M:
        raise UserError(f"shows distances of {float(np.median(varied)):.0f} m: they must be in m")


def _require_size(count: int) -> None:
    if not 0 < count <= MOST_READINGS:
        raise UserError(f"holds {count} readings, allowed are 1 to {MOST_READINGS}")


def _fan(first: float, step: float, count: int) -> Points:
    angles = first + step * np.arange(count)
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1).astype(np.float32)


def _cone(width: float, across: int) -> Points:
    """Return rays over the cone of a range sensor, which looks along its x: a row and a column through its middle."""
    angles = np.linspace(-width / 2, width / 2, across)
    c, s, zeros = np.cos(angles), np.sin(angles), np.zeros(across)
    return np.concatenate([np.stack([c, s, zeros], axis=1), np.stack([c, zeros, s], axis=1)]).astype(np.float32)


def _pinhole(lens: tuple[float, ...], stride: int) -> Points:
    """Return the rays of every `stride`-th pixel of a camera, with z 1, because depth is measured along z."""
    width, height, fx, fy, cx, cy, *distortion = lens
    u, v = np.arange(stride // 2, int(width), stride), np.arange(stride // 2, int(height), stride)
    x, y = np.meshgrid((u - cx) / fx, (v - cy) / fy)
    if distortion:
        import cv2  # only such a lens needs it

        seen = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        turned = cv2.undistortPoints(seen, np.eye(3), np.array(distortion)).reshape(*x.shape, 2)
        x, y = turned[..., 0], turned[..., 1]
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1).astype(np.float32)
