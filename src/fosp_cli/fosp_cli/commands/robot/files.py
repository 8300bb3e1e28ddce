"""`fosp robot`: robot files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands import help_texts
from fosp_core.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Write robot files.", context_settings=help_texts.HELP_NAMES)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the robot, such as my_robot.", metavar="NAME")],
    out: Annotated[
        Path | None, typer.Option(help="File to write. The default is NAME.yaml in this folder.", metavar="FILE")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what no option says is its default.")] = False,
    kind: Annotated[str | None, typer.Option(help="arm or base.", metavar="KIND")] = None,
    axes: Annotated[
        str | None, typer.Option(help="Twist components of the action, such as linear.x,angular.z.", metavar="NAMES")
    ] = None,
    frame: Annotated[str | None, typer.Option(help="TF frame of the twist.", metavar="FRAME")] = None,
    linear_scale: Annotated[str | None, typer.Option(help="Linear speed at action 1, m/s.", metavar="M/S")] = None,
    linear_speed: Annotated[str | None, typer.Option(help="Limit of the linear speed, m/s.", metavar="M/S")] = None,
    linear_acceleration: Annotated[str | None, typer.Option(help="Its acceleration, m/s^2.", metavar="M/S2")] = None,
    linear_deceleration: Annotated[str | None, typer.Option(help="When stopping, m/s^2.", metavar="M/S2")] = None,
    angular_scale: Annotated[
        str | None, typer.Option(help="Angular speed at action 1, rad/s.", metavar="RAD/S")
    ] = None,
    angular_speed: Annotated[str | None, typer.Option(help="Limit of it, rad/s.", metavar="RAD/S")] = None,
    angular_acceleration: Annotated[str | None, typer.Option(help="In rad/s^2.", metavar="RAD/S2")] = None,
    angular_deceleration: Annotated[str | None, typer.Option(help="When stopping, rad/s^2.", metavar="RAD/S2")] = None,
    workspace: Annotated[
        str | None,
        typer.Option(help="Box of an arm's tool, m, in that frame: lower x,y,z, upper x,y,z.", metavar="NUMBERS"),
    ] = None,
    command_topic: Annotated[str | None, typer.Option(help="Topic of the commands.", metavar="TOPIC")] = None,
    command_type: Annotated[
        str | None, typer.Option(help="TwistStamped, Twist or PoseStamped.", metavar="TYPE")
    ] = None,
    target_lead: Annotated[
        str | None, typer.Option(help="With PoseStamped: how far the target may run ahead, m.", metavar="M")
    ] = None,
    command_rate_hz: Annotated[str | None, typer.Option(help="Rate of the commands, Hz.", metavar="HZ")] = None,
    command_timeout_s: Annotated[
        str | None, typer.Option(help="Silence after which the robot stops by itself, s.", metavar="S")
    ] = None,
    state_topic: Annotated[str | None, typer.Option(help="Topic of the robot's state.", metavar="TOPIC")] = None,
    state_type: Annotated[str | None, typer.Option(help="JointState or Odometry.", metavar="TYPE")] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of an arm's measured pose.", metavar="TOPIC")] = None,
    estops: Annotated[
        str | None, typer.Option(help="Topics of emergency stops, or none.", metavar="TOPICS|none")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(help="realsense[:SERIAL], opencv:DEVICE or driver:TOPIC; see fosp cameras.", metavar="CAMERA"),
    ] = None,
    camera_rate_hz: Annotated[str | None, typer.Option(help="Rate of its images, Hz.", metavar="HZ")] = None,
) -> int:
    """Write a robot file: ask for what no option says, check it, and explain every value in the file.

    Without a terminal, or with --yes, what no option says is its default, and what has none is named. The values are
    those of the robot's data sheet at most; fosp commission then measures what the robot really does.
    """
    said = locals().copy()
    from fosp_cli.commissioning.new_robot import QUESTIONS, answered, check_new_file, robot_text, write_new_file

    given = {question.key: said[question.key] for question in QUESTIONS if said[question.key] is not None}
    path = out or Path(f"{name}.yaml")
    check_new_file(path, overwrite)
    talks = not yes and sys.stdin.isatty()
    try:
        answers = answered(given, _ask if talks else None)
    except EOFError:
        raise UserError("the input ended before the last answer; nothing is written") from None
    remark = write_new_file(path, robot_text(answers), overwrite)
    print(f"robot file: {path}")
    if remark:
        print(remark)
    print(f"next: ./fosp doctor --robot {path}\n      ./fosp commission --robot {path}")
    return 0


def _ask(text: str, default: str | None) -> str:
    return input(f"{text}{f' [{default}]' if default is not None else ''}: ")
