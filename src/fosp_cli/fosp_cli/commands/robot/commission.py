"""`fosp commission`: walk an operator through the commissioning of a robot, and keep its record."""

from __future__ import annotations

import getpass
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.help_texts import software_version
from fosp_cli.commands.options import Camera, CameraPath, Namespace
from fosp_cli.json_file import write_json
from fosp_core.errors import UserError


def commission(
    robot: Annotated[
        str,
        typer.Option(
            help="The robot: a YAML file, or a name in config/robots. Measured values are written into the file.",
            metavar="FILE",
        ),
    ],
    operator: Annotated[
        str, typer.Option(help="Name of the person who commissions. The default is the login name.", metavar="NAME")
    ] = "",
    steps: Annotated[
        str,
        typer.Option(
            help="Steps to run or repeat, separated by commas: checks, direction, response, stopping, watchdog, "
            "estops, workspace, cameras, or all. By default those that the record does not have yet.",
            metavar="NAMES",
        ),
    ] = "",
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Practise: start a simulated robot of this file, in an empty scene.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with yes. Only with --simulate.")] = False,
    camera: Camera = "none",
    camera_path: CameraPath = "",
    bundle: Annotated[
        Path | None,
        typer.Option(help="Model bundle that judges whether the cameras show what it was trained on.", metavar="DIR"),
    ] = None,
    namespace: Namespace = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures. The default is runs/commission/ROBOT.", metavar="DIR")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the record as JSON.", metavar="FILE")
    ] = None,
) -> int:
    """Commission a robot: measure step by step what it does with its commands, with an operator beside it.

    The workspace must be empty, and every motion is slow until its direction was checked. The record is kept beside the
    robot file. Without one that has passed, a real robot is started at a tenth of its speed.

    The exit code is 1 if a step fails or the operator breaks it off. The next call goes on with what is left.
    """
    from fosp_bringup.commissioning_record import STEPS, record_path
    from fosp_bringup.commissioning_stack import commissioning_stack
    from fosp_bringup.neighbours import sole_graph
    from fosp_bringup.paths import robot_path
    from fosp_bringup.stack_options import optional
    from fosp_cli.commissioning.dialogue import AbortedError, Agreeing, Terminal
    from fosp_cli.commissioning.session import Commissioning
    from fosp_cli.commissioning.session import commission as run
    from fosp_core.bundle.bundle import verify_bundle
    from fosp_core.robot.config import read_robot

    if yes and not simulate:
        raise UserError("--yes answers for the person beside the robot, so it needs --simulate")
    chosen = STEPS if steps == "all" else tuple(name.strip() for name in steps.split(",") if name.strip())
    for name in chosen:
        if name not in STEPS:
            raise UserError(f"no step '{name}'; there are: {', '.join(STEPS)}")
    robot_file = robot_path(robot).resolve()
    described = read_robot(robot_file)
    if not os.access(robot_file, os.W_OK) or not os.access(robot_file.parent, os.W_OK):
        raise UserError(f"{robot_file}: measured values are written into it, but it may not be written")
    folder = out or Path("runs/commission") / described.name
    given = Path(camera_path) if camera_path else None
    stack = partial(
        commissioning_stack,
        robot_file,
        simulate=folder if simulate else None,
        camera=optional(camera),
        camera_path=given,
        namespace=namespace,
    )
    if bundle is not None:
        verify_bundle(bundle, described)
    stack(robot_file)  # refuses what is wrong before the first question
    session = Commissioning(
        robot_file=robot_file,
        stack=stack,
        operator=Agreeing() if yes else Terminal(),
        operator_name=operator or _login_name(),
        out=folder,
        software=software_version(),
        steps=chosen,
        simulated=simulate,
        bundle=bundle,
        namespace=namespace,
    )
    try:
        with sole_graph(namespace, simulate):
            record, passed = run(session)
    except AbortedError as error:
        print(f"fosp: {error}; run the same command again to go on", file=sys.stderr)
        return 1
    if json_file is not None:
        write_json(json_file, {**record.model_dump(mode="json"), "passed": not record.missing})
    if not record.missing:
        print(f"commissioned: {record_path(robot_file)}")
    elif passed:
        print(f"still to be done: {', '.join(record.missing)}")
    return 0 if passed else 1


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        raise UserError("nobody is logged in here by a name: give --operator NAME") from None
