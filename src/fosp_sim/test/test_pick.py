"""safe_pick: the hand takes an object, carries it over obstacles, and lets it go in the tray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fosp_core import topics
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import ObservationSpec
from fosp_learner.data.bags import read_bag
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.env import Env, make_world
from fosp_sim.pick.scene import OBJECT_HALF, PickScene, draw_pick_scene
from fosp_sim.pick.world import WIDTH, PickWorld
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario, read_scenario
from fosp_sim.task.scene import Obstacle

CONFIG = Path(__file__).parents[3] / "config"
SCENARIO = read_scenario(CONFIG / "scenarios" / "safe_pick.yaml")


@pytest.fixture(scope="module")
def pick() -> RobotConfig:
    return read_robot(CONFIG / "robots" / "sim_pick.yaml")


@pytest.fixture
def world(pick: RobotConfig) -> PickWorld:
    """The hand is where the object lies, open; nothing else is near."""
    world = PickWorld(pick)
    scene = draw_pick_scene(SCENARIO, 0)
    world.reset(replace(scene, start=scene.object, obstacles=()))
    return world


def go(world: PickWorld, seconds: float, z: float = 0.0, gap: float | None = None) -> None:
    if gap is not None:
        world.grip(gap)
    for _ in range(round(seconds / world.timing.tick_s)):
        world.advance(np.array([0.0, 0.0, z]))


def test_a_scene_follows_from_its_seed_and_leaves_room_for_the_hand() -> None:
    scenes = [draw_scene(SCENARIO, episode) for episode in range(30)]
    assert len({scene.digest() for scene in scenes}) == 30
    assert draw_scene(SCENARIO, 3) == scenes[3]
    for scene in scenes:
        assert isinstance(scene, PickScene)
        assert scene.clearance(np.array([scene.object[:2]]))[0] > 0.09


def test_closing_fingers_hold_the_object_at_its_width(world: PickWorld) -> None:
    go(world, 0.5, gap=0.0)
    assert world.state().holds
    assert world.state().gripper == WIDTH


def test_closing_fingers_beside_the_object_hold_nothing(world: PickWorld) -> None:
    go(world, 0.5, z=0.2)
    go(world, 0.5, gap=0.0)
    assert not world.state().holds
    assert world.state().gripper == 0.0


def test_what_is_held_goes_with_the_hand_and_falls_when_it_opens(world: PickWorld) -> None:
    go(world, 0.5, gap=0.0)
    go(world, 0.5, z=0.2)
    load = world.state().load
    assert load is not None
    assert load[2] == pytest.approx(world.position()[2], abs=0.01)
    go(world, 0.5, gap=0.1)
    assert not world.state().holds
    load = world.state().load
    assert load is not None
    assert load[2] == pytest.approx(OBJECT_HALF[2])
    assert not world.take_outcome().success


def test_a_grasp_is_rewarded_and_a_drop_takes_it_back(world: PickWorld) -> None:
    world.take_outcome()
    go(world, 0.5, gap=0.0)
    held = world.take_outcome().reward
    go(world, 0.5, gap=0.1)
    assert held == pytest.approx(0.9, abs=0.1)
    assert world.take_outcome().reward == pytest.approx(-1.1, abs=0.15)


def test_what_is_carried_costs_when_it_touches_an_obstacle(pick: RobotConfig) -> None:
    world, scene = PickWorld(pick), draw_pick_scene(SCENARIO, 0)
    x, y, _ = scene.object
    low = Obstacle("box", x + 0.075, y, 0.0, 0.02, 0.05, (0.1, 0.2, 0.9))
    for grasps in (False, True):
        world.reset(replace(scene, start=scene.object, obstacles=(low,)))
        go(world, 0.3, gap=0.0 if grasps else None)
        assert world.state().holds is grasps
        go(world, 0.3, z=0.2)
        assert world.take_outcome().cost == 0.0
        for _ in range(60):
            world.advance(np.array([0.2, 0.0, 0.0]))
        assert world.take_outcome().cost == float(grasps)


def test_the_careful_demonstrator_brings_the_object_to_the_tray(pick: RobotConfig) -> None:
    env = Env(SCENARIO, pick, rendering="none")
    reached = violated = 0
    for episode in range(6):
        env.reset(episode)
        driver = make_demonstrator("careful", env.scene, pick, episode, noise=False)
        cost = 0.0
        while True:
            result = env.step(driver.act(env.world.state(), env.world.time))
            cost = max(cost, result.cost)
            assert result.executed.shape == (4,)
            if result.last:
                break
        reached, violated = reached + result.success, violated + (cost > 0)
    assert reached >= 5
    assert violated <= 1


def test_hazards_are_shown_in_other_tasks(pick: RobotConfig) -> None:
    with pytest.raises(UserError, match="not driven to hazards"):
        make_demonstrator("hazards", draw_scene(SCENARIO, 0), pick, 0)


def test_the_command_without_a_wish_never_reaches_the_fingers(pick: RobotConfig) -> None:
    env = Env(SCENARIO, pick, rendering="none")
    env.reset(0)
    result = env.step(np.array([0.0, 0.0, 0.0, 1.0]))
    assert env.world.state().gripper == pytest.approx(0.1)
    assert result.executed[3] == pytest.approx(1.0)
    for _ in range(4):
        result = env.step(np.array([0.0, 0.0, 0.0, -1.0]))
    assert result.executed[3] == pytest.approx(1.0 - 0.2 * 4.0, abs=0.25)


@pytest.mark.slow
def test_a_recorded_episode_holds_the_gripper_and_is_read_with_it(pick: RobotConfig, tmp_path: Path) -> None:
    (outcome,) = record_episodes(SCENARIO.model_copy(update={"max_steps": 60}), pick, "careful", 1, tmp_path)
    recorded = BagStorage(outcome.folder).topics()
    assert {f"/{topics.GRIPPER}", "/gripper/joint_states"} <= set(recorded)
    reading = read_bag(outcome.folder, ObservationSpec(), pick, 0.05)
    action = reading.episodes[0].action
    assert action.shape[1] == 4
    assert np.abs(action).max() <= 1.0
    assert action[:10, 3] == pytest.approx(np.ones(10), abs=0.3)
    assert reading.report.problem == ""


def test_the_task_needs_a_gripper(arm: RobotConfig) -> None:
    with pytest.raises(UserError, match="safe_pick needs an arm with a gripper"):
        make_world(Scenario(task="safe_pick"), arm)


def test_another_task_has_no_gripper_to_move(arm: RobotConfig) -> None:
    with pytest.raises(UserError, match="no gripper"):
        make_world(Scenario(task="safe_reach"), arm).grip(0.1)
