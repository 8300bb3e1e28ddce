"""The trail of a robot, and the way back along it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.trail import (
    GAP_S,
    HANGING_SHARE,
    SPACING_S,
    WISH_SHARE,
    RobotPlace,
    Standstill,
    Trail,
    TrailPoint,
    WayBack,
    left_s,
    off_trail_m,
    remaining,
)

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
PERIOD_S = 0.05
SHARE = 0.3
ARM = read_robot(ROBOTS / "sim_arm.yaml")
BASE = read_robot(ROBOTS / "sim_base.yaml")


def way_of(robot: RobotConfig) -> WayBack:
    way = WayBack.of(robot)
    assert way is not None
    return way


def moved(way: WayBack, place: RobotPlace, action: np.ndarray, seconds: float) -> RobotPlace:
    """The place of a robot that follows a normalised action at once."""
    twist = dict.fromkeys(range(6), 0.0)
    for component, scale, value in zip(way.components, way.scale, action, strict=True):
        twist[component] = float(scale * value * seconds)
    x, y, z = place.position
    if not way.is_base:
        return replace(place, position=(x + twist[0], y + twist[1], z + twist[2]))
    half = place.heading + 0.5 * twist[5]
    forward, left = twist[0], twist[1]
    c, s = math.cos(half), math.sin(half)
    return RobotPlace((x + c * forward - s * left, y + s * forward + c * left, 0.0), place.heading + twist[5])


def driven(way: WayBack, actions: np.ndarray) -> Trail:
    """The trail of a robot that follows each action for a decision period."""
    place, trail = RobotPlace((0.5, 0.0, 0.0 if way.is_base else 0.2)), Trail()
    trail = trail.after(place, 0.0, True, way, 100.0)
    for number, action in enumerate(actions, 1):
        place = moved(way, place, action, PERIOD_S)
        trail = trail.after(place, number * PERIOD_S, True, way, 100.0)
    return trail


def smooth(seed: int, count: int, size: int) -> np.ndarray:
    """Actions that change slowly, as those of a robot with inertia do."""
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(0.0, 0.25, (count, size)), axis=0)
    return np.clip(drift / max(1.0, np.abs(drift).max()), -1.0, 1.0)


def gone_back(way: WayBack, trail: Trail, share: float = SHARE) -> tuple[list[RobotPlace], list[tuple[float, ...]]]:
    """The places and the actions of a robot on its way back, until nothing is left of it."""
    path = trail.back(10.0, way)
    place, left = trail.points[-1].place, path
    places, actions = [place], []
    for _ in range(4000):
        left = remaining(left, place, way)
        if not left:
            break
        actions.append(way.wish(place, left[0].place, left_s(left, place, way), share))
        place = moved(way, place, np.array(actions[-1]), PERIOD_S)
        places.append(place)
    assert not left, "the way back comes to its end"
    return places, actions


# -- properties ------------------------------------------------------------------------------------
@pytest.mark.parametrize("robot", [ARM, BASE], ids=lambda robot: robot.name)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 20), share=st.floats(0.1, 0.6))
@settings(max_examples=25, deadline=None)
def test_the_way_back_stays_on_the_trail_and_within_its_speed_and_comes_to_the_trails_end(robot, seed, count, share):
    way = way_of(robot)
    trail = driven(way, smooth(seed, count, len(way.scale)))
    if not trail.back(10.0, way):
        return
    places, actions = gone_back(way, trail, share)
    step_m = share * way.speed * PERIOD_S
    assert max(off_trail_m(trail.points, place) for place in places) <= step_m + way.tolerance_m / 2
    for action in actions:
        assert max(map(abs, action)) <= share + 1e-9
        linear = [a for a, component in zip(action, way.components, strict=True) if component < 3]
        assert math.hypot(*linear) <= share + 1e-9
    assert way.lasts(places[-1], trail.points[0].place) <= 2 * SPACING_S


@given(positions=st.lists(st.tuples(*[st.floats(-0.5, 0.5)] * 3), min_size=2, max_size=12), length=st.floats(0.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_a_way_back_is_no_longer_than_asked_for_and_ends_at_a_safe_place_of_the_trail(positions, length):
    way = way_of(ARM)
    points = tuple(TrailPoint(RobotPlace(p), 0.1 * i, safe=i % 3 == 0) for i, p in enumerate(positions))
    path = Trail(points).back(length, way)
    assert set(path) <= set(points)
    if path:
        assert path[0] == points[-1]
        assert path[-1].safe
        assert left_s(path[1:], path[0].place, way) <= length + 1e-9


# -- the trail -------------------------------------------------------------------------------------
def after(trail: Trail, x: float, time_s: float, safe: bool = True, age_s: float = 3.0) -> Trail:
    return trail.after(RobotPlace((x, 0.0, 0.2)), time_s, safe, way_of(ARM), age_s)


def test_places_older_than_the_age_are_forgotten():
    trail = Trail()
    for step in range(80):
        trail = after(trail, 0.3 + 0.005 * step, 0.05 * step, age_s=1.0)
    assert min(point.time_s for point in trail.points) >= 79 * 0.05 - 1.0 - 1e-9


@pytest.mark.parametrize(("x", "time_s"), [(0.41, 1.0 + GAP_S + 0.01), (0.41, 0.9), (0.60, 1.05)])
def test_after_a_gap_a_step_back_in_time_or_a_jump_the_trail_begins_anew(x, time_s):
    trail = after(after(Trail(), 0.38, 0.95), 0.40, 1.0)
    assert len(trail.points) == 2
    assert len(after(trail, x, time_s).points) == 1


def test_a_place_where_the_robot_was_braked_later_is_not_safe_any_more():
    trail = after(after(Trail(), 0.4, 1.0), 0.401, 1.05, safe=False)
    assert [point.safe for point in trail.points] == [False]
    assert trail.points[0].time_s == 1.05


def test_without_a_safe_place_there_is_no_way_back():
    trail = after(after(Trail(), 0.40, 1.0, safe=False), 0.42, 1.1, safe=False)
    assert trail.back(1.0, way_of(ARM)) == ()
    assert after(Trail(), 0.4, 1.0).back(1.0, way_of(ARM)) == (), "nor from a single place"


def test_what_was_gone_back_is_no_part_of_the_trail_any_more():
    trail = Trail()
    for step in range(10):
        trail = after(trail, 0.3 + 0.01 * step, 0.05 * step)
    here = TrailPoint(RobotPlace((0.35, 0.0, 0.2)), 0.9, True)
    shorter = trail.gone_back(trail.points[5], here)
    assert [round(p.place.position[0], 2) for p in shorter.points] == [0.30, 0.31, 0.32, 0.33, 0.34, 0.35, 0.35]


# -- which robots ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sim_arm", "sim_base", "ur5e", "franka_fr3", "turtlebot3", "sim_pick"])
def test_robots_that_measure_where_they_are_have_a_way_back(name):
    assert WayBack.of(read_robot(ROBOTS / f"{name}.yaml")) is not None


@pytest.mark.parametrize("name", ["sim_point", "sim_car"])
def test_a_robot_that_coasts_has_none(name):
    assert WayBack.of(read_robot(ROBOTS / f"{name}.yaml")) is None


def test_a_robot_whose_place_is_not_measured_has_none():
    assert WayBack.of(BASE.model_copy(update={"state_type": "JointState"})) is None
    assert WayBack.of(ARM.model_copy(update={"pose_topic": ""})) is None
    assert way_of(BASE).place((0.0, 0.0, 0.0), None, None) is None
    assert way_of(ARM).place(None, None, (0.0, 0.0, 0.0)) is None


def test_a_place_is_the_odometry_of_a_base_and_the_pose_of_an_arm():
    assert way_of(BASE).place((9.0, 9.0, 9.0), None, (1.0, 2.0, 0.3)) == RobotPlace((1.0, 2.0, 0.0), 0.3)
    assert way_of(ARM).place((0.4, 0.1, 0.2), (0.0, 0.0, 0.0, 1.0), (1.0, 2.0, 0.3)) == RobotPlace((0.4, 0.1, 0.2))


# -- hanging ---------------------------------------------------------------------------------------
def hung(speed: float, wanted: bool = True, turn: float = 0.0, robot: RobotConfig = ARM, seconds: float = 1.0) -> bool:
    """Return True if a robot hangs that gets on at this share of its full speed."""
    way, still = way_of(robot), Standstill()
    for step in range(round(seconds / PERIOD_S) + 1):
        time_s = step * PERIOD_S
        place = RobotPlace((0.4 + speed * way.speed * time_s, 0.0, 0.0), turn * way.turn * time_s)
        still = still.after(place, time_s, wanted, 0.6)
    return still.hangs(0.6, way)


def test_a_robot_hangs_that_goes_less_than_two_and_a_half_centimetres_in_six_tenths_of_a_second():
    assert HANGING_SHARE * way_of(ARM).speed * 0.6 == pytest.approx(0.025)
    assert hung(0.024 / 0.15)
    assert not hung(0.026 / 0.15)


def test_a_base_that_turns_does_not_hang():
    assert hung(0.0, robot=BASE)
    assert not hung(0.0, turn=0.2, robot=BASE)


def test_a_robot_that_is_not_to_move_does_not_hang_nor_one_that_was_not_watched_for_long_enough():
    assert not hung(0.0, wanted=False)
    assert not hung(0.0, seconds=0.5)


def test_a_robot_that_does_as_it_is_told_does_not_hang():
    assert WISH_SHARE > HANGING_SHARE
    assert not hung(WISH_SHARE)


def test_a_pause_of_the_wish_or_of_the_watch_begins_anew():
    way, still = way_of(ARM), Standstill()
    here = RobotPlace((0.4, 0.0, 0.2))
    for step in range(13):
        still = still.after(here, 0.05 * step, step != 6, 0.6)
    assert not still.hangs(0.6, way)
    for step in range(30):
        still = still.after(here, 1.0 + (0.05 * step if step < 20 else 0.05 * step + 1.0), True, 0.6)
    assert not still.hangs(0.6, way), "ten decisions after the pause are half a second"
