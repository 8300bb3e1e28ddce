"""The shapes of protective zones as markers."""

from __future__ import annotations

import arm_parts
from visualization_msgs.msg import Marker
from zone_parts import BOX, CLOUD, STOP, arm, base

from fosp_safety_monitor.operator.zone_view import zone_markers


def test_a_box_that_an_arm_keeps_away_from_is_shown_with_its_turn():
    box = {"name": "shelf", "size": [0.4, 0.2, 0.1], "position": [0.5, 0.0, 0.3], "rotation": [0.0, 0.0, 1.571]}
    (marker,) = zone_markers(arm_parts.robot(boxes=[box]), None)
    assert (marker.header.frame_id, marker.pose.position.z, len(marker.points)) == ("link0", 0.3, 24)
    assert {round(point.x, 3) for point in marker.points} == {-0.2, 0.2}
    assert round(marker.pose.orientation.z, 2) == 0.71


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
