"""Records demonstrations as bags, for `fosp record`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fosp_core.bag.notes import HAZARDS, SHOWS_NOTE
from fosp_core.errors import UserError
from fosp_core.processes import in_processes
from fosp_core.robot.config import RobotConfig
from fosp_sim.demonstration.demonstrators import check_kind, make_demonstrator
from fosp_sim.demonstration.hazard_driver import HazardDriver
from fosp_sim.demonstration.late_listening import Approach, LateListener
from fosp_sim.demonstration.simulated_bag import SimulatedBag
from fosp_sim.env import Env
from fosp_sim.task.render import lenses
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.world import STANDARD_TIMING

EPOCH_NS = 1_700_000_000 * 1_000_000_000
"""Stamp of second 0: recorded time is simulated time, so that a recording can be repeated bit for bit."""
_SPACING_NS = 1_000 * 1_000_000_000
_SHARE = 10
"""Number of episodes that a process records at a time."""
_DISTINCT = 400_000
"""Number of episodes with stamps of their own before the seconds of a ROS time overflow."""


@dataclass(frozen=True)
class Recorded:
    """One recorded episode."""

    episode: int
    demonstrator: str
    """Name of the driver; for `mixed` the one that was drawn."""
    reached: bool
    violated: bool
    steps: int
    episode_return: float
    folder: Path


def record_episodes(
    scenario: Scenario,
    robot: RobotConfig,
    demonstrator: str,
    episodes: int,
    out: Path,
    first: int = 0,
    approach: Approach | None = None,
) -> Iterator[Recorded]:
    """Record episodes `first` ... `first + episodes - 1`, each into `out`/episode_NNNNNN, and yield each outcome.

    With an `approach` that drives first, off the record, the demonstrator takes over from it, and the recorded episode
    begins there. Raises UserError, before anything is written, for an unknown demonstrator, a robot that does not fit
    the task, or a folder that exists already.
    """
    check_kind(demonstrator)
    numbers = range(first, first + episodes)
    _require_new(out, numbers)
    env = Env(scenario, robot, observation=None if approach is None else approach.observation)
    if approach is not None:
        approach.require_pace(env.timing.decision_s)
    return (_record(env, demonstrator, number, _folder(out, number), approach) for number in numbers)


def record_in_processes(
    scenario: Scenario,
    robot: RobotConfig,
    demonstrator: str,
    episodes: int,
    out: Path,
    workers: int | None = None,
    first: int = 0,
    approach: Approach | None = None,
) -> Iterator[Recorded]:
    """Record the very bags of `record_episodes` in parallel processes (default: one per core).

    Yield the outcomes as they come. Few episodes are recorded in this process. Raises as `record_episodes` does, and
    ProcessDied.
    """
    if workers == 1 or episodes <= _SHARE:
        yield from record_episodes(scenario, robot, demonstrator, episodes, out, first, approach)
        return
    check_kind(demonstrator)
    _require_new(out, range(first, first + episodes))
    shares = [
        (scenario, robot, demonstrator, min(_SHARE, first + episodes - begin), out, begin, approach)
        for begin in range(first, first + episodes, _SHARE)
    ]
    with closing(in_processes(_record_share, shares, workers)) as done:
        for _, outcomes in done:
            yield from outcomes


def _record_share(*arguments: Any) -> list[Recorded]:
    return list(record_episodes(*arguments))


def _require_new(out: Path, numbers: range) -> None:
    taken = [folder for folder in (_folder(out, n) for n in numbers) if folder.exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already; choose another --out or remove it")


def _folder(out: Path, episode: int) -> Path:
    return out / f"episode_{episode:06d}"


def _record(env: Env, demonstrator: str, episode: int, folder: Path, approach: Approach | None) -> Recorded:
    seed = env.scenario.seed + episode
    bag = SimulatedBag(
        folder,
        episode,
        env.robot,
        lenses(env.world),
        EPOCH_NS + seed % _DISTINCT * _SPACING_NS,
        env.scenario.camera.latency_s,
    )
    try:
        outcome = _drive(env, demonstrator, episode, seed, bag, folder, approach)
    except BaseException:
        bag.abort()
        raise
    taken_over = {} if approach is None else {"taken_over_from": approach.name}
    own = {} if env.timing == STANDARD_TIMING else {"decision_period_s": f"{env.timing.decision_s:g}"}
    bag.close(
        {
            **own,
            **taken_over,
            "task": env.scenario.task,
            "robot": env.robot.name,
            "scenario": env.scenario.model_dump_json(),
            "seed": str(seed),
            "episode": str(episode),
            "demonstrator": outcome.demonstrator,
            **({SHOWS_NOTE: HAZARDS} if outcome.demonstrator == HAZARDS else {}),
            "reached": str(outcome.reached).lower(),
            "violated": str(outcome.violated).lower(),
            "complete": "true",
        }
    )
    return outcome


def _drive(
    env: Env,
    demonstrator: str,
    episode: int,
    seed: int,
    bag: SimulatedBag,
    folder: Path,
    approach: Approach | None,
) -> Recorded:
    listener = LateListener(bag)
    env.listen(listener)
    try:
        begun = env.reset(episode)
        if approach is not None and not approach.drive(env, begun, seed):
            env.reset(episode)  # the approach left nothing to show
        listener.begin()
        driver = make_demonstrator(demonstrator, env.scene, env.robot, seed)
        steps, total, violated, reached = 0, 0.0, False, False
        while True:
            result = env.step(driver.act(env.world.state(), env.world.time))
            steps, total, violated = steps + 1, total + result.reward, violated or result.cost > 0
            reached = reached or result.success
            if isinstance(driver, HazardDriver):
                driver.tell(result.cost)
                if driver.finished:
                    env.finish()
            if result.last:
                return Recorded(episode, driver.kind, reached, violated, steps, total, folder)
    finally:
        env.listen(None)
