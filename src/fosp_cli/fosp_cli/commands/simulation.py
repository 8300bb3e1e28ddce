"""`fosp demo` and `fosp world`: the shipped bundle on a simulated robot, and a scenario as a world for Gazebo."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fosp_cli.commands.options import Bundle, Scenario, ScenarioArgument
from fosp_core.bag_types import move_aside
from fosp_core.decisions import Decision

if TYPE_CHECKING:
    from fosp_cli.evaluation.episode_log import Step
    from fosp_cli.evaluation.metrics import EpisodeResult


def demo(
    bundle: Bundle = None,
    scenario: Scenario = "safe_reach",
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 5,
    out: Annotated[
        Path, typer.Option(help="Folder for the results. An earlier demo in it is replaced.", metavar="DIR")
    ] = Path("runs/demo"),
) -> int:
    """Run camera, encoder, policy, safety monitor and recorder as live ROS 2 nodes on a simulated robot.

    The results are one bag per episode, summary.json, a picture (strip.png) and the nodes' output (log.txt).
    """
    from fosp_bringup.paths import scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
    from fosp_cli.evaluation.metrics import percentiles_ms, summarise
    from fosp_cli.live_line import LiveLine
    from fosp_cli.pictures import draw_strip
    from fosp_core.bundle.bundle import read_manifest
    from fosp_sim.task.scenario import read_scenario

    path = scenario_path(scenario)
    described = read_scenario(path).model_copy(update={"episodes": episodes})
    bundle = bundle or default_bundle(described.task)
    manifest = read_manifest(bundle)
    _clear(out)
    line = LiveLine()
    results: list[EpisodeResult] = []
    try:
        with LiveGraph(bundle, path, recorder=out / "bags", log=out / "log.txt") as live:
            for episode in range(episodes):
                steps = count(1)

                def show(step: Step, episode: int = episode, steps: Iterator[int] = steps) -> None:
                    line.show(_step_text(episode, next(steps), step))

                results.append(live.run_episode(episode, show))
                line.clear()
                print(_episode_text(results[-1]))
            latencies = list(live.latencies_s)
            live.await_bags(out / "bags", episodes)
    except RunFailed as error:
        print(f"fosp: {error}; the output of all nodes is in {out / 'log.txt'}", file=sys.stderr)
        return 1
    figures = summarise(described.model_dump(mode="json"), manifest.id, results, latencies)
    summary = {
        "bundle_id": manifest.id,
        "scenario": figures["scenario"],
        "episodes": [
            {"success": r.success, "cost": r.cost, "steps": r.steps, "vetoes": r.vetoes, "reached": r.reached}
            for r in results
        ],
        "success_rate": figures["success_rate"],
        "violation_rate": figures["violation_rate"],
        "image_to_command_ms": percentiles_ms(latencies),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    bags = sorted((out / "bags").glob("episode_*"))
    if not bags:
        print(
            f"fosp: no episode was recorded completely; the output of all nodes is in {out / 'log.txt'}",
            file=sys.stderr,
        )
        return 1
    draw_strip(bags, out / "strip.png")
    _table(summary, out)
    return 0


def world(
    scenario: ScenarioArgument,
    out: Annotated[Path, typer.Option(help="SDF file to write.", metavar="FILE")],
    episode: Annotated[int, typer.Option(min=0, help="Episode of the scenario whose scene the world holds.")] = 0,
    bridge: Annotated[
        Path | None, typer.Option(help="YAML file to write the configuration of ros_gz_bridge to.", metavar="FILE")
    ] = None,
) -> None:
    """Write the world that `fosp up sim --simulator gazebo` runs, to look at or to put another robot into."""
    import yaml

    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot
    from fosp_sim.env import make_world
    from fosp_sim.gazebo.sdf import world_sdf
    from fosp_sim.gazebo.topics import bridge_config
    from fosp_sim.task.draw import draw_scene
    from fosp_sim.task.scenario import read_scenario

    described = read_scenario(scenario_path(scenario))
    robot = read_robot(robot_path(described.robot))
    scene = draw_scene(described, episode)
    contents = {out: world_sdf(make_world(described, robot), scene, robot, robot.camera_frame_rate_hz)}
    if bridge is not None:
        contents[bridge] = yaml.safe_dump(bridge_config(robot, described.task), sort_keys=False)
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        except OSError as error:
            raise UserError(f"{path}: cannot write: {error.strerror or error}") from None
        print(f"{path}: written")


def _step_text(episode: int, number: int, step: Step) -> str:
    verdict = step.verdict
    return (
        f"episode {episode}  step {number:3d}  {Decision(verdict.decision).name:<10}  "
        f"risk {verdict.q_h:5.3f} / {verdict.eps:5.3f}  image to command {step.latency_s * 1e3:5.1f} ms"
    )


def _episode_text(result: EpisodeResult) -> str:
    outcome = "goal reached" if result.reached else "goal not reached"
    violated = f"violated for {result.cost:.0f} steps" if result.violated else "no violation"
    return f"episode {result.episode}: {outcome}, {violated}, {result.steps} steps, {result.vetoes} vetoes"


def _clear(out: Path) -> None:
    """Remove the results of an earlier demo and nothing else that lies in the folder; its bags are moved aside."""
    out.mkdir(parents=True, exist_ok=True)
    kept = move_aside(out / "bags")
    if kept is not None:
        print(f"the bags of the last demo are in {kept} now")
    for name in ("summary.json", "strip.png", "log.txt"):
        (out / name).unlink(missing_ok=True)


def _table(summary: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    latency = summary["image_to_command_ms"]
    table = Table("episode", "goal", "violation", "steps", "vetoes")
    for number, episode in enumerate(summary["episodes"]):
        done = ("reached" if episode["reached"] else "missed", "yes" if episode["cost"] > 0 else "no")
        table.add_row(str(number), *done, str(episode["steps"]), str(episode["vetoes"]))
    Console().print(table)
    print(f"image to command: p50 {latency['p50']} ms, p99 {latency['p99']} ms, max {latency['max']} ms")
    print(f"bags (open them in Foxglove): {out / 'bags'}   picture: {out / 'strip.png'}   log: {out / 'log.txt'}")
