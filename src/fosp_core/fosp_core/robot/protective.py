"""Protective zones of the robot file: which sensors see, which volumes are guarded, and what happens in them.

Units are SI. Positions are in the action frame, but for those that say that they are relative to the commanded point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fosp_core.robot.quantities import Metres, Place, RollPitchYaw

Vector3 = tuple[float, float, float]
SourceType = Literal["LaserScan", "PointCloud2", "Depth", "Range"]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _ProtectiveSpec(BaseModel):
    """Immutable, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ZoneSourceConfig(_ProtectiveSpec):
    """A sensor that is fixed to the action frame."""

    name: _Name
    topic: str = Field(min_length=1)
    type: SourceType
    """LaserScan, PointCloud2 and Range of sensor_msgs. Depth is a sensor_msgs/Image, 16UC1 in mm or 32FC1 in m."""
    info_topic: str = ""
    """sensor_msgs/CameraInfo of a Depth; for it only."""
    frame_id: str = Field(min_length=1)
    """Frame of the messages' headers. A message of any other frame stops the robot."""
    position: Place
    """Origin of that frame in the action frame, m."""
    rotation: RollPitchYaw = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw, rad, of that frame in the action frame. A camera's optical frame looks along its z."""
    timeout_s: float = Field(0.2, gt=0, le=2)
    """Age of the newest message, by its stamp and by its receipt, from which on the source counts as blind."""
    stride: int = Field(4, ge=1, le=16)
    """Every how many rows and columns of a Depth one pixel is read."""
    unknown_share: float = Field(0.5, gt=0, le=1)
    """Share of readings without a distance from which on the source counts as blind."""

    @model_validator(mode="after")
    def _camera_info_of_a_depth(self) -> ZoneSourceConfig:
        if (self.type == "Depth") != bool(self.info_topic):
            raise ValueError("a source of type Depth needs info_topic (its camera_info), and no other type has one")
        if self.type != "Depth" and "stride" in self.model_fields_set:
            raise ValueError("stride is for type Depth")
        return self

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the monitor subscribes to."""
        return (self.topic, self.info_topic) if self.info_topic else (self.topic,)


class ZoneConfig(_ProtectiveSpec):
    """One zone: a convex polygon around a base, or a box in the action frame or around an arm's commanded point."""

    name: _Name
    action: Literal["stop", "slow", "approach", "keep_out"]
    """stop: nothing moves while a point is inside. slow: at most the share `to` of what is asked for. approach: so
    slow that nothing is reached within `time_s`. keep_out: the commanded point itself approaches the box like that."""
    polygon: tuple[tuple[Metres, Metres], ...] = ()
    """Corners of a convex polygon, m, in the plane of the action frame; for a base."""
    height: tuple[Metres, Metres] | None = None
    """Lowest and highest z, m, of the points that count in a polygon; None: all."""
    lower: Place | None = None
    upper: Place | None = None
    """Corners of a box, m."""
    around_tool: bool = False
    """The box moves with the commanded point, and its corners are relative to it."""
    sources: tuple[_Name, ...] = ()
    """Sources whose points count; every zone but a keep_out needs one at least."""
    min_points: int = Field(1, ge=1, le=10000)
    """Number of points of one source inside the zone from which on the zone is entered."""
    unknown: Literal["near", "ignore"] = "near"
    """A reading without a distance whose ray crosses the zone counts as a point inside, or does not count."""
    grow_s: float = Field(0.0, ge=0, le=5)
    """The zone of a stop or slow covers all that it sweeps within this time, s, at the velocity of the moment."""
    to: float | None = Field(None, gt=0, lt=1)
    """Share of the speed that a slow zone leaves."""
    time_s: float | None = Field(None, gt=0, le=10)
    """Time to collision, s, that an approach or keep_out zone keeps."""

    @model_validator(mode="after")
    def _shape(self) -> ZoneConfig:
        box = self.lower is not None and self.upper is not None
        if box == bool(self.polygon) or (self.lower is None) != (self.upper is None):
            raise ValueError("needs either a polygon or a box (lower and upper)")
        if self.lower is not None and self.upper is not None and not _ordered(self.lower, self.upper):
            raise ValueError("lower must be below upper on every axis")
        if self.polygon and not is_convex(self.polygon):
            raise ValueError("polygon must be convex, with three corners or more: make several zones of another shape")
        if self.height is not None and (not self.polygon or self.height[0] >= self.height[1]):
            raise ValueError("height is [lowest, highest] of a polygon")
        if self.around_tool and (not box or self.action == "keep_out"):
            raise ValueError("around_tool is for the box of a stop, slow or approach")
        return self

    @model_validator(mode="after")
    def _action(self) -> ZoneConfig:
        if (self.action == "slow") != (self.to is not None):
            raise ValueError(
                "action slow needs `to`, the share of the speed that it leaves, and no other action has it"
            )
        timed = self.action in ("approach", "keep_out")
        if timed != (self.time_s is not None):
            raise ValueError("action approach or keep_out needs time_s, the time to collision, and no other has it")
        if timed and self.grow_s:
            raise ValueError("grow_s is for stop and slow: an approach or keep_out zone looks time_s ahead")
        if self.action == "keep_out" and (self.polygon or self.sources):
            raise ValueError("keep_out is a box for the commanded point, without polygon and sources")
        if self.action == "approach" and not self.polygon and not self.around_tool:
            raise ValueError("an approach zone is a polygon of a base or a box with around_tool: true")
        if self.action != "keep_out" and not self.sources:
            raise ValueError("sources is missing: name the sensors whose points count")
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("each source can be named once")
        return self


class SelfShape(_ProtectiveSpec):
    """A part of the arm whose points do not count: a capsule from `start` to `end`, or a box."""

    start: Place | None = None
    end: Place | None = None
    radius: float | None = Field(None, gt=0, le=0.5)
    """Radius of the capsule, m."""
    lower: Place | None = None
    upper: Place | None = None
    start_on_tool: bool = False
    """`start` is relative to the commanded point, in its own orientation; otherwise it is in the action frame."""
    end_on_tool: bool = False
    on_tool: bool = False
    """A box is relative to the commanded point, along the axes of the action frame."""

    @model_validator(mode="after")
    def _one_shape(self) -> SelfShape:
        capsule = self.start is not None and self.end is not None and self.radius is not None
        box = self.lower is not None and self.upper is not None
        parts = (self.start, self.end, self.radius, self.lower, self.upper)
        if capsule == box or sum(part is not None for part in parts) != (3 if capsule else 2):
            raise ValueError("needs either start, end and radius (a capsule) or lower and upper (a box)")
        if box and (self.start_on_tool or self.end_on_tool):
            raise ValueError("start_on_tool and end_on_tool are for a capsule; a box has on_tool")
        if capsule and self.on_tool:
            raise ValueError("on_tool is for a box; a capsule has start_on_tool and end_on_tool")
        if self.lower is not None and self.upper is not None and not _ordered(self.lower, self.upper):
            raise ValueError("lower must be below upper on every axis")
        return self

    @property
    def moves(self) -> bool:
        """Return True when its place depends on the pose of the commanded point."""
        return self.start_on_tool or self.end_on_tool or self.on_tool


def _ordered(lower: Vector3, upper: Vector3) -> bool:
    return all(low < high for low, high in zip(lower, upper, strict=True))


def is_convex(corners: Iterable[tuple[float, float]]) -> bool:
    """Return True for a convex polygon of three corners or more, in either sense, that turns around once."""
    points = list(corners)
    if len(points) < 3:
        return False
    turned, signs = 0.0, set()
    for index, (x, y) in enumerate(points):
        (bx, by), (ax, ay) = points[index - 1], points[(index + 1) % len(points)]
        cross = (x - bx) * (ay - y) - (y - by) * (ax - x)
        dot = (x - bx) * (ax - x) + (y - by) * (ay - y)
        if abs(cross) <= 1e-12:
            return False
        signs.add(cross > 0)
        turned += math.atan2(cross, dot)
    return len(signs) == 1 and abs(abs(turned) - 2 * math.pi) < 1e-6


def zones_fault(
    zones: tuple[ZoneConfig, ...],
    sources: tuple[ZoneSourceConfig, ...],
    shapes: tuple[SelfShape, ...],
    is_base: bool,
    has_pose: bool,
) -> str:
    """Return why the zones, sources and self-filter of a robot do not fit together; an empty text when they do."""
    names = [source.name for source in sources]
    topics = [topic for source in sources for topic in source.topics]
    used = {name for zone in zones for name in zone.sources}
    if len(set(names)) != len(names) or len({zone.name for zone in zones}) != len(zones):
        return "each source and each zone needs a name of its own"
    if len(set(topics)) != len(topics):
        return "each source needs topics of its own"
    for zone in zones:
        unknown = [name for name in zone.sources if name not in names]
        if unknown:
            return f"zone {zone.name}: no source is called {unknown[0]}; there are: {', '.join(names) or 'none'}"
        if bool(zone.polygon) != is_base:
            return f"zone {zone.name}: the zones of a base are polygons, and those of an arm boxes"
        if (zone.around_tool or zone.action == "keep_out") and not has_pose:
            return f"zone {zone.name}: it needs the pose of the commanded point (pose_topic)"
        if (
            zone.polygon
            and zone.height is None
            and any(s.type != "LaserScan" for s in sources if s.name in zone.sources)
        ):
            return f"zone {zone.name}: height is missing, without which the floor would count"
    idle = [name for name in names if name not in used]
    if idle:
        return f"source {idle[0]}: no zone uses it"
    if shapes and is_base:
        return "self_filter is for an arm: place the sensors of a base so that they do not see it"
    if shapes and not zones:
        return "self_filter without zones"
    return "self_filter: what moves with the tool needs pose_topic" if _moves(shapes) and not has_pose else ""


def _moves(shapes: tuple[SelfShape, ...]) -> bool:
    return any(shape.moves for shape in shapes)
