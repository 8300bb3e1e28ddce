"""A policy drives off the record, and a demonstrator takes over from it."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fosp_bringup.paths import robot_path, share
from fosp_cli.demonstration.policy_approach import HANG_S, LONGEST_S, PolicyApproach
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec
from fosp_sim.env import Env
from fosp_sim.task.scenario import Scenario


@pytest.fixture(scope="module")
def arm() -> RobotConfig:
    return read_robot(robot_path("sim_arm"))


@pytest.fixture
def approach(arm: RobotConfig) -> PolicyApproach:
    return PolicyApproach(share() / "models" / "safe_reach", arm, "safe_reach")


def env(arm: RobotConfig, max_steps: int) -> Env:
    return Env(parse_spec(Scenario, {"task": "safe_reach", "max_steps": max_steps}, "scenario.yaml"), arm, "none")


class Wishes:
    """An agent with one wish."""

    def __init__(self, *wish: float) -> None:
        self.action = np.array(wish, np.float32)
        self.resets = 0

    def reset(self, seed: int) -> None:
        self.resets += 1

    def act(self, *_: Any) -> Any:
        return SimpleNamespace(action=self.action)

    def watch(self, _: Any) -> None:
        pass


def driven(approach: PolicyApproach, agent: Wishes, world: Env, seed: int) -> bool:
    approach.__dict__["_agent"] = agent
    return approach.drive(world, world.reset(0), seed)


def test_the_demonstrator_takes_over_at_moments_that_the_seed_draws(approach: PolicyApproach, arm: RobotConfig) -> None:
    world = env(arm, 100)
    moments = []
    for seed in range(12):
        assert driven(approach, Wishes(0.0, 0.0, 1.0), world, seed)
        moments.append(world.world.time)
    assert max(moments) <= LONGEST_S + world.timing.decision_s
    assert len(set(moments)) > 6
    assert driven(approach, Wishes(0.0, 0.0, 1.0), world, 11)
    assert world.world.time == moments[-1]


def test_it_takes_over_where_the_robot_hangs(
    approach: PolicyApproach, arm: RobotConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fosp_cli.demonstration.policy_approach._NOISE", 0.0)
    world = env(arm, 100)
    times = []
    for seed in range(12):
        assert driven(approach, Wishes(0.0, 0.0, 0.0), world, seed)
        times.append(world.world.time)
    assert max(times) == pytest.approx(HANG_S), "never later, whatever moment was drawn"


def test_a_policy_that_ends_the_episode_is_left_earlier(approach: PolicyApproach, arm: RobotConfig) -> None:
    world, agent = env(arm, 15), Wishes(0.0, 0.0, 1.0)
    assert all(driven(approach, agent, world, seed) for seed in range(8))
    assert agent.resets > 8, "some were driven again"
    assert world.world.time < 15 * world.timing.decision_s
    assert not driven(approach, agent, env(arm, 1), 3), "an episode of one step leaves nothing"


def test_it_crosses_to_other_processes_without_its_networks(approach: PolicyApproach, arm: RobotConfig) -> None:
    world = env(arm, 100)
    assert approach.drive(world, world.reset(0), 1), "the real policy"
    assert "_agent" in approach.__dict__
    assert "_agent" not in copy.copy(approach).__dict__, "a copy is made of the state that is pickled"


def test_it_sees_what_its_bundle_sees_and_decides_at_its_pace(approach: PolicyApproach) -> None:
    assert approach.observation == approach._manifest.observation
    approach.require_pace(0.05)
    with pytest.raises(UserError, match=r"the bundle decides every 0\.05 s, the scenario every 0\.1 s"):
        approach.require_pace(0.1)


def test_a_bundle_for_another_task_or_robot_is_refused(arm: RobotConfig, tmp_path: Path) -> None:
    bundle = share() / "models" / "safe_reach"
    with pytest.raises(UserError, match="bundle is for task 'safe_reach', the scenario is 'safe_goal'"):
        PolicyApproach(bundle, arm, "safe_goal")
    with pytest.raises(UserError):
        PolicyApproach(bundle, read_robot(robot_path("sim_base")), "safe_reach")
    with pytest.raises(UserError):
        PolicyApproach(tmp_path, arm, "safe_reach")
