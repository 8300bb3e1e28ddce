"""`fosp security`: the SROS2 policy of a robot's stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import Namespace, RobotArgument

app = typer.Typer(no_args_is_help=True, help="Write the policy that lets each node do its work and nothing else.")


@app.callback()
def security() -> None:
    """Of the ROS graph; who may vouch for a model is `fosp bundle keygen`."""


@app.command()
def policy(
    robot: RobotArgument,
    namespace: Namespace = "",
    out: Annotated[Path | None, typer.Option(help="File; by default it is printed.", metavar="FILE")] = None,
) -> None:
    """Write the SROS2 policy of all nodes that a stack of this robot can have."""
    from fosp_bringup.security_policy import robot_policy
    from fosp_core.errors import UserError

    text = robot_policy(robot, namespace)
    if out is None:
        print(text, end="")
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
