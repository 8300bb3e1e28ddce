"""`fosp demo`: the shipped bundle drives a simulated robot, and the safety monitor shows what it is for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fosp_cli.commands.options import Bundle, Domain, OpenConsole, Scenario
from fosp_core.bag_types import move_aside
from fosp_core.decisions import Decision

if TYPE_CHECKING:
    from fosp_cli.evaluation.episode_log import Step
    from fosp_cli.evaluation.metrics import EpisodeResult


@dataclass(frozen=True)
class Showing:
    """One episode of the demo: a scene of the scenario, and what it shows."""

    scene: int
    what: str
    careless: bool = False
    """The policy proposes what promises most, however risky: the safety monitor alone keeps the robot safe."""
    covered: bool = False
    """Something lies on the lens at first."""


SHOWINGS = (
    Showing(0, "a free way"),
    Showing(6, "obstacles in the way"),
    Showing(31, "a careless policy", careless=True),
    Showing(4, "camera covered at first", covered=True),
    Showing(14, "a free way again"),
)
"""Scenes of safe_reach in which the shipped bundle does what they show; other scenarios have them, too."""


def demo(
    bundle: Bundle = None,
    scenario: Scenario = "safe_reach",
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = len(SHOWINGS),
    out: Annotated[
        Path, typer.Option(help="Folder for the results. An earlier demo in it is replaced.", metavar="DIR")
    ] = Path("runs/demo"),
    domain: Domain = "",
    console: OpenConsole = False,
) -> int:
    """Run camera, encoder, policy, safety monitor and recorder as live ROS 2 nodes on a simulated robot.

    In one of the episodes obstacles make the safety monitor veto actions, in one it replaces those of a careless
    policy, and one begins with a covered camera. Nothing leaves this machine.

    The results are one bag per episode, summary.json, a picture (strip.png) and the nodes' output (log.txt).
    """
    from fosp_bringup.neighbours import choose_domain, sole_graph
    from fosp_bringup.paths import scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.live_graph import RunFailed
    from fosp_core.bundle.bundle import read_manifest
    from fosp_sim.task.scenario import read_scenario

    described = read_scenario(scenario_path(scenario))
    bundle = bundle or default_bundle(described.task)
    read_manifest(bundle)
    shown = [SHOWINGS[i] if i < len(SHOWINGS) else Showing(40 + i, "another scene") for i in range(episodes)]
    covered = tuple(showing.scene for showing in shown if showing.covered)
    camera = described.camera.model_copy(update={"covered_episodes": covered})
    described = described.model_copy(update={"episodes": episodes, "camera": camera})
    choose_domain(domain)
    with _own_folder(out), sole_graph(stays_here=True):
        _clear(out)
        try:
            return _run(bundle, described, shown, out, console)
        except RunFailed as error:
            print(f"fosp: {error}; the output of all nodes is in {out / 'log.txt'}", file=sys.stderr)
            return 1


def _run(bundle: Path, described: Any, shown: list[Showing], out: Path, console: bool = False) -> int:
    import yaml

    from fosp_cli.commands.console import keep_token
    from fosp_cli.evaluation.live_graph import LiveGraph
    from fosp_cli.evaluation.metrics import percentiles_ms, summarise
    from fosp_cli.live_line import LiveLine
    from fosp_cli.pictures import draw_strip
    from fosp_core.bundle.bundle import read_manifest

    path = out / "scenario.yaml"
    path.write_text(yaml.safe_dump(described.model_dump(mode="json"), sort_keys=False))
    line = LiveLine()
    results: list[EpisodeResult] = []
    stops: list[list[str]] = []
    if console:
        print(f"console: {keep_token()}", flush=True)
    with LiveGraph(bundle, path, recorder=out / "bags", log=out / "log.txt", console=console) as live:
        print("this is the gate at work; a veto is an action that the safety monitor did not let pass as proposed")
        for number, showing in enumerate(shown):
            steps = count(1)

            def show(step: Step, number: int = number, steps: Iterator[int] = steps) -> None:
                line.show(_step_text(number, next(steps), step), key=str(number))

            live.heed_risk(not showing.careless)
            results.append(live.run_episode(showing.scene, show))
            stops.append(live.stops)
            line.clear()
            print(_episode_text(number, showing, results[-1], stops[-1]), flush=True)
        latencies = list(live.latencies_s)
        live.await_bags(out / "bags", len(shown))
    figures = summarise(described.model_dump(mode="json"), read_manifest(bundle).id, results, latencies)
    summary = {
        "bundle_id": figures["bundle_id"],
        "scenario": figures["scenario"],
        "episodes": [
            {
                **{"shows": showing.what, "scene": showing.scene, "success": r.success, "reached": r.reached},
                **{"cost": r.cost, "steps": r.steps, "vetoes": r.vetoes, "substitutions": r.substitutions},
                **{"stops": r.stops, "stopped_because": because},
            }
            for showing, r, because in zip(shown, results, stops, strict=True)
        ],
        "success_rate": figures["success_rate"],
        "violation_rate": figures["violation_rate"],
        "image_to_command_ms": percentiles_ms(latencies),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    bags = sorted((out / "bags").glob("episode_*"))
    if not bags:
        print(f"fosp: no episode was recorded completely; the nodes' output is in {out / 'log.txt'}", file=sys.stderr)
        return 1
    draw_strip(bags, out / "strip.png")
    _tell(summary, out)
    return 0


def _step_text(number: int, step_number: int, step: Step) -> str:
    verdict = step.verdict
    return (
        f"episode {number}  step {step_number:3d}  {Decision(verdict.decision).name:<10}  "
        f"risk {verdict.q_h:5.3f} / {verdict.eps:5.3f}  image to command {step.latency_s * 1e3:5.1f} ms"
    )


def _episode_text(number: int, showing: Showing, result: EpisodeResult, stops: list[str]) -> str:
    outcome = "goal reached" if result.reached else "goal not reached"
    violated = f"violated for {result.cost:.0f} steps" if result.violated else "no violation"
    vetoed = f"{result.vetoes} vetoes of {result.steps} actions, of which {result.substitutions} were replaced"
    told = "".join(f"\n    {text}" for text in stops)
    return f"episode {number}, {showing.what}: {outcome}, {violated}, {vetoed}{told}"


@contextlib.contextmanager
def _own_folder(out: Path) -> Iterator[None]:
    """Hold the folder: a demo in another ROS domain must not wipe the results of this one."""
    from fosp_core.errors import UserError

    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{out}: another demo writes into it at this moment; give --out DIR") from None
            yield
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None


def _clear(out: Path) -> None:
    """Remove the results of an earlier demo and nothing else that lies in the folder; its bags are moved aside."""
    kept = move_aside(out / "bags")
    if kept is not None:
        print(f"the bags of the demo before are in {kept} now")
    for name in ("summary.json", "strip.png", "log.txt", "scenario.yaml"):
        (out / name).unlink(missing_ok=True)


def _tell(summary: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from fosp_cli.live_line import show_table

    table = Table("", "shows", "goal", "violation", "steps", "vetoes", "replaced", "stops")
    for number, episode in enumerate(summary["episodes"]):
        done = ("reached" if episode["reached"] else "missed", "yes" if episode["cost"] > 0 else "no")
        counts = (str(episode[name]) for name in ("steps", "vetoes", "substitutions", "stops"))
        table.add_row(str(number), episode["shows"], *done, *counts)
    show_table(table)
    latency = summary["image_to_command_ms"]
    print(f"image to command: p50 {latency['p50']} ms, p99 {latency['p99']} ms, max {latency['max']} ms")
    print(
        f"""
where to look next
  picture    {out / "strip.png"}
  bags       {out / "bags"}, with config/foxglove/fosp.json in Foxglove
  log        {out / "log.txt"}
  watch it   ./fosp up sim        in another terminal: eval "$(./fosp env)"
                                  rviz2 -d config/rviz/fosp.rviz
  train one  docs/day_one.md      record, train, run, fine-tune, step by step
  safety     docs/safety.md       what the monitor does on every failure"""
    )
