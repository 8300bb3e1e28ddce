"""`fosp eval`: success and violation rates of bundles on scenarios, with intervals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from fosp_cli.evaluation.metrics import EpisodeResult
    from fosp_core.specs import Manifest, RobotConfig
    from fosp_sim.task.scenario import Scenario


class Monitor(StrEnum):
    on = "on"
    off = "off"
    shadow = "shadow"


class Policy(StrEnum):
    """Who proposes: fosp_cli.evaluation.evaluation.Proposer."""

    bundle = "bundle"
    greedy = "greedy"
    random = "random"


@dataclass(frozen=True)
class Contender:
    """A verified bundle and the robot that it drives."""

    label: str
    path: Path
    manifest: Manifest
    robot: RobotConfig


@dataclass(frozen=True)
class Course:
    """A scenario, and the file that it was read from."""

    label: str
    path: Path
    scenario: Scenario


@dataclass
class Outcome:
    """One contender on one course, under one way of monitoring."""

    contender: Contender
    course: Course
    monitor: Monitor
    policy: Policy
    results: list[EpisodeResult] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The JSON of one bundle on one scenario."""
        from fosp_cli.evaluation.metrics import summarise

        scenario = self.course.scenario.model_dump(mode="json")
        manifest = self.contender.manifest
        figures = summarise(scenario, manifest.id, self.results, self.latencies_s)
        promised = {"promised_miss_rate": manifest.calibration.miss_rate_bound}
        return {"monitor": self.monitor.value, "policy": self.policy.value, **promised, **figures}


def evaluate(
    scenario: Annotated[
        list[str],
        typer.Option(help="Scenario file, or its name in config/scenarios; may be given again.", metavar="FILE"),
    ],
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder.", metavar="DIR")] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            help="Further bundles, run on the same episodes: --compare A B, or --compare A --compare B.",
            metavar="BUNDLE...",
        ),
    ] = None,
    more: Annotated[
        list[Path] | None, typer.Argument(help="What follows --compare A: bundles too.", metavar="[BUNDLE]...")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="In place of the scenario's number.")] = None,
    monitor: Annotated[
        list[Monitor] | None,
        typer.Option(
            help="on: the monitor gates (the default); shadow: judges only; off: not asked. "
            " Given again: each on the same episodes."
        ),
    ] = None,
    policy: Annotated[
        Policy,
        typer.Option(
            help="Who proposes: the bundle's policy, or a scripted one that heeds no obstacle, for the bundle's "
            "critics and the monitor to judge (in-process only)."
        ),
    ] = Policy.bundle,
    through_ros: Annotated[
        bool, typer.Option("--through-ros", help="Through the live graph, in real time, instead of in-process.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", metavar="OUT")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> int:
    """Evaluate bundles: rates with 95 % Wilson intervals. A success reaches the goal without any violation.

    With several bundles, scenarios or ways of monitoring: one table, and how much better the first bundle is than each
    other one, and the first way of monitoring than the others, on the same episodes.
    """
    from fosp_cli.evaluation.tables import print_all, print_one
    from fosp_core.errors import UserError

    courses = _courses(scenario, episodes)
    contenders = _contenders(_bundle_paths(bundle, compare or [], more or []), courses)
    if json_out is not None:
        _check_writable(json_out)
    monitors = monitor or [Monitor.on]
    if len(set(monitors)) < len(monitors):
        raise UserError("each --monitor can be given once")
    if through_ros and monitors != [Monitor.on]:
        raise UserError("--through-ros evaluates with the monitor on: the live graph has no way around it")
    if through_ros and policy is not Policy.bundle:
        raise UserError(f"--policy {policy.value} runs in-process only: leave out --through-ros")
    outcomes = [Outcome(*which, policy) for course in courses for which in product(contenders, [course], monitors)]
    failure = _through_ros(outcomes) if through_ros else _in_process(outcomes, workers)
    if failure:
        print(f"fosp: {failure}", file=sys.stderr)
        return 1
    how = "through ROS" if through_ros else "in-process"
    if policy is not Policy.bundle:
        how += f", proposed by the {policy.value} script"
    if len(outcomes) == 1:
        figures = outcomes[0].summary()
        print_one(figures, how, through_ros)
    else:
        figures = _all_figures(outcomes, through_ros)
        print_all(figures, how)
    if json_out is not None:
        json_out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _bundle_paths(bundle: Path | None, compare: list[Path], more: list[Path]) -> list[Path]:
    """The first bundle and those that it is compared with: what follows --compare without an option is one too."""
    from fosp_core.errors import UserError

    if more and not compare:
        raise UserError(f"unexpected '{more[0]}': bundles are given as --bundle DIR [--compare DIR...]")
    for path in more:
        if not path.is_dir():
            raise UserError(f"{path}: no such bundle folder; each further scenario needs its own --scenario")
    paths = ([bundle] if bundle is not None else []) + compare + more
    if not paths:
        raise UserError("no bundle given: --bundle DIR")
    return paths


def _contenders(paths: list[Path], courses: list[Course]) -> list[Contender]:
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import read_manifest, verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.specs import read_robot

    contenders: list[Contender] = []
    for label, path in zip(_labels(paths), paths, strict=True):
        robot = read_robot(robot_path(read_manifest(path).robot))
        manifest = verify_bundle(path, robot)
        for course in courses:
            if manifest.task != course.scenario.task:
                raise UserError(
                    f"{path}: bundle is for task '{manifest.task}', the scenario is '{course.scenario.task}'"
                )
        for other in contenders:
            if manifest.id == other.manifest.id:
                raise UserError(f"{path} is the same bundle as {other.path}: nothing to compare")
        contenders.append(Contender(label, path, manifest, robot))
    return contenders


def _courses(names: list[str], episodes: int | None) -> list[Course]:
    from fosp_bringup.paths import scenario_path
    from fosp_core.errors import UserError
    from fosp_sim.task.scenario import read_scenario

    paths = [scenario_path(name) for name in names]
    for i, path in enumerate(paths):
        if path.resolve() in [earlier.resolve() for earlier in paths[:i]]:
            raise UserError(f"scenario {names[i]} is given twice")
    scenarios = [read_scenario(path) for path in paths]
    if episodes is not None:
        scenarios = [scenario.model_copy(update={"episodes": episodes}) for scenario in scenarios]
    return [Course(*entry) for entry in zip(_labels(paths), paths, scenarios, strict=True)]


def _labels(paths: list[Path]) -> list[str]:
    """The names of files or folders without the ending, or the paths as given where names repeat."""
    names = [path.resolve().stem if path.suffix in (".yaml", ".yml") else path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _check_writable(path: Path) -> None:
    """Before an hour of episodes, not after it."""
    from fosp_core.errors import UserError

    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: its folder cannot be made: {error.strerror or error}") from None
    if path.is_dir():
        raise UserError(f"{path}: is a folder; --json takes a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"{path}: may not be written")


def _in_process(outcomes: list[Outcome], workers: int | None) -> str:
    """Fill in the results; returns why that failed, or nothing."""
    from contextlib import closing

    from rich.progress import track

    from fosp_cli.evaluation.evaluation import Evaluation, evaluate_all
    from fosp_core.processes import ProcessDied

    evaluations = [
        Evaluation(
            *(o.contender.path, o.course.scenario, o.contender.robot),
            monitoring=o.monitor.value,
            proposer=o.policy.value,
        )
        for o in outcomes
    ]
    total = sum(o.course.scenario.episodes for o in outcomes)
    try:
        with closing(evaluate_all(evaluations, workers)) as results:
            for index, result in track(results, total=total, description="episodes", console=_progress()):
                outcomes[index].results.append(result)
    except ProcessDied as error:
        return str(error)
    for outcome in outcomes:
        outcome.results.sort(key=lambda result: result.episode)
    return ""


def _through_ros(outcomes: list[Outcome]) -> str:
    """Fill in the results and latencies, one live graph after the other; returns why that failed, or nothing."""
    from rich.progress import Progress

    from fosp_cli.evaluation.episode_driver import RunFailed
    from fosp_cli.evaluation.live_graph import LiveSimulation

    try:
        with Progress(console=_progress()) as progress:
            task = progress.add_task("episodes through ROS", total=sum(o.course.scenario.episodes for o in outcomes))
            for outcome in outcomes:
                with LiveSimulation(outcome.contender.path, outcome.course.path) as live:
                    for episode in range(outcome.course.scenario.episodes):
                        outcome.results.append(live.run_episode(episode))
                        progress.advance(task)
                    outcome.latencies_s.extend(live.latencies_s)
    except RunFailed as error:
        return str(error)
    return ""


def _progress() -> Console:
    """Where the progress bar goes: stdout holds tables alone."""
    from rich.console import Console

    return Console(stderr=True)


def _all_figures(outcomes: Sequence[Outcome], through_ros: bool) -> dict[str, Any]:
    """The JSON of several outcomes: each one's figures, and by what the first bundle and way of monitoring differ."""
    from fosp_cli.evaluation.metrics import compare

    monitors = list(dict.fromkeys(o.monitor.value for o in outcomes))

    def name(outcome: Outcome) -> str:
        return outcome.contender.label + (f" (monitor {outcome.monitor.value})" if len(monitors) > 1 else "")

    return {
        "monitor": " and ".join(monitors),
        "policy": outcomes[0].policy.value,
        "through_ros": through_ros,
        "evaluations": [
            {"bundle": o.contender.label, "scenario_name": o.course.label, **o.summary()} for o in outcomes
        ],
        "comparisons": [
            {
                "first": name(reference),
                "second": name(o),
                "scenario_name": o.course.label,
                **compare(reference.results, o.results),
            }
            for o in outcomes
            for reference in _references(o, outcomes)
        ],
    }


def _references(outcome: Outcome, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """What an outcome is compared with: the first bundle, and the first way of monitoring."""
    by = {(o.contender.label, o.course.label, o.monitor): o for o in outcomes}
    bundle, course, monitor = outcome.contender.label, outcome.course.label, outcome.monitor
    first = outcomes[0]
    if bundle != first.contender.label:
        yield by[first.contender.label, course, monitor]
    if monitor is not first.monitor:
        yield by[bundle, course, first.monitor]
