"""Protective zones without ROS: points to a share of the speed; whatever is unknown stops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from zone_parts import (
    AHEAD,
    APPROACH,
    BOX,
    CLOUD,
    FRESH,
    NOW,
    REST,
    ROBOTS,
    SCAN,
    STOP,
    TOOL,
    arm,
    base,
    judged,
    readings,
)

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.robot.protective import SelfShape
from fosp_core.specs import read_yaml
from fosp_safety_monitor.zones.decoding import Readings
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState, own_points
from fosp_safety_monitor.zones.zone import MOST_POINTS


# -- points to a share of the speed ------------------------------------------------------------------
def test_one_point_inside_a_stop_zone_stops_whatever_is_wanted():
    for wish in (AHEAD, (-1.0, 0.0), (0.0, 1.0), REST):
        found = judged(base(STOP), readings((0.1, 0.1)), wish)
        assert found.share == 0.0
        assert found.text.startswith("zone stop (stop): something is inside, seen by scan, 1 readings inside, the nea")
    assert judged(base(STOP), readings((0.3, 0.0))).share == 1.0


def test_fewer_points_than_min_points_do_not_stop():
    robot = base({**STOP, "min_points": 3})
    assert judged(robot, readings((0.1, 0.0), (0.1, 0.01))).share == 1.0
    assert judged(robot, readings((0.1, 0.0), (0.1, 0.01), (0.1, 0.02))).share == 0.0
    assert judged(robot, readings((0.1, 0.0), near=2)).share == 0.0


def test_a_range_sensor_stops_by_one_reading_whatever_min_points_says():
    sonar = {**SCAN, "type": "Range"}
    robot = base({**STOP, "min_points": 100, "height": [0.0, 1.0]}, sources=(sonar,))
    assert judged(robot, readings((0.1, 0.0))).share == 0.0


def test_points_beside_the_height_of_a_zone_do_not_count():
    robot = base({**STOP, "height": [0.05, 0.5], "sources": ["cloud"]}, sources=(CLOUD,))
    assert judged(robot, readings((0.1, 0.0, 0.01), (0.1, 0.0, 0.6))).share == 1.0
    assert judged(robot, readings((0.1, 0.0, 0.3))).share == 0.0


def test_a_stop_zone_grows_with_the_speed_into_the_way_of_the_robot():
    robot = base({**STOP, "grow_s": 1.0})
    seen = readings((0.5, 0.0))
    assert judged(robot, seen, (1.0, 0.0)).share == 0.0
    assert judged(robot, seen, REST, (0.4, 0.0)).share == 0.0, "it still moves"
    assert judged(robot, seen, (0.4, 0.0)).share == 1.0
    assert judged(robot, seen, (-1.0, 0.0)).share == 1.0
    assert judged(robot, readings((-0.5, 0.0)), (-1.0, 0.0)).share == 0.0
    assert judged(robot, readings((0.0, 0.24), (0.26, 0.26)), (0.0, 1.0)).share == 0.0, "a corner turns"


def test_a_slow_zone_leaves_its_share():
    robot = base({**STOP, "name": "warn", "action": "slow", "to": 0.3})
    found = judged(robot, readings((0.1, 0.0)), AHEAD)
    assert found.share == 0.3
    assert "zone warn (slow)" in found.text


def test_an_approach_zone_keeps_the_time_to_collision():
    robot = base(APPROACH)
    found = judged(robot, readings((0.45, 0.0)), AHEAD)
    assert found.share == pytest.approx(0.5, abs=0.01), "0.25 m at 0.5 m/s"
    assert "zone ahead (approach): a collision with what scan sees is 0.50 s ahead, less than 1 s" in found.text
    assert judged(robot, readings((0.45, 0.0)), (0.5, 0.0)).share == pytest.approx(1.0, abs=0.01)
    assert judged(robot, readings((0.21, 0.0)), AHEAD).share == 0.0
    assert judged(robot, readings((0.45, 0.0)), (-1.0, 0.0)).share == 1.0
    assert judged(robot, readings((0.45, 0.3)), AHEAD).share == 1.0, "it passes beside"
    assert judged(robot, readings((0.45, 0.3)), (1.0, 0.6)).share < 1.0, "but not in a turn to the left"
    assert judged(robot, readings((0.45, 0.3)), (1.0, -0.6)).share == 1.0


def test_the_age_of_a_message_is_taken_off_the_time_to_collision():
    robot = base(APPROACH)
    now = replace(NOW, ros_s=NOW.ros_s + 0.1, monotonic_s=NOW.monotonic_s + 0.1)
    fresh, old = (judged(robot, readings((0.45, 0.0)), AHEAD, now=at).share for at in (NOW, now))
    assert fresh - old == pytest.approx(0.1, abs=1e-6)


def test_of_several_zones_the_one_that_leaves_least_decides():
    slow = {**STOP, "name": "warn", "action": "slow", "to": 0.3, "polygon": [[1, 1], [-1, 1], [-1, -1], [1, -1]]}
    robot = base(slow, STOP, APPROACH)
    assert judged(robot, readings((0.9, 0.9)), REST).share == 0.3
    found = judged(robot, readings((0.1, 0.0)), REST)
    assert found.share == 0.0
    assert "zone stop" in found.text


# -- what is unknown ---------------------------------------------------------------------------------
def test_a_source_that_is_late_or_missing_or_from_the_future_leaves_nothing():
    robot = base(STOP)
    field, far = ProtectiveField(robot), readings((2.0, 0.0))
    never = field.judge({}, AHEAD, REST, ToolState(), NOW)
    assert (never.share, never.text) == (0.0, "source scan (scan) was never received")
    for received, said in (
        (Received(999.7, 50.0), "is 300 ms old by its stamp, limit 200 ms"),
        (Received(1000.0, 49.7), "was received 300 ms ago, limit 200 ms"),
        (Received(1000.5, 50.0), "is stamped 500 ms in the future"),
        (Received(math.nan, 50.0), "future"),
    ):
        found = judged(robot, far, received=received)
        assert found.share == 0.0
        assert said in found.text
    assert judged(robot, far, received=Received(1000.0, 49.0)).silent_s == pytest.approx(1.0)


def test_a_blind_source_leaves_nothing_even_where_unknown_is_ignored():
    robot = base({**STOP, "unknown": "ignore"})
    rays = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (6, 1))
    found = judged(robot, readings(count=10, unknown=6, rays=rays, origin=np.zeros(3, np.float32)))
    assert (found.share, found.text) == (0.0, "source scan (scan) is blind: 60 % of 10 readings have no distance")
    assert judged(robot, readings(count=10, unknown=4, rays=rays[:4], origin=np.zeros(3, np.float32))).share == 1.0
    assert judged(robot, readings(count=0)).share == 0.0


def test_an_unknown_reading_is_near_where_its_ray_crosses_the_zone_and_the_zone_says_so():
    behind = {**CLOUD, "type": "Depth", "info_topic": "info"}
    zone = {**STOP, "sources": ["cloud"], "height": [0.0, 0.5]}
    origin = np.array([1.0, 0.0, 0.2], np.float32)
    for direction, share in (([-1.0, 0.0, 0.0], 0.0), ([1.0, 0.0, 0.0], 1.0), ([-1.0, 0.0, 1.0], 1.0)):
        seen = readings(unknown=1, rays=np.array([direction], np.float32), origin=origin)
        assert judged(base(zone, sources=(behind,)), seen).share == share
        assert judged(base({**zone, "unknown": "ignore"}, sources=(behind,)), seen).share == 1.0
    assert judged(base(zone, sources=(behind,)), readings(unknown=1)).share == 0.0, "without a ray"


def test_a_wish_or_command_that_is_not_finite_leaves_nothing():
    robot = base(STOP)
    assert judged(robot, readings((2.0, 0.0)), (math.nan, 0.0)).share == 0.0
    assert judged(robot, readings((2.0, 0.0)), AHEAD, (0.0, math.inf)).share == 0.0


def test_a_robot_without_zones_is_left_alone():
    robot = read_robot(ROBOTS / "sim_base.yaml")
    assert ProtectiveField(robot).judge({}, (math.nan, 0.0), REST, ToolState(), NOW).share == 1.0


# -- arms --------------------------------------------------------------------------------------------
STILL = (0.0, 0.0, 0.0)


def test_something_in_a_box_of_an_arm_stops_it():
    assert judged(arm(BOX), readings((0.5, 0.2, 0.3)), STILL, STILL, TOOL).share == 0.0
    assert judged(arm(BOX), readings((0.5, 0.4, 0.3)), STILL, STILL, TOOL).share == 1.0
    grown = arm({**BOX, "grow_s": 0.5})
    assert judged(grown, readings((0.5, 0.4, 0.3)), (1.0, 0.0, 0.0), STILL, TOOL).share == 0.0


def test_a_box_around_the_tool_moves_with_it_and_looks_where_it_goes():
    box = {**BOX, "lower": [-0.05] * 3, "upper": [0.05] * 3, "around_tool": True}
    near = {**box, "name": "near", "action": "approach", "time_s": 0.5}
    seen = readings((0.6, 0.0, 0.2))
    assert judged(arm(box), seen, STILL, STILL, TOOL).share == 1.0
    assert judged(arm(box), seen, STILL, STILL, replace(TOOL, position=(0.56, 0.0, 0.2))).share == 0.0
    assert judged(arm(near), seen, (1.0, 0.0, 0.0), STILL, TOOL).share == pytest.approx(0.4, abs=0.01)
    assert judged(arm(near), seen, (-1.0, 0.0, 0.0), STILL, TOOL).share == 1.0
    assert judged(arm(near), seen, STILL, STILL, ToolState()).share == 0.0, "nobody knows where the tool is"


def test_the_commanded_point_keeps_out_of_a_box():
    box = {"name": "bin", "action": "keep_out", "lower": [0.6, -0.1, 0.0], "upper": [0.7, 0.1, 0.4], "time_s": 1.0}
    field = ProtectiveField(arm(box, sources=()))
    for wish, tool, share in (
        ((1.0, 0.0, 0.0), TOOL, 0.4),
        ((-1.0, 0.0, 0.0), TOOL, 1.0),
        ((1.0, 0.0, 0.0), replace(TOOL, position=(0.599, 0.0, 0.2)), 0.0),
        ((-1.0, 0.0, 0.0), replace(TOOL, position=(0.65, 0.0, 0.2)), 0.0),
        ((1.0, 0.0, 0.0), replace(TOOL, position=(0.5, 0.2, 0.2)), 1.0),
        ((1.0, 0.0, 0.0), ToolState(), 0.0),
    ):
        found = field.judge({}, wish, STILL, tool, NOW)
        assert found.share == pytest.approx(share, abs=0.01)
    assert "zone bin (keep_out): the commanded point reaches it" in field.judge({}, (1.0, 0, 0), STILL, TOOL, NOW).text


def test_the_arm_does_not_see_itself_but_what_is_beside_it():
    link = {"start": [0.0, 0.0, 0.5], "end": [0.0, 0.0, 0.1], "end_on_tool": True, "radius": 0.06}
    robot = arm(BOX, self_filter=[link])
    assert judged(robot, readings((0.45, 0.0, 0.32)), STILL, STILL, TOOL).share == 1.0
    assert judged(robot, readings((0.45, 0.0, 0.45)), STILL, STILL, TOOL).share == 0.0
    assert judged(robot, readings((0.45, 0.0, 0.32)), STILL, STILL, ToolState()).share == 0.0, "where is the tool?"


def test_a_shape_on_the_tool_turns_with_it():
    finger = SelfShape(start=(0, 0, 0), end=(0, 0, 0.2), radius=0.02, start_on_tool=True, end_on_tool=True)
    points = np.array([[0.5, 0.0, 0.1], [0.5, 0.0, 0.3], [math.nan] * 3], np.float32)
    down = replace(TOOL, orientation=(1.0, 0.0, 0.0, 0.0))
    assert own_points(points, (finger,), TOOL).tolist() == [False, True, False]
    assert own_points(points, (finger,), down).tolist() == [True, False, False]
    box = SelfShape(lower=(-0.11,) * 3, upper=(0.11,) * 3, on_tool=True)
    assert own_points(points[:2], (box,), TOOL).tolist() == [True, True]


# -- the robot file ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ({**STOP, "colour": "red"}, r"unknown key 'zones\.0\.colour'; allowed: name, action, polygon"),
        ({**STOP, "sources": ["lidar"]}, "zone stop: no source is called lidar; there are: scan"),
        ({**STOP, "sources": []}, "sources is missing"),
        ({**STOP, "polygon": [[0, 0], [1, 0]]}, "convex"),
        ({**STOP, "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "convex"),
        ({**STOP, "polygon": [[0, 0], [1, 0], [0.1, 0.1], [0, 1]]}, "convex"),
        ({**STOP, "polygon": []}, "either a polygon or a box"),
        ({**STOP, "min_points": 0}, "min_points"),
        ({**STOP, "time_s": 1.0}, "time_s"),
        ({**STOP, "action": "slow"}, "needs `to`"),
        ({**STOP, "action": "slow", "to": 0.0}, "greater than 0"),
        ({**STOP, "action": "approach"}, "needs time_s"),
        ({**BOX, "sources": ["scan"]}, "zone box: the zones of a base are polygons"),
        ({**APPROACH, "grow_s": 1.0}, "grow_s is for stop and slow"),
        ({**STOP, "height": [1.0, 0.0]}, "height is"),
    ],
)
def test_a_wrong_zone_is_refused_in_one_line(zone, said):
    with pytest.raises(UserError, match=said) as error:
        base(zone)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({**SCAN, "type": "Depth"}, "needs info_topic"),
        ({**SCAN, "info_topic": "info"}, "needs info_topic"),
        ({**SCAN, "timeout_s": 0}, "greater than 0"),
        ({**SCAN, "frame_id": ""}, "frame_id"),
        ({**SCAN, "type": "Sonar"}, "LaserScan"),
        (CLOUD, "no source is called scan"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line(source, said):
    with pytest.raises(UserError, match=said):
        base(STOP, sources=(source,))


def test_zones_and_sources_have_to_fit_together():
    with pytest.raises(UserError, match="source cloud: no zone uses it"):
        base(STOP, sources=(SCAN, CLOUD))
    with pytest.raises(UserError, match="a name of its own"):
        base(STOP, STOP)
    with pytest.raises(UserError, match="topics of its own"):
        base(STOP, sources=(SCAN, {**CLOUD, "topic": "scan"}))
    with pytest.raises(UserError, match="height is missing"):
        base({**STOP, "sources": ["cloud"]}, sources=(CLOUD,))
    with pytest.raises(UserError, match="self_filter is for an arm"):
        base(STOP, self_filter=[{"lower": [0, 0, 0], "upper": [1, 1, 1]}])
    with pytest.raises(UserError, match="a capsule"):
        arm(BOX, self_filter=[{"start": [0, 0, 0], "radius": 0.1}])


def test_a_self_filter_may_be_a_file_beside_the_robot_file(tmp_path):
    content = {**read_yaml(ROBOTS / "sim_arm.yaml"), "sources": [CLOUD], "zones": [BOX], "self_filter": "arm.yaml"}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"arm\.yaml"):
        read_robot(tmp_path / "robot.yaml")
    (tmp_path / "arm.yaml").write_text("{}")
    with pytest.raises(UserError, match="must hold a list of boxes and capsules"):
        read_robot(tmp_path / "robot.yaml")
    (tmp_path / "arm.yaml").write_text(yaml.safe_dump([{"lower": [0, 0, 0], "upper": [1, 1, 1]}]))
    assert read_robot(tmp_path / "robot.yaml").self_filter[0].upper == (1, 1, 1)


def test_many_points_are_merged_and_none_is_lost():
    robot = base({**STOP, "min_points": 5000})
    field = ProtectiveField(robot)
    rng = np.random.default_rng(0)
    many = np.concatenate([rng.uniform(-0.199, 0.199, (5000, 2)), np.full((5000, 1), 0.1)], axis=1).astype(np.float32)
    view = field.view("scan", Readings(many, 5000), FRESH, ToolState())
    assert len(view.clouds["stop"].points) <= MOST_POINTS
    assert view.clouds["stop"].weights.sum() == 5000
    assert field.judge({"scan": view}, REST, REST, ToolState(), NOW).share == 0.0


def test_diagnostics_say_what_each_source_and_zone_sees():
    robot = base(STOP)
    field = ProtectiveField(robot)
    view = field.view("scan", readings((0.1, 0.0), (1.0, 0.0)), FRESH, ToolState())
    said = field.describe({"scan": view}, ToolState(), NOW)
    assert said == {"source scan": "fresh", "zone stop (stop)": "1 points inside, nearest 0.10 m"}
    assert field.describe({}, ToolState(), NOW)["source scan"] == "never received"
