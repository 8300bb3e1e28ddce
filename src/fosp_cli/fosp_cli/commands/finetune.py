"""`fosp finetune`: a bundle and what the robot has experienced with it in, a better bundle out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def finetune(
    bundle: Annotated[Path, typer.Option(help="Bundle to go on from.", metavar="DIR")],
    bags: Annotated[
        list[Path],
        typer.Option(help="Folders of new bags: --bags A B, or --bags A --bags B.", metavar="DIR..."),
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", metavar="BUNDLE")],
    more: Annotated[list[Path] | None, typer.Argument(help="What follows --bags A.", metavar="[DIR]...")] = None,
    offline: Annotated[
        list[Path] | None,
        typer.Option(help="Folders of the bags that the bundle was trained on; may be given again.", metavar="DIR"),
    ] = None,
    robot: Annotated[
        str, typer.Option(help="Robot by name or file; by default the one that the bundle names.", metavar="ROBOT")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Updates; by default as the configuration says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of batches and held-out episodes.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint that the bundle was exported from, if it holds no weights.", metavar="DIR"),
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Private key to sign the new bundle with.", metavar="FILE")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with settings that differ from the defaults.", metavar="FILE")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for the run and the cache.", metavar="DIR")] = Path("runs"),
) -> int:
    """Fine-tune a bundle on new bags: half of each batch from them, half from the data that it was trained on.

    The new bundle is judged against the old one on episodes that neither was trained on; `fosp bundle log` shows it.
    """
    from fosp_bringup.paths import robot_path
    from fosp_core.bundle.bundle import read_manifest
    from fosp_core.errors import UserError
    from fosp_core.specs import parse_spec, read_robot, read_yaml
    from fosp_learner.finetuning.config import FinetuneConfig
    from fosp_learner.finetuning.lineage import publish
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.training.phases import TrainingDiverged

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
    command = shlex.join(["./fosp", *sys.argv[1:]])
    run = runs / "finetune" / out.absolute().name
    learner = OnlineLearner(sources, settings, run, resume=resume, command=command)
    try:
        learner.run()
    except TrainingDiverged as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    candidate = learner.newest_candidate()
    publish(candidate.path, out)
    print(f"{out}: {candidate.manifest.task} for {candidate.manifest.robot}, id {candidate.manifest.id}")
    for reason in candidate.judgement.reasons:
        print(f"did not pass the gate: {reason}", file=sys.stderr)
    return 0
