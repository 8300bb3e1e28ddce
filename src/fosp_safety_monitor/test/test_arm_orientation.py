"""The cone that the tool of an arm must not leave, by the measured orientation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zone_parts import ROBOTS

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_core.executed import rotated
from fosp_core.robot.arm_limits import OrientationLimit
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.urdf import quaternion_of
from fosp_core.specs import parse_spec, read_yaml
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmMeasured
from fosp_safety_monitor.arm.orientation import orientation_rooms

DOWN = quaternion_of(math.pi, 0.0, 0.0)
NOW = Now(1000.0, 50.0)
common = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
axes = st.tuples(*[st.floats(-1, 1)] * 3).map(lambda axis: axis if np.linalg.norm(axis) > 0.1 else (1.0, 0.0, 0.0))
ANGULAR = (None, None, None, 0, 1, 2)
AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")


def robot(limit, axes=AXES) -> RobotConfig:
    content = read_yaml(ROBOTS / "sim_arm.yaml")
    content["action"]["axes"] = [{"name": name, "scale": 0.25 if name[0] == "l" else 0.5} for name in axes]
    for name in axes[3:]:
        content["limits"][name] = {"speed": 0.6, "acceleration": 4.0, "deceleration": 6.0}
    return parse_spec(RobotConfig, {**content, "orientation_limit": limit}, "robot")


def at(orientation, start=None) -> ArmMeasured:
    return ArmMeasured(Received(NOW.ros_s, NOW.monotonic_s), tuple(orientation), ArmInputs(start))


def turned(about, angle):
    return rotated(np.array(DOWN), np.array(about) / np.linalg.norm(about) * angle)


def test_a_direction_lets_the_tool_spin_and_counts_its_tilt():
    limit = OrientationLimit(angle=0.3, direction=(0.0, 0.0, -2.0))
    for spin in (0.0, 1.0, 3.0):
        rooms = orientation_rooms(limit, tuple(turned((0.0, 0.0, 1.0), spin)), None, ANGULAR)
        assert rooms.values[0] == pytest.approx(0.3)
    tilted = orientation_rooms(limit, tuple(turned((1.0, 0.0, 0.0), 0.2)), None, ANGULAR)
    assert tilted.values[0] == pytest.approx(0.1)
    assert tilted.rows[0] == pytest.approx((0.0, 0.0, 0.0, -1.0, 0.0, 0.0))


@common
@given(
    about=axes,
    angle=st.floats(0.01, 3.0),
    turn=st.tuples(*[st.floats(-1, 1)] * 3),
    direction=st.booleans(),
)
def test_the_rate_of_the_angle_is_that_of_the_orientation_a_moment_later(about, angle, turn, direction):
    reference = {"direction": (0.0, 0.0, -1.0)} if direction else {"rotation": (math.pi, 0.0, 0.0)}
    limit, here = OrientationLimit(angle=1.0, **reference), turned(about, angle)
    rooms = orientation_rooms(limit, tuple(here), None, ANGULAR)
    later = orientation_rooms(limit, tuple(rotated(here, 1e-5 * np.array(turn))), None, ANGULAR)
    tilt = 1.0 - rooms.values[0]
    if not 0.01 < tilt < 3.1:
        return
    assert rooms.rows[0, 3:] @ turn == pytest.approx((later.values[0] - rooms.values[0]) / 1e-5, abs=2e-3)


def test_a_cone_around_the_start_needs_the_start():
    guard = ArmGuard.of(robot({"angle": 0.3}))
    unknown = guard.judge(at(DOWN), (0.1,) * 6, (0.0,) * 6, NOW)
    assert (unknown.share, unknown.reason) == (0.0, Reason.ORIENTATION_LIMIT)
    assert guard.judge(at(DOWN, DOWN), (0.1,) * 6, (0.0,) * 6, NOW).share == 1.0


def test_the_first_orientation_since_activation_is_the_start():
    inputs = ArmInputs().turned(None).turned(DOWN).turned((0.0, 0.0, 0.0, 1.0))
    assert inputs.start == DOWN


def test_an_orientation_that_is_not_known_leaves_nothing():
    guard = ArmGuard.of(robot({"angle": 0.3, "direction": [0, 0, -1]}))
    assert guard.judge(ArmMeasured(), (0.1,) * 6, (0.0,) * 6, NOW).share == 0.0
    assert guard.judge(at(DOWN), (math.nan,) * 6, (0.0,) * 6, NOW).share == 0.0


def test_outside_of_the_cone_only_a_motion_back_is_allowed_and_a_slow_one():
    guard = ArmGuard.of(robot({"angle": 0.3, "direction": [0, 0, -1]}))
    outside = at(turned((1.0, 0.0, 0.0), 0.5))
    back, on = (0.0, 0.0, 0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    assert guard.judge(outside, on, (0.0,) * 6, NOW).share == 0.0
    assert guard.judge(outside, (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0,) * 6, NOW).share == 0.0
    assert 0.0 < guard.judge(outside, back, (0.0,) * 6, NOW).share < 1.0
    assert guard.judge(outside, (0.0,) * 6, (0.0,) * 6, NOW).share == 1.0, "rest is no motion to be stopped"


def test_a_tool_that_turns_although_the_action_cannot_turn_it_stops_outside_of_the_cone():
    guard = ArmGuard.of(robot({"angle": 0.3, "direction": [0, 0, -1]}, AXES[:3]))
    assert guard.judge(at(turned((1.0, 0.0, 0.0), 0.2)), (1.0, 0.0, 0.0), (0.0,) * 3, NOW).share == 1.0
    assert guard.judge(at(turned((1.0, 0.0, 0.0), 0.4)), (1.0, 0.0, 0.0), (0.0,) * 3, NOW).share == 0.0


def test_the_monitor_stops_at_the_edge_and_says_why(make_scene):
    scene = make_scene("arm", robot={"orientation_limit": OrientationLimit(angle=0.3, direction=(0.0, 0.0, -1.0))})
    assert scene.drive(0.2)[-1].finding.reason is Reason.ORIENTATION_LIMIT, "no orientation is known yet"
    scene.robot = replace(scene.robot, orientation=DOWN)
    assert any(scene.drive(1.0)[-1].command)
    scene.robot = replace(scene.robot, orientation=tuple(turned((1.0, 0.0, 0.0), 0.4)))
    tick = scene.drive(0.5)[-1]
    assert (tick.finding.decision, tick.finding.reason) == (Decision.STOP, Reason.ORIENTATION_LIMIT)
    assert not any(tick.command)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"angle": 0.3, "direction": [0, 0, 1], "rotation": [0, 0, 0]}, "not both"),
        ({"angle": 0.3, "tool_axis": [0, 0, 1]}, "needs direction"),
        ({"angle": 0.3, "direction": [0, 0, 0]}, "must have a direction"),
        ({"angle": 0.0}, "greater than 0"),
        ({"angel": 0.3, "angle": 0.3}, "unknown key"),
    ],
)
def test_a_limit_that_says_two_things_or_nothing_is_refused(limit, why):
    with pytest.raises(UserError, match=why):
        robot(limit)
