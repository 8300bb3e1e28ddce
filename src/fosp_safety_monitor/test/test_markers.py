"""Markers for RViz and Foxglove: the workspace, the command, and a line for each candidate."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker

from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import read_robot
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.operator import operator_view
from fosp_safety_monitor.operator.operator_view import ARROW_S, CANDIDATE, CANDIDATES_S, marker_array
from fosp_safety_monitor.operator.zone_view import LIFETIME_S, MARKER_PERIOD_S

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


def test_nothing_that_is_past_stays_drawn(robot):
    """Each marker ends by itself when the monitor falls silent, and what is empty or unknown is taken away at once."""
    every = marker_array(robot, (0.5, 0.0, 0.2), (0.1, 0.0, 0.0), PASSED, None, Time(), np.ones((2, 3), np.float32))
    assert {marker.lifetime.sec + marker.lifetime.nanosec * 1e-9 for marker in every.markers} == {LIFETIME_S}
    assert 3 * MARKER_PERIOD_S < LIFETIME_S <= 2.0, "long enough not to flicker"
    assert fan(robot, None).action == Marker.DELETE
    lost = marker_array(robot, None, (0.1, 0.0, 0.0), PASSED, None, Time(), np.ones((2, 3), np.float32)).markers
    assert [marker.action for marker in lost] == [Marker.ADD, Marker.DELETE, Marker.ADD, Marker.DELETE]
    assert lost[2].type == Marker.TEXT_VIEW_FACING


def test_candidates_of_a_policy_that_fell_silent_are_no_longer_drawn(robot, monkeypatch):
    published, now = [], [100.0]
    monkeypatch.setattr(operator_view.time, "monotonic", lambda: now[0])
    node = MagicMock()
    node.create_publisher.return_value.publish = published.append
    node.get_clock.return_value.now.return_value.to_msg.return_value = Time()
    monitor = SimpleNamespace(
        robot_state=SimpleNamespace(position=(0.5, 0.0, 0.2)), state=SimpleNamespace(command=(0.0, 0.0, 0.0))
    )
    view = operator_view.OperatorView(node, shadow=False)
    view.shown(SimpleNamespace(actions=np.ones((2, 3), np.float32)))
    view.mark(robot, monitor, PASSED, None)
    now[0] += CANDIDATES_S
    view.mark(robot, monitor, PASSED, None)
    assert [array.markers[3].action for array in published] == [Marker.ADD, Marker.DELETE]


def test_a_stop_is_logged_at_once_and_then_once_a_second(monkeypatch):
    node, now = MagicMock(), [100.0]
    monkeypatch.setattr(operator_view.time, "monotonic", lambda: now[0])
    view = operator_view.OperatorView(node, shadow=False)
    for tick in range(101):
        now[0] = 100.0 + 0.02 * tick
        view.tell_stop(f"late {tick}")
    logged = [call.args[0] for call in node.get_logger.return_value.warning.call_args_list]
    assert logged == ["STOP: late 0", "STOP: late 50", "STOP: late 100"]
