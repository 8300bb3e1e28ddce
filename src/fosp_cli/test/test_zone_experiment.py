"""A script that drives straight at the goal, in front of protective zones."""

from __future__ import annotations

import pytest

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.simulated_scans import SimulatedScans
from fosp_cli.experiments.zone_experiment import describe, run
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_sim.env import Env
from fosp_sim.task.scenario import read_scenario


def test_zones_keep_a_script_from_obstacles_that_it_runs_into_without_them():
    robot = read_robot(robot_path("sim_base").with_name("sim_base.zones.yaml"))
    scenario = read_scenario(scenario_path("safe_goal"))
    alone = robot.model_copy(update={"zones": (), "sources": ()})
    assert sum(trial.violated for trial in run(scenario, alone, 6)) >= 2
    guarded = run(scenario, robot, 6)
    assert not any(trial.violated for trial in guarded)
    assert "violation 0.0 %" in describe("with zones", guarded)


def test_only_scans_of_a_base_are_simulated_in_process():
    robot = read_robot(robot_path("sim_base").with_name("sim_base.zones.yaml"))
    other = robot.sources[0].model_copy(update={"type": "Range"})
    env = Env(read_scenario(scenario_path("safe_goal")), robot, rendering="none")
    with pytest.raises(UserError, match="only a LaserScan of a base is simulated in process, and not Range"):
        SimulatedScans(robot.model_copy(update={"sources": (other,)}), env.world)
