"""The shipped scenarios and robots, which the tests of the simulator run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_core.robot.config import RobotConfig, read_robot
from fosp_sim.task.scenario import Scenario, read_scenario

CONFIG = Path(__file__).parents[3] / "config"


@pytest.fixture(scope="session")
def arm() -> RobotConfig:
    return read_robot(CONFIG / "robots" / "sim_arm.yaml")


@pytest.fixture(scope="session")
def base() -> RobotConfig:
    return read_robot(CONFIG / "robots" / "sim_base.yaml")


ARENA_TASKS = ("safe_reach", "safe_goal")


@pytest.fixture(params=ARENA_TASKS)
def task(request: pytest.FixtureRequest) -> tuple[Scenario, RobotConfig]:
    """Each arena task's in-distribution scenario with its robot."""
    described = read_scenario(CONFIG / "scenarios" / f"{request.param}.yaml")
    return described, read_robot(CONFIG / "robots" / f"{described.robot}.yaml")
