"""The shapes of protective zones as markers."""

from __future__ import annotations

from visualization_msgs.msg import Marker
from zone_parts import BOX, CLOUD, STOP, arm, base

from fosp_safety_monitor.operator.zone_view import zone_markers


def test_each_zone_is_shown_as_lines_in_the_action_frame():
    markers = zone_markers(base(STOP, {**STOP, "name": "high", "height": [0.0, 0.5]}), None)
    assert [(m.header.frame_id, len(m.points)) for m in markers] == [("base_link", 8), ("base_link", 16)]
    box = {**BOX, "lower": [-0.1] * 3, "upper": [0.1] * 3, "around_tool": True}
    assert {m.lifetime.sec for m in markers} == {1}, "they end by themselves"
    (unknown,) = zone_markers(arm(box, sources=(CLOUD,)), None)
    assert (list(unknown.points), unknown.action) == ([], Marker.DELETE), "not around a point that nobody knows"
    (marker,) = zone_markers(arm(box, sources=(CLOUD,)), (0.5, 0.0, 0.2))
    assert len(marker.points) == 24
    assert {round(point.x, 3) for point in marker.points} == {0.4, 0.6}
