"""Evaluation of a bundle on a scenario in this machine's processes, without ROS: quick, and the same every time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fosp_core.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_policy.expansion import Actors
from fosp_safety_monitor.verdict import Decision
from fosp_sim.agent import Agent, Monitoring
from fosp_sim.env import Env
from fosp_sim.metrics import EpisodeResult
from fosp_sim.processes import in_processes
from fosp_sim.scenario import Scenario

_SHARE = 5
"""Episodes that a process takes at a time."""


@dataclass(frozen=True)
class Evaluation:
    """One bundle on one scenario."""

    bundle_directory: Path
    scenario: Scenario
    robot: RobotConfig
    actors: Actors = "both"
    """Of the bundle, those that propose."""


def evaluate_episodes(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    episodes: Sequence[int],
    monitoring: Monitoring = "on",
    actors: Actors = "both",
) -> list[EpisodeResult]:
    """Run `episodes` of `scenario` in this process. UserError when bundle, robot and scenario do not fit."""
    bundle = load_bundle(bundle_directory, robot, provider="cpu", look_ahead=monitoring == "look_ahead")
    if bundle.manifest.task != scenario.task:
        raise UserError(
            f"{bundle_directory}: bundle is for task '{bundle.manifest.task}', the scenario is '{scenario.task}'"
        )
    env = Env(scenario, robot, observation=bundle.manifest.observation)
    agent = Agent(bundle, robot, monitoring, actors)
    return [_run(env, agent, episode) for episode in episodes]


def evaluate(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    monitoring: Monitoring = "on",
    workers: int | None = None,
) -> Iterator[EpisodeResult]:
    """Yield the result of every episode of `scenario` as it comes, from parallel processes (default: one per core)."""
    for _, result in evaluate_all([Evaluation(bundle_directory, scenario, robot)], monitoring, workers):
        yield result


def evaluate_all(
    evaluations: Sequence[Evaluation], monitoring: Monitoring = "on", workers: int | None = None
) -> Generator[tuple[int, EpisodeResult], None, None]:
    """Run every episode of every evaluation in parallel processes (default: one per core).

    Yields (index into `evaluations`, result) as they come. Evaluations of one scenario run the same scenes. When the
    caller stops early the processes end at once (in_processes). Raises what an episode raises, and ProcessDied.
    """
    shares = [
        (index, list(range(first, min(first + _SHARE, evaluation.scenario.episodes))))
        for index, evaluation in enumerate(evaluations)
        for first in range(0, evaluation.scenario.episodes, _SHARE)
    ]
    arguments = [
        (chosen.bundle_directory, chosen.scenario, chosen.robot, episodes, monitoring, chosen.actors)
        for chosen, episodes in ((evaluations[i], episodes) for i, episodes in shares)
    ]
    with closing(in_processes(evaluate_episodes, arguments, workers)) as done:
        for share, results in done:
            for result in results:
                yield shares[share][0], result


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
