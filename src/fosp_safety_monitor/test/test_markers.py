"""Markers for RViz and Foxglove: the workspace, the command, and a line for each candidate."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker

from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import read_robot
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.operator.operator_view import ARROW_S, CANDIDATE, marker_array

PASSED = Finding(Decision.PASS, Reason.OK, "passed")


def fan(robot, candidates):
    """The marker of the candidates."""
    markers = marker_array(robot, (0.5, 0.0, 0.2), (0.1, 0.0, 0.0), PASSED, None, Time(), candidates).markers
    assert [marker.id for marker in markers] == list(range(len(markers)))
    assert {marker.header.frame_id for marker in markers} == {"base_link"}
    colour = tuple(round(value, 3) for value in CANDIDATE)
    (found,) = [m for m in markers if tuple(round(v, 3) for v in (m.color.r, m.color.g, m.color.b)) == colour]
    assert found.type == Marker.LINE_LIST
    return found


@pytest.fixture
def robot(robot_file):
    return read_robot(robot_file)


@pytest.fixture
def robot_file():
    from pathlib import Path

    return Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml"


def test_each_candidate_is_a_line_to_where_it_would_lead(robot):
    points = fan(robot, np.array([[1.0, 0.0, 0.0], [0.0, -2.0, 0.0]], np.float32)).points
    scale = robot.action.scale
    assert (points[0].x, points[0].y, points[0].z) == (0.5, 0.0, 0.2)
    assert points[1].x == pytest.approx(0.5 + ARROW_S * scale[0])
    assert points[3].y == pytest.approx(-ARROW_S * scale[1]), "clipped as the robot's action would be"


@pytest.mark.parametrize(
    "candidates", [None, np.zeros((2, 5), np.float32), np.array([[np.nan, 0, 0]], np.float32), np.zeros(3, np.float32)]
)
def test_malformed_candidates_are_not_drawn_and_end_nothing(robot, candidates):
    assert list(fan(robot, candidates).points) == []
