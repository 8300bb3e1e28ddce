"""`fosp eval`: success and violation rates of a bundle on a scenario, with intervals."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fosp_core.specs import RobotConfig
    from fosp_sim.metrics import EpisodeResult
    from fosp_sim.scenario import Scenario


class Monitor(StrEnum):
    on = "on"
    off = "off"
    shadow = "shadow"


def evaluate(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.", metavar="DIR")],
    scenario: Annotated[str, typer.Option(help="Scenario file, or its name in config/scenarios.", metavar="FILE")],
    episodes: Annotated[int | None, typer.Option(min=1, help="In place of the scenario's number.")] = None,
    monitor: Annotated[
        Monitor, typer.Option(help="on: the monitor gates; shadow: judges without gating; off: not even asked.")
    ] = Monitor.on,
    through_ros: Annotated[
        bool, typer.Option("--through-ros", help="Through the live graph, in real time, instead of in-process.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", metavar="OUT")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> None:
    """Evaluate a bundle: rates with 95 % Wilson intervals. A success reaches the goal without any violation."""
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_core.bundle import read_manifest, verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.specs import read_robot
    from fosp_sim.metrics import summarise
    from fosp_sim.scenario import read_scenario

    described = read_scenario(scenario_path(scenario))
    if episodes is not None:
        described = described.model_copy(update={"episodes": episodes})
    robot = read_robot(robot_path(read_manifest(bundle).robot))
    manifest = verify_bundle(bundle, robot)
    if manifest.task != described.task:
        raise UserError(f"{bundle}: bundle is for task '{manifest.task}', the scenario is '{described.task}'")
    if json_out is not None and not json_out.absolute().parent.is_dir():
        raise UserError(f"{json_out}: its folder does not exist")
    latencies: Sequence[float] = ()
    if through_ros:
        if monitor is not Monitor.on:
            raise UserError("--through-ros evaluates with the monitor on: the live graph has no way around it")
        results, latencies = _through_ros(bundle, described, scenario_path(scenario))
    else:
        results = _in_process(bundle, described, robot, monitor, workers)
    summary = summarise(described.model_dump(mode="json"), manifest.id, results, latencies)
    _print(summary, monitor, through_ros)
    if json_out is not None:
        json_out.write_text(json.dumps(summary, indent=2) + "\n")


def _in_process(
    bundle: Path, scenario: Scenario, robot: RobotConfig, monitor: Monitor, workers: int | None
) -> list[EpisodeResult]:
    from rich.progress import track

    from fosp_sim.evaluation import evaluate as run

    results = track(
        run(bundle, scenario, robot, monitor.value, workers), total=scenario.episodes, description="episodes"
    )
    return sorted(results, key=lambda result: result.episode)


def _through_ros(bundle: Path, scenario: Scenario, path: Path) -> tuple[list[EpisodeResult], list[float]]:
    from rich.progress import track

    from fosp_bringup.live import LiveSimulation

    with LiveSimulation(bundle, path) as live:
        results = [
            live.run_episode(episode) for episode in track(range(scenario.episodes), description="episodes through ROS")
        ]
        return results, live.latencies_s


def _print(summary: dict[str, Any], monitor: Monitor, through_ros: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    how = "through ROS" if through_ros else "in-process"
    table = Table(
        "figure", "value", "95 % interval", title=f"{summary['episodes']} episodes {how}, monitor {monitor.value}"
    )
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
