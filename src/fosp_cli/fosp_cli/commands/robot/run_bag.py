"""`fosp run`: a robot drives a recorded demonstration again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import Namespace, RobotOfBags
from fosp_core.errors import UserError


def run(
    bag: Annotated[Path, typer.Argument(help="The bag of one demonstration.", metavar="BAG")],
    robot: RobotOfBags = "",
    speed: Annotated[
        float, typer.Option(min=0.02, max=1.0, help="Share of the recorded speed. The path stays the same.")
    ] = 1.0,
    home: Annotated[
        bool, typer.Option("--home", help="Drive to the home of the robot file first, where the demonstration began.")
    ] = False,
    from_here: Annotated[
        bool,
        typer.Option(
            "--from-here", help="Begin where the robot stands. Only for a base, whose odometry begins anywhere."
        ),
    ] = False,
    deviation: Annotated[
        float,
        typer.Option(min=0.005, max=0.5, help="Distance from the recorded path at which the run is broken off, m."),
    ] = 0.05,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Practise: start a simulated robot of this file, in an empty scene.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking. Only with --simulate.")] = False,
    namespace: Namespace = "",
) -> int:
    """Let a robot drive a recorded demonstration again, through the guard that stands between a person and the robot.

    The recorded commands are proposals, under all hard limits, workspace, zones and emergency stops, and with a
    person at the robot's enabling switch, if it has one. No model judges them: clear what was not there in the
    recording. A robot that stands elsewhere than the demonstration began, another robot, and commands beyond the
    action's scale are refused. Whatever ends the run, the robot is stopped at its end.

    Exit code 1: the run was not begun, or was broken off.
    """
    from fosp_bringup.commissioning_stack import run_stack
    from fosp_bringup.neighbours import sole_graph
    from fosp_bringup.paths import robot_path
    from fosp_cli.commissioning.dialogue import AbortedError, Agreeing, Terminal
    from fosp_cli.commissioning.recorded_run import read_run, recorded_robot
    from fosp_cli.commissioning.robot_run import RobotRun, practice_folder, run_on_robot
    from fosp_core.robot.config import read_robot

    if yes and not simulate:
        raise UserError("--yes answers for the person beside the robot, so it needs --simulate")
    name = robot or recorded_robot(bag)
    if not name:
        raise UserError(f"{bag}: names no robot: give --robot")
    robot_file = robot_path(name).resolve()
    described = read_robot(robot_file)
    if from_here and described.kind != "base":
        raise UserError("--from-here is for a base: an arm's pose says where the demonstration began")
    if home and described.home is None:
        raise UserError(f"{robot_file}: has no home")
    if described.teleports and not simulate:
        raise UserError(f"{robot_file}: teleports: true is for simulated robots: give --simulate")
    recorded = read_run(bag, described)
    stack, cap, warning = run_stack(robot_file, practice_folder(bag) if simulate else None, namespace)
    if warning:
        print(warning, file=sys.stderr)
    one = RobotRun(
        run=recorded,
        robot=described,
        stack=stack,
        speed=min(speed, cap),
        cap=cap,
        deviation_m=deviation,
        home_first=home,
        from_here=from_here,
        operator=Agreeing() if yes else Terminal(),
        namespace=namespace,
    )
    try:
        with sole_graph(namespace, simulate):
            broken, ending = run_on_robot(one)
    except AbortedError as error:
        print(f"fosp: {error}: nothing was driven", file=sys.stderr)
        return 1
    if broken:
        print(f"fosp: {broken}", file=sys.stderr)
    if ending:
        print(ending)
    return 1 if broken else 0
