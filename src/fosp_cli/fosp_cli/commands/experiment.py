"""`fosp experiment`: the protocols that figures in the documentation come from."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Run the protocol behind a table of the documentation.")


class Monitor(StrEnum):
    on = "on"
    shadow = "shadow"


@app.callback()
def _app() -> None:
    """Keeps `transfer` a command of its own while it is the only one."""


@app.command()
def transfer(
    scenario: Annotated[
        list[str], typer.Option(help="Where to deploy: a name in config/scenarios or a file; may be given again.")
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Offline bundle; by default the shipped one.", metavar="DIR")
    ] = None,
    offline: Annotated[str, typer.Option(help="Folders of its training data, separated by ':'.")] = "",
    arm: Annotated[
        list[str] | None, typer.Option(help="fosp, no_expansion or offline; may be given again; by default all.")
    ] = None,
    monitor: Annotated[Monitor, typer.Option(help="shadow: the monitor judges without gating.")] = Monitor.on,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with other scenes.")] = 3,
    episodes: Annotated[int, typer.Option(min=1, help="Of fine-tuning.")] = 40,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help="Afterwards, on unseen scenes.")] = 100,
    config: Annotated[str, typer.Option(help="YAML with settings of fine-tuning.", metavar="FILE")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials concluded at the same time; by default as many as cores allow.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; trials that are in it are not run again.")] = Path(
        "runs/experiment"
    ),
) -> int:
    """Fine-tune through the live graph where the data says nothing, and evaluate. OUT: transfer.json, transfer.png."""
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.episode_driver import RunFailed
    from fosp_cli.experiments.transfer_experiment import ARMS, Resources, Trial, conclude, deploy
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.processes import ProcessDied, in_processes
    from fosp_core.specs import read_robot
    from fosp_learner.bundling.training_weights import read_weights
    from fosp_sim.task.scenario import read_scenario

    arms = tuple(arm or ARMS)
    for name in arms:
        if name not in ARMS:
            raise UserError(f"--arm must be one of {', '.join(ARMS)}, got '{name}'")
    paths = [scenario_path(name).resolve() for name in scenario]
    task = read_scenario(paths[0]).task
    chosen = bundle or default_bundle(task)
    robot = read_robot(robot_path(verify_bundle(chosen).robot))
    if set(arms) - {"offline"}:
        read_weights(chosen)  # before an hour of episodes, not after it
    resources = Resources(chosen.resolve(), robot, offline, config, out)
    workers = workers or max(1, (os.cpu_count() or 1) // resources.settings.cores)
    try:
        # Seed by seed: what is interrupted has something to say of every scenario.
        for seed in range(seeds):
            trials = [
                Trial(name, path, seed, monitor.value, episodes, evaluation_episodes)  # type: ignore[arg-type]
                for path in paths
                for name in arms
            ]
            for trial in trials:
                deploy(trial, resources)
            print(f"seed {seed}: concluding {len(trials)} trials, {workers} at a time")
            with closing(in_processes(conclude, [(trial, resources) for trial in trials], workers)) as done:
                for index, _ in done:
                    print(f"{trials[index].name}: done")
                    _write(out)
    except (RunFailed, ProcessDied) as error:
        print(f"fosp: {error}; what is done is kept, start the command again", file=sys.stderr)
        return 1
    _print(_write(out))
    print(f"written to {out / 'transfer.json'}")
    return 0


def _write(out: Path) -> list[dict[str, Any]]:
    """transfer.json and transfer.png of all trials in `out`; their table."""
    from fosp_cli.experiments.experiment_figure import curves_figure
    from fosp_cli.experiments.transfer_experiment import table, trials_in

    trials = trials_in(out)
    rows = table(trials)
    (out / "transfer.json").write_text(json.dumps({"trials": trials, "table": rows}, indent=2) + "\n")
    curves_figure(rows).savefig(out / "transfer.png", dpi=110)
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    def text(rate: dict[str, Any]) -> str:
        low, high = rate["ci95"]
        return f"{rate['rate']:.0%} ({low:.0%} to {high:.0%})"

    def signed(rate: dict[str, Any]) -> str:
        low, high = rate["ci95"]
        return f"{rate['rate']:+.0%} ({low:+.0%} to {high:+.0%})"

    shown = Table(
        *("scenario", "arm", "seeds", "success after", "gain", "goal", "violations after", "without monitor"),
        *("violations during", "cost per episode"),
    )
    for row in rows:
        without = [text(row[name]) for name in ("success_after_unmonitored", "violations_after_unmonitored")]
        shown.add_row(
            row["scenario"],
            row["arm"] if row["monitor"] == "on" else f"{row['arm']}, monitor {row['monitor']}",
            str(row["seeds"]),
            text(row["success_after"]),
            signed(row["gain"]) if row["gain"] and row["arm"] != "offline" else "",
            "" if row["goal"] is None else f"{row['goal']:.0%}",
            text(row["violations_after"]),
            f"{without[0]}, violations {without[1]}",
            text(row["violations_during"]),
            f"{row['cost_per_episode_during']:.2f}",
        )
    # A file or a pipe has no width that cells would have to be broken for.
    Console(width=None if sys.stdout.isatty() else 260).print(shown)
