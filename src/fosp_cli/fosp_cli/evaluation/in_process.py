"""Evaluation of bundles on scenarios in parallel processes without ROS: faster than real time, and deterministic."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fosp_cli.evaluation.agent import Action, Agent, Monitoring, require_pace
from fosp_cli.evaluation.hanging import Pose
from fosp_cli.evaluation.metrics import DecidedStep, EpisodeResult, episode_result
from fosp_cli.evaluation.simulated_scans import SimulatedJoints, SimulatedScans
from fosp_core.bundle.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_core.processes import in_processes
from fosp_core.robot.config import RobotConfig
from fosp_policy.expansion import Actors, Choice
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.env import Env
from fosp_sim.gazebo.picture import gazebo_painter
from fosp_sim.task.render import painter_of
from fosp_sim.task.scenario import Scenario

Proposer = Literal["bundle", "greedy", "random", "careful"]
"""The bundle's policy proposes, or a demonstrator: two ignore obstacles, and one knows the scene. The bundle's critics
judge any of them."""

Pictures = Literal["mujoco", "gazebo"]
"""The pictures are MuJoCo's, or what Gazebo's renderer would show of MuJoCo's world (fosp_sim.gazebo.picture)."""

_SHARE = 5
"""Number of episodes that a process takes at a time."""


@dataclass(frozen=True)
class Evaluation:
    """One bundle on one scenario."""

    bundle: Path
    scenario: Scenario
    robot: RobotConfig
    actors: Actors = "both"
    """The bundle's actors that propose."""
    monitoring: Monitoring = "on"
    proposer: Proposer = "bundle"
    pictures: Pictures = "mujoco"
    retreats: bool = False
    """A robot that hangs goes back along its trail."""
    choice: Choice = "return"
    """Criterion of the policy's choice among feasible candidates."""


def evaluate_episodes(evaluation: Evaluation, episodes: Sequence[int]) -> list[EpisodeResult]:
    """Run `episodes` in this process. Raise UserError when bundle, robot and scenario do not fit each other."""
    scenario, robot = evaluation.scenario, evaluation.robot
    bundle = load_bundle(evaluation.bundle, robot, provider="cpu")
    if bundle.manifest.task != scenario.task:
        raise UserError(
            f"{evaluation.bundle}: bundle is for task '{bundle.manifest.task}', the scenario is '{scenario.task}'"
        )
    paint = painter_of if evaluation.pictures == "mujoco" else gazebo_painter
    env = Env(scenario, robot, observation=bundle.manifest.observation, paint=paint)
    require_pace(evaluation.bundle, bundle.manifest, env.timing.decision_s)
    agent = Agent(
        bundle, robot, evaluation.monitoring, evaluation.actors, retreats=evaluation.retreats, choice=evaluation.choice
    )
    horizon, period_s = bundle.manifest.calibration.horizon_steps, bundle.manifest.decision_period_s
    sensors = SimulatedScans(robot, env.world), SimulatedJoints(robot, env.world)
    return [_run(env, agent, sensors, episode, evaluation.proposer, horizon, period_s) for episode in episodes]


def evaluate_all(
    evaluations: Sequence[Evaluation], workers: int | None = None
) -> Generator[tuple[int, EpisodeResult], None, None]:
    """Run every episode of every evaluation in parallel processes (one per core by default).

    Yield (index into `evaluations`, result) as they come. Evaluations of one scenario run the same scenes. The
    processes end at once when the caller stops early. Raise what an episode raises, and ProcessDied.
    """
    shares = [
        (index, list(range(first, min(first + _SHARE, evaluation.scenario.episodes))))
        for index, evaluation in enumerate(evaluations)
        for first in range(0, evaluation.scenario.episodes, _SHARE)
    ]
    arguments = [(evaluations[index], episodes) for index, episodes in shares]
    with closing(in_processes(evaluate_episodes, arguments, workers)) as done:
        for share, results in done:
            for result in results:
                yield shares[share][0], result


def _run(
    env: Env,
    agent: Agent,
    sensors: tuple[SimulatedScans, SimulatedJoints],
    episode: int,
    proposer: Proposer,
    horizon_steps: int,
    period_s: float,
) -> EpisodeResult:
    observation = env.reset(episode)
    agent.reset(episode)
    script = None
    if proposer != "bundle":
        script = make_demonstrator(proposer, env.scene, env.robot, env.scenario.seed + episode)
    images, time_s, is_first = observation.images, observation.time, True
    executed = np.zeros(env.action_size, np.float32)
    total, goals = 0.0, 0
    costs: list[float] = []
    steps: list[DecidedStep] = []
    while True:
        state = env.world.state()
        foreign = script.act(state, time_s) if script is not None else None
        for source, view in sensors[0].views(time_s):
            agent.see(source, view)
        agent.feel(sensors[1].view(time_s))
        action = agent.act(images, executed, is_first, state, time_s, foreign)
        steps.append(_decided(len(steps), action, (*state.position, state.heading)))
        result = env.step(action.action)
        agent.watch(result.ticks)
        costs.append(result.cost)
        total += result.reward
        goals += result.success
        if result.last:
            return episode_result(episode, goals > 0, total, costs, steps, horizon_steps, period_s, goals)
        images, executed, time_s, is_first = result.images, result.executed, result.time, False


def _decided(period: int, action: Action, pose: Pose) -> DecidedStep:
    verdict = action.verdict
    if verdict is None:
        return DecidedStep(period, action.decision, action.q_h, judged=False, pose=pose)
    told = verdict.q_h, verdict.eps, verdict.shadow
    return DecidedStep(period, verdict.decision, *told, pose=pose, reason=verdict.reason)
