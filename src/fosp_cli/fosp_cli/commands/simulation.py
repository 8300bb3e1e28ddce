"""`fosp demo`: a few episodes of a simulated robot through the whole graph, on the shipped bundle."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fosp_cli.commands.options import Scenario

if TYPE_CHECKING:
    from fosp_cli.evaluation.episode_log import Step
    from fosp_cli.evaluation.metrics import EpisodeResult

BAG_PATIENCE_S = 10.0

DECISIONS = ("PASS", "SUBSTITUTE", "RECOVER", "STOP", "LATCH")


def demo(
    bundle: Annotated[Path | None, typer.Option(help="Bundle; by default the shipped one.", metavar="DIR")] = None,
    scenario: Scenario = "safe_reach",
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    out: Annotated[Path, typer.Option(help="Results; an earlier demo there is replaced.")] = Path("runs/demo"),
) -> int:
    """Run camera, encoder, policy, safety monitor and recorder as live ROS 2 nodes on a simulated robot."""
    from fosp_bringup.paths import scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.episode_driver import RunFailed
    from fosp_cli.evaluation.live_graph import LiveSimulation
    from fosp_cli.evaluation.metrics import percentiles_ms, summarise
    from fosp_cli.strip import draw_strip
    from fosp_core.bundle.bundle import read_manifest
    from fosp_sim.task.scenario import read_scenario

    path = scenario_path(scenario)
    described = read_scenario(path).model_copy(update={"episodes": episodes})
    bundle = bundle or default_bundle(described.task)
    manifest = read_manifest(bundle)
    _clear(out)
    live_line = LiveLine()
    results: list[EpisodeResult] = []
    try:
        with LiveSimulation(bundle, path, recorder=out / "bags", log=out / "log.txt") as live:
            for episode in range(episodes):
                live_line.begin(episode)
                results.append(live.run_episode(episode, live_line.show))
                live_line.end(results[-1])
            latencies = list(live.latencies_s)
            _await_bags(out / "bags", episodes)
    except RunFailed as error:
        print(f"fosp: {error}; everything the nodes said: {out / 'log.txt'}", file=sys.stderr)
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
        print(f"fosp: no episode was recorded whole; everything the nodes said: {out / 'log.txt'}", file=sys.stderr)
        return 1
    draw_strip(bags, out / "strip.png")
    _table(summary, out)
    return 0


def _await_bags(folder: Path, episodes: int) -> None:
    """The recorder closes a bag a moment after the last feedback of its episode: do not take it down before."""
    deadline = time.monotonic() + BAG_PATIENCE_S
    while len(list(folder.glob("episode_*"))) < episodes and time.monotonic() < deadline:
        time.sleep(0.05)


class LiveLine:
    """One line per step: overwritten in a terminal, one below the other elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._episode = self._step = 0

    def begin(self, episode: int) -> None:
        self._episode, self._step = episode, 0

    def show(self, step: Step) -> None:
        verdict = step.verdict
        self._step += 1
        line = (
            f"episode {self._episode}  step {self._step:3d}  {DECISIONS[verdict.decision]:<10}  "
            f"risk {verdict.q_h:5.3f} / {verdict.eps:5.3f}  image -> command {step.latency_s * 1e3:5.1f} ms"
        )
        print(f"\r{line}\x1b[K" if self._terminal else line, end="" if self._terminal else "\n", flush=True)

    def end(self, result: EpisodeResult) -> None:
        if self._terminal:
            print("\r\x1b[K", end="")
        outcome = "goal reached" if result.reached else "goal not reached"
        violated = f"violated for {result.cost:.0f} steps" if result.violated else "no violation"
        print(f"episode {result.episode}: {outcome}, {violated}, {result.steps} steps, {result.vetoes} vetoes")


def _clear(out: Path) -> None:
    """Remove what an earlier demo left; nothing else that may lie in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "bags", ignore_errors=True)
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
    print(f"image -> command: p50 {latency['p50']} ms, p99 {latency['p99']} ms, max {latency['max']} ms")
    print(f"bags (open them in Foxglove): {out / 'bags'}   picture: {out / 'strip.png'}   log: {out / 'log.txt'}")
