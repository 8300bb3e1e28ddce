"""`fosp experiment`: run the protocols behind the figures in the documentation."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fosp_cli.commands.options import Bundle, Workers
from fosp_cli.json_file import write_json

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Run the protocol behind a table of the documentation.")


@app.command()
def transfer(
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="Scenario to deploy on: a name in config/scenarios or a YAML file. Repeat the option for more. The "
            "default is the six kinds of unseen scenes of the protocol.",
            metavar="SCENARIO",
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(help="Without --scenario: task whose six kinds are run, safe_reach or safe_goal.", metavar="TASK"),
    ] = "safe_reach",
    bundle: Bundle = None,
    offline: Annotated[
        str, typer.Option(help="Folders of the bundle's training data, separated by ':'.", metavar="DIR:DIR")
    ] = "",
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="Arm to run: careful, offline, recalibrated, retreat, filtered_cloning, no_expansion, fosp_paper, "
            "fosp, fosp_hazards, or, with --operator, fosp_corrected. Repeat the option for more. The default is all.",
            metavar="ARM",
        ),
    ] = None,
    monitor: Annotated[
        Literal["on", "shadow"],
        typer.Option(help="Safety monitor while learning. 'on' gates; 'shadow' judges without gating."),
    ] = "on",
    operator: Annotated[
        str,
        typer.Option(
            help="Simulated person who corrects the policy in the arm fosp_corrected: careful.", metavar="NAME"
        ),
    ] = "",
    budget: Annotated[float, typer.Option(help="Largest share of the steps that --operator drives.")] = 0.1,
    seeds: Annotated[int, typer.Option(min=1, help="Number of repetitions, each on other scenes.")] = 3,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Run this seed alone, in place of --seeds. Repeat the option for more.", metavar="N"),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of fine-tuning episodes per trial.")] = 40,
    evaluation_episodes: Annotated[
        int, typer.Option(min=1, help="Number of evaluation episodes per trial, on scenes that no fine-tuning saw.")
    ] = 100,
    config: Annotated[
        str, typer.Option(help="YAML file with fine-tuning settings that differ from the defaults.", metavar="FILE")
    ] = "",
    hours: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Begin no further trial after this time, and tell what is left. The default is to run everything.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trials to conclude at the same time. The default is what the cores allow."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the results. Trials that are in it are not run again.", metavar="DIR")
    ] = Path("runs/experiment"),
) -> int:
    """Deploy an offline bundle on scenarios that its data does not cover, fine-tune it there, and evaluate it.

    Fine-tuning runs through the live graph in real time. The results are OUT/transfer.json and OUT/transfer.png. Start
    the command again to go on, after an interruption or with --hours: a trial goes on with its next episode. Several
    calls may share the work by --scenario, --arm and --seed, one after the other, into the same --out.
    """
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.live_graph import RunFailed
    from fosp_cli.experiments.arms import ARMS, CORRECTED, ENSEMBLE, PROTOCOL, SETTINGS, without_ensemble
    from fosp_cli.experiments.simulated_operator import OperatorSettings
    from fosp_cli.experiments.transfer import (
        Resources,
        Trial,
        conclude,
        deploy,
        is_deployed,
        is_done,
        pieces,
        require_same,
        require_tables,
    )
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.processes import ProcessDied, in_processes
    from fosp_core.robot.config import read_robot
    from fosp_learner.bundling.training_weights import read_weights
    from fosp_sim.task.scenario import read_scenario

    person = OperatorSettings(operator, budget) if operator else None  # type: ignore[arg-type]
    arms = tuple(arm or (name for name in ARMS if person is not None or name != CORRECTED))
    for name in arms:
        if name not in ARMS:
            raise UserError(f"--arm must be one of {', '.join(ARMS)}, got '{name}'")
    if CORRECTED in arms and person is None:
        raise UserError(f"--arm {CORRECTED} needs a person: --operator careful")
    if not scenario and task not in PROTOCOL:
        raise UserError(f"--task must be one of {', '.join(PROTOCOL)}, got '{task}'")
    paths = [scenario_path(name).resolve() for name in scenario or PROTOCOL[task]]
    chosen = bundle or default_bundle(read_scenario(paths[0]).task)
    manifest = verify_bundle(chosen)
    robot = read_robot(robot_path(manifest.robot))
    doubt = without_ensemble(manifest)
    if doubt and ENSEMBLE in arms:
        if arm:
            raise UserError(f"--arm {ENSEMBLE}: {doubt}")
        print(f"without the arm {ENSEMBLE}: {doubt}", file=sys.stderr)
        arms = tuple(name for name in arms if name != ENSEMBLE)
    if any(SETTINGS[name].learns for name in arms):  # type: ignore[index]
        read_weights(chosen)  # a bundle without weights fails here, not after an hour of episodes
    resources = Resources(chosen.resolve(), robot, offline, config, out)
    workers = workers or max(1, (os.cpu_count() or 1) // resources.settings.cores)
    begun_s = time.monotonic()
    trials = [
        Trial(
            name,  # type: ignore[arg-type]
            path,
            seed,
            monitor,
            episodes,
            evaluation_episodes,
            person if name == CORRECTED else None,
        )
        for seed in (seed or range(seeds))  # seed by seed, so that an interrupted run has results for every scenario
        for path in paths
        for name in arms
    ]
    require_same(trials, resources)
    require_tables(out)
    try:
        for piece in pieces(trials, out):
            for trial in piece:
                if hours is None or time.monotonic() - begun_s <= 3600.0 * hours:
                    deploy(trial, resources)
            piece = [trial for trial in piece if is_deployed(trial, out)]
            if not piece:
                continue
            print(
                f"{piece[0].scenario.stem}, seed {piece[0].seed}: concluding {len(piece)} trials, {workers} at a time"
            )
            with closing(in_processes(conclude, [(trial, resources) for trial in piece], workers)) as done:
                for index, _ in done:
                    print(f"{piece[index].name}: done")
                    _write(out)
        left = sum(not is_done(trial, out) for trial in trials)
        if left:
            print(f"{left} of {len(trials)} trials are left: start the command again")
    except (RunFailed, ProcessDied) as error:
        print(f"fosp: {error}; finished trials are kept: start the command again", file=sys.stderr)
        return 1
    _print(_write(out))
    print(f"written to {out / 'transfer.json'}")
    return 0


@app.command(name="safety-gym")
def safety_gym(
    task: Annotated[
        str,
        typer.Option(help="point_goal1, point_goal2, point_button1, point_push1 or car_goal2.", metavar="TASK"),
    ],
    episodes: Annotated[int, typer.Option(min=2, help="Number of demonstrations.")] = 600,
    steps: Annotated[int, typer.Option(min=1, help="Full updates of training.")] = 2500,
    size: Annotated[Literal["nano", "small", "paper"], typer.Option(help="Size of the networks.")] = "nano",
    evaluation_episodes: Annotated[int, typer.Option(min=1, help="Number of episodes of each evaluation.")] = 50,
    finetuning_episodes: Annotated[
        int, typer.Option(min=0, help="Number of episodes of fine-tuning on the live graph, in real time; 0: none.")
    ] = 100,
    calibration_episodes: Annotated[
        int, typer.Option(min=0, help="Demonstrations that calibrate alone; 0: those that training held out.")
    ] = 300,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with settings of training, in place of config/learner/safety_gym.yaml.", metavar="FILE"
        ),
    ] = None,
    finetuning_config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with settings of fine-tuning, in place of config/finetuning/safety_gym.yaml.",
            metavar="FILE",
        ),
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            help="Last stage to run: record, check, pretrain, calibrate, eval, unseen or finetune. The same command "
            "with a later one goes on from there.",
            metavar="STAGE",
        ),
    ] = "finetune",
    page: Annotated[
        Path | None,
        typer.Option(
            help="Markdown page to write with the figures of all tasks in OUT, beside the paper's. The default is "
            "OUT/results.md.",
            metavar="FILE",
        ),
    ] = None,
    workers: Workers = None,
    out: Annotated[
        Path, typer.Option(help="Folder for bags, bundles and figures, by task. What is there is kept.", metavar="DIR")
    ] = Path("runs/safety_gym"),
) -> int:
    """Make one of the paper's tasks from nothing: demonstrations, training, evaluations, unseen scenes, fine-tuning.

    An interrupted run goes on where it stopped: start the command again. The figures are in OUT/TASK/figures.json.
    """
    from fosp_cli.experiments.stages import CourseRun, run_course

    budget = (episodes, steps, size, evaluation_episodes, finetuning_episodes, calibration_episodes)
    wanted = CourseRun(task, *budget, until, config, finetuning_config)
    written = run_course(wanted, out, page or out / "results.md", workers)
    print(f"written to {' and '.join(map(str, written))}")
    return 0


@app.command()
def camera(
    scenario: Annotated[
        list[str],
        typer.Option(
            help="Scenario to run: a name in config/scenarios or a YAML file. Repeat the option for more.",
            metavar="SCENARIO",
        ),
    ],
    bundle: Bundle = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Fault of the camera, or 'healthy'. Repeat the option for more. The default is all.", metavar="NAME"
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of scenes per fault.")] = 60,
    workers: Workers = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the figures to.", metavar="FILE")
    ] = None,
) -> int:
    """Play faults of the camera in process, each on the same scenes without and with the checks of the picture.

    In every second scene the fault is there from the first frame; in the others it begins in motion. A healthy row
    shows what the checks cost: success before and after, and the scenes that they stop.
    """
    from rich.progress import track

    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.image_faults import IMAGE_FAULTS
    from fosp_cli.experiments.camera_experiment import HEALTHY, CameraTrial, FaultedEpisode, row_of, run_scenes
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.errors import UserError
    from fosp_core.processes import ProcessDied, in_processes
    from fosp_core.robot.config import read_robot
    from fosp_sim.task.scenario import read_scenario

    names = {"healthy": HEALTHY, **{name: name for name in IMAGE_FAULTS}}
    wanted = fault or list(names)
    for name in wanted:
        if name not in names:
            raise UserError(f"--fault must be one of {', '.join(names)}, got '{name}'")
    paths = [scenario_path(name) for name in scenario]
    chosen = bundle or default_bundle(read_scenario(paths[0]).task)
    manifest = verify_bundle(chosen)
    robot = read_robot(robot_path(manifest.robot))
    trials = [
        CameraTrial(chosen, read_scenario(path), robot, names[name], checked)
        for path in paths
        for name in wanted
        for checked in (False, True)
    ]
    for trial in trials:
        if trial.scenario.task != manifest.task:
            raise UserError(f"{chosen}: bundle is for task '{manifest.task}', not '{trial.scenario.task}'")
    share = 10
    jobs = [
        (index, list(range(first, min(first + share, episodes))))
        for index in range(len(trials))
        for first in range(0, episodes, share)
    ]
    results: list[list[FaultedEpisode]] = [[] for _ in trials]
    try:
        with closing(in_processes(run_scenes, [(trials[i], some) for i, some in jobs], workers)) as done:
            for job, found in track(done, total=len(jobs), description="scenes", console=_stderr()):
                results[jobs[job][0]] += found
    except ProcessDied as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    rows = [
        {"scenario": path.stem, "fault": name, **row_of(results[at], results[at + 1])}
        for at, (path, name) in zip(
            range(0, len(trials), 2), [(path, name) for path in paths for name in wanted], strict=True
        )
    ]
    if json_out is not None:
        write_json(json_out, {"bundle": manifest.id, "rows": rows})
    _print_faults(rows)
    return 0


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _print_faults(rows: list[dict[str, Any]]) -> None:
    """Print the table as Markdown, ready for a page."""
    names = ["scenario", "fault", "scenes", "violated before", "violated after", "stopped before a violation"]
    names += ["safe, of those violated before", "success before", "success after"]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        of = row["stopped_of_violating"]
        cells = [row["scenario"], row["fault"], row["scenes"]]
        cells += [f"{row[name]:.1%}" for name in ("violated_before", "violated_after", "stopped_before_violation")]
        cells += ["" if of is None else f"{of:.0%}", f"{row['success_before']:.1%}", f"{row['success_after']:.1%}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _write(out: Path) -> list[dict[str, Any]]:
    """Write transfer.json and transfer.png of all trials in `out`, and return their table."""
    from fosp_cli.experiments.transfer import trials_in
    from fosp_cli.experiments.transfer_table import table
    from fosp_cli.pictures import curves_figure

    trials = trials_in(out)
    rows = table(trials)
    write_json(out / "transfer.json", {"trials": trials, "table": rows})
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
