"""Properties of protective zones that hold wherever the points are, and however the robot moves."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from zone_parts import APPROACH, BOX, FRESH, NOW, STOP, TOOL, arm, base, scan

from fosp_core.clock import Now, Received
from fosp_core.errors import UserError
from fosp_safety_monitor.zones.decoding import Readings, SourceDecoder
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState
from fosp_safety_monitor.zones.geometry import ConvexPolygon, PlaneMotion

common = settings(max_examples=200, deadline=None)
speeds = st.floats(-1.0, 1.0)
wishes = st.tuples(speeds, speeds)
places = st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
any_number = st.one_of(st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e30]))
STOPS, SEES = ProtectiveField(base({**STOP, "min_points": 2, "grow_s": 0.3})), ProtectiveField(base(APPROACH))
ALL = ProtectiveField(base({**STOP, "min_points": 2}, {**STOP, "name": "warn", "action": "slow", "to": 0.3}, APPROACH))
ARM = ProtectiveField(arm(BOX, {**BOX, "name": "near", "action": "slow", "to": 0.5, "grow_s": 0.4}))


def seen(points, **others) -> Readings:
    array = np.array([(*p, 0.1)[:3] for p in points], np.float32).reshape(-1, 3)
    return Readings(array, max(len(array), 10), **others)


def share(field: ProtectiveField, readings: Readings, wish, command=(0.0, 0.0), tool=None, late_s=0.0) -> float:
    tool = tool or ToolState()
    source = field.sources[0].name
    view = field.view(source, readings, FRESH, tool)
    now = Now(NOW.ros_s + late_s, NOW.monotonic_s + late_s)
    return field.judge({source: view}, wish, command, tool, now).share


@common
@given(
    st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)), min_size=2, max_size=600),
    st.lists(places, max_size=600),
    wishes,
    st.randoms(use_true_random=False),
)
def test_no_arrangement_of_points_inside_a_stop_zone_passes(inside, others, wish, random):
    points = [*inside, *others]
    random.shuffle(points)
    assert share(STOPS, seen(points), wish) == 0.0


@common
@given(st.lists(places, max_size=300), st.lists(places, max_size=300), wishes, wishes, st.integers(0, 3))
def test_more_is_never_faster(points, more, wish, command, near):
    before = share(ALL, seen(points), wish, command)
    # Merging many points to cells may round each of them by the cell's half diagonal, and never to the fast side.
    merges = len(points) > 256
    assert share(ALL, seen(points, near=near), wish, command) <= before
    if not merges:
        assert share(ALL, seen([*points, *more]), wish, command) <= before + 1e-9


@common
@given(st.floats(0.2, 3.0), st.floats(0.0, 1.0), st.floats(-0.19, 0.19), st.floats(0.05, 1.0))
def test_nearer_is_never_faster_on_the_way(distance, part, beside, wish):
    nearer = 0.2 + part * (distance - 0.2)
    near, far = (share(SEES, seen([(x, beside)]), (wish, 0.0)) for x in (nearer, distance))
    assert near <= far + 1e-6


@common
@given(st.lists(places, min_size=1, max_size=50), wishes, st.floats(0.0, 0.19), st.floats(0.0, 0.19))
def test_later_is_never_faster(points, wish, early_s, more_s):
    late_s = min(early_s + more_s, 0.19)
    assert share(ALL, seen(points), wish, late_s=late_s) <= share(ALL, seen(points), wish, late_s=early_s) + 1e-9


@common
@given(places, st.tuples(speeds, speeds, st.floats(-2.0, 2.0)))
def test_a_point_is_met_no_later_than_by_a_fine_simulation(place, velocity):
    polygon = ConvexPolygon.of(((0.2, 0.15), (-0.2, 0.15), (-0.2, -0.15), (0.2, -0.15)))
    found = float(polygon.entry_times(np.array([(*place, 0.0)], np.float32), PlaneMotion(*velocity), 1.0)[0])
    x = y = angle = 0.0
    for step in range(1001):
        c, s = math.cos(angle), math.sin(angle)
        dx, dy = place[0] - x, place[1] - y
        if abs(c * dx + s * dy) <= 0.2 - 1e-3 and abs(c * dy - s * dx) <= 0.15 - 1e-3:
            assert found <= 1e-3 * step + 2e-3
            assert found >= 1e-3 * step - 0.25, (
                "and not much earlier: by two of its steps, and what the margin of 1 mm takes"
            )
            return
        x += 1e-3 * (c * velocity[0] - s * velocity[1])
        y += 1e-3 * (s * velocity[0] + c * velocity[1])
        angle += 1e-3 * velocity[2]


@common
@given(st.lists(st.tuples(st.floats(0.3, 0.8), st.floats(-0.3, 0.3), st.floats(0.0, 0.6)), min_size=1, max_size=400))
def test_no_point_in_the_box_of_an_arm_passes(points):
    assert share(ARM, seen(points), (0.5, 0.0, 0.0), (0.0, 0.0, 0.0), TOOL) == 0.0


@common
@given(
    st.lists(any_number, max_size=60),
    *[any_number] * 5,
    st.sampled_from(["laser", "laser", "laser", ""]),
    any_number,
    any_number,
)
def test_any_scan_is_either_refused_or_known_or_stops(ranges, first, step, last, least, most, frame, stamp, receipt):
    field = ALL
    message = scan([1.0] * 8)
    message.header.frame_id = frame
    if ranges:
        message.ranges = np.array(ranges, np.float32)
        message.angle_max = message.angle_min + message.angle_increment * (len(ranges) - 1)
    else:
        message.angle_min, message.angle_increment, message.angle_max = first, step, last
        message.range_min, message.range_max = least, most
    try:
        read = SourceDecoder(field.sources[0]).read(message)
    except UserError:
        return
    assert np.isfinite(read.points).all()
    assert len(read.points) + read.near + read.unknown <= read.count
    view = field.view("scan", read, Received(stamp, receipt), ToolState())
    found = field.judge({"scan": view}, (1.0, 0.0), (0.0, 0.0), ToolState(), NOW)
    assert 0.0 <= found.share <= 1.0
    late = not (-0.01 <= NOW.ros_s - stamp <= 0.2 and 0.0 <= NOW.monotonic_s - receipt <= 0.2)
    assert not late or found.share == 0.0
