"""The protective zones for people: markers of their shapes, and what each of them sees; an arm's limits, in words."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from fosp_core.clock import Now
from fosp_core.robot.arm_limits import SceneBox
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.protective import ZoneConfig
from fosp_core.robot.urdf import quaternion_of
from fosp_safety_monitor.arm.guard import ArmGuard
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.zones.field import ProtectiveField

NAMESPACE = "fosp_zones"
MARKER_PERIOD_S = 0.2
LIFETIME_S = 1.0
"""Time after which a viewer takes a marker away that was not published again: nothing that is past stays drawn."""
_COLOURS = {"stop": (0.9, 0.2, 0.1), "keep_out": (0.8, 0.1, 0.6), "slow": (0.9, 0.8, 0.1), "approach": (0.2, 0.5, 0.9)}
_EDGES = tuple((a, a | 1 << axis) for axis in range(3) for a in range(8) if not a & 1 << axis)


def zone_values(field: ProtectiveField | None, robot: RobotStateInput, now: Now) -> dict[str, str]:
    """Return what each source and zone sees, in words; nothing for a robot without zones."""
    return {} if field is None else field.describe(robot.zones, robot.tool, now)


def arm_values(guard: ArmGuard | None, robot: RobotStateInput, now: Now) -> dict[str, str]:
    """Return how near an arm is to the limits of its joints, in words; nothing for a robot without such limits."""
    return {} if guard is None else guard.describe(robot.arm, now)


def zone_markers(robot: RobotConfig, position: tuple[float, float, float] | None, stamp: Any = None) -> list[Marker]:
    """Return the outline of each zone at rest, and of each box that an arm keeps away from, in the action frame.

    `position`, m, is that of the commanded point; a zone around it is taken away while it is not known.
    """
    frame_id, boxes = robot.action.frame_id, robot.joints.boxes if robot.joints is not None else ()
    markers = [_marker(zone, frame_id, index, position, stamp) for index, zone in enumerate(robot.zones)]
    return [*markers, *(_box(box, frame_id, index, stamp) for index, box in enumerate(boxes, len(markers)))]


def lifetime() -> Duration:
    """Return the lifetime of every marker."""
    return Duration(sec=int(LIFETIME_S), nanosec=round(LIFETIME_S % 1.0 * 1e9))


def _marker(
    zone: ZoneConfig, frame_id: str, index: int, position: tuple[float, float, float] | None, stamp: Any
) -> Marker:
    marker = Marker(type=Marker.LINE_LIST, action=Marker.ADD, ns=NAMESPACE, id=index, lifetime=lifetime())
    marker.header.frame_id, marker.header.stamp = frame_id, stamp or Time()
    marker.pose.orientation.w, marker.scale.x = 1.0, 0.01
    red, green, blue = _COLOURS[zone.action]
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=0.9)
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in _outline(zone, position)]
    if not marker.points:
        marker.action = Marker.DELETE
    return marker


def _box(box: SceneBox, frame_id: str, index: int, stamp: Any) -> Marker:
    """Return the outline of a box that an arm keeps away from."""
    marker = Marker(type=Marker.LINE_LIST, action=Marker.ADD, ns=NAMESPACE, id=index, lifetime=lifetime())
    marker.header.frame_id, marker.header.stamp = frame_id, stamp or Time()
    marker.pose.position = Point(**dict(zip("xyz", box.position, strict=True)))
    turned = marker.pose.orientation
    turned.x, turned.y, turned.z, turned.w = quaternion_of(*box.rotation)
    marker.scale.x = 0.01
    red, green, blue = _COLOURS["keep_out"]
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=0.9)
    corners = [[(0.5 if corner >> i & 1 else -0.5) * box.size[i] for i in range(3)] for corner in range(8)]
    marker.points = [Point(x=x, y=y, z=z) for edge in _EDGES for x, y, z in (corners[edge[0]], corners[edge[1]])]
    return marker


def _outline(zone: ZoneConfig, position: tuple[float, float, float] | None) -> list[tuple[float, float, float]]:
    """Return pairs of ends of lines, m."""
    if zone.polygon:
        heights = zone.height or (0.0,)
        ends = zip(zone.polygon, (*zone.polygon[1:], zone.polygon[0]), strict=True)
        return [(*point, z) for pair in ends for z in heights for point in pair]
    assert zone.lower is not None
    assert zone.upper is not None
    if zone.around_tool and position is None:
        return []
    at = position if zone.around_tool and position is not None else (0.0, 0.0, 0.0)
    bounds = zone.lower, zone.upper
    corners = [tuple(bounds[corner >> i & 1][i] + at[i] for i in range(3)) for corner in range(8)]
    return [(corners[end][0], corners[end][1], corners[end][2]) for edge in _EDGES for end in edge]
