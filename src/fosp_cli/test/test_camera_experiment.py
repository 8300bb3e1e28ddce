"""The experiment with faults of the camera: the robot drives in it, and a fault of the camera stops it."""

from __future__ import annotations

import pytest

from fosp_bringup.paths import robot_path, scenario_path
from fosp_bringup.stack import default_bundle
from fosp_cli.experiments.camera_experiment import HEALTHY, CameraTrial, FaultedEpisode, row_of, run_scenes
from fosp_core.robot.config import read_robot
from fosp_sim.task.scenario import read_scenario

SCENES = (0, 1)


def _run(fault: str, checked: bool) -> list[FaultedEpisode]:
    robot = read_robot(robot_path("sim_arm"))
    scenario = read_scenario(scenario_path("safe_reach"))
    return run_scenes(CameraTrial(default_bundle("safe_reach"), scenario, robot, fault, checked), SCENES)


@pytest.mark.parametrize("checked", [False, True])
def test_a_healthy_robot_reaches_its_goal_with_and_without_the_checks(checked: bool) -> None:
    episodes = _run(HEALTHY, checked)
    assert any(one.success for one in episodes)
    assert [one.stopped_at for one in episodes] == [None, None]


def test_a_picture_upside_down_stops_the_robot_where_it_is_checked() -> None:
    before, after = _run("upside down", False), _run("upside down", True)
    assert [one.stopped_at for one in before] == [None, None]
    assert all(one.stopped_at is not None for one in after)
    assert row_of(before, after)["stopped_before_violation"] == 1.0
