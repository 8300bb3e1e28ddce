"""Evaluation of a bundle on a scenario in this machine's processes, without ROS: quick, and the same every time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from fosp_core.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_safety_monitor.verdict import Decision
from fosp_sim.agent import Agent, Monitoring
from fosp_sim.env import Env
from fosp_sim.metrics import EpisodeResult
from fosp_sim.scenario import Scenario


def evaluate_episodes(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    episodes: Sequence[int],
    monitoring: Monitoring = "on",
) -> list[EpisodeResult]:
    """Run `episodes` of `scenario` in this process. UserError when bundle, robot and scenario do not fit."""
    bundle = load_bundle(bundle_directory, robot, provider="cpu")
    if bundle.manifest.task != scenario.task:
        raise UserError(
            f"{bundle_directory}: bundle is for task '{bundle.manifest.task}', the scenario is '{scenario.task}'"
        )
    env = Env(scenario, robot, observation=bundle.manifest.observation)
    agent = Agent(bundle, robot, monitoring)
    return [_run(env, agent, episode) for episode in episodes]


def evaluate(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    monitoring: Monitoring = "on",
    workers: int | None = None,
) -> Iterator[EpisodeResult]:
    """Yield the result of every episode of `scenario` as it comes, from parallel processes (default: one per core)."""
    episodes = range(scenario.episodes)
    count = max(1, min(workers or os.cpu_count() or 1, len(episodes)))
    shares = [list(episodes[i : i + 5]) for i in range(0, len(episodes), 5)]
    # Spawned, not forked: neither an OpenGL context nor ONNX Runtime's threads survive a fork.
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(evaluate_episodes, bundle_directory, scenario, robot, share, monitoring) for share in shares
        ]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()


def _run(env: Env, agent: Agent, episode: int) -> EpisodeResult:
    observation = env.reset(episode)
    agent.reset(episode)
    images, time_s, is_first = observation.images, observation.time, True
    executed = np.zeros(env.action_size, np.float32)
    cost = total = 0.0
    decisions: list[Decision] = []
    while True:
        x, y, z = env.world.position()[:3]
        chosen = agent.act(images, executed, is_first, (float(x), float(y), float(z)), time_s)
        decisions.append(chosen.decision)
        result = env.step(chosen.action)
        cost, total = cost + result.cost, total + result.reward
        if result.last:
            return EpisodeResult(
                episode=episode,
                reached=result.success,
                cost=cost,
                episode_return=total,
                steps=len(decisions),
                vetoes=sum(d is not Decision.PASS for d in decisions),
                stops=sum(d >= Decision.STOP for d in decisions),
            )
        images, executed, time_s, is_first = result.images, result.executed, result.time, False
