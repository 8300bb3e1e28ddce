"""`fosp experiment`: run the protocols behind the figures in the documentation."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fosp_cli.commands.options import Bundle

app = typer.Typer(no_args_is_help=True, help="Run the protocol behind a table of the documentation.")


@app.callback()
def _keep_group() -> None:
    """Keep `transfer` a sub-command while it is the only one."""


@app.command()
def transfer(
    scenario: Annotated[
        list[str],
        typer.Option(
            help="Scenario to deploy on: a name in config/scenarios or a YAML file. Repeat the option for more.",
            metavar="SCENARIO",
        ),
    ],
    bundle: Bundle = None,
    offline: Annotated[
        str, typer.Option(help="Folders of the bundle's training data, separated by ':'.", metavar="DIR:DIR")
    ] = "",
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="Arm to run: fosp, no_expansion or offline. Repeat the option for more. The default is all.",
            metavar="ARM",
        ),
    ] = None,
    monitor: Annotated[
        Literal["on", "shadow"],
        typer.Option(help="Safety monitor while learning. 'on' gates; 'shadow' judges without gating."),
    ] = "on",
    seeds: Annotated[int, typer.Option(min=1, help="Number of repetitions, each on other scenes.")] = 3,
    episodes: Annotated[int, typer.Option(min=1, help="Number of fine-tuning episodes per trial.")] = 40,
    evaluation_episodes: Annotated[
        int, typer.Option(min=1, help="Number of evaluation episodes per trial, on scenes that no fine-tuning saw.")
    ] = 100,
    config: Annotated[
        str, typer.Option(help="YAML file with fine-tuning settings that differ from the defaults.", metavar="FILE")
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trials to conclude at the same time. The default is what the cores allow."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the results. Trials that are in it are not run again.", metavar="DIR")
    ] = Path("runs/experiment"),
) -> int:
    """Deploy an offline bundle on scenarios that its data does not cover, fine-tune it there, and evaluate it.

    Fine-tuning runs through the live graph in real time. The results are OUT/transfer.json and OUT/transfer.png.
    """
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.live_graph import RunFailed
    from fosp_cli.transfer_experiment import ARMS, Resources, Trial, conclude, deploy
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
        read_weights(chosen)  # a bundle without weights fails here, not after an hour of episodes
    resources = Resources(chosen.resolve(), robot, offline, config, out)
    workers = workers or max(1, (os.cpu_count() or 1) // resources.settings.cores)
    try:
        # Seed by seed, so that an interrupted run has results for every scenario.
        for seed in range(seeds):
            trials = [
                Trial(name, path, seed, monitor, episodes, evaluation_episodes)  # type: ignore[arg-type]
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
        print(f"fosp: {error}; finished trials are kept: start the command again", file=sys.stderr)
        return 1
    _print(_write(out))
    print(f"written to {out / 'transfer.json'}")
    return 0


def _write(out: Path) -> list[dict[str, Any]]:
    """Write transfer.json and transfer.png of all trials in `out`, and return their table."""
    from fosp_cli.pictures import curves_figure
    from fosp_cli.transfer_experiment import table, trials_in

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
        *("scenario", "arm", "seeds", "success after", "gain over offline", "goal", "violations after"),
        *("success after, monitor off", "violations during", "cost per episode during"),
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
    # A file or a pipe has no width, so cells need not be broken.
    Console(width=None if sys.stdout.isatty() else 260).print(shown)
