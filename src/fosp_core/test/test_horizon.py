"""The horizon of the calibration against the time that a robot needs from a picture to its rest."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fosp_core.robot.config import AxisLimits, read_robot
from fosp_core.robot.horizon import LATENCY_S, needed_horizon_s, needed_horizon_steps, short_horizon, stopping_s
from fosp_core.specs import Calibration

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
SIM_ARM = read_robot(ROBOTS / "sim_arm.yaml").model_copy(update={"dead_time_s": 0.01, "response_s": 0.02})


def calibration(horizon_steps: int) -> Calibration:
    return Calibration(
        eps=0.2,
        alpha=0.05,
        horizon_steps=horizon_steps,
        episodes=100,
        violating_episodes=30,
        miss_rate_bound=0.05,
        false_veto_rate=0.1,
        supported=True,
        surprise_limit=1.0,
        ranges={},
    )


def test_the_horizon_covers_latency_decision_dead_time_lag_and_braking() -> None:
    braking_s = 0.25 / 6.0
    assert stopping_s(SIM_ARM) == pytest.approx(0.01 + 3 * 0.02 + braking_s)
    assert needed_horizon_s(SIM_ARM, 0.05) == pytest.approx(LATENCY_S + 0.05 + 0.07 + braking_s)
    assert needed_horizon_steps(SIM_ARM, 0.05) == 4


@pytest.mark.parametrize("name", ["response_s", "dead_time_s"])
def test_a_slower_robot_needs_a_longer_horizon(name: str) -> None:
    slower = SIM_ARM.model_copy(update={name: getattr(SIM_ARM, name) + 0.1})
    assert needed_horizon_steps(slower, 0.05) >= needed_horizon_steps(SIM_ARM, 0.05) + 2


def test_a_robot_that_coasts_needs_the_time_in_which_its_own_action_brakes_it() -> None:
    point = read_robot(ROBOTS / "sim_point.yaml")
    braked_s = point.dead_time_s + math.log(2.0) * point.response_s
    assert stopping_s(point) == pytest.approx(braked_s + 1.5 / 160.0, abs=1e-3)
    assert needed_horizon_steps(point, 0.08) == 7
    assert needed_horizon_steps(point.model_copy(update={"coasts": False}), 0.08) == 22


def test_a_limit_of_jerk_makes_stopping_longer() -> None:
    smooth = AxisLimits(speed=0.3, acceleration=2.0, deceleration=2.0, jerk=40.0)
    hard = AxisLimits(speed=0.3, acceleration=2.0, deceleration=2.0)
    assert hard.stopping_time(0.3) == pytest.approx(0.15)
    assert smooth.stopping_time(0.3) == pytest.approx(0.1 + 0.05 + (0.3 + 0.05) / 2.0)
    assert smooth.stopping_time(0.0) == 0.0


def test_a_calibration_that_looks_less_far_than_the_robot_stops_is_warned_of() -> None:
    assert short_horizon(calibration(4), SIM_ARM, 0.05) == ""
    said = short_horizon(calibration(1), SIM_ARM, 0.05)
    assert "within 1 steps (0.05 s), but 'sim_arm' takes 4 steps (0.18 s)" in said
