"""`fosp pretrain`, `fosp finetune` and `fosp report`: from bags to a bundle, and the report of a training run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fosp_cli.commands.options import OfflineBags, RobotOfBags, RobotOfBundle, Settings
from fosp_core.errors import UserError

_EITHER = "--resume goes on with the run that --overwrite would remove: give one of them"

if TYPE_CHECKING:
    from fosp_core.specs import Manifest

_Steps = Annotated[int | None, typer.Option(min=1, help="Number of updates. The default is the configuration's.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of networks, batches and held-out episodes.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint of the run.")]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew where the run folder holds a checkpoint, and replace that.")
]
_Out = Annotated[Path, typer.Option(help="Bundle folder to write.", metavar="BUNDLE")]


def pretrain(
    bags: Annotated[list[Path], typer.Argument(help="Folders that hold one bag folder per episode.", metavar="DIR")],
    out: _Out,
    size: Annotated[
        Literal["nano", "small", "paper"],
        typer.Option(help="Size of the networks. Only 'nano' trains on a CPU in reasonable time."),
    ] = "nano",
    steps: _Steps = None,
    seed: _Seed = 0,
    resume: _Resume = False,
    overwrite: _Overwrite = False,
    robot: RobotOfBags = "",
    config: Settings = None,
    begin_with: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Bundle whose networks the training begins with, in place of random ones; to teach it what it has not "
            "seen yet.",
            metavar="BUNDLE",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device to train on. 'auto' takes a GPU if there is one.")
    ] = "auto",
) -> int:
    """Train world model, critics and actor on recorded bags, calibrate the safety threshold, and write a bundle."""
    from fosp_bringup.paths import robot_files, robot_path
    from fosp_cli.evaluation.scene_frames import scene_frames
    from fosp_core.robot.config import read_robot
    from fosp_core.specs import parse_spec, read_yaml
    from fosp_learner.config import LearnerConfig
    from fosp_learner.pretrain import pretrain as train
    from fosp_learner.training.phases import TrainingDiverged

    if resume and overwrite:
        raise UserError(_EITHER)
    described = read_yaml(config) or {} if config else {}
    given = {"size": size, "seed": seed} | ({"steps": steps} if steps else {})
    learner = parse_spec(LearnerConfig, described | given, str(config or "command line"))
    paths = [robot_path(robot)] if robot else robot_files()
    warnings: list[str] = []
    try:
        robots = [read_robot(path) for path in paths]
        manifest = train(
            bags,
            out,
            robots,
            learner,
            resume=resume,
            overwrite=overwrite,
            command=_command(),
            scene_of=scene_frames,
            device=device,
            begin_with=begin_with,
            warn=warnings.append,
        )
    except TrainingDiverged as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    if manifest is not None:  # one process of several writes the bundle
        _conclude(out, manifest, Path("runs") / "pretrain" / out.absolute().name / "report", warnings)
    return 0


def _conclude(out: Path, manifest: Manifest, report: Path, warnings: list[str]) -> None:
    """Tell what was made, what speaks against it, and what comes next."""
    from fosp_sim.task.tasks import TASKS

    print(f"bundle  {out}: {manifest.task} for {manifest.robot}, id {manifest.id}")
    for page in sorted(report.glob("*.html")):
        print(f"report  {page}")
    for warning in warnings:
        _warn(warning)
    if manifest.task in TASKS and TASKS[manifest.task].robot:  # it has a scenario of its name
        print(f"next    ./fosp eval --bundle {out} --scenario {manifest.task} --episodes 20")
        print(f"        ./fosp up sim --scenario {manifest.task} --bundle {out}")
    else:
        print(f"next    ./fosp bundle show {out} --robot {manifest.robot}")


def _warn(text: str) -> None:
    """Print a warning to stderr, in red on a terminal."""
    typer.secho(text, fg=typer.colors.RED if sys.stderr.isatty() else None, err=True)


def finetune(
    bundle: Annotated[Path, typer.Option(help="Bundle to start from.", metavar="DIR")],
    bags: Annotated[
        list[Path],
        typer.Option(help="Folders of new bags: --bags A B, or --bags A --bags B.", metavar="DIR"),
    ],
    out: _Out,
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further folders of new bags, after --bags A.", metavar="DIR")
    ] = None,
    offline: OfflineBags = None,
    robot: RobotOfBundle = "",
    steps: _Steps = None,
    seed: _Seed = 0,
    resume: _Resume = False,
    overwrite: _Overwrite = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint that the bundle was exported from. A bundle without training weights needs it.",
            metavar="DIR",
        ),
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Private key to sign the new bundle with.", metavar="FILE")] = None,
    config: Settings = None,
    runs: Annotated[Path, typer.Option(help="Folder for the run and for the cache of decoded bags.", metavar="DIR")] = (
        Path("runs")
    ),
) -> int:
    """Fine-tune a bundle on new bags: half of each batch comes from them, half from the bundle's training data.

    The new bundle is compared with the old one on episodes that neither was trained on. `fosp bundle log` shows the
    result.
    """
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import read_manifest
    from fosp_core.robot.config import read_robot
    from fosp_core.specs import parse_spec, read_yaml
    from fosp_learner.finetuning.config import FinetuneConfig
    from fosp_learner.finetuning.lineage import publish
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.training.phases import TrainingDiverged

    if resume and overwrite:
        raise UserError(_EITHER)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; choose another --out or remove it")
    described = read_yaml(config) or {} if config else {}
    if not isinstance(described, dict):
        raise UserError(f"{config}: expected a mapping of keys")
    given = {"seed": seed} | ({"steps": steps} if steps else {})
    settings = parse_spec(FinetuneConfig, {**described, **given}, str(config or "command line"))
    described_robot = read_robot(robot_path(robot or read_manifest(bundle).robot))
    sources = Sources(
        bundle, described_robot, (*bags, *(more or [])), tuple(offline or ()), weights, runs / "cache", sign
    )
    run = runs / "finetune" / out.absolute().name
    learner = OnlineLearner(sources, settings, run, resume=resume, overwrite=overwrite, command=_command())
    try:
        learner.run()
    except TrainingDiverged as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    candidate = learner.newest_candidate()
    publish(candidate.path, out)
    print(f"bundle  {out}: {candidate.manifest.task} for {candidate.manifest.robot}, id {candidate.manifest.id}")
    for reason in candidate.judgement.reasons:
        _warn(f"the bundle did not pass the gate: {reason}")
    print(f"next    ./fosp bundle log {run}       what was compared, and how it came out")
    print(f"        ./fosp bundle announce {out}  while the graph runs: it takes the bundle over without a stop")
    return 0


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a training run: runs/pretrain/NAME.", metavar="RUN")],
    scenario: Annotated[
        str,
        typer.Option(
            help="Scenario whose scene the reachability map shows, by name or file. The default is the task's own.",
            metavar="SCENARIO",
        ),
    ] = "",
) -> int:
    """Write the report of a training run again, from its last checkpoint and the cached data, to RUN/report."""
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_cli.evaluation.scene_frames import scene_frames, scene_frames_of
    from fosp_core.robot.config import read_robot
    from fosp_core.specs import ObservationSpec
    from fosp_learner.report.run import read_facts, rebuild_report
    from fosp_sim.task.scenario import read_scenario

    if not run.is_dir():
        raise UserError(f"{run}: no such run; give a folder of runs/pretrain")
    facts, scene = read_facts(run), None
    if scenario:
        path = scenario_path(scenario)
        robot = facts.robot if facts else read_robot(robot_path(read_scenario(path).robot))
        scene = scene_frames_of(path, robot, facts.observation if facts else ObservationSpec())
    elif facts:
        scene = scene_frames(facts.task, facts.robot, facts.observation)
    print(rebuild_report(run, scene))
    return 0


def _command() -> str:
    """Return the command line as a person would repeat it, for the bundle's provenance."""
    return shlex.join(["./fosp", *sys.argv[1:]])
