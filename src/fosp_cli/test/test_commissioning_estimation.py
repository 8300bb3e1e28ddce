"""Dead time, lag, direction and stops from made-up commands and poses, whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fosp_cli.commissioning.estimation import (
    FittedResponse,
    Motion,
    allowed_stop,
    fit_response,
    judge_direction,
    measure_stop,
    median_response,
    moved_along,
    rest_after,
    settling_s,
    unexpected,
    worst_response,
)
from fosp_core.robot.config import read_robot

ROBOT = read_robot(Path(__file__).resolve().parents[3] / "config" / "robots" / "sim_arm.yaml")
PERIOD_S = 0.01


def played(
    matrix: np.ndarray | None = None,
    *,
    dead_s: float = 0.0,
    lag_s: float = 0.0,
    row: int = 0,
    speed: float = 0.1,
    long_s: float = 0.8,
    noise: float = 0.0,
    rest_s: float = 0.0,
) -> Motion:
    """A step of component `row` and what a robot makes of it, from 0.15 s before it until rest."""
    end_s = 0.15 + long_s + dead_s + 5.0 * lag_s + 0.3 + rest_s
    fine = np.arange(0.0, end_s, 0.001)
    wanted = np.where((fine >= 0.15) & (fine < 0.15 + long_s), speed, 0.0)
    velocity, position, at = 0.0, 0.0, np.zeros(len(fine))
    rate = -math.expm1(-0.001 / lag_s) if lag_s else 1.0
    delay = round(dead_s / 0.001)
    for i in range(len(fine)):
        velocity += rate * ((wanted[i - delay] if i >= delay else 0.0) - velocity)
        position += velocity * 0.001
        at[i] = position
    turn = np.eye(6) if matrix is None else matrix
    stamps = np.arange(0.0, end_s, PERIOD_S)
    moved = np.interp(stamps, fine, at)[:, None] * turn[:, row]
    commands = np.zeros((len(stamps), 6))
    commands[:, row] = np.where((stamps >= 0.15 - 1e-9) & (stamps < 0.15 + long_s - 1e-9), speed, 0.0)
    moved = moved + np.random.default_rng(0).normal(0.0, noise, moved.shape)
    return Motion(100.0 + stamps, commands, 0.1, 100.0 + stamps, moved)


@pytest.mark.parametrize("dead_s", [0.0, 0.03, 0.1, 0.4])
@pytest.mark.parametrize("lag_s", [0.0, 0.05, 0.2, 0.6])
def test_dead_time_and_lag_are_found_in_noise(dead_s: float, lag_s: float) -> None:
    fit = fit_response(0, played(dead_s=dead_s, lag_s=lag_s, noise=1e-4))
    assert fit.dead_time_s == pytest.approx(dead_s, abs=0.01)
    assert fit.lag_s == pytest.approx(lag_s, abs=max(0.008, 0.05 * lag_s))
    assert fit.gain == pytest.approx(1.0, abs=0.03)
    assert fit.error < 0.02


def test_a_robot_that_stands_still_has_no_response() -> None:
    with pytest.raises(ValueError, match="too few samples"):
        fit_response(0, played(np.zeros((6, 6))))


def test_the_worst_fit_is_the_slowest_as_a_whole_and_the_median_no_outlier() -> None:
    fits = [
        FittedResponse(0.02, 0.1, 1.0, 0.0),
        FittedResponse(0.09, 0.02, 1.0, 0.0),
        FittedResponse(0.03, 0.11, 1.1, 0.0),
    ]
    assert worst_response(fits) is fits[2]
    assert median_response(fits) == FittedResponse(0.03, 0.1, 1.0, 0.0)


def swapped(a: int, b: int, sign: float = 1.0) -> np.ndarray:
    matrix = np.eye(6)
    matrix[:, [a, b]] = matrix[:, [b, a]]
    return sign * matrix


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.eye(6), ""),
        (1.1 * np.eye(6), ""),
        (swapped(0, 1, -1.0), "told +x, moved -y: axes are swapped"),
        (swapped(0, 5), "told +x, moved a turn about +z: axes are swapped"),
        (-np.eye(6), "told +x, moved -x: the sign is inverted"),
        (2.0 * np.eye(6), "told +x, moved +x 2.00 times as far"),
        (0.6 * np.eye(6), "told +x, moved +x 0.60 times as far"),
        (np.eye(6) + 0.7 * swapped(0, 2), "told +x, moved +x and +z: is the action frame"),
        (0.1 * np.eye(6), "told +x, did not move"),
    ],
)
def test_a_motion_is_called_by_what_is_wrong_with_it(matrix: np.ndarray, said: str) -> None:
    found = judge_direction(0, played(matrix, noise=2e-5))
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 0.8])
def test_a_lag_is_neither_unexpected_nor_a_wrong_scale(lag_s: float) -> None:
    motion = played(lag_s=lag_s, dead_s=0.1, long_s=0.6, speed=0.05, noise=2e-5, rest_s=1.0)
    assert judge_direction(0, motion) == ""
    told = motion.told(motion.stamps)
    assert not [text for t, m in zip(told, motion.moved, strict=True) if (text := unexpected(0, t, m))]


@pytest.mark.parametrize(
    ("told", "moved", "said"),
    [
        ([0.01, 0, 0], [-0.009, 0, 0], "it moves the other way"),
        ([-0.01, 0, 0], [0.009, 0, 0], "it moves the other way"),
        ([0.01, 0, 0], [0.03, 0, 0], "it moves further than it was told"),
        ([0.01, 0, 0], [0.0, -0.012, 0], "it moves along -y"),
        ([0.0, 0, 0], [0.0, 0.0, 0.009], "it moves along +z"),
        ([0.01, 0, 0], [0.0, 0, 0], ""),
        ([0.1, 0, 0], [0.1, 0.03, 0], ""),
    ],
)
def test_unexpected_motion_is_seen_after_millimetres(told: list[float], moved: list[float], said: str) -> None:
    assert unexpected(0, np.array([*told, 0, 0, 0]), np.array([*moved, 0, 0, 0])) == said


def test_a_base_moves_along_its_own_axes() -> None:
    """A quarter of a circle to the left: forwards and turning, whatever the frame of its odometry says."""
    angles = np.linspace(0.0, math.pi / 2, 200)
    poses = np.zeros((200, 7))
    poses[:, 0], poses[:, 1] = np.sin(angles), 1.0 - np.cos(angles)
    poses[:, 5], poses[:, 6] = np.sin(angles / 2), np.cos(angles / 2)
    moved = moved_along(poses, with_body=True)[-1]
    assert moved == pytest.approx([math.pi / 2, 0.0, 0.0, 0.0, 0.0, math.pi / 2], abs=0.01)
    assert moved_along(poses, with_body=False)[-1][:3] == pytest.approx([1.0, 1.0, 0.0], abs=1e-9)
    assert moved_along(np.zeros((0, 7)), with_body=True).shape == (0, 6)


def test_the_told_motion_holds_a_command_no_longer_than_the_timeout() -> None:
    motion = Motion(
        np.array([0.0, 1.0]), np.array([[1.0, 0, 0, 0, 0, 0], [0.0] * 6]), 0.1, np.zeros(0), np.zeros((0, 6))
    )
    assert motion.total_told[0] == pytest.approx(0.1)
    assert motion.told(np.array([0.05]))[0, 0] == pytest.approx(0.05)


@pytest.mark.parametrize(("dead_s", "lag_s"), [(0.0, 0.0), (0.05, 0.1), (0.1, 0.4)])
def test_a_stop_is_what_dead_time_and_lag_make_of_it_and_the_limits_promise_it(dead_s: float, lag_s: float) -> None:
    motion = played(dead_s=dead_s, lag_s=lag_s, speed=0.25, long_s=1.0 + 3.0 * lag_s)
    stop = measure_stop(0, motion)
    assert stop.speed == 0.25
    assert stop.distance == pytest.approx(0.25 * (dead_s + lag_s), abs=0.012)
    robot = ROBOT.model_copy(update={"dead_time_s": dead_s, "response_s": lag_s})
    assert stop.distance <= 1.1 * allowed_stop(robot, "linear.x", 0.25) + 0.0032
    if lag_s:
        assert stop.distance > 1.1 * allowed_stop(ROBOT, "linear.x", 0.25) + 0.0032, "an unknown lag shows"


@pytest.mark.parametrize(("dead_s", "lag_s"), [(0.0, 0.0), (0.05, 0.1), (0.1, 0.4)])
def test_a_slow_robot_is_at_rest_within_the_time_that_its_response_allows(dead_s: float, lag_s: float) -> None:
    motion = played(dead_s=dead_s, lag_s=lag_s, speed=0.05, long_s=1.0, rest_s=1.0, noise=2e-5)
    robot = ROBOT.model_copy(update={"dead_time_s": dead_s, "response_s": lag_s})
    rest_s = rest_after(0, motion, 101.15)
    assert rest_s <= settling_s(robot, "linear.x", 0.05) + 0.1
    if lag_s:
        assert rest_s > settling_s(ROBOT, "linear.x", 0.05) + 0.1
