"""The experiment's arithmetic; its live part is the graph that other tests run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fosp_bringup.transfer_experiment import FINETUNING_SEED, Resources, Trial, _scenario_file, goal, run_trial, table
from fosp_core.specs import read_robot

CONFIG = Path(__file__).resolve().parents[3] / "config"
SCENARIO = CONFIG / "scenarios" / "safe_reach_transfer_goal_shape.yaml"


@pytest.mark.parametrize(("offline", "expected"), [(0.5, 0.75), (0.9, 0.85), (0.0, 0.5)])
def test_the_goal_is_85_percent_or_half_way_whichever_is_lower(offline: float, expected: float) -> None:
    assert goal(offline) == pytest.approx(expected)


def result(arm: str, seed: int, success: list[bool], cost_during: list[float]) -> dict[str, Any]:
    return {
        "trial": {"arm": arm, "scenario": str(SCENARIO), "seed": seed, "monitor": "on"},
        "during": {
            "cost_per_episode": sum(cost_during) / len(cost_during),
            "per_episode": [{"violated": cost > 0, "cost": cost} for cost in cost_during],
        },
        "after": {"per_episode": [{"success": s, "violated": not s} for s in success]},
    }


def test_seeds_are_pooled_and_the_goal_comes_from_the_offline_arm() -> None:
    rows = table(
        [
            result("fosp", 0, [True, True], [0.0, 2.0]),
            result("fosp", 1, [True, False], [0.0, 0.0]),
            result("offline", 0, [True, False], [1.0, 1.0]),
        ]
    )
    fosp, offline = rows
    assert fosp["success_after"]["rate"] == 0.75
    assert fosp["violations_during"]["rate"] == 0.25
    assert fosp["cost_per_episode_during"] == 0.5
    assert fosp["goal"] == offline["goal"] == 0.75
    assert fosp["curves"] == [[0.0, 2.0], [0.0, 0.0]]


def test_fine_tuning_has_scenes_of_its_own_and_a_trial_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    trial = Trial("fosp", SCENARIO, 2)
    described = yaml.safe_load(_scenario_file(trial, tmp_path).read_text())
    assert described["seed"] == FINETUNING_SEED + 20_000
    assert described["goal"] == yaml.safe_load(SCENARIO.read_text())["goal"]
    done = {"after": {"success_rate": 0.5}}
    (tmp_path / trial.name).mkdir()
    (tmp_path / trial.name / "trial.json").write_text(json.dumps(done))
    robot = read_robot(CONFIG / "robots" / "sim_arm.yaml")
    assert run_trial(trial, Resources(tmp_path / "no_bundle", robot, out=tmp_path)) == done
