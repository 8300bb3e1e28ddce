"""`fosp console`: the operator's console of a graph that runs, in a browser."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from fosp_cli.commands.options import Namespace


def console(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Any other than the default needs --token.", metavar="ADDRESS"),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = 8420,
    token: Annotated[
        str,
        typer.Option(
            help="Secret of at least 16 characters that lets a page act. The default is FOSP_CONSOLE_TOKEN or new.",
            metavar="TEXT",
        ),
    ] = "",
    robot: Annotated[
        str,
        typer.Option(
            help="The robot: a name in config/robots or a YAML file. The default is the robot of the running graph.",
            metavar="ROBOT",
        ),
    ] = "",
    namespace: Namespace = "",
) -> int:
    """Show the running graph in a browser: cameras, decisions and their reasons, and orders for who has the token.

    Open the address that is printed. The robot does not depend on the console, with one exception that is meant: who
    engages the robot at a page is its watch, and the robot stops when that page or the console goes.
    """
    from fosp_bringup.environment import environment
    from fosp_bringup.paths import robot_path
    from fosp_bringup.stack import enclave
    from fosp_console.access import access
    from fosp_console.console_node import TOKEN_VARIABLE, ConsoleNode
    from fosp_core.ros.lifecycle import run_node

    os.environ.update(environment())
    if token:
        os.environ[TOKEN_VARIABLE] = token
    access(host, port, os.environ.get(TOKEN_VARIABLE, ""))  # refuses a wrong host or token before anything starts
    arguments = ["--ros-args", "--enclave", enclave("console_node", namespace), "-p", f"host:='{host}'"]
    arguments += ["-p", f"port:={port}"]
    if robot:
        arguments += ["-p", f"robot:='{robot_path(robot).resolve()}'"]
    if namespace:
        arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
    return run_node(ConsoleNode, arguments)


def keep_token() -> str:
    """Give every start of the console in this stack the same token, so that a page outlives a console that died.

    Return the console's address with the token.
    """
    from fosp_console.access import LOOPBACK, new_token
    from fosp_console.console_node import PORT, TOKEN_VARIABLE

    token = os.environ.setdefault(TOKEN_VARIABLE, new_token())
    return f"http://{LOOPBACK}:{PORT}/#token={token}"
