"""`fosp eval`: success and violation rates of bundles on scenarios, with intervals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from fosp_core.specs import Manifest, RobotConfig
    from fosp_sim.metrics import EpisodeResult
    from fosp_sim.scenario import Scenario


class Monitor(StrEnum):
    on = "on"
    off = "off"
    shadow = "shadow"
    look_ahead = "look_ahead"


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
    """One contender on one course."""

    contender: Contender
    course: Course
    results: list[EpisodeResult] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The JSON of one bundle on one scenario."""
        from fosp_sim.metrics import summarise

        scenario = self.course.scenario.model_dump(mode="json")
        return summarise(scenario, self.contender.manifest.id, self.results, self.latencies_s)


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
        Monitor,
        typer.Option(
            help="on: the monitor gates; look_ahead: by what it imagines, too; shadow: judges only; off: not asked."
        ),
    ] = Monitor.on,
    through_ros: Annotated[
        bool, typer.Option("--through-ros", help="Through the live graph, in real time, instead of in-process.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", metavar="OUT")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> int:
    """Evaluate bundles: rates with 95 % Wilson intervals. A success reaches the goal without any violation.

    With several bundles or scenarios: one table, and how much better the first bundle is than each other one on the
    same episodes.
    """
    from fosp_core.errors import UserError

    courses = _courses(scenario, episodes)
    contenders = _contenders(_bundle_paths(bundle, compare or [], more or []), courses)
    if json_out is not None:
        _check_writable(json_out)
    if through_ros and monitor is not Monitor.on:
        raise UserError("--through-ros evaluates with the monitor on: the live graph has no way around it")
    outcomes = [Outcome(contender, course) for course in courses for contender in contenders]
    failure = _through_ros(outcomes) if through_ros else _in_process(outcomes, monitor, workers)
    if failure:
        print(f"fosp: {failure}", file=sys.stderr)
        return 1
    how = f"{'through ROS' if through_ros else 'in-process'}, monitor {monitor.value}"
    if len(outcomes) == 1:
        figures = outcomes[0].summary()
        _print_one(figures, how, through_ros)
    else:
        figures = _all_figures(outcomes, contenders[0], monitor, through_ros)
        _print_all(figures, how)
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
    from fosp_core.bundle import read_manifest, verify_bundle
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
    from fosp_sim.scenario import read_scenario

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
    if not folder.is_dir():
        raise UserError(f"{path}: its folder does not exist")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; --json takes a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"{path}: may not be written")


def _in_process(outcomes: list[Outcome], monitor: Monitor, workers: int | None) -> str:
    """Fill in the results; returns why that failed, or nothing."""
    from contextlib import closing

    from rich.progress import track

    from fosp_sim.evaluation import Evaluation, evaluate_all
    from fosp_sim.processes import ProcessDied

    evaluations = [Evaluation(o.contender.path, o.course.scenario, o.contender.robot) for o in outcomes]
    total = sum(o.course.scenario.episodes for o in outcomes)
    try:
        with closing(evaluate_all(evaluations, monitor.value, workers)) as results:
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

    from fosp_bringup.episode_driver import RunFailed
    from fosp_bringup.live import LiveSimulation

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


def _all_figures(outcomes: Sequence[Outcome], first: Contender, monitor: Monitor, through_ros: bool) -> dict[str, Any]:
    """The JSON of several bundles or scenarios: each one's figures, and `first` minus each other bundle."""
    from fosp_sim.metrics import compare

    reference = {o.course.label: o.results for o in outcomes if o.contender is first}
    return {
        "monitor": monitor.value,
        "through_ros": through_ros,
        "evaluations": [
            {"bundle": o.contender.label, "scenario_name": o.course.label, **o.summary()} for o in outcomes
        ],
        "comparisons": [
            {
                "first": first.label,
                "second": o.contender.label,
                "scenario_name": o.course.label,
                **compare(reference[o.course.label], o.results),
            }
            for o in outcomes
            if o.contender is not first
        ],
    }


def _print_one(summary: dict[str, Any], how: str, through_ros: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "95 % interval", title=f"{summary['episodes']} episodes {how}")
    for name in ("success", "violation"):
        low, high = summary[f"{name}_ci95"]
        table.add_row(f"{name} rate", f"{summary[f'{name}_rate']:.1%}", f"{low:.1%} - {high:.1%}")
    for name in ("cost_per_episode", "return_mean", "steps_mean"):
        table.add_row(name.replace("_", " "), f"{summary[name]:.2f}", "")
    for name in ("veto_rate", "stop_rate"):
        table.add_row(f"{name.replace('_', ' ')} per step", f"{summary[name]:.1%}", "")
    if through_ros:
        latency = summary["latency_ms"]
        table.add_row("image to command", f"p50 {latency['image_to_command_p50']} ms, p99 {latency['p99']} ms", "")
    Console().print(table)


def _print_all(figures: dict[str, Any], how: str) -> None:
    from rich.console import Console
    from rich.table import Table

    # A file or a pipe has no width that cells would have to be broken for.
    console = Console(width=None if sys.stdout.isatty() else 200)
    columns = ("bundle", "scenario", "episodes", "success", "violations", "cost", "return", "veto rate")
    table = Table(*columns, title=f"{how}; rates with 95 % interval")
    for row in figures["evaluations"]:
        rates = [
            f"{row[f'{name}_rate']:.1%} ({100 * row[f'{name}_ci95'][0]:.1f} - {100 * row[f'{name}_ci95'][1]:.1f})"
            for name in ("success", "violation")
        ]
        means = (f"{row['cost_per_episode']:.2f}", f"{row['return_mean']:.2f}", f"{row['veto_rate']:.1%}")
        table.add_row(row["bundle"], row["scenario_name"], str(row["episodes"]), *rates, *means)
    console.print(table)
    if not figures["comparisons"]:
        return
    table = Table(
        *("difference", "scenario", "success, %", "violations, %", "cost", "return"),
        title="on the same episodes, with 95 % interval",
        caption="* the interval excludes 0",
    )
    for row in figures["comparisons"]:
        cells = [_difference(row, "success", 100), _difference(row, "violation", 100)]
        cells += [_difference(row, "cost", 1), _difference(row, "return", 1)]
        table.add_row(f"{row['first']} - {row['second']}", row["scenario_name"], *cells)
    console.print(table)


def _difference(row: dict[str, Any], name: str, scale: float) -> str:
    """`+12.0 (+3.1 to +20.5) *`: a difference, its interval, and a mark when that excludes 0.

    No mark for costs: their intervals rest on the few episodes with a violation and are too narrow.
    """
    low, high = row[f"{name}_difference_ci95"]
    digits = 1 if scale == 100 else 2
    text = f"{scale * row[f'{name}_difference']:+.{digits}f} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"
    return f"{text} *" if name != "cost" and (low > 0 or high < 0) else text
