"""Demonstrators: what the tasks ask for can be done, and cannot be done without looking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fosp_cli.bench.simulator import careful_rates, simulator_speed, straight_line_rates
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec
from fosp_sim.demonstration.demonstrators import MIXTURE, Demonstrator
from fosp_sim.env import Env
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario

pytestmark = pytest.mark.slow


def actions(described: Scenario, robot: RobotConfig, kind: str, seed: int = 0) -> Any:
    env = Env(described, robot, rendering="none")
    env.reset(0)
    driver = Demonstrator(kind, env.scene, robot, seed)
    taken = []
    for _ in range(15):
        taken.append(driver.act(env.world.state(), env.world.time))
        env.step(taken[-1])
    return np.array(taken)


def test_careful_reaches_the_goal_without_violation(task: tuple[Scenario, RobotConfig]) -> None:
    rates = careful_rates(*task, episodes=40)
    assert rates.violation_rate == 0.0
    assert rates.success_rate >= 0.95
    assert 20 <= rates.steps_median <= 70


def test_a_straight_line_often_violates(task: tuple[Scenario, RobotConfig]) -> None:
    assert straight_line_rates(*task, episodes=20).violation_rate >= 0.35


@pytest.mark.parametrize("shape", ["box", "cylinder", "sphere"])
def test_careful_copes_with_every_shape(arm: RobotConfig, base: RobotConfig, shape: str) -> None:
    for name, robot in (("safe_reach", arm), ("safe_goal", base)):
        described = parse_spec(Scenario, {"task": name, "obstacles": {"shape": shape}}, "")
        assert careful_rates(described, robot, episodes=3).violation_rate == 0.0


@pytest.mark.parametrize("kind", ["careful", "greedy", "noisy", "random", "mixed"])
def test_the_seed_decides_what_a_demonstrator_does(task: tuple[Scenario, RobotConfig], kind: str) -> None:
    once, again, other = (actions(*task, kind, seed) for seed in (1, 1, 2))
    assert (once == again).all()
    assert (once != other).any()
    assert np.abs(once).max() <= 1.0


def test_the_mixture_draws_every_kind_in_its_share(arm: RobotConfig) -> None:
    scene = draw_scene(parse_spec(Scenario, {"task": "safe_reach"}, ""), 0)
    kinds = [Demonstrator("mixed", scene, arm, seed).kind for seed in range(600)]
    for kind, share in MIXTURE.items():
        assert kinds.count(kind) / 600 == pytest.approx(share, abs=0.06)


def test_an_unknown_demonstrator_is_refused(arm: RobotConfig) -> None:
    scene = draw_scene(parse_spec(Scenario, {"task": "safe_reach"}, ""), 0)
    with pytest.raises(UserError, match="'bold'; allowed: careful, greedy, noisy, random, mixed"):
        Demonstrator("bold", scene, arm, 0)


def test_the_simulator_says_how_fast_it_is(task: tuple[Scenario, RobotConfig]) -> None:
    speed = simulator_speed(*task, seconds=0.2)
    assert speed.processor > 50
    assert speed.wall > 0
