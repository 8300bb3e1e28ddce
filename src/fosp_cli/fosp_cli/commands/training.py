"""`fosp pretrain`: bags in, bundle out."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Size(StrEnum):
    nano = "nano"
    small = "small"
    paper = "paper"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def pretrain(
    bags: Annotated[list[Path], typer.Argument(help="Folders with bags, one folder per episode.", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", metavar="BUNDLE")],
    size: Annotated[Size, typer.Option(help="Networks: nano trains on a CPU in an hour.")] = Size.nano,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates; by default as the configuration says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of networks, batches and the validation split.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    robot: Annotated[str, typer.Option(help="Robot by name or file; by default the one the bags name.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="YAML with hyperparameters that differ from the defaults.", metavar="FILE")
    ] = None,
    device: Annotated[Device, typer.Option(help="auto: a GPU if there is one.")] = Device.auto,
) -> int:
    """Train world model, critics and actor on recorded bags, calibrate, and write a bundle."""
    import sys

    from fosp_bringup.paths import robot_path, share
    from fosp_cli.evaluation.scene_frames import scene_frames
    from fosp_core.specs import parse_spec, read_robot, read_yaml
    from fosp_learner.config import LearnerConfig
    from fosp_learner.pretrain import pretrain as train
    from fosp_learner.training.trainer import TrainingDiverged

    described = read_yaml(config) or {} if config else {}
    given = {"size": size.value, "seed": seed} | ({"steps": steps} if steps else {})
    learner = parse_spec(LearnerConfig, described | given, str(config or "command line"))
    paths = [robot_path(robot)] if robot else sorted((share() / "config" / "robots").glob("*.yaml"))
    command = shlex.join(["./fosp", *sys.argv[1:]])
    try:
        robots = [read_robot(path) for path in paths]
        manifest = train(
            bags, out, robots, learner, resume=resume, command=command, scene_of=scene_frames, device=device.value
        )
    except TrainingDiverged as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    if manifest is not None:  # one process of several writes the bundle
        print(f"{out}: {manifest.task} for {manifest.robot}, id {manifest.id}")
    return 0
