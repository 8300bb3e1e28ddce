"""Options and arguments that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fosp_core.topics import checked_namespace

_ROBOT = "a name in config/robots or a YAML file"
_SCENARIO = "The simulated task and its scenes: a name in config/scenarios or a YAML file."

RobotArgument = Annotated[str, typer.Argument(help=f"The robot: {_ROBOT}.", metavar="ROBOT")]
RobotToCheck = Annotated[str, typer.Option(help=f"The robot to check against: {_ROBOT}.", metavar="ROBOT")]
RobotOfBundle = Annotated[
    str, typer.Option(help=f"The robot: {_ROBOT}. The default is the robot that the bundle names.", metavar="ROBOT")
]
RobotOfBags = Annotated[
    str, typer.Option(help=f"The robot: {_ROBOT}. The default is the robot that the bags name.", metavar="ROBOT")
]
Scenario = Annotated[str, typer.Option(help=_SCENARIO, metavar="SCENARIO")]
ScenarioArgument = Annotated[str, typer.Argument(help=_SCENARIO, metavar="SCENARIO")]
Bundle = Annotated[
    Path | None, typer.Option(help="Model bundle. In simulation the default is the shipped one.", metavar="DIR")
]
Settings = Annotated[
    Path | None,
    typer.Option(help="YAML file with settings of the learner that differ from the defaults.", metavar="FILE"),
]
OfflineBags = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder of bags that the bundle was trained on. Repeat the option for more folders.", metavar="DIR"
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of processes. The default is one per core.")]
SceneKind = Annotated[
    str,
    typer.Option(
        "--scene",
        help="Kind of scenes, in your words. It is noted in each bag, and thresholds are corrected by it.",
        metavar="WORDS",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(help="ROS namespace of the stack. The default is none.", metavar="NAME", callback=checked_namespace),
]
OpenConsole = Annotated[
    bool, typer.Option("--console", help="Serve the operator's console; its address is printed at the start.")
]
Domain = Annotated[
    str,
    typer.Option(
        help="ROS domain: a number, or 'auto' for one in which no graph runs. The default is ROS_DOMAIN_ID, or 0.",
        metavar="N|auto",
    ),
]
Network = Annotated[
    bool,
    typer.Option("--network", help="Let other machines hear a simulated graph, which by default stays on this one."),
]
Camera = Annotated[
    str,
    typer.Option(
        help="Camera node to start on a robot: realsense, opencv, file, or none if the camera's driver already runs.",
        metavar="NAME",
    ),
]
CameraPath = Annotated[
    str,
    typer.Option(
        help="Recording for --camera file: a bag, a folder of images, or a .db3 file of a RealSense.", metavar="PATH"
    ),
]
CameraLoop = Annotated[
    bool, typer.Option("--camera-loop", help="Begin the recording of --camera file again and again.")
]
TakeOver = Annotated[
    str,
    typer.Option(
        help="Device by which a person takes the robot over from the policy: gamepad, spacemouse, keyboard (run `fosp "
        "keyboard` in another terminal) or a YAML file.",
        metavar="DEVICE",
    ),
]
GateOperator = Annotated[
    bool,
    typer.Option("--gate-operator", help="With --teleop: the critic gates the person, and not only tells their risk."),
]
Retreat = Annotated[
    bool,
    typer.Option(
        "--retreat",
        help="A robot that hangs goes back along its own trail, then tries another mode of the actors, and after some "
        "tries asks for help.",
    ),
]
Feedback = Annotated[
    str,
    typer.Option(
        help="Rules that give reward, cost and success on a robot: a name in config/feedback or a YAML file.",
        metavar="RULES",
    ),
]


def check_writable(path: Path, option: str) -> None:
    """Raise UserError for a file that cannot be written, before the work begins."""
    from fosp_core.errors import UserError

    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: its folder cannot be made: {error.strerror or error}") from None
    if path.is_dir():
        raise UserError(f"{path}: is a folder; {option} takes a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"{path}: may not be written")
