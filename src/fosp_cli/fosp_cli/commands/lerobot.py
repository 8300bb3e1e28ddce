"""`fosp bags import lerobot` and `fosp bags export lerobot`: from and to a LeRobotDataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import RobotOfBags

import_app = typer.Typer(no_args_is_help=True, help="Turn recordings of another format into bags.")
export_app = typer.Typer(no_args_is_help=True, help="Turn bags into recordings of another format.")
_TOLD = 5
"""Episodes or bags whose reasons are told one by one."""


@import_app.command("lerobot")
def import_lerobot(
    folder: Annotated[Path, typer.Argument(help="LeRobotDataset v3: the folder that holds meta/.", metavar="DIR")],
    robot: Annotated[
        str,
        typer.Option(help="The robot that the bags are for: a name in config/robots or a YAML file.", metavar="ROBOT"),
    ],
    out: Annotated[Path, typer.Option(help="New folder that gets one bag folder per episode.", metavar="DIR")],
    feedback: Annotated[
        str,
        typer.Option(
            help="Rules that give reward, cost and success: a name in config/feedback or a YAML file. Without them "
            "the columns count that the mapping names.",
            metavar="RULES",
        ),
    ] = "",
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="YAML file that says what the data set's features are. The default is meta/fosp.yaml of the data set, "
            "which fosp bags export writes.",
            metavar="FILE",
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="Import the episodes of this task only, of several.", metavar="NAME")] = "",
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Allow images of a multiple of the robot's camera rate to be thinned out."),
    ] = False,
) -> int:
    """Turn a LeRobotDataset (v3) into bags that bags check and pretrain take, one per episode.

    An episode that cannot be used is left out and named. The exit code is 2 if there is any.
    """
    from rich.progress import track

    from fosp_bringup.paths import feedback_path, robot_path
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot
    from fosp_learner.lerobot.importing import plan_import, write_bags
    from fosp_learner.lerobot.mapping import MAPPING_FILE, read_mapping
    from fosp_recording.feedback_rules import read_feedback_config

    config = read_robot(robot_path(robot))
    file = mapping or folder / MAPPING_FILE
    if mapping is None and folder.is_dir() and not file.is_file():
        raise UserError(f"{folder} does not say what its features are: give --mapping FILE (docs/lerobot.md)")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    rules = read_feedback_config(feedback_path(feedback)) if feedback else None
    plan = plan_import(folder, config, read_mapping(file, config), rules, resample, task)
    for note in plan.notes:
        print(f"note: {note}")
    steps, successes, violations, count = 0, 0, 0, 0
    for done in track(write_bags(plan, out), total=len(plan.episodes), description="importing"):
        count += 1
        steps += len(done.feedback) - 1
        successes += any(values.success for values in done.feedback)
        violations += any(values.cost > 0 for values in done.feedback)
    print(f"{count} episodes in {out}: {steps} steps, {successes} successes, {violations} violations")
    return _left_out(plan.left_out, "episodes")


@export_app.command("lerobot")
def export_lerobot(
    folders: Annotated[list[Path], typer.Argument(help="Bags, or folders of bags.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="New folder for the data set.", metavar="DIR")],
    robot: RobotOfBags = "",
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="YAML file that names features, rate and codec. By default twists are in SI units, the video is "
            "H.264, and each camera of the robot is observation.images.NAME.",
            metavar="FILE",
        ),
    ] = None,
) -> int:
    """Turn bags into a LeRobotDataset v3, which lerobot 0.6 opens: one episode for each of the bags.

    A bag that cannot be used is left out and named. The exit code is 2 if there is any.
    """
    from rich.progress import track

    from fosp_bringup.paths import robot_files, robot_path
    from fosp_core.robot.config import read_robot
    from fosp_core.topics import COLOR_IMAGE, of_camera
    from fosp_learner.data.bag_sets import choose_robot
    from fosp_learner.data.bags import find_bags
    from fosp_learner.lerobot.exporting import ExportReport, export_bags
    from fosp_learner.lerobot.mapping import default_mapping, read_mapping

    bags = find_bags(folders)
    paths = [robot_path(robot)] if robot else robot_files()
    config = choose_robot(bags, [read_robot(path) for path in paths])
    topics = tuple(of_camera(COLOR_IMAGE, camera.name) for camera in config.cameras)
    chosen = read_mapping(mapping, config) if mapping else default_mapping(config, topics)
    report = ExportReport()
    for _ in track(export_bags(bags, config, chosen, out, report), total=len(bags), description="exporting"):
        pass
    if report.held:
        print(f"note: {report.held} of {report.rows} rows repeat the frame before, as theirs was lost")
    print(f"{report.episodes} episodes in {out}: {report.rows} rows")
    return _left_out(report.left_out, "bags")


def _left_out(lines: Sequence[str], what: str) -> int:
    """Print what was left out, and return the exit code."""
    for line in lines[:_TOLD]:
        print(f"left out: {line}")
    if len(lines) > _TOLD:
        print(f"left out: {len(lines) - _TOLD} more")
    if lines:
        print(f"fosp: {len(lines)} {what} were left out, the first: {lines[0]}", file=sys.stderr)
    return 2 if lines else 0
