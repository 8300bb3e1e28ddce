"""Evaluation of a bundle on a scenario in this machine's processes, without ROS: quick, and the same every time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

import numpy as np

from fosp_cli.evaluation.agent import Action, Agent, Monitoring
from fosp_cli.evaluation.hindsight import hindsight
from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_core.bundle.bundle import load_bundle
from fosp_core.decisions import Decision
from fosp_core.errors import UserError
from fosp_core.processes import in_processes
from fosp_core.specs import RobotConfig
from fosp_policy.expansion import Actors
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import Env
from fosp_sim.task.scenario import Scenario

Proposer = Literal["bundle", "greedy", "random"]
"""Who proposes: the bundle's policy, or a demonstrator that heeds no obstacle. The bundle's critics judge either."""

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
    monitoring: Monitoring = "on"
    proposer: Proposer = "bundle"


def evaluate_episodes(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    episodes: Sequence[int],
    monitoring: Monitoring = "on",
    actors: Actors = "both",
    proposer: Proposer = "bundle",
) -> list[EpisodeResult]:
    """Run `episodes` of `scenario` in this process. UserError when bundle, robot and scenario do not fit."""
    bundle = load_bundle(bundle_directory, robot, provider="cpu")
    if bundle.manifest.task != scenario.task:
        raise UserError(
            f"{bundle_directory}: bundle is for task '{bundle.manifest.task}', the scenario is '{scenario.task}'"
        )
    env = Env(scenario, robot, observation=bundle.manifest.observation)
    agent = Agent(bundle, robot, monitoring, actors)
    horizon = bundle.manifest.calibration.horizon_steps
    return [_run(env, agent, episode, proposer, horizon) for episode in episodes]


def evaluate(
    bundle_directory: Path,
    scenario: Scenario,
    robot: RobotConfig,
    monitoring: Monitoring = "on",
    workers: int | None = None,
) -> Iterator[EpisodeResult]:
    """Yield the result of every episode of `scenario` as it comes, from parallel processes (default: one per core)."""
    for _, result in evaluate_all([Evaluation(bundle_directory, scenario, robot, monitoring=monitoring)], workers):
        yield result


def evaluate_all(
    evaluations: Sequence[Evaluation], workers: int | None = None
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
        (one.bundle_directory, one.scenario, one.robot, episodes, one.monitoring, one.actors, one.proposer)
        for one, episodes in ((evaluations[i], episodes) for i, episodes in shares)
    ]
    with closing(in_processes(evaluate_episodes, arguments, workers)) as done:
        for share, results in done:
            for result in results:
                yield shares[share][0], result


def _run(env: Env, agent: Agent, episode: int, proposer: Proposer, horizon_steps: int) -> EpisodeResult:
    observation = env.reset(episode)
    agent.reset(episode)
    script = None
    if proposer != "bundle":
        script = Demonstrator(proposer, env.scene, env.robot, env.scenario.seed + episode)
    images, time_s, is_first = observation.images, observation.time, True
    executed = np.zeros(env.action_size, np.float32)
    total = 0.0
    costs: list[float] = []
    actions: list[Action] = []
    while True:
        x, y, z = env.world.position()[:3]
        foreign = script.act(env.world.state(), time_s) if script is not None else None
        actions.append(agent.act(images, executed, is_first, (float(x), float(y), float(z)), time_s, foreign))
        result = env.step(actions[-1].action)
        costs.append(result.cost)
        total += result.reward
        if result.last:
            return episode_result(episode, result.success, costs, total, actions, horizon_steps)
        images, executed, time_s, is_first = result.images, result.executed, result.time, False


def episode_result(
    episode: int, reached: bool, costs: list[float], total: float, actions: list[Action], horizon_steps: int
) -> EpisodeResult:
    """What came of an episode whose step t took `actions[t]` and cost `costs[t]`; `total`: its return."""
    decisions = [action.decision for action in actions]
    verdicts = [action.verdict for action in actions if action.verdict is not None]
    violation = next((t for t, cost in enumerate(costs) if cost > 0), None)
    until = decisions[: violation + 1] if violation is not None else []
    return EpisodeResult(
        episode=episode,
        reached=reached,
        cost=sum(costs),
        episode_return=total,
        steps=len(decisions),
        vetoes=sum(d is not Decision.PASS for d in decisions),
        stops=sum(d >= Decision.STOP for d in decisions),
        substitutions=sum(d is Decision.SUBSTITUTE for d in decisions),
        violated_under=until[-1].name if until else "",
        vetoed_for=sum(1 for _ in takewhile(lambda d: d is not Decision.PASS, reversed(until))),
        hindsight=hindsight(verdicts, costs, horizon_steps) if verdicts and verdicts[0].shadow else None,
    )
