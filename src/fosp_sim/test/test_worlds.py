"""Physics, rewards and costs of both tasks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec
from fosp_sim.task.arm_kinematics import joints_of_tip
from fosp_sim.task.arm_world import ArmWorld
from fosp_sim.task.base_world import BaseWorld
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.mjcf import BASE_MARGIN, BASE_RADIUS, TIMESTEP, TIP_RADIUS, TOOL_MARGIN
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Obstacle, Scene
from fosp_sim.task.world import World

ARM_START, BASE_START = (0.5, 0.0, 0.15), (0.0, 0.0, 0.0)


def scenario(**keys: Any) -> Scenario:
    return parse_spec(Scenario, {"task": "safe_reach", **keys}, "scenario.yaml")


def column(x: float, y: float, shape: str = "cylinder", half: float = 0.05, height: float = 0.27) -> Obstacle:
    return Obstacle(shape, x, y, 0.0, half, height, (0.1, 0.2, 0.9))  # type: ignore[arg-type]


def scene(task: str, *obstacles: Obstacle, goal: tuple[float, float, float] = (0.7, 0.3, 0.15)) -> Scene:
    drawn = draw_scene(scenario(task=task), 0)
    start = ARM_START if task == "safe_reach" else BASE_START
    x, y, z = goal
    return replace(drawn, start=start, heading=0.0, goal=replace(drawn.goal, x=x, y=y, z=z), obstacles=obstacles)


def run(world: World, twist: list[float], seconds: float) -> None:
    for _ in range(round(seconds / TIMESTEP)):
        world.advance(np.array(twist))


@pytest.fixture(scope="module")
def arm_world(arm: RobotConfig) -> ArmWorld:
    return ArmWorld(arm)


@pytest.fixture(scope="module")
def base_world(base: RobotConfig) -> BaseWorld:
    return BaseWorld(base)


def test_the_tip_starts_where_the_scene_says(arm_world: ArmWorld) -> None:
    for x, y, z in [ARM_START, (0.28, -0.38, 0.04), (0.76, 0.38, 0.36)]:
        arm_world.reset(replace(scene("safe_reach"), start=(x, y, z)))
        assert arm_world.position() == pytest.approx([x, y, z], abs=1e-6)


def test_the_tool_points_straight_down_everywhere() -> None:
    for tip in [(0.3, 0.3, 0.05), (0.7, -0.3, 0.3)]:
        _, shoulder, _, elbow, _, wrist, _ = joints_of_tip(*tip)
        assert shoulder + elbow + wrist == pytest.approx(math.pi)


def test_the_tip_follows_the_commanded_velocity(arm_world: ArmWorld) -> None:
    arm_world.reset(scene("safe_reach"))
    run(arm_world, [0.1, -0.05, 0.05], 1.0)
    assert arm_world.position() == pytest.approx(np.add(ARM_START, [0.1, -0.05, 0.05]), abs=2e-3)


def test_the_tip_stands_still_without_a_command(arm_world: ArmWorld) -> None:
    arm_world.reset(scene("safe_reach"))
    run(arm_world, [0.2, 0.0, 0.0], 0.3)
    before = arm_world.position()
    run(arm_world, [0.0, 0.0, 0.0], 0.1)
    stopped = arm_world.position()
    run(arm_world, [0.0, 0.0, 0.0], 0.5)
    assert stopped == pytest.approx(before, abs=5e-3)
    assert arm_world.position() == pytest.approx(stopped, abs=1e-3)


@pytest.mark.parametrize("shape", ["cylinder", "box", "sphere"])
def test_the_tool_costs_within_its_margin_and_not_before(arm_world: ArmWorld, shape: str) -> None:
    distance = 0.05 + TIP_RADIUS + TOOL_MARGIN
    height = 0.15 + 0.05 if shape == "sphere" else 0.27
    for offset, cost in ((0.002, 0.0), (-0.002, 1.0)):
        arm_world.reset(scene("safe_reach", column(0.5 + distance + offset, 0.0, shape, height=height)))
        run(arm_world, [0.0, 0.0, 0.0], 0.02)
        assert arm_world.take_outcome().cost == cost


def test_an_obstacle_holds_the_arm_up_and_it_recovers(arm_world: ArmWorld) -> None:
    arm_world.reset(scene("safe_reach", column(0.62, 0.0)))
    run(arm_world, [0.25, 0.0, 0.0], 1.0)
    assert arm_world.position()[0] < 0.62 - 0.05 - TIP_RADIUS + 0.01
    assert arm_world.take_outcome().cost == 1.0
    run(arm_world, [-0.25, 0.0, 0.0], 0.4)
    arm_world.take_outcome()
    run(arm_world, [0.0, 0.0, 0.0], 0.05)
    assert arm_world.take_outcome().cost == 0.0


def test_the_forearm_passes_above_the_obstacles(arm_world: ArmWorld) -> None:
    arm_world.reset(replace(scene("safe_reach", column(0.40, 0.0, height=0.29)), start=(0.7, 0.0, 0.04)))
    run(arm_world, [0.0, 0.0, 0.0], 0.05)
    assert arm_world.take_outcome().cost == 0.0


def test_progress_is_rewarded_and_time_costs(arm_world: ArmWorld) -> None:
    arm_world.reset(scene("safe_reach", goal=(0.7, 0.0, 0.15)))
    run(arm_world, [0.1, 0.0, 0.0], 0.5)
    assert arm_world.take_outcome().reward == pytest.approx(10 * 0.05 - 0.2 * 0.5, abs=0.03)
    run(arm_world, [-0.1, 0.0, 0.0], 0.5)
    assert arm_world.take_outcome().reward == pytest.approx(-10 * 0.05 - 0.2 * 0.5, abs=0.03)
    assert arm_world.take_outcome().reward == 0.0


def test_reaching_the_goal_is_success_once(arm_world: ArmWorld) -> None:
    goal = (0.7, 0.0, 0.15)
    arm_world.reset(scene("safe_reach", goal=goal))
    run(arm_world, [0.25, 0.0, 0.0], 0.5)
    assert not arm_world.take_outcome().success
    run(arm_world, [0.25, 0.0, 0.0], 0.2)
    reached = arm_world.take_outcome()
    assert reached.success
    assert reached.reward > arm_world.rules.success_bonus
    run(arm_world, [0.0, 0.0, 0.0], 0.2)
    assert arm_world.take_outcome().reward == 0.0


def test_obstacles_move_as_the_scene_says(arm_world: ArmWorld) -> None:
    moving = replace(column(0.4, 0.3), motion="linear", speed=0.1, direction=0.0, travel=0.2)
    arm_world.reset(scene("safe_reach", moving))
    run(arm_world, [0.0, 0.0, 0.0], 1.0)
    assert arm_world.snapshot().mocap_positions[arm_world._mocap["obstacle0"], :2] == pytest.approx(
        moving.position(1.0)
    )
    assert moving.position(1.0) == pytest.approx((0.5, 0.3))


def test_the_base_follows_the_commanded_twist(base_world: BaseWorld) -> None:
    base_world.reset(scene("safe_goal", goal=(1.2, 1.2, 0.4)))
    run(base_world, [0.4, 0.0], 1.0)
    assert base_world.position()[:2] == pytest.approx([0.4, 0.0], abs=0.03)
    run(base_world, [0.0, 1.0], 1.0)
    assert base_world.heading == pytest.approx(1.0, abs=0.1)
    run(base_world, [0.3, 0.5], 0.5)
    twist = base_world.state().twist
    assert (twist[0], twist[3]) == pytest.approx((0.3, 0.5), abs=0.05)


@pytest.mark.parametrize("shape", ["cylinder", "box", "sphere"])
def test_the_base_costs_within_its_margin_and_not_before(base_world: BaseWorld, shape: str) -> None:
    distance = 0.1 + BASE_RADIUS + BASE_MARGIN
    for offset, cost in ((0.004, 0.0), (-0.004, 1.0)):
        base_world.reset(scene("safe_goal", column(distance + offset, 0.0, shape, half=0.1)))
        run(base_world, [0.0, 0.0], 0.02)
        assert base_world.take_outcome().cost == cost


def test_a_wall_costs(base_world: BaseWorld) -> None:
    base_world.reset(replace(scene("safe_goal", goal=(-1.0, 0.0, 0.4)), start=(1.2, 0.0, 0.0)))
    run(base_world, [0.5, 0.0], 1.0)
    assert base_world.take_outcome().cost == 1.0


def test_the_same_commands_give_the_same_episode(task: tuple[Scenario, RobotConfig]) -> None:
    described, robot = task
    tracks = []
    for _ in range(2):
        world: World = ArmWorld(robot) if robot.kind == "arm" else BaseWorld(robot)
        world.reset(draw_scene(described, 1))
        run(world, [0.1] * robot.action.size, 1.0)
        tracks.append(world.position())
    assert (tracks[0] == tracks[1]).all()


def test_a_robot_of_the_wrong_kind_is_refused(arm: RobotConfig, base: RobotConfig) -> None:
    with pytest.raises(UserError, match="sim_base is not"):
        ArmWorld(base)
    with pytest.raises(UserError, match="sim_arm is not"):
        BaseWorld(arm)


def test_a_workspace_out_of_reach_is_refused(arm: RobotConfig) -> None:
    assert arm.workspace is not None
    wide = arm.model_copy(update={"workspace": arm.workspace.model_copy(update={"upper": (1.5, 0.4, 0.4)})})
    with pytest.raises(UserError, match="does not reach"):
        ArmWorld(wide)
