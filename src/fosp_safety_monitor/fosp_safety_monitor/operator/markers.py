"""What RViz and Foxglove show of the safety monitor: workspace box, command, risk."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from fosp_core.decisions import Decision
from fosp_core.specs import RobotConfig, Workspace
from fosp_safety_monitor.judge.verdict import Finding, Verdict

COLOURS = {
    Decision.PASS: (0.1, 0.8, 0.2),
    Decision.SUBSTITUTE: (0.9, 0.8, 0.1),
    Decision.RECOVER: (1.0, 0.55, 0.1),
    Decision.STOP: (0.9, 0.2, 0.1),
    Decision.LATCH: (0.8, 0.1, 0.6),
}
ARROW_S = 0.5
"""The arrow ends where the command would lead in so many seconds."""
_EDGES = tuple((a, a | 1 << axis) for axis in range(3) for a in range(8) if not a & 1 << axis)
"""Pairs of corners; the bits of a corner choose lower or upper of x, y and z."""


def marker_array(
    robot: RobotConfig,
    position: tuple[float, float, float] | None,
    command: tuple[float, ...],
    finding: Finding,
    verdict: Verdict | None,
    stamp: Any,
) -> MarkerArray:
    """All markers, in the frame of the actions; those that nothing is known for are left out."""
    colour = COLOURS[finding.decision]
    markers = []
    if robot.workspace is not None:
        markers.append(_box(robot.workspace, colour))
    centre = position or (0.0, 0.0, 0.0)
    markers += [_arrow(robot, centre, command, colour), _label(centre, finding, verdict, colour)]
    for index, marker in enumerate(markers):
        marker.header.frame_id, marker.header.stamp = robot.action.frame_id, stamp
        marker.ns, marker.id = "fosp_safety_monitor", index
    return MarkerArray(markers=markers)


def _box(box: Workspace, colour: tuple[float, float, float]) -> Marker:
    marker = _marker(Marker.LINE_LIST, colour, 0.005)
    corners = [
        Point(**{name: (box.upper if corner >> i & 1 else box.lower)[i] for i, name in enumerate("xyz")})
        for corner in range(8)
    ]
    marker.points = [corners[end] for edge in _EDGES for end in edge]
    return marker


def _arrow(
    robot: RobotConfig,
    centre: tuple[float, float, float],
    command: tuple[float, ...],
    colour: tuple[float, float, float],
) -> Marker:
    """The linear part of the command; its angular part has no arrow."""
    marker = _marker(Marker.ARROW, colour, 0.01)
    marker.scale.y = marker.scale.z = 0.02
    tip = list(centre)
    for axis, value in zip(robot.action.axes, command, strict=True):
        part, component = axis.name.split(".")
        if part == "linear":
            tip["xyz".index(component)] += ARROW_S * value
    marker.points = [Point(**dict(zip("xyz", point, strict=True))) for point in (centre, tip)]
    return marker


def _label(
    centre: tuple[float, float, float], finding: Finding, verdict: Verdict | None, colour: tuple[float, float, float]
) -> Marker:
    marker = _marker(Marker.TEXT_VIEW_FACING, colour, 0.03)
    risk = f" q_h {verdict.q_h:.2f}, eps {verdict.eps:.2f}" if verdict is not None else ""
    shadow = "SHADOW " if verdict is not None and verdict.shadow else ""
    marker.text = f"{shadow}{finding.decision.name} {finding.reason.name}{risk}"
    marker.scale.z = 0.04
    marker.pose.position = Point(x=centre[0], y=centre[1], z=centre[2] + 0.1)
    return marker


def _marker(kind: int, colour: tuple[float, float, float], width: float) -> Marker:
    marker = Marker(type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale.x = width
    marker.color = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=0.9)
    return marker
