from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_core.limits import CommandLimits, approach_speed, capped, smooth_approach_speed
from fosp_core.specs import read_robot

ARM = read_robot(Path(__file__).parents[3] / "config/robots/sim_arm.yaml")
DT = 0.01
unhurried = settings(deadline=None, max_examples=60)
"""A busy machine is no failure of the maths."""
CENTRE = np.array([0.5, 0.0, 0.2])


def test_a_first_tick_of_no_duration_changes_nothing():
    limits = CommandLimits(ARM)
    previous = np.array([0.1, -0.1, 0.0])
    assert np.array_equal(limits.follow(np.array([-1.0, 1.0, 1.0]), previous, 0.0, CENTRE).command, previous)


def test_speed_is_built_up_no_faster_than_the_acceleration_limit():
    limits = CommandLimits(ARM)
    result = limits.follow(np.array([1.0, 0.0, 0.0]), np.zeros(3), DT, CENTRE)
    assert result.command[0] == pytest.approx(limits.acceleration[0] * DT)
    assert result.limited


def test_a_reachable_target_is_followed_exactly_and_not_called_limited():
    limits = CommandLimits(ARM)
    target = np.array([0.1, -0.1, 0.0])
    result = limits.follow(target, target * limits.scale, DT, CENTRE)
    assert np.allclose(result.command, target * limits.scale)
    assert not result.limited


def test_stop_reaches_exactly_zero_and_stays():
    limits = CommandLimits(ARM)
    command = np.array([0.25, -0.25, 0.1])
    for _ in range(6):
        command = limits.stop(command, DT)
    assert (command == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_gives_a_stop(bad):
    limits = CommandLimits(ARM)
    result = limits.follow(np.array([bad, 0.0, 0.0]), np.array([0.2, 0.0, 0.0]), DT, CENTRE)
    assert 0 <= result.command[0] < 0.2
    assert result.limited


def test_an_unknown_position_gives_a_stop_where_a_workspace_is_set():
    limits = CommandLimits(ARM)
    for position in (None, np.array([np.nan, 0, 0])):
        assert limits.follow(np.ones(3), np.full(3, 0.1), DT, position).command.max() < 0.1


@unhurried
@given(
    st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 3), min_size=1, max_size=60),
    st.tuples(*[st.floats(0.0, 1.0)] * 3),
)
def test_whatever_is_asked_for_the_tool_stays_in_the_box_and_the_command_in_its_limits(actions, start):
    limits = CommandLimits(ARM)
    low, high = np.array(ARM.workspace.lower), np.array(ARM.workspace.upper)
    position = low + np.array(start) * (high - low)
    command = np.zeros(3)
    for action in actions:
        for _ in range(5):
            after = limits.follow(np.array(action), command, DT, position).command
            assert np.isfinite(after).all()
            assert (np.abs(after) <= limits.speed + 1e-9).all()
            assert (np.abs(after - command) <= limits.deceleration * DT + 1e-9).all()
            command = after
            position = position + command * DT
            assert (position >= low - 1e-9).all()
            assert (position <= high + 1e-9).all()


def test_a_reversal_brakes_at_the_deceleration_limit_and_then_speeds_up_at_the_acceleration_limit():
    limits = CommandLimits(ARM)
    previous = np.array([0.03, 0.2, 0.0])
    command = limits.follow(np.full(3, -1.0), previous, DT, CENTRE).command
    assert command == pytest.approx([-4.0 * DT * 0.5, 0.2 - 6.0 * DT, -4.0 * DT])


def test_limits_of_a_base_without_workspace_need_no_position():
    base = read_robot(Path(__file__).parents[3] / "config/robots/sim_base.yaml")
    limits = CommandLimits(base)
    assert limits.follow(np.array([1.0, 0.5]), np.zeros(2), DT).command[0] > 0


# -- jerk ------------------------------------------------------------------------------------------
JERK = 300.0
SMOOTH_ARM = ARM.model_copy(
    update={"limits": {name: axis.model_copy(update={"jerk": JERK}) for name, axis in ARM.limits.items()}}
)


def ticks(limits, targets, per_target=30, dt=DT):
    """(N, 3) commands from rest towards one normalised target after the other, in the middle of the box."""
    commands = [np.zeros(3)]
    acceleration = np.zeros(3)
    for target in targets:
        for _ in range(per_target):
            after = limits.follow(np.array(target), commands[-1], dt, CENTRE, acceleration).command
            acceleration = (after - commands[-1]) / dt
            commands.append(after)
    return np.array(commands)


def test_under_a_jerk_limit_a_target_is_reached_exactly_without_overshoot():
    commands = ticks(CommandLimits(SMOOTH_ARM), [[1.0, 0.5, -1.0]])
    assert commands[-1] == pytest.approx([0.25, 0.125, -0.25])
    assert commands[:, 0].max() <= 0.25 + 1e-12


def test_braking_under_a_jerk_limit_is_as_quick_as_time_optimal_control_up_to_two_ticks():
    limits = CommandLimits(SMOOTH_ARM)
    command, acceleration, count = np.full(3, 0.25), np.zeros(3), 0
    while command.any():
        after = limits.stop(command, DT, acceleration)
        acceleration, command, count = (after - command) / DT, after, count + 1
    optimal_s = 0.25 / 6.0 + 6.0 / JERK
    assert optimal_s <= count * DT <= optimal_s + 2 * DT


@unhurried
@given(
    st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 3), min_size=1, max_size=12),
    st.integers(1, 12),
    st.data(),
)
def test_speed_acceleration_and_jerk_stay_in_their_limits_for_any_targets_and_uneven_ticks(targets, length, data):
    limits = CommandLimits(SMOOTH_ARM)
    command, acceleration = np.zeros(3), np.zeros(3)
    for target in [*targets, *[None] * 4]:
        for _ in range(length):
            dt = data.draw(st.sampled_from([0.0095, 0.01, 0.0105, 0.015]))
            if target is None:
                after = limits.stop(command, dt, acceleration)
            else:
                after = limits.follow(np.array(target), command, dt, CENTRE, acceleration).command
            slope = (after - command) / dt
            assert (np.abs(after) <= limits.speed + 1e-9).all()
            assert (np.abs(slope) <= limits.deceleration + 1e-9).all()
            assert (np.abs(slope - acceleration) <= JERK * dt + 1e-6).all()
            if target is None:
                assert (after * command >= 0).all() or (np.abs(after) <= 1e-9).all(), "braking never turns around"
            command, acceleration = after, slope


@unhurried
@given(st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 3), min_size=1, max_size=40), st.tuples(*[st.floats(0.0, 1.0)] * 3))
def test_under_a_jerk_limit_too_the_tool_stays_in_the_box(actions, start):
    limits = CommandLimits(SMOOTH_ARM)
    low, high = np.array(ARM.workspace.lower), np.array(ARM.workspace.upper)
    position = low + np.array(start) * (high - low)
    command, acceleration = np.zeros(3), np.zeros(3)
    for action in actions:
        for _ in range(5):
            after = limits.follow(np.array(action), command, DT, position, acceleration).command
            acceleration, command = (after - command) / DT, after
            position = position + command * DT
            assert (np.abs(acceleration) <= limits.deceleration + 1e-9).all()
            assert (position >= low - 1e-9).all()
            assert (position <= high + 1e-9).all()


def test_the_approach_to_a_wall_keeps_the_jerk_limit():
    limits = CommandLimits(SMOOTH_ARM)
    position, command, acceleration = CENTRE.copy(), np.zeros(3), np.zeros(3)
    for _ in range(300):
        after = limits.follow(np.array([1.0, 0.0, 0.0]), command, DT, position, acceleration).command
        slope = (after - command) / DT
        assert abs(slope[0] - acceleration[0]) <= JERK * DT + 1e-6
        acceleration, command = slope, after
        position = position + command * DT
    assert ARM.workspace.upper[0] - 2e-3 <= position[0] <= ARM.workspace.upper[0]


@pytest.mark.parametrize("jerk", [None, 60.0])
def test_the_stopping_distance_is_the_room_that_an_approach_at_that_speed_needs(jerk):
    axis = ARM.limits["linear.x"].model_copy(update={"jerk": jerk})
    room = axis.stopping_distance(0.2, DT)
    if jerk is None:
        assert approach_speed(room, axis.deceleration, DT) == pytest.approx(0.2)
    else:
        assert smooth_approach_speed(room, axis, jerk, DT) == pytest.approx(0.2)
    assert axis.stopping_distance(0.0, DT) == 0.0


@pytest.mark.parametrize("cap", [0.1, 1.0])
def test_a_speed_cap_lowers_every_speed_and_keeps_the_direction(cap):
    limits, command = CommandLimits(capped(ARM, cap)), np.zeros(3)
    for _ in range(100):
        command = limits.follow(np.array([1.0, -0.5, 0.1]), command, DT, CENTRE).command
    assert np.allclose(command, cap * np.array([0.25, -0.125, 0.025]))
    for _ in range(100):
        command = limits.follow(np.array([9.0, 0.0, 0.0]), command, DT, CENTRE).command
    assert command[0] == pytest.approx(cap * 0.3)


@pytest.mark.parametrize("cap", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_speed_cap_raises_no_limit_and_is_never_zero(cap):
    with pytest.raises(UserError, match=r"speed_cap must be in \[0.01, 1\]"):
        capped(ARM, cap)
