"""Hazards are shown: a slow approach to one obstacle, an onset, and back; each episode is one approach."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.demonstration.hazard_driver import SLOW, HazardDriver
from fosp_sim.env import Env
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario


def shown(described: Scenario, robot: RobotConfig, episode: int) -> tuple[list[float], list[float], bool]:
    """Return costs and greatest actions of each decision, and whether the driver ended the episode."""
    env = Env(described.model_copy(update={"max_steps": 400}), robot, rendering="none")
    env.reset(episode)
    driver = make_demonstrator("hazards", env.scene, robot, seed=episode)
    assert isinstance(driver, HazardDriver)
    costs, actions = [], []
    while True:
        action = driver.act(env.world.state(), env.world.time)
        result = env.step(action)
        costs.append(result.cost)
        actions.append(float(np.abs(action).max()))
        if result.last:
            return costs, actions, driver.finished
        driver.tell(result.cost)
        if driver.finished:
            env.finish()


@pytest.mark.slow
def test_approaches_end_in_a_violation_slowly_and_the_robot_comes_out_of_it(task: tuple[Scenario, RobotConfig]) -> None:
    with_onset, free = 0, 0
    for episode in range(6):
        costs, actions, finished = shown(*task, episode)
        onset = next((t for t in range(1, len(costs)) if costs[t] > 0 and not costs[t - 1] > 0), None)
        if onset is None:
            continue
        with_onset += 1
        assert max(actions[onset - 5 : onset + 1]) <= SLOW + 1e-6, "slow before it touches"
        assert max(actions[onset:]) <= SLOW + 1e-6, "and on the way back"
        free += finished and costs[-1] == 0
    assert with_onset >= 4, "of six; an approach may reach the goal on its way"
    assert free >= with_onset - 1


def test_without_obstacles_there_is_nothing_to_show(arm: RobotConfig) -> None:
    scene = draw_scene(parse_spec(Scenario, {"task": "safe_reach", "obstacles": {"count": 0}}, ""), 0)
    with pytest.raises(UserError, match="needs obstacles"):
        make_demonstrator("hazards", scene, arm, 0)
