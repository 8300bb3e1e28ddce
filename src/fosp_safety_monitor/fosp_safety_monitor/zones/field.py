"""All protective zones of a robot: a message becomes a view, and the views become a share of the speed, or a stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now, Received, age
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.protective import SelfShape
from fosp_safety_monitor.zones.decoding import Readings
from fosp_safety_monitor.zones.geometry import Box, Points, near_capsule, rotated
from fosp_safety_monitor.zones.zone import Point, Twist, Zone, ZoneCloud

LEAST_SHARE = 0.05
"""A share of the speed below this is a stop: the robot would only creep up to what it must not reach."""


@dataclass(frozen=True)
class ToolState:
    """The commanded point of an arm, as measured last."""

    position: Point | None = None
    """m, in the action frame; None: it is not known, or the robot is a base."""
    orientation: tuple[float, float, float, float] | None = None
    """Unit quaternion (x, y, z, w)."""
    stamp_s: float = 0.0


@dataclass(frozen=True)
class SourceView:
    """The newest message of one source, as far as the zones need it."""

    received: Received
    fault: str = ""
    """Why the message tells nothing; empty when it does."""
    clouds: Mapping[str, ZoneCloud] = field(default_factory=dict)
    """For each zone of the source, by name, what the message says about it."""


@dataclass(frozen=True)
class ZoneJudgement:
    """The answer of all zones at one moment."""

    share: float = 1.0
    """Share of the speed of what is asked for; 0: nothing moves."""
    text: str = ""
    """The zone that decides, and how near what is; empty at full speed."""
    silent_s: float = 0.0
    """Time for which a source that was heard has been silent, s, beyond its time-out."""


class ProtectiveField:
    """The zones of one robot. Every method is a pure function of its arguments."""

    def __init__(self, robot: RobotConfig) -> None:
        self.sources = robot.sources
        linear = [robot.limits[axis.name].speed for axis in robot.action.axes if axis.name.startswith("linear")]
        self.zones = tuple(Zone(zone, robot.sources, math.hypot(*linear)) for zone in robot.zones)
        self._axes = [str(axis.name) for axis in robot.action.axes]
        self._scale = robot.action.scale
        self._shapes = robot.self_filter

    # -- when a message comes ------------------------------------------------------------------------
    def view(self, source: str, readings: Readings, received: Received, tool: ToolState) -> SourceView:
        """Return the view of a message of `source`. A source that is blind tells nothing."""
        config = next(one for one in self.sources if one.name == source)
        share = readings.unknown / max(readings.count, 1)
        if readings.count == 0 or share > config.unknown_share:
            return SourceView(received, f"is blind: {100 * share:.0f} % of {readings.count} readings have no distance")
        zones = [zone for zone in self.zones if source in zone.config.sources]
        wanted = np.zeros(len(readings.points), np.bool_)
        for zone in zones:
            wanted |= zone.matters(readings.points, tool.position)
        kept = readings.points[wanted]
        kept = kept[~own_points(kept, self._shapes, tool)] if self._shapes else kept
        readings = Readings(kept, readings.count, readings.near, readings.unknown, readings.rays, readings.origin)
        clouds = {zone.name: zone.reduce(source, readings, tool.position) for zone in zones}
        return SourceView(received, "", clouds)

    # -- at every command ----------------------------------------------------------------------------
    def judge(
        self,
        views: Mapping[str, SourceView],
        wish: tuple[float, ...],
        command: tuple[float, ...],
        tool: ToolState,
        now: Now,
    ) -> ZoneJudgement:
        """Return what the zones leave of the normalised action `wish` (n,) while `command` (n,), m/s, is in force.

        A source that is missing, late, malformed or blind leaves nothing. So does a wish that is not finite.
        """
        wanted = Twist.of(self._axes, [value * scale for value, scale in zip(wish, self._scale, strict=True)])
        told = Twist.of(self._axes, command)
        if not all(map(math.isfinite, (*wish, *command))):
            return ZoneJudgement(0.0, "a command is not finite") if self.zones else ZoneJudgement()
        worst, silent_s = ZoneJudgement(), 0.0
        for config in self.sources:
            view = views.get(config.name)
            stale = age(None if view is None else view.received, now, config.timeout_s).stale_because
            if view is not None and stale:
                silent_s = max(silent_s, now.monotonic_s - view.received.receipt_s)
            fault = stale or (view.fault if view is not None else "")
            if fault and worst.share > 0.0:
                worst = ZoneJudgement(0.0, f"source {config.name} ({config.topic}) {_is(fault)}{fault}")
        for found in self._judged(views, wanted, told, tool, now) if worst.share > 0.0 else ():
            if found.share < worst.share:
                worst = found
        return ZoneJudgement(worst.share, worst.text, silent_s)

    def _judged(
        self, views: Mapping[str, SourceView], wanted: Twist, told: Twist, tool: ToolState, now: Now
    ) -> Iterator[ZoneJudgement]:
        """Yield the judgement of each zone and source, whose views are fresh and whole."""
        for zone in self.zones:
            if zone.config.action == "keep_out":
                late_s = max(now.ros_s - tool.stamp_s, 0.0)
                yield _approached(zone, "the commanded point", zone.tool_entry_s(wanted, tool.position), late_s, "")
            for source in zone.config.sources:
                view = views[source]
                cloud = view.clouds[zone.name]
                late_s = max(now.ros_s - view.received.stamp_s, now.monotonic_s - view.received.receipt_s, 0.0)
                if zone.config.action == "approach":
                    entry_s = zone.entry_s(source, cloud, wanted, tool.position)
                    near = _how_near(zone, cloud, tool) if entry_s < math.inf else ""
                    yield _approached(zone, source, entry_s, late_s, near)
                    continue
                entry_s = min(zone.entry_s(source, cloud, twist, tool.position) for twist in {wanted, told})
                if entry_s > zone.config.grow_s + late_s:
                    continue
                share = zone.config.to if zone.config.action == "slow" and zone.config.to is not None else 0.0
                inside = "inside" if entry_s == 0.0 else f"in its way within {entry_s:.2f} s"
                what = f"{inside}, seen by {source}, {_how_near(zone, cloud, tool)}"
                yield ZoneJudgement(share, f"zone {zone.name} ({zone.config.action}): something is {what}")

    def describe(self, views: Mapping[str, SourceView], tool: ToolState, now: Now) -> dict[str, str]:
        """Return in words, for each zone and source, what is seen at present; for diagnostics."""
        said = {}
        for config in self.sources:
            view = views.get(config.name)
            stale = age(None if view is None else view.received, now, config.timeout_s).stale_because
            said[f"source {config.name}"] = stale or (view.fault if view is not None else "") or "fresh"
        for zone in self.zones:
            seen = [views[name].clouds.get(zone.name) for name in zone.config.sources if name in views]
            near = [zone.inside_now(cloud, tool.position) for cloud in seen if cloud is not None]
            count, away = sum(n for n, _ in near), min((d for _, d in near), default=math.inf)
            nearest = f", nearest {away:.2f} m" if away < math.inf else ""
            said[f"zone {zone.name} ({zone.config.action})"] = f"{count} points inside{nearest}"
        return said


def own_points(points: Points, shapes: tuple[SelfShape, ...], tool: ToolState) -> NDArray[np.bool_]:
    """Return which points (N, 3) belong to the robot. A shape on a tool whose pose is not known hides nothing."""
    own = np.zeros(len(points), np.bool_)
    for shape in shapes:
        if shape.moves and (tool.position is None or tool.orientation is None):
            continue
        if shape.lower is not None and shape.upper is not None:
            centre = np.array(tool.position if shape.on_tool else (0.0, 0.0, 0.0), np.float32)
            own |= Box(shape.lower, shape.upper).distances(points - centre) == 0.0
        elif shape.start is not None and shape.end is not None and shape.radius is not None:
            start = _placed(shape.start, shape.start_on_tool, tool)
            own |= near_capsule(points, start, _placed(shape.end, shape.end_on_tool, tool), shape.radius)
    return own


def _placed(point: Point, on_tool: bool, tool: ToolState) -> NDArray[np.float64]:
    if not on_tool or tool.position is None or tool.orientation is None:
        return np.array(point, np.float64)
    return np.array(tool.position) + rotated(point, tool.orientation)


def _approached(zone: Zone, who: str, entry_s: float, late_s: float, near: str) -> ZoneJudgement:
    """Return the share of the speed at which `entry_s` becomes the time that the zone keeps."""
    time_s = zone.config.time_s or math.inf
    share = min(max((entry_s - late_s) / time_s, 0.0), 1.0) if entry_s < math.inf else 1.0
    if share >= 1.0:
        return ZoneJudgement()
    share = share if share >= LEAST_SHARE else 0.0
    left_s = max(entry_s - late_s, 0.0)
    said = f"{who} reaches it" if zone.config.action == "keep_out" else f"a collision with what {who} sees is"
    text = f"zone {zone.name} ({zone.config.action}): {said} {left_s:.2f} s ahead, less than {time_s:g} s"
    return ZoneJudgement(share, text + (f"; {near}" if near else ""))


def _how_near(zone: Zone, cloud: ZoneCloud, tool: ToolState) -> str:
    count, away = zone.inside_now(cloud, tool.position)
    return f"{count} readings inside, the nearest {away:.2f} m away"


def _is(fault: str) -> str:
    if fault.startswith(("never", "received")):
        return "was "
    return "is " if fault[0].isdigit() or fault.startswith("stamped") else ""
