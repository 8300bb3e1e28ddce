"""The shipped scenarios: what they share with the demonstrations, what not, and that they can be solved."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_cli.bench.simulator import careful_rates
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.render import as_range
from fosp_sim.task.safety_gym.layout import COURSES
from fosp_sim.task.scenario import Scenario, read_scenario

SCENARIOS = Path(__file__).parents[3] / "config" / "scenarios"
TASKS = ("safe_reach", "safe_goal")
CHANGES = {
    "transfer_obstacle_shape": {"obstacles.shape"},
    "transfer_goal_shape": {"goal.shape"},
    "transfer_obstacle_count": {"obstacles.count"},
    "moving_obstacles": {"obstacles.motion", "obstacles.speed_m_s"},
    "changed_colors": {"obstacles.color", "goal.color"},
    "moved_camera": {"camera.moved_m", "camera.turned_deg"},
    "transfer_many_spheres": {"obstacles.count", "obstacles.shape"},
}
HARD = {
    "obstacle_count": set(),
    "obstacle_shape": {"obstacles.shape", "obstacles.size_m"},
    "goal_shape": {"goal.shape"},
    "moving_obstacles": {"obstacles.motion", "obstacles.speed_m_s"},
    "moved_camera": {"camera.moved_m", "camera.turned_deg"},
    "many_spheres": {"obstacles.shape"},
}
"""Harder scenes of safe_goal, which have more obstacles and more time, too."""
COURSE_CHANGES = {
    "transfer_hazard_count": {"obstacles.count"},
    "transfer_hazard_size": {"obstacles.size_m"},
    "changed_colors": {"obstacles.color", "goal.color"},
}
UNSEEN = [(task, change) for task in TASKS for change in CHANGES]


def shipped(name: str) -> Scenario:
    return read_scenario(SCENARIOS / f"{name}.yaml")


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, part in value.items() for k, v in flat(part, f"{prefix}.{key}".lstrip(".")).items()}


@pytest.mark.parametrize(("task", "change"), UNSEEN)
def test_an_unseen_scenario_differs_from_the_demonstrations_in_what_its_name_says(task: str, change: str) -> None:
    unseen, demonstrated = (flat(shipped(name).model_dump()) for name in (f"{task}_{change}", f"{task}_train"))
    assert {key for key in unseen if unseen[key] != demonstrated[key]} - {"seed", "episodes"} == CHANGES[change]


@pytest.mark.parametrize("change", HARD)
def test_a_harder_scene_differs_in_what_its_name_says_and_is_solved(change: str, base: RobotConfig) -> None:
    hard, demonstrated = shipped(f"safe_goal_hard_{change}"), shipped("safe_goal_train")
    before, after = flat(demonstrated.model_dump()), flat(hard.model_dump())
    changed = {key for key in after if after[key] != before[key]} - {"seed", "episodes"}
    assert changed == HARD[change] | {"obstacles.count", "max_steps"}
    assert hard.obstacles.count_range[0] > demonstrated.obstacles.count_range[1]
    assert careful_rates(hard, base, episodes=4).success_rate >= 0.75


@pytest.mark.parametrize("task", TASKS)
def test_varied_demonstrations_leave_the_unseen_kinds_unseen(task: str) -> None:
    varied = shipped(f"{task}_varied_train")
    assert varied.seed >= 2 * shipped(f"{task}_train").seed, "seeds of its own"
    assert not set(shipped(f"{task}_transfer_obstacle_shape").obstacles.shapes) & set(varied.obstacles.shapes)
    assert not set(shipped(f"{task}_transfer_goal_shape").goal.shapes) & set(varied.goal.shapes)
    changed = shipped(f"{task}_changed_colors")
    assert not set(changed.obstacles.colors) & set(varied.obstacles.colors)
    assert not set(changed.goal.colors) & set(varied.goal.colors)
    assert varied.obstacles.motion == "static"
    knocked = shipped(f"{task}_moved_camera").camera
    assert as_range(varied.camera.moved_m)[1] < as_range(knocked.moved_m)[0]
    assert as_range(varied.camera.turned_deg)[1] < as_range(knocked.turned_deg)[0]


@pytest.mark.parametrize("change", COURSE_CHANGES)
@pytest.mark.parametrize("task", COURSES)
def test_an_unseen_scenario_of_the_papers_tasks_differs_in_what_its_name_says(task: str, change: str) -> None:
    unseen, demonstrated = (flat(shipped(name).model_dump()) for name in (f"{task}_{change}", f"{task}_train"))
    changed = {key for key in unseen if unseen[key] != demonstrated[key]} - {"seed", "episodes"}
    assert changed == COURSE_CHANGES[change]
    assert len({draw_scene(shipped(f"{task}_{change}"), episode).digest() for episode in range(10)}) == 10


@pytest.mark.parametrize("task", TASKS)
def test_more_obstacles_means_more_than_were_ever_demonstrated(task: str) -> None:
    unseen, demonstrated = (shipped(f"{task}{part}").obstacles for part in ("_transfer_obstacle_count", "_train"))
    assert unseen.count_range[0] > demonstrated.count_range[1]


def test_no_two_files_share_a_scene() -> None:
    """Room for 10000 episodes of every evaluation, and for any number of demonstrations above them."""
    shipped_ones = {path.stem: read_scenario(path) for path in SCENARIOS.glob("*.yaml")}
    seeds = {name: scenario.seed for name, scenario in shipped_ones.items()}
    with_pick = len(TASKS) * (3 + len(CHANGES)) + len(HARD) + 2
    assert len(seeds) == with_pick + len(COURSES) * (2 + len(COURSE_CHANGES))
    for (name, seed), (other, other_seed) in combinations(seeds.items(), 2):
        if shipped_ones[name].task == shipped_ones[other].task:
            assert abs(seed - other_seed) >= 10_000, (name, other)
    assert max(seed for name, seed in seeds.items() if not name.endswith("_train")) + 1_000_000 < 10_000_000


@pytest.mark.parametrize(("task", "change"), UNSEEN)
def test_scenes_can_be_drawn_and_the_careful_demonstrator_solves_them(
    task: str, change: str, arm: RobotConfig, base: RobotConfig
) -> None:
    described = shipped(f"{task}_{change}")
    assert len({draw_scene(described, episode).digest() for episode in range(40)}) == 40
    rates = careful_rates(described, arm if task == "safe_reach" else base, episodes=6)
    assert rates.success_rate >= 0.8
    assert rates.violation_rate <= 0.2


def test_moving_obstacles_move() -> None:
    for task in ("safe_reach", "safe_goal"):
        for obstacle in draw_scene(shipped(f"{task}_moving_obstacles"), 0).obstacles:
            assert np.hypot(*np.subtract(obstacle.position(0.4), obstacle.position(0.0))) > 0.01
