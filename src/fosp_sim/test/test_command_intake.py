"""The robot's side of the command topic."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.real_time import CommandIntake

DT = 0.005


@pytest.fixture
def intake(arm: RobotConfig) -> CommandIntake:
    return CommandIntake(arm)


def test_it_stands_still_before_the_first_command(intake: CommandIntake) -> None:
    assert (intake.current(5.0, DT) == 0).all()


def test_it_follows_the_newest_command(intake: CommandIntake) -> None:
    intake.receive(np.array([0.1, 0.0, 0.0]), "base_link", 1.0)
    intake.receive(np.array([0.2, 0.0, -0.1]), "base_link", 1.01)
    assert intake.current(1.05, DT).tolist() == [0.2, 0.0, -0.1]


def test_it_stops_by_itself_after_the_timeout(intake: CommandIntake, arm: RobotConfig) -> None:
    intake.receive(np.array([0.24, 0.0, 0.0]), "base_link", 1.0)
    now, speeds = 1.0 + arm.command_timeout_s + 1e-3, []
    while not speeds or speeds[-1] > 0:
        speeds.append(float(intake.current(now, DT)[0]))
        now += DT
    assert np.diff(speeds) == pytest.approx(-6.0 * DT, abs=1e-9)
    assert now - 1.0 < 0.2


def test_a_command_after_the_timeout_is_followed_again(intake: CommandIntake) -> None:
    intake.receive(np.array([0.2, 0.0, 0.0]), "base_link", 1.0)
    intake.current(9.0, DT)
    intake.receive(np.array([0.1, 0.0, 0.0]), "base_link", 9.0)
    assert intake.current(9.01, DT)[0] == 0.1


def test_a_command_beyond_the_robots_speed_is_held_to_it(intake: CommandIntake) -> None:
    intake.receive(np.array([9.0, -9.0, 0.0]), "base_link", 1.0)
    assert intake.current(1.0, DT).tolist() == [0.3, -0.3, 0.0]


@pytest.mark.parametrize(("frame_id", "value"), [("world", 0.1), ("", 0.1), ("base_link", np.nan)])
def test_a_wrong_command_is_refused_and_does_not_count(intake: CommandIntake, frame_id: str, value: float) -> None:
    with pytest.raises(UserError, match="ignored"):
        intake.receive(np.array([value, 0.0, 0.0]), frame_id, 1.0)
    assert (intake.current(1.0, DT) == 0).all()


def test_a_reset_forgets_the_command(intake: CommandIntake) -> None:
    intake.receive(np.array([0.2, 0.0, 0.0]), "base_link", 1.0)
    intake.forget()
    assert (intake.current(1.0, DT) == 0).all()
