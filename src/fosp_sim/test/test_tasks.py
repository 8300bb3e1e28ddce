"""The registry of tasks: a new entry is a whole task, and an unknown name is an error everywhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import Env, make_world
from fosp_sim.task.base_world import BaseWorld
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario, read_scenario
from fosp_sim.task.tasks import TASKS, find_task
from fosp_sim.task.world import GoalRules

CONFIG = Path(__file__).parents[3] / "config"


class SlowGoal(BaseWorld):
    """A third task: safe_goal with rewards of its own."""

    rules = GoalRules(progress_scale=1.0, tolerance=0.2, planar=True, time_penalty=0.0)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch, base: RobotConfig) -> Scenario:
    """A scenario of a task that is an entry in the registry and nothing else."""
    layout = replace(TASKS["safe_goal"].layout, goal_heights=(0.5, 0.5))
    entry = replace(TASKS["safe_goal"], world=SlowGoal, layout=layout, goal={"radius_m": 0.2})
    monkeypatch.setitem(TASKS, "slow_goal", entry)
    return parse_spec(Scenario, {"task": "slow_goal"}, "scenario.yaml")


def test_an_entry_is_a_whole_task(third: Scenario, base: RobotConfig) -> None:
    assert third.robot == "sim_base"
    assert third.goal.radius_m == 0.2
    env = Env(third, base, rendering="none")
    env.reset(0)
    assert env.scene.goal.z == 0.5
    assert isinstance(env.world, SlowGoal)
    driver = Demonstrator("careful", env.scene, base, 0)
    start, total = env.world.distance(), 0.0
    for _ in range(20):
        result = env.step(driver.act(env.world.state(), env.world.time))
        total += result.reward
    assert total == pytest.approx(start - result.distance)


def test_an_unknown_task_is_an_error_everywhere(base: RobotConfig) -> None:
    known = "safe_reach, safe_goal"
    unknown = Scenario(task="safe_goal").model_copy(update={"task": "safe_gaol"})
    with pytest.raises(UserError, match=f"file.yaml: task: must be one of {known}"):
        parse_spec(Scenario, {"task": "safe_gaol"}, "file.yaml")
    with pytest.raises(UserError, match="task: must be one of"):
        parse_spec(Scenario, {"task": ["safe_goal"]}, "file.yaml")
    scene = replace(draw_scene(Scenario(task="safe_goal"), 0), task="safe_gaol")
    uses: list[Any] = [
        lambda: find_task("safe_gaol"),
        lambda: unknown.robot,
        lambda: draw_scene(unknown, 0),
        lambda: make_world(unknown, base),
        lambda: Env(unknown, base, rendering="none"),
        lambda: Demonstrator("careful", scene, base, 0),
    ]
    for use in uses:
        with pytest.raises(UserError, match=f"unknown task 'safe_gaol'; known tasks: {known}"):
            use()


@pytest.mark.parametrize("name", ["safe_goal", "safe_reach", "safe_pick"])
def test_every_task_has_its_robot_and_its_scenarios(name: str) -> None:
    for part in ("", "_train"):
        scenario = read_scenario(CONFIG / "scenarios" / f"{name}{part}.yaml")
        assert scenario.task == name
        robot = read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml")
        world, scene = make_world(scenario, robot), draw_scene(scenario, 0)
        world.reset(scene)
        action = TASKS[name].driver(scene, robot.action.scale).careful(world.state(), 0.0)
        assert np.shape(action) == (robot.action.size,)


def test_a_scenario_is_read_without_mujoco() -> None:
    path = CONFIG / "scenarios" / "safe_reach.yaml"
    code = (
        "import sys; sys.modules['mujoco'] = None\n"
        "from pathlib import Path; from fosp_sim.task.scenario import read_scenario\n"
        f"print(read_scenario(Path({str(path)!r})).robot)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "sim_arm", done.stderr
