"""Options that several commands have, described once."""

from __future__ import annotations

from typing import Annotated

import typer

_ROBOT = "a name in config/robots, or a YAML file"
_SCENARIO = "a name in config/scenarios, or a YAML file"

RobotArgument = Annotated[str, typer.Argument(help=f"Robot: {_ROBOT}.", metavar="ROBOT")]
RobotToCheck = Annotated[str, typer.Option(help=f"Robot to check it against: {_ROBOT}.", metavar="ROBOT")]
RobotOfBags = Annotated[
    str, typer.Option(help=f"Robot: {_ROBOT}; by default the one that the bags name.", metavar="ROBOT")
]
Scenario = Annotated[str, typer.Option(help=f"Simulated task and scenes: {_SCENARIO}.", metavar="SCENARIO")]
ScenarioArgument = Annotated[str, typer.Argument(help=f"Simulated task and scenes: {_SCENARIO}.", metavar="SCENARIO")]
Namespace = Annotated[str, typer.Option(help="ROS namespace of the stack; by default none.", metavar="NAME")]
Camera = Annotated[
    str,
    typer.Option(help="Camera of a robot: none (its driver runs already), realsense, opencv, or file.", metavar="NAME"),
]
CameraPath = Annotated[
    str, typer.Option(help="For --camera file: a bag, a folder of images, or a .db3 of a RealSense.", metavar="PATH")
]
Feedback = Annotated[
    str,
    typer.Option(
        help="Rules of reward, cost and success on a robot: a name in config/feedback, or a YAML file.", metavar="RULES"
    ),
]
