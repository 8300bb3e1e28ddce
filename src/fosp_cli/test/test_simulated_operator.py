"""A simulated person takes over when the policy hangs or comes too near, and keeps to a budget."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fosp_cli.experiments.simulated_operator import SHORTEST, Corrections, OperatorSettings
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import read_scenario
from fosp_sim.task.world import RobotState

CONFIG = Path(__file__).resolve().parents[3] / "config"
ARM = read_robot(CONFIG / "robots" / "sim_arm.yaml")
SCENARIO = read_scenario(CONFIG / "scenarios" / "safe_reach.yaml")


def at(x: float, y: float, z: float = 0.2) -> RobotState:
    return RobotState((x, y, z), 0.0, (), (), (0.0,) * 4)


def corrections(budget: float = 1.0) -> Corrections:
    made = Corrections(OperatorSettings(budget=budget), SCENARIO, ARM)
    made.begin(0)
    return made


def clear_way() -> list[RobotState]:
    """A stroll of the policy far from every obstacle, without a rest."""
    return [at(5.0 + 0.02 * step, 5.0) for step in range(400)]


def test_a_policy_that_gets_on_is_left_alone() -> None:
    person = corrections()
    assert [person.step(state) for state in clear_way()] == [None] * 400
    assert person.summary()["share"] == 0.0


def test_a_policy_that_hangs_is_relieved_for_a_while_and_gets_the_robot_back() -> None:
    person = corrections()
    actions = [person.step(at(5.0, 5.0)) for _ in range(60)]
    assert actions[:29] == [None] * 29, "1.5 s are 30 steps"
    driven = [action for action in actions if action is not None]
    assert len(driven) >= SHORTEST
    assert all(action.shape == (3,) and np.isfinite(action).all() and action.any() for action in driven)
    assert actions[29 + SHORTEST] is None, "handed back after the shortest take-over"
    assert person.summary()["take_overs"] == [1]


def test_a_policy_that_goes_to_and_fro_hangs_as_well() -> None:
    person = corrections()
    actions = [person.step(at(5.0 + 0.025 * math.sin(step), 5.0)) for step in range(60)]
    assert any(action is not None for action in actions)
    assert person.summary()["take_overs"] == [1]


def test_a_person_takes_over_near_an_obstacle_and_drives_until_it_is_clear() -> None:
    person = corrections()
    for state in clear_way()[:40]:
        person.step(state)
    obstacle = draw_scene(SCENARIO, 0).obstacles[0]
    near = at(obstacle.x, obstacle.y)
    assert all(person.step(near) is not None for _ in range(2 * SHORTEST))
    assert person.step(at(5.0, 5.0)) is None


def test_the_budget_is_saved_up_before_it_is_spent_and_never_passed() -> None:
    person = corrections(budget=0.1)
    for episode in range(3):
        if episode:
            person.begin(episode)
        for _ in range(150):
            person.step(at(5.0, 5.0))
            told = person.summary()
            assert told["share"] <= 0.1
    assert person.summary()["take_overs"][0] == 0, "ten steps of 150 are not worth a take-over"
    assert sum(person.summary()["take_overs"]) == 2
    assert len(person.summary()["shares"]) == 3


def test_steps_count_by_the_time_that_has_passed_when_calls_are_missing() -> None:
    every, some = corrections(), corrections()
    for step in range(120):
        every.step(at(5.0, 5.0), 0.05 * step)
        if step % 3 == 0:
            some.step(at(5.0, 5.0), 0.05 * step)
    every.step(at(5.0, 5.0), 6.0)
    some.step(at(5.0, 5.0), 6.0)
    some.step(at(5.0, 5.0), 6.0)
    assert [person.episodes[0].steps for person in (every, some)] == [121, 121]
    operated = [person.episodes[0].operated for person in (every, some)]
    assert operated[0] == pytest.approx(operated[1], abs=8)
    assert some.summary()["take_overs"] == every.summary()["take_overs"]


@pytest.mark.parametrize("wrong", [{"budget": 0.0}, {"budget": 1.5}, {"kind": "greedy"}])
def test_no_other_person_and_no_other_budget(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        OperatorSettings(**wrong)  # type: ignore[arg-type]
