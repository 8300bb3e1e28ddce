"""`fosp eval`: evaluate bundles on scenarios. evaluation/metrics.py defines the figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fosp_cli.commands.options import Workers, check_writable
from fosp_cli.json_file import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from fosp_cli.evaluation.metrics import EpisodeResult
    from fosp_cli.evaluation.plot import RateRow
    from fosp_core.robot.config import RobotConfig
    from fosp_core.specs import Manifest
    from fosp_sim.task.scenario import Scenario


class Monitor(StrEnum):  # an enumeration, because typer takes no lists of literals
    on = "on"
    policy_filter = "policy_filter"
    off = "off"
    shadow = "shadow"
    no_critic = "no_critic"


Policy = Literal["bundle", "greedy", "random"]
Choice = Literal["return", "success", "both"]


@dataclass(frozen=True)
class NamedBundle:
    """A verified bundle and its robot, under the name that the tables show."""

    label: str
    path: Path
    manifest: Manifest
    robot: RobotConfig


@dataclass(frozen=True)
class NamedScenario:
    """A scenario and its file, under the name that the tables show."""

    label: str
    path: Path
    scenario: Scenario


@dataclass
class EvaluationRun:
    """One bundle on one scenario under one way of monitoring, with the records of its episodes."""

    bundle: NamedBundle
    scenario: NamedScenario
    monitor: Monitor
    policy: Policy
    retreat: bool = False
    choice: Choice = "return"
    results: list[EpisodeResult] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def episodes(self) -> int:
        return self.scenario.scenario.episodes

    def summary(self) -> dict[str, Any]:
        """Return the JSON of one bundle on one scenario."""
        from fosp_cli.evaluation.metrics import summarise

        scenario = self.scenario.scenario.model_dump(mode="json")
        manifest = self.bundle.manifest
        figures = summarise(scenario, manifest.id, self.results, self.latencies_s)
        promised = {"promised_miss_rate": manifest.calibration.miss_rate_bound}
        ways = {"monitor": self.monitor.value, "policy": self.policy, "retreat": self.retreat}
        chosen = {} if self.choice == "return" else {"choice": self.choice}
        return {**ways, **chosen, **promised, **figures}


def evaluate(
    scenario: Annotated[
        list[str],
        typer.Option(
            help="Scenario: a name in config/scenarios or a YAML file. Repeat the option for more scenarios.",
            metavar="SCENARIO",
        ),
    ],
    bundle: Annotated[Path | None, typer.Option(help="Bundle to evaluate.", metavar="DIR")] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            help="Further bundles to run on the same episodes: --compare A B, or --compare A --compare B.",
            metavar="BUNDLE",
        ),
    ] = None,
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further bundles, after --compare A.", metavar="BUNDLE")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Number of episodes. The default is the scenario's.")
    ] = None,
    monitor: Annotated[
        list[Monitor] | None,
        typer.Option(
            help="Safety monitor: 'on' gates, 'shadow' judges without gating, and 'policy_filter' leaves it out: only "
            "the policy's own critics choose feasible actions. 'off' leaves out that filter, too: the policy "
            "alone. 'no_critic' gates with a critic that finds every action safe, so that only the rest of the monitor "
            "stops the robot, such as protective zones. Repeat the option to run the same episodes in several ways. "
            "The default is 'on'."
        ),
    ] = None,
    robot: Annotated[
        Path | None,
        typer.Option(
            help="Robot file in place of the bundle's own, such as one with protective zones. In process only.",
            metavar="FILE",
        ),
    ] = None,
    policy: Annotated[
        Policy,
        typer.Option(
            help="Source of the proposals: the bundle's policy, or a script that ignores obstacles. The bundle's "
            "critics and the monitor judge either. A script runs in process only."
        ),
    ] = "bundle",
    retreat: Annotated[
        bool,
        typer.Option(
            "--retreat",
            help="Run the same episodes once more with the retreat of a robot that hangs, in policy and monitor.",
        ),
    ] = False,
    choice: Annotated[
        Choice,
        typer.Option(help="What the policy chooses by among feasible actions: its parameter of this name."),
    ] = "return",
    through_ros: Annotated[
        bool,
        typer.Option("--through-ros", help="Run the live graph in real time instead of evaluating in process."),
    ] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the figures to.", metavar="FILE")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture of success and violations with their intervals, a row per evaluation: .png, .svg or .pdf.",
            metavar="FILE",
        ),
    ] = None,
    plot_with: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON file of an earlier evaluation to draw beside this one in --plot. Repeat the option for more.",
            metavar="FILE",
        ),
    ] = None,
    workers: Workers = None,
) -> int:
    """Evaluate bundles on simulated scenarios: success and violation rates with 95 % Wilson intervals, costs, vetoes.

    A success reaches the goal without any violation. Several bundles, scenarios or ways of monitoring give one table,
    and a second one with the differences on the same episodes: the first bundle minus each other bundle, and the first
    way of monitoring minus each other way.
    """
    from fosp_cli.evaluation.tables import print_all, print_one
    from fosp_core.errors import UserError

    scenarios = _scenarios(scenario, episodes)
    bundles = _bundles(_bundle_paths(bundle, compare or [], more or []), scenarios, robot)
    if json_out is not None:
        check_writable(json_out, "--json")
    earlier = _earlier(plot, plot_with or [])
    monitors = monitor or [Monitor.on]
    if len(set(monitors)) < len(monitors):
        raise UserError("each --monitor can be given once")
    if through_ros and monitors != [Monitor.on]:
        raise UserError("--through-ros evaluates with the monitor on: the live graph has no way around it")
    in_process_only = {
        "--robot": robot is not None,
        f"--policy {policy}": policy != "bundle",
        f"--choice {choice}": choice != "return",
    }
    for option, given in in_process_only.items():
        if through_ros and given:
            raise UserError(f"{option} runs in-process only: leave out --through-ros")
    if retreat and policy != "bundle":
        raise UserError(f"--policy {policy} has no retreat: leave out --retreat")
    cases = product(scenarios, bundles, monitors, [False, True] if retreat else [False])
    runs = [EvaluationRun(one, where, way, policy, back, choice) for where, one, way, back in cases]
    failure = _through_ros(runs) if through_ros else _in_process(runs, workers)
    if failure:
        print(f"fosp: {failure}", file=sys.stderr)
        return 1
    how = "through ROS" if through_ros else "in-process"
    if policy != "bundle":
        how += f", proposed by the {policy} script"
    if len(runs) == 1:
        figures = runs[0].summary()
        print_one(figures, how, through_ros)
    else:
        figures = _all_figures(runs, through_ros)
        print_all(figures, how)
    if json_out is not None:
        write_json(json_out, figures)
    if plot is not None:
        from fosp_cli.evaluation.plot import rates_figure, rows_of

        rows = rows_of(figures, runs[0].bundle.label, runs[0].scenario.label)
        rates_figure(rows + earlier, f"{runs[0].episodes} episodes {how}").savefig(plot, dpi=150)
        print(f"plot: {plot}")
    return 0


def _bundle_paths(bundle: Path | None, compare: list[Path], more: list[Path]) -> list[Path]:
    """Return the bundle folders, the first bundle first. What follows --compare A without an option is one, too."""
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


def _bundles(paths: list[Path], scenarios: list[NamedScenario], robot_file: Path | None) -> list[NamedBundle]:
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.acceptance import unsupported_because
    from fosp_core.bundle.bundle import read_manifest, verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot

    bundles: list[NamedBundle] = []
    for label, path in zip(_labels(paths), paths, strict=True):
        robot = read_robot(robot_file or robot_path(read_manifest(path).robot))
        manifest = verify_bundle(path, robot)
        doubt = unsupported_because(manifest.calibration)
        if doubt:
            print(f"{path}: its calibration is unsupported ({doubt}); in simulation it is evaluated", file=sys.stderr)
        for one in scenarios:
            if manifest.task != one.scenario.task:
                raise UserError(f"{path}: bundle is for task '{manifest.task}', the scenario is '{one.scenario.task}'")
        for other in bundles:
            if manifest.id == other.manifest.id:
                raise UserError(f"{path} is the same bundle as {other.path}: nothing to compare")
        bundles.append(NamedBundle(label, path, manifest, robot))
    return bundles


def _scenarios(names: list[str], episodes: int | None) -> list[NamedScenario]:
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
    return [NamedScenario(*entry) for entry in zip(_labels(paths), paths, scenarios, strict=True)]


def _labels(paths: list[Path]) -> list[str]:
    """Return the names of files or folders without their suffix, or the paths as given where names repeat."""
    names = [path.resolve().stem if path.suffix in (".yaml", ".yml") else path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _earlier(plot: Path | None, files: list[Path]) -> list[RateRow]:
    """Return the rows of earlier evaluations. Raise UserError for a plot or a file that will not do, before any run."""
    from fosp_core.errors import UserError

    if plot is None:
        if files:
            raise UserError("--plot-with draws beside this evaluation: give --plot FILE, too")
        return []
    from fosp_cli.evaluation.plot import check_picture_file, earlier_rows

    check_picture_file(plot)
    check_writable(plot, "--plot")
    return [row for file in files for row in earlier_rows(file)]


def _in_process(runs: list[EvaluationRun], workers: int | None) -> str:
    """Fill in the results. Return why that failed, or an empty string."""
    from contextlib import closing

    from rich.progress import track

    from fosp_cli.evaluation.in_process import Evaluation, evaluate_all
    from fosp_core.processes import ProcessDied

    evaluations = [
        Evaluation(
            *(run.bundle.path, run.scenario.scenario, run.bundle.robot),
            monitoring=run.monitor.value,
            proposer=run.policy,
            retreats=run.retreat,
            choice=run.choice,
        )
        for run in runs
    ]
    total = sum(run.episodes for run in runs)
    try:
        with closing(evaluate_all(evaluations, workers)) as results:
            for index, result in track(results, total=total, description="episodes", console=_progress()):
                runs[index].results.append(result)
    except ProcessDied as error:
        return str(error)
    for run in runs:
        run.results.sort(key=lambda result: result.episode)
    return ""


def _through_ros(runs: list[EvaluationRun]) -> str:
    """Fill in the results and latencies, one live graph after the other. Return why that failed, or an empty string."""
    from rich.progress import Progress

    from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed

    try:
        with Progress(console=_progress()) as progress:
            task = progress.add_task("episodes through ROS", total=sum(run.episodes for run in runs))
            for run in runs:
                with LiveGraph(run.bundle.path, run.scenario.path, retreat=run.retreat) as live:
                    for episode in range(run.episodes):
                        run.results.append(live.run_episode(episode))
                        progress.advance(task)
                    run.latencies_s.extend(live.latencies_s)
    except RunFailed as error:
        return str(error)
    return ""


def _progress() -> Console:
    """Return a console on stderr for the progress bar, because stdout holds the tables alone."""
    from rich.console import Console

    return Console(stderr=True)


def _all_figures(runs: Sequence[EvaluationRun], through_ros: bool) -> dict[str, Any]:
    """Return the JSON of several runs: the figures of each, and their differences."""
    from fosp_cli.evaluation.metrics import compare

    monitors = list(dict.fromkeys(run.monitor.value for run in runs))

    def name(run: EvaluationRun) -> str:
        ways = [f"monitor {run.monitor.value}"] if len(monitors) > 1 else []
        ways += ["retreat"] if run.retreat else []
        return run.bundle.label + (f" ({', '.join(ways)})" if ways else "")

    return {
        "monitor": " and ".join(monitors),
        "policy": runs[0].policy,
        "through_ros": through_ros,
        "evaluations": [
            {"bundle": run.bundle.label, "scenario_name": run.scenario.label, **run.summary()} for run in runs
        ],
        "comparisons": [
            {
                "first": name(reference),
                "second": name(run),
                "scenario_name": run.scenario.label,
                **compare(reference.results, run.results),
            }
            for run in runs
            for reference in _references(run, runs)
        ],
    }


def _references(run: EvaluationRun, runs: Sequence[EvaluationRun]) -> Iterator[EvaluationRun]:
    """Yield the runs that this one is compared with: of the first bundle, the first way of monitoring, no retreat."""
    by = {(one.scenario.label, one.bundle.label, one.monitor, one.retreat): one for one in runs}
    mine, first = (run.bundle.label, run.monitor, run.retreat), (runs[0].bundle.label, runs[0].monitor, False)
    for place, other in enumerate(first):
        if mine[place] != other:
            yield by[run.scenario.label, *mine[:place], other, *mine[place + 1 :]]  # type: ignore[index]
