"""Services of Gazebo, called through its command line tool, because ros_gz_bridge of Jazzy forwards none of them."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from fosp_core.errors import UserError

INSTALL = "install Gazebo with its ROS packages: sudo apt install ros-jazzy-ros-gz"
TIMEOUT_MS = 2000
"""Time that Gazebo has for an answer."""


def require_gazebo() -> None:
    """Raise UserError when Gazebo's command line tool, or its bridge to ROS, is not installed."""
    if shutil.which("gz") is None:
        raise UserError(f"gz is not installed; {INSTALL}")
    bridge_prefix()


def bridge_prefix() -> Path:
    """Return the install prefix of ros_gz_bridge. Raise UserError when it is not installed."""
    try:
        return Path(get_package_prefix("ros_gz_bridge"))
    except PackageNotFoundError:
        raise UserError(f"ros_gz_bridge is not installed; {INSTALL}") from None


def create_command(world: str, sdf: str) -> list[str]:
    """Return the command that puts the model of an SDF text into the world."""
    quoted = sdf.replace("\\", "\\\\").replace('"', '\\"')
    return _command(world, "create", "gz.msgs.EntityFactory", f'sdf: "{quoted}"')


def remove_command(world: str, model: str) -> list[str]:
    """Return the command that takes a model out of the world."""
    return _command(world, "remove", "gz.msgs.Entity", f'name: "{model}" type: MODEL')


def place_command(world: str, model: str, position: tuple[float, float, float], heading: float) -> list[str]:
    """Return the command that puts a model at `position` (3,) m with `heading` rad."""
    x, y, z = position
    request = (
        f'name: "{model}" position {{ x: {x:.9g} y: {y:.9g} z: {z:.9g} }} '
        f"orientation {{ z: {math.sin(heading / 2):.9g} w: {math.cos(heading / 2):.9g} }}"
    )
    return _command(world, "set_pose", "gz.msgs.Pose", request)


def call(command: list[str]) -> None:
    """Call a service with one of these commands. Raise UserError when Gazebo refuses or does not answer."""
    service = command[command.index("-s") + 1]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * TIMEOUT_MS / 1000, check=False)
    except FileNotFoundError:
        raise UserError(f"gz is not installed; {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"Gazebo did not answer {service} within {3 * TIMEOUT_MS / 1000:g} s") from None
    if done.returncode != 0 or "data: true" not in done.stdout:
        said = " ".join((done.stdout + done.stderr).split())[:200] or f"exit code {done.returncode}"
        raise UserError(f"Gazebo refused {service}: {said}")


def _command(world: str, service: str, request_type: str, request: str) -> list[str]:
    return [
        *("gz", "service", "-s", f"/world/{world}/{service}"),
        *("--reqtype", request_type, "--reptype", "gz.msgs.Boolean"),
        *("--timeout", str(TIMEOUT_MS), "--req", request),
    ]
