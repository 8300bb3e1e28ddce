"""Episodes in Gazebo follow MuJoCo's rules: rewards, costs, success and ends, from positions and contacts alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fosp_core.robot.config import RobotConfig
from fosp_sim.gazebo.episode import GazeboEpisode
from fosp_sim.real_time import RealTimeTask
from fosp_sim.task.arm_kinematics import LEASH, advanced, joints_of_tip, tip_of_joints
from fosp_sim.task.arm_world import ArmWorld
from fosp_sim.task.base_world import BaseWorld
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scenario import ObstacleSpec, Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import FrameFeedback

RATE_HZ = 40.0


def drawn(task: str) -> Scene:
    return draw_scene(Scenario(task=task, obstacles=ObstacleSpec(count=0)), 0)


def begun(scene: Scene, max_steps: int = 100) -> GazeboEpisode:
    rules = ArmWorld.rules if scene.task == "safe_reach" else BaseWorld.rules
    episode = GazeboEpisode(scene, rules, max_steps, RATE_HZ)
    episode.moved(scene.start)
    episode.begin(10.0)
    first = episode.frame(10.0)
    assert first is not None
    assert first.is_first
    return episode


@pytest.mark.parametrize("task", ["safe_reach", "safe_goal"])
def test_an_episode_says_what_mujocos_says_of_the_same_motion(task: str, arm: RobotConfig, base: RobotConfig) -> None:
    robot = arm if task == "safe_reach" else base
    scenario = Scenario(task=task, max_steps=20, obstacles=ObstacleSpec(count=0))
    simulation = RealTimeTask(scenario, robot, RATE_HZ)
    scene = draw_scene(scenario, 3)
    expected: list[FrameFeedback] = []
    told: list[FrameFeedback] = []
    exposure: Any = simulation.begin(scene)
    episode = GazeboEpisode(scene, simulation.world.rules, scenario.max_steps, RATE_HZ)
    episode.begin(5.0)
    ticks = 0
    while simulation.episode is not None:
        towards = np.array([scene.goal.x, scene.goal.y, scene.goal.z]) - simulation.world.position()
        twist = np.clip(3 * towards, -0.25, 0.25) if task == "safe_reach" else np.array([0.3, 0.1])
        exposure = None
        while exposure is None:
            if ticks == 0:
                episode.moved(tuple(simulation.world.position()))
                first = episode.frame(5.0)
                assert first is not None
            exposure = simulation.tick(twist)
            ticks += 1
            episode.moved(tuple(simulation.world.position()))
        expected.append(exposure.feedback)
        feedback = episode.frame(5.0 + ticks * TIMESTEP)
        assert feedback is not None
        told.append(feedback)
    assert [f.is_last for f in told] == [f.is_last for f in expected]
    assert [f.success for f in told] == [f.success for f in expected]
    # MuJoCo measures no more after the moment of success, Gazebo up to the frame of it.
    assert [f.distance for f in told[:-2]] == pytest.approx([f.distance for f in expected[:-2]], abs=1e-9)
    assert [f.reward for f in told[:-2]] == pytest.approx([f.reward for f in expected[:-2]], abs=1e-9)
    assert sum(f.reward for f in told) == pytest.approx(sum(f.reward for f in expected), abs=0.15)
    assert episode.done
    assert episode.frame(100.0) is None


def test_nothing_is_said_before_the_robot_is_placed() -> None:
    scene = drawn("safe_reach")
    episode = GazeboEpisode(scene, ArmWorld.rules, 100, RATE_HZ)
    episode.moved(scene.start)
    episode.touched(0.9)
    assert not episode.placed
    assert episode.frame(1.0) is None
    assert episode.at_start(scene.start)
    assert not episode.at_start((scene.start[0] + 0.03, *scene.start[1:]))


def test_frames_from_before_the_scene_was_in_the_world_do_not_belong_to_the_episode() -> None:
    scene = drawn("safe_reach")
    episode = GazeboEpisode(scene, ArmWorld.rules, 100, RATE_HZ)
    episode.moved(scene.start)
    episode.begin(7.01)
    assert [episode.frame(stamp) for stamp in (6.925, 6.95, 6.975, 7.0)] == [None] * 4
    first = episode.frame(7.025)
    assert first is not None
    assert first.is_first


def test_a_base_begins_where_and_how_the_scene_says_and_once_its_odometry_has_settled() -> None:
    scene = drawn("safe_goal")
    episode = GazeboEpisode(scene, BaseWorld.rules, 100, RATE_HZ)
    assert episode.at_start(scene.start, scene.heading + 2 * math.pi, 0.0)
    assert not episode.at_start(scene.start, scene.heading + 0.1, 0.0)
    assert not episode.at_start(scene.start, scene.heading, 6.5), "the spike of a base that was put elsewhere"


def test_a_contact_is_a_violation_of_the_frame_in_which_it_is() -> None:
    episode = begun(drawn("safe_goal"))
    episode.touched(10.01)
    costs = [feedback.cost for stamp in (10.025, 10.05) if (feedback := episode.frame(stamp))]
    assert costs == [1.0, 0.0]


@pytest.mark.parametrize(("stamp_s", "cost"), [(9.99, 0.0), (0.0, 1.0)], ids=["of the scene before", "not stamped"])
def test_a_contact_with_the_scene_before_is_no_violation(stamp_s: float, cost: float) -> None:
    episode = begun(drawn("safe_goal"))
    episode.touched(stamp_s)
    feedback = episode.frame(10.025)
    assert feedback is not None
    assert feedback.cost == cost


def test_the_goal_ends_the_episode_at_the_end_of_a_decision() -> None:
    scene = drawn("safe_goal")
    episode = begun(scene)
    episode.moved((scene.goal.x, scene.goal.y, 0.0))
    between, end = episode.frame(10.025), episode.frame(10.05)
    assert between is not None
    assert end is not None
    assert (between.success, end.success, end.terminal, end.is_last) == (False, True, True, True)


def test_a_frame_that_is_told_twice_or_late_is_not_counted_again() -> None:
    episode = begun(drawn("safe_reach"))
    assert episode.frame(10.025) is not None
    assert episode.frame(10.025) is None
    assert episode.frame(10.0) is None


def test_the_tip_of_any_joint_angles_is_mujocos(arm: RobotConfig) -> None:
    world = ArmWorld(arm)
    rng = np.random.default_rng(0)
    for joints in [*rng.uniform(-2.5, 2.5, (20, 7)), np.array(joints_of_tip(0.5, 0.1, 0.2))]:
        world.data.qpos[:] = joints
        mujoco.mj_kinematics(world.model, world.data)
        assert tip_of_joints(joints) == pytest.approx(world.position(), abs=1e-9)
    assert tip_of_joints(joints_of_tip(0.5, 0.1, 0.2)) == pytest.approx((0.5, 0.1, 0.2))


def test_the_reference_stays_on_its_leash_and_in_the_box() -> None:
    box = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert advanced([0.5] * 3, [0.5] * 3, [0.1, 0.0, -0.1], 0.01, *box) == pytest.approx([0.501, 0.5, 0.499])
    assert advanced([0.5] * 3, [0.5] * 3, [9.0, 0.0, 0.0], 1.0, *box)[0] == pytest.approx(0.5 + LEASH)
    assert advanced([0.995] * 3, [0.995] * 3, [0.0, 0.0, 1.0], 1.0, *box)[2] == 1.0
