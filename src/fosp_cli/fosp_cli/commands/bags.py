"""`fosp bags` and `fosp replay`: look at recorded bags before anything is trained on them, and play one back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fosp_cli.commands.options import Namespace, RobotArgument, RobotOfBags

if TYPE_CHECKING:
    from rich.table import Table

    from fosp_learner.data.bags import BagReport

app = typer.Typer(no_args_is_help=True, help="Check, show and describe recorded bags.")
_Folders = Annotated[list[Path], typer.Argument(help="Bags, or folders of bags.", metavar="DIR")]


@app.command()
def check(
    folders: _Folders,
    robot: RobotOfBags = "",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML configuration of fosp pretrain. Its cameras and decision period are used.", metavar="FILE"
        ),
    ] = None,
) -> int:
    """Report for each bag what training would use, what it would drop, and why.

    The exit code is 2 if any bag cannot be used.
    """
    import sys

    from rich.console import Console

    from fosp_bringup.paths import robot_files, robot_path
    from fosp_core.bundle.bundle import uneven_decisions
    from fosp_core.robot.config import read_robot
    from fosp_core.specs import parse_spec, read_yaml
    from fosp_learner.config import LearnerConfig
    from fosp_learner.data.bags import check_bags, choose_robot, find_bags, one_size

    bags = find_bags(folders)
    paths = [robot_path(robot)] if robot else robot_files()
    chosen = choose_robot(bags, [read_robot(path) for path in paths])
    learner = parse_spec(LearnerConfig, read_yaml(config) or {}, str(config)) if config else LearnerConfig()
    uneven = uneven_decisions(learner.decision_period_s, chosen.camera_frame_rate_hz)
    if uneven:
        print(f"fosp: {uneven}", file=sys.stderr)
    reports = check_bags(folders, learner.observation, chosen, learner.decision_period_s)
    Console().print(_table(reports, f"Bags of robot {chosen.name} (frames, feedback, commands: used/recorded)"))
    unusable = [report for report in reports if report.problem]
    usable = [report for report in reports if not report.problem]
    print(
        f"{len(usable)} of {len(reports)} bags can be trained on: {sum(r.steps for r in usable)} steps, "
        f"{sum(r.success for r in usable)} successes, {sum(r.violation for r in usable)} violations"
    )
    if unusable:
        more = f" (and {len(unusable) - 1} more bags cannot be used)" if len(unusable) > 1 else ""
        print(f"fosp: {unusable[0].bag}: {unusable[0].problem}{more}", file=sys.stderr)
        return 2
    one_size(usable)
    return 0


@app.command()
def show(
    folders: _Folders,
    out: Annotated[Path, typer.Option(help="PNG file to write.", metavar="PNG")] = Path("runs/bags.png"),
) -> int:
    """Draw a contact sheet: one row of frames per episode, its outcome, and where it cost or was marked."""
    import numpy as np

    from fosp_cli.pictures import ROWS, draw_contact_sheet, read_row
    from fosp_core.errors import UserError
    from fosp_learner.data.bags import find_bags

    if out.suffix.lower() != ".png":
        raise UserError(f"--out must end in .png, got {out}")
    bags = find_bags(folders)
    chosen = [bags[i] for i in np.unique(np.linspace(0, len(bags) - 1, min(ROWS, len(bags))).astype(int))]
    rows = [read_row(bag) for bag in chosen]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_contact_sheet(rows, out)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    some = f"{len(rows)} of {len(bags)}" if len(rows) < len(bags) else str(len(rows))
    print(f"{some} episodes: {out}")
    return 0


@app.command()
def topics(
    robot: RobotArgument,
    namespace: Namespace = "",
) -> int:
    """Print on one line the topics that `ros2 bag record` has to record for this robot."""
    from fosp_bringup.paths import robot_path
    from fosp_core.robot.config import read_robot
    from fosp_core.topics import resolve
    from fosp_recording.recorded_topics import episode_topics

    names = episode_topics(read_robot(robot_path(robot)))
    print(" ".join(dict.fromkeys(resolve(name, namespace) for name in names)))
    return 0


def replay(
    bag: Annotated[Path, typer.Argument(help="Bag folder to play.", metavar="BAG")],
    rate: Annotated[
        float, typer.Option(help="Playback speed as a multiple of the recorded speed, from 0.01 to 100.")
    ] = 1.0,
    stamps: Annotated[
        Literal["now", "recorded"],
        typer.Option(
            help="Header stamps. 'now' moves all of them to the present by one offset; 'recorded' keeps them."
        ),
    ] = "now",
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", help="Play this topic only. Repeat the option for more topics.", metavar="NAME"),
    ] = None,
) -> int:
    """Publish a bag on its own topics with the original spacing, for a learner, a recorder or a viewer.

    The command refuses to run while a node that could be a robot listens to the bag's command topic, unless --topic
    names that topic.
    """
    import os

    from fosp_bringup.stack import environment
    from fosp_cli.replay import play
    from fosp_core.errors import UserError

    if not 0.01 <= rate <= 100.0:
        raise UserError(f"--rate must be from 0.01 to 100, got {rate:g}")
    os.environ.update(environment())
    count, late_s = play(bag, rate, stamps == "now", tuple(topics or ()))
    print(f"{bag}: {count} messages played, the latest {late_s * 1e3:.1f} ms late")
    return 0


def _table(reports: Sequence[BagReport], title: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for column in ("bag", "format", "images", "steps", "success", "violation", "frames", "feedback", "commands"):
        table.add_column(column, justify="left" if column in ("bag", "format", "images") else "right", overflow="fold")
    table.add_column("remark", overflow="fold", min_width=16)
    for report in reports:
        if report.problem:
            table.add_row(report.bag, *[""] * 8, report.problem)
            continue
        done = ["yes" if flag else "no" for flag in (report.success, report.violation)]
        used = [str(stream) for stream in (report.frames, report.feedback, report.commands)]
        images = ", ".join(report.images)
        table.add_row(report.bag, report.format, images, str(report.steps), *done, *used, "; ".join(report.notes))
    return table
