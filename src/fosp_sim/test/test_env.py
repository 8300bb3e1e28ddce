"""The in-process environment: steps of one decision period, shaped and timed as in the live graph."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fosp_core.image import observation_image
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec
from fosp_sim.env import Env, Frame
from fosp_sim.task.render import CameraFaults
from fosp_sim.task.scenario import CameraEffects, Scenario
from fosp_sim.task.world import RobotState, Vector


class Tape:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.commands: list[tuple[float, Vector]] = []
        self.states: list[float] = []

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def command(self, time: float, twist: Vector) -> None:
        self.commands.append((time, twist))

    def state(self, time: float, state: RobotState) -> None:
        self.states.append(time)

    def gripper(self, time: float, position: float) -> None:
        raise AssertionError("the arm has no gripper")


def scenario(**keys: Any) -> Scenario:
    return parse_spec(Scenario, {"task": "safe_reach", **keys}, "scenario.yaml")


@pytest.fixture(scope="module")
def blind(arm: RobotConfig) -> Env:
    return Env(scenario(), arm, rendering="none")


def taped(env: Env, actions: list[list[float]], episode: int = 0) -> Tape:
    tape = Tape()
    env.listen(tape)
    env.reset(episode)
    for action in actions:
        env.step(np.array(action))
    env.listen(None)
    return tape


def test_an_observation_is_what_a_robot_makes_of_the_camera_frame(arm: RobotConfig) -> None:
    env = Env(scenario(), arm)
    tape = Tape()
    env.listen(tape)
    first = env.reset(0)
    result = env.step(np.zeros(3))
    assert first.images.shape == (1, 64, 64, 3)
    assert first.images.dtype == np.uint8
    for images, frame in ((first.images, tape.frames[0]), (result.images, tape.frames[2])):
        assert frame.image is not None
        assert frame.image.shape == (240, 320, 3)
        assert (images[0] == observation_image(frame.image, 64, 64)).all()


@pytest.mark.parametrize("rendering", ["native", "direct"])
def test_tip_goal_and_obstacles_are_seen(arm: RobotConfig, rendering: Any) -> None:
    env = Env(scenario(), arm, rendering=rendering)
    for episode in range(5):
        red, green, blue = np.moveaxis(env.reset(episode).images[0].astype(int), -1, 0)
        assert ((red > 150) & (green < 90) & (blue < 90)).sum() >= 4, "tool tip"
        assert ((green > 120) & (red < 110) & (blue < 110)).sum() >= 8, "goal"
        assert ((blue > 90) & (red < 80) & (green < 90)).sum() >= 50, "obstacles"


def test_the_base_sees_the_goal_when_it_starts(base: RobotConfig) -> None:
    env = Env(scenario(task="safe_goal"), base)
    for episode in range(5):
        red, green, blue = np.moveaxis(env.reset(episode).images[0].astype(int), -1, 0)
        assert ((green > 120) & (red < 110) & (blue < 110)).sum() >= 8


def test_a_new_episode_looks_different_and_an_old_one_the_same(arm: RobotConfig) -> None:
    env = Env(scenario(), arm)
    first, second, again = env.reset(0).images, env.reset(1).images, env.reset(0).images
    assert (first != second).any()
    assert (first == again).all()


def test_a_robot_publishes_frames_at_40_hz_and_commands_and_states_at_100_hz(blind: Env) -> None:
    tape = taped(blind, [[0.0] * 3] * 2)
    assert [f.time for f in tape.frames] == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1])
    assert [t for t, _ in tape.commands] == pytest.approx(np.arange(10) * 0.01)
    assert tape.states == pytest.approx(np.arange(10) * 0.01)


def test_an_action_takes_effect_one_command_tick_after_its_frame(blind: Env) -> None:
    tape = taped(blind, [[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    speeds = np.array([twist[0] for _, twist in tape.commands])
    assert speeds[0] == 0.0
    assert (speeds[1:6] > 0).all()
    assert speeds[5] >= speeds[4]
    assert speeds[6] < speeds[5]


def test_the_command_stream_keeps_the_acceleration_limit(blind: Env, arm: RobotConfig) -> None:
    tape = taped(blind, [[1.0, -0.5, 0.25]] * 3)
    twists = np.array([twist for _, twist in tape.commands])
    steps = np.abs(np.diff(twists, axis=0)) / 0.01
    assert steps.max() <= max(arm.limits[a.name].deceleration for a in arm.action.axes) + 1e-6
    assert twists[-1] == pytest.approx([0.25, -0.125, 0.0625])


def test_executed_is_the_mean_of_the_command_stream(blind: Env) -> None:
    tape = Tape()
    blind.listen(tape)
    blind.reset(0)
    result = blind.step(np.array([1.0, 0.0, -1.0]))
    blind.listen(None)
    mean = np.mean([twist for _, twist in tape.commands], axis=0) / 0.25
    assert result.executed == pytest.approx(mean, abs=1e-6)
    assert result.executed.dtype == np.float32
    assert 0.0 < result.executed[0] < 1.0


def test_actions_beyond_one_count_as_one_and_nan_stops(blind: Env) -> None:
    blind.reset(0)
    for _ in range(4):
        fast = blind.step(np.array([5.0, 0.0, 0.0]))
    assert fast.executed[0] == pytest.approx(1.0)
    for _ in range(4):
        stopped = blind.step(np.array([np.nan, 0.0, 0.0]))
    assert stopped.executed == pytest.approx([0.0, 0.0, 0.0])


def test_the_time_limit_is_last_but_not_terminal(arm: RobotConfig) -> None:
    env = Env(scenario(max_steps=3), arm, rendering="none")
    env.reset(0)
    results = [env.step(np.zeros(3)) for _ in range(3)]
    assert [r.last for r in results] == [False, False, True]
    assert not any(r.terminal or r.success for r in results)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(3))


def test_reaching_the_goal_is_terminal(blind: Env) -> None:
    for episode in range(100):
        blind.reset(episode)
        total = 0.0
        while True:
            goal = blind.scene.goal
            way = np.array([goal.x, goal.y, goal.z]) - blind.world.position()
            result = blind.step(way / np.abs(way).max())
            total += result.reward
            if result.last:
                break
        if result.success:
            break
    assert result.terminal
    assert result.distance <= goal.radius + 0.02 + 1e-6
    assert 1.0 < total < 10.0


def test_a_wrong_action_shape_is_refused(blind: Env) -> None:
    blind.reset(0)
    with pytest.raises(ValueError, match="shape"):
        blind.step(np.zeros(2))


def images(arm: RobotConfig, **camera: float) -> list[Any]:
    env = Env(scenario(camera=camera), arm)
    first = env.reset(0).images
    return [first, *(env.step(np.array([0.0, 1.0, 0.0])).images for _ in range(6))]


def test_a_dropped_frame_leaves_the_observation_as_it_was(arm: RobotConfig) -> None:
    seen, dropped = images(arm), images(arm, drop_probability=0.9)
    assert all((a != b).any() for a, b in itertools.pairwise(seen))
    repeats = [(a == b).all() for a, b in itertools.pairwise(dropped)]
    assert any(repeats)


def test_latency_shows_the_past(arm: RobotConfig) -> None:
    seen, late = images(arm), images(arm, latency_s=0.1)
    assert (late[0] == seen[0]).all()
    for i in range(2, 7):
        assert np.abs(late[i].astype(int) - seen[i - 2]).mean() < np.abs(late[i].astype(int) - seen[i]).mean()


def test_noise_and_brightness_change_the_frame(arm: RobotConfig) -> None:
    plain, noisy, dark = images(arm)[0], images(arm, noise_std=20.0)[0], images(arm, brightness=0.5)[0]
    assert 0.5 < np.abs(plain.astype(int) - noisy).mean() < 10
    assert dark.mean() == pytest.approx(plain.mean() / 2, rel=0.05)


def test_a_range_of_brightness_is_drawn_for_each_episode_and_holds_in_it() -> None:
    effects = CameraEffects(brightness=(0.5, 1.5))
    grey = np.full((2, 2, 3), 100, np.uint8)
    faults = [CameraFaults(effects, seed, seed) for seed in range(8)]
    seen = [int(one.expose(grey, 0.0)[0, 0, 0]) for one in faults]
    assert len(set(seen)) > 4
    assert all(50 <= value <= 150 for value in seen)
    assert [int(one.expose(grey, 1.0)[0, 0, 0]) for one in faults] == seen
