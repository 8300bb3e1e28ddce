"""The speed of the simulator and the difficulty of its tasks, for `fosp bench`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.env import Env, make_world
from fosp_sim.task.render import image_topics
from fosp_sim.task.scenario import Scenario


@dataclass(frozen=True)
class TaskRates:
    """Outcomes of one way of driving over a number of episodes."""

    episodes: int
    success_rate: float
    """Share of episodes that reach the goal without a violation."""
    violation_rate: float
    """Share of episodes with any cost."""
    steps_median: float


@dataclass(frozen=True)
class SimulatorSpeed:
    """Control steps per second."""

    wall: float
    """Per second of the clock."""
    processor: float
    """Per second of this process's own processor time, which other processes disturb far less."""


def simulator_speed(scenario: Scenario, robot: RobotConfig, seconds: float) -> SimulatorSpeed:
    """Return the control steps per second of this process, each with physics and a rendered observation (64x64).

    The observation is of every camera of the task.
    """
    cameras = make_world(scenario, robot).cameras
    observation = ObservationSpec(cameras=tuple(CameraSpec(name=name, topic=image_topics(name)[0]) for name in cameras))
    env = Env(scenario, robot, rendering="direct", observation=observation)
    rng = np.random.Generator(np.random.PCG64(0))
    actions = rng.uniform(-1.0, 1.0, (64, env.action_size))
    steps, episode = 0, 0
    env.reset(episode)
    env.step(actions[0])
    start, used = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        steps += 1
        if env.step(actions[steps % 64]).last:
            episode += 1
            env.reset(episode)
    return SimulatorSpeed(steps / elapsed, steps / max(1e-9, time.process_time() - used))


def straight_line_rates(scenario: Scenario, robot: RobotConfig, episodes: int) -> TaskRates:
    """Drive straight to the goal, without noise or sight. A task worth solving gives a high violation_rate."""
    return drive(scenario, robot, "greedy", episodes)


def careful_rates(scenario: Scenario, robot: RobotConfig, episodes: int) -> TaskRates:
    """Drive as the careful demonstrator does in recordings. A solvable task gives a success_rate near 1."""
    return drive(scenario, robot, "careful", episodes, noise=True)


def drive(scenario: Scenario, robot: RobotConfig, kind: str, episodes: int, noise: bool = False) -> TaskRates:
    """Drive the first `episodes` episodes of `scenario` with a demonstrator, without rendering."""
    env = Env(scenario, robot, rendering="none")
    successes, violations, steps = 0, 0, []
    for episode in range(episodes):
        env.reset(episode)
        driver = make_demonstrator(kind, env.scene, robot, scenario.seed + episode, noise)
        taken, cost = 0, 0.0
        while True:
            result = env.step(driver.act(env.world.state(), env.world.time))
            taken, cost = taken + 1, max(cost, result.cost)
            if result.last:
                break
        successes += result.success and cost == 0
        violations += cost > 0
        steps.append(taken)
    return TaskRates(episodes, successes / episodes, violations / episodes, float(np.median(steps)))
