"""Services of Gazebo, called through its command line tool, because ros_gz_bridge of Jazzy forwards none of them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from fosp_core.errors import UserError

INSTALL = "install Gazebo with its ROS packages: sudo apt install ros-jazzy-ros-gz"
TIMEOUT_MS = 2000
"""Time that Gazebo has for an answer."""
CONFIRM_S = 4.0
"""Time within which a change that was queued has to be seen in the world, s."""
SEEN_AT = 0.02
"""Distance, m, from where a model was put at which it counts as put there."""
APT = Path("/opt/ros/jazzy")

Position = tuple[float, float, float]


def require_gazebo() -> None:
    """Raise UserError when Gazebo's command line tool, or its bridge to ROS, is not installed."""
    if shutil.which("gz") is None:
        raise UserError(f"gz is not installed; {INSTALL}")
    bridge_prefix()


def bridge_prefix() -> Path:
    """Return the install prefix of ros_gz_bridge. Raise UserError when it is not installed, or cannot be reached."""
    try:
        return Path(get_package_prefix("ros_gz_bridge"))
    except PackageNotFoundError:
        raise UserError(f"ros_gz_bridge {missing_because(APT)}") from None


def missing_because(apt: Path) -> str:
    """Return why ros_gz is not found in this environment; `apt` is the prefix of ROS from apt."""
    if (apt / "share" / "ros_gz_bridge").is_dir():
        return (
            f"is installed in {apt}, but the environment of a checkout (scripts/env.sh) hides it: "
            f"source {apt}/setup.bash, build with colcon and source install/setup.bash (docs/robots/generic.md)"
        )
    return f"is not installed; {INSTALL}"


class WorldServices:
    """Changes one world of a running Gazebo. A method returns once the change has been carried out.

    From gz-sim 8.10 on the service NAME/blocking answers when the change is done. Older servers answer "true" as soon
    as a request is queued, so the change is then looked for on the topic pose/info. Every method raises UserError when
    Gazebo refuses, does not answer, or does not carry the change out in time; whether it does so later is then unknown.
    """

    def __init__(self, world: str) -> None:
        self._world = world
        self._blocking: bool | None = None

    def create(self, sdf: str, model: str) -> None:
        """Put the model of an SDF text, which is named `model`, into the world."""
        blocking = self._blocks()
        call(create_command(self._world, sdf, blocking))
        if not blocking:
            self._confirm(f"to create {model}", lambda models: model in models)

    def remove(self, model: str) -> None:
        """Take a model out of the world."""
        blocking = self._blocks()
        call(remove_command(self._world, model, blocking))
        if not blocking:
            self._confirm(f"to remove {model}", lambda models: model not in models)

    def place(self, model: str, position: Position, heading: float) -> None:
        """Put a model at `position` (3,) m with `heading` rad."""
        blocking = self._blocks()
        call(place_command(self._world, model, position, heading, blocking))
        if not blocking:
            self._confirm(
                f"to place {model}",
                lambda models: model in models and math.dist(models[model][:2], position[:2]) < SEEN_AT,
            )

    def models(self) -> dict[str, Position]:
        """Return the positions, m, of what is in the world by name: models, and links whose names no model has."""
        command = ["gz", "topic", "-e", "-n", "1", "-t", f"/world/{self._world}/pose/info"]
        return named_positions(_run(command, command[-1]).stdout)

    def _blocks(self) -> bool:
        """Return whether the server has the services that answer when a change is done."""
        if self._blocking is None:
            listed = set(_run(["gz", "service", "-l"], "its list of services").stdout.split())
            if f"/world/{self._world}/create" not in listed:
                raise UserError(f"Gazebo serves no world {self._world} (yet)")
            self._blocking = f"/world/{self._world}/create/blocking" in listed
        return self._blocking

    def _confirm(self, what: str, carried_out: Callable[[dict[str, Position]], bool]) -> None:
        deadline = time.monotonic() + CONFIRM_S
        while not carried_out(self.models()):
            if time.monotonic() > deadline:
                raise UserError(f"Gazebo agreed {what}, and has not done so within {CONFIRM_S:g} s")
            time.sleep(0.02)


def create_command(world: str, sdf: str, blocking: bool = False) -> list[str]:
    """Return the command that puts the model of an SDF text into the world."""
    quoted = sdf.replace("\\", "\\\\").replace('"', '\\"')
    return _command(world, "create", blocking, "gz.msgs.EntityFactory", f'sdf: "{quoted}"')


def remove_command(world: str, model: str, blocking: bool = False) -> list[str]:
    """Return the command that takes a model out of the world."""
    return _command(world, "remove", blocking, "gz.msgs.Entity", f'name: "{model}" type: MODEL')


def place_command(world: str, model: str, position: Position, heading: float, blocking: bool = False) -> list[str]:
    """Return the command that puts a model at `position` (3,) m with `heading` rad."""
    x, y, z = position
    request = (
        f'name: "{model}" position {{ x: {x:.9g} y: {y:.9g} z: {z:.9g} }} '
        f"orientation {{ z: {math.sin(heading / 2):.9g} w: {math.cos(heading / 2):.9g} }}"
    )
    return _command(world, "set_pose", blocking, "gz.msgs.Pose", request)


def call(command: list[str]) -> None:
    """Call a service with one of these commands. Raise UserError when Gazebo refuses or does not answer."""
    service = command[command.index("-s") + 1]
    done = _run(command, service)
    if done.returncode != 0 or "data: true" not in done.stdout:
        said = " ".join((done.stdout + done.stderr).split())[:200] or f"exit code {done.returncode}"
        raise UserError(f"Gazebo refused {service}: {said}")


def named_positions(text: str) -> dict[str, Position]:
    """Return name -> position, m, of a message of pose/info as `gz topic -e` prints it; 0 is not printed."""
    found: dict[str, Position] = {}
    for pose in re.split(r"^pose \{", text, flags=re.MULTILINE)[1:]:
        name, position = re.search(r'name: "([^"]*)"', pose), re.search(r"position \{([^}]*)\}", pose)
        if name is None:
            continue
        axes = dict(re.findall(r"([xyz]): (\S+)", position[1])) if position else {}
        # Models come before links, so that the first of a name is the model.
        found.setdefault(name[1], (float(axes.get("x", 0)), float(axes.get("y", 0)), float(axes.get("z", 0))))
    return found


def _run(command: list[str], asked: str) -> subprocess.CompletedProcess[str]:
    seconds = 3 * TIMEOUT_MS / 1000
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError:
        raise UserError(f"gz is not installed; {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"Gazebo did not answer {asked} within {seconds:g} s") from None


def _command(world: str, service: str, blocking: bool, request_type: str, request: str) -> list[str]:
    return [
        *("gz", "service", "-s", f"/world/{world}/{service}{'/blocking' if blocking else ''}"),
        *("--reqtype", request_type, "--reptype", "gz.msgs.Boolean"),
        *("--timeout", str(TIMEOUT_MS), "--req", request),
    ]
