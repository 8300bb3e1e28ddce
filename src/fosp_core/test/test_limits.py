import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.limits import (
    CommandHistory,
    CommandLimits,
    Response,
    approach_speed,
    capped,
    smooth_approach_speed,
    speed_norms,
)

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
            assert np.linalg.norm(after) <= 0.3 + 1e-9
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


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("jerk", [None, 60.0, 300.0])
def test_a_command_shortly_after_a_tick_counts_with_its_staying_in_force_until_the_next_one(share, jerk):
    axes = {name: axis.model_copy(update={"jerk": jerk}) for name, axis in ARM.limits.items()}
    arm = ARM.model_copy(update={"limits": axes})
    limits, wall = CommandLimits(arm), ARM.workspace.upper[0]
    for start in np.linspace(0.5, wall, 20):
        position, command, acceleration = np.array([start, 0.0, 0.2]), np.zeros(3), np.zeros(3)
        for index in range(200):
            elapsed, following = (share * DT, (1.0 - share) * DT)[:: 1 if index % 2 else -1]
            after = limits.follow(np.array([1.0, 0.0, 0.0]), command, elapsed, position, acceleration).command
            command, acceleration = after, (after - command) / elapsed
            position = position + command * following
            assert position[0] <= wall + 1e-9


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
    commands = ticks(CommandLimits(SMOOTH_ARM), [[1.0, 0.5, -0.25]])
    assert commands[-1] == pytest.approx([0.25, 0.125, -0.0625])
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
    limits, norm = CommandLimits(SMOOTH_ARM), speed_norms(SMOOTH_ARM)[0]
    command, acceleration = np.zeros(3), np.zeros(3)
    for target in [*targets, *[None] * 4]:
        for _ in range(length):
            dt = data.draw(st.sampled_from([0.0095, 0.01, 0.0105, 0.015, 0.003, 0.0002]))
            if target is None:
                after = limits.stop(command, dt, acceleration)
            else:
                after = limits.follow(np.array(target), command, dt, CENTRE, acceleration).command
            slope = (after - command) / dt
            assert (np.abs(after) <= limits.speed + 1e-9).all()
            assert (np.abs(slope) <= limits.deceleration + 1e-9).all()
            assert target is None or np.linalg.norm(after) <= norm + 1e-9
            # The limit of the norm takes precedence over that of jerk, and so does coming to rest over turning around.
            jerky = np.abs(slope - acceleration) > JERK * max(dt, 0.5 * DT) + 1e-6
            if target is None:
                jerky &= after != 0.0
                assert (after * command >= 0).all(), "braking never turns around"
                assert (after[command == 0.0] == 0.0).all(), "what stands stays"
            assert np.linalg.norm(after) >= norm - 1e-9 or not jerky.any()
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
    for _ in range(100):
        command = limits.follow(np.array([1.0, 1.0, 1.0]), command, DT, CENTRE).command
    assert np.linalg.norm(command) == pytest.approx(cap * 0.3)


@pytest.mark.parametrize("cap", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_speed_cap_raises_no_limit_and_is_never_zero(cap):
    with pytest.raises(UserError, match=r"speed_cap must be in \[0.01, 1\]"):
        capped(ARM, cap)


# -- robots that follow late -------------------------------------------------------------------------
def overrun_mm(
    robot: RobotConfig, lag_s: float, dead_s: float, rate_hz: float = 100.0, pose_every: int = 1
) -> tuple[float, float]:
    """Drive at the upper wall of x at full speed, and return by how much, mm, the robot ends beyond it, and its end."""
    limits, history, dt = CommandLimits(robot), CommandHistory(Response.of(robot)), 1.0 / rate_hz
    wall = robot.workspace.upper[0]
    substeps = max(1, round(dt / 0.001))
    step_s = dt / substeps
    x, speed, command, slope = wall - 0.4, 0.0, np.zeros(3), np.zeros(3)
    sent, measured, farthest = [], (0.0, x), x
    for tick in range(round(6.0 * rate_hz)):
        now = tick * dt
        if tick % pose_every == 0:
            measured = (now, x)
        moved = history.outstanding(measured[0], now)
        position = np.array([measured[1], 0.0, 0.2])
        elapsed = min(dt, limits.longest_tick_s) if tick else 0.0
        after = limits.follow(np.array([1.0, 0.0, 0.0]), command, elapsed, position, slope, moved).command
        slope, command = (after - command) / dt, after
        history = history.after(tuple(command.tolist()), now)
        sent.append((now, command[0]))
        for k in range(substeps):
            t = now + k * step_s - dead_s + 1e-9
            late = next((value for at, value in reversed(sent) if at <= t), 0.0)
            speed = late if lag_s == 0.0 else late + math.exp(-step_s / lag_s) * (speed - late)
            x += step_s * speed
            farthest = max(farthest, x)
    return 1e3 * (farthest - wall), 1e3 * (x - wall)


def late_arm(response_s: float, dead_time_s: float, **changes) -> RobotConfig:
    described = {"response_s": max(response_s, 1e-3), "dead_time_s": max(dead_time_s, 1e-3)}
    return ARM.model_copy(update={**described, **changes})


@pytest.mark.parametrize(
    ("lag_s", "dead_s"),
    [(0.05, 0.0), (0.1, 0.0), (0.2, 0.0), (0.4, 0.0), (0.0, 0.03), (0.0, 0.06), (0.0, 0.1), (0.1, 0.05), (0.2, 0.1)],
)
@pytest.mark.parametrize("jerk", [None, 600.0], ids=["no jerk limit", "jerk limit"])
def test_a_robot_that_lags_as_its_file_says_stops_at_the_wall(lag_s, dead_s, jerk):
    robot = late_arm(lag_s, dead_s)
    if jerk:
        axes = {name: axis.model_copy(update={"jerk": jerk}) for name, axis in robot.limits.items()}
        robot = robot.model_copy(update={"limits": axes})
    beyond, end = overrun_mm(robot, lag_s, dead_s)
    assert beyond <= 2.0
    assert end == pytest.approx(0.0, abs=5.0), "and it gets there"


@pytest.mark.parametrize("pose_every", [3, 8])
def test_it_does_so_though_its_pose_comes_seldom(pose_every):
    assert overrun_mm(late_arm(0.1, 0.05), 0.1, 0.05, pose_every=pose_every)[0] <= 2.0


def test_a_robot_that_nobody_described_stops_at_the_wall_up_to_the_lag_that_is_assumed():
    undescribed = {key: value for key, value in ARM.model_dump().items() if key not in ("response_s", "dead_time_s")}
    robot = RobotConfig.model_validate(undescribed)
    assert (robot.response_s, robot.dead_time_s) == (0.1, 0.05)
    for lag_s, dead_s in ((0.0, 0.0), (0.05, 0.03), (0.1, 0.05)):
        assert overrun_mm(robot, lag_s, dead_s)[0] <= 2.0


def test_a_lag_that_is_not_described_carries_a_robot_beyond_the_wall():
    assert overrun_mm(late_arm(1e-3, 1e-3), 0.2, 0.0)[0] > 20.0


@pytest.mark.parametrize("rate_hz", [200.0, 100.0, 33.0, 20.0, 10.0, 5.0])
@pytest.mark.parametrize("lag_s", [0.0, 0.1])
def test_a_low_command_rate_carries_no_robot_beyond_the_wall(rate_hz, lag_s):
    robot = late_arm(lag_s, 0.0, command_rate_hz=rate_hz, command_timeout_s=1.0)
    assert overrun_mm(robot, lag_s, 0.0, rate_hz)[0] <= 2.0


def test_a_low_command_rate_does_not_make_braking_slow():
    robot = ARM.model_copy(update={"command_rate_hz": 10.0, "command_timeout_s": 0.3})
    assert CommandLimits(robot).longest_tick_s == pytest.approx(0.3)
    assert (CommandLimits(robot).stop(np.array([0.25, 0.0, 0.0]), 0.1) == 0.0).all()


# -- the norm of the speed ---------------------------------------------------------------------------
def fastest(robot: RobotConfig, action) -> np.ndarray:
    limits, command = CommandLimits(robot), np.zeros(robot.action.size)
    for _ in range(100):
        command = limits.follow(np.array(action), command, DT, CENTRE).command
        assert np.linalg.norm(command[:3]) <= robot.linear_speed + 1e-9 if robot.linear_speed else True
    return command


def test_the_norm_of_the_speed_keeps_the_largest_limit_of_an_axis_and_its_direction():
    arm = ARM.model_copy(update={"linear_speed": None})
    command = fastest(arm, [1.0, 1.0, 1.0])
    assert np.linalg.norm(command) == pytest.approx(0.30)
    assert command == pytest.approx(np.full(3, 0.30 / math.sqrt(3.0)))
    assert fastest(arm, [1.0, -0.5, 0.0]) == pytest.approx([0.25, -0.125, 0.0]), "within the norm nothing changes"


def test_the_robot_file_may_limit_the_norm_itself():
    slow = ARM.model_copy(update={"linear_speed": 0.26})
    assert np.linalg.norm(fastest(slow, [1.0, 1.0, 1.0])) == pytest.approx(0.26)
    quick = ARM.model_copy(update={"linear_speed": 0.5})
    assert fastest(quick, [1.0, 1.0, 1.0]) == pytest.approx([0.25, 0.25, 0.25])


@unhurried
@given(st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 3), min_size=1, max_size=20))
def test_no_turn_exceeds_the_norm_and_every_direction_is_reached(actions):
    limits, command = CommandLimits(ARM), np.zeros(3)
    for action in actions:
        for _ in range(20):
            after = limits.follow(np.array(action), command, DT, CENTRE).command
            assert np.linalg.norm(after) <= 0.30 + 1e-9
            assert (np.abs(after - command) <= limits.deceleration * DT + 1e-9).all()
            command = after
        wanted = np.array(action) * limits.scale
        wanted *= min(1.0, 0.30 / max(np.linalg.norm(wanted), 1e-9))
        assert command == pytest.approx(wanted, abs=1e-6)


def test_linear_and_angular_speeds_have_norms_of_their_own():
    base = read_robot(Path(__file__).parents[3] / "config/robots/sim_base.yaml")
    assert speed_norms(base) == (0.6, 1.8)
    assert fastest(base, [1.0, 1.0]) == pytest.approx([0.5, 1.5])
    assert speed_norms(ARM) == (0.30, math.inf)
