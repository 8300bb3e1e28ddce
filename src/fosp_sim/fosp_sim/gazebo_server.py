"""Starts Gazebo with the world of a scenario: this process becomes `gz sim`. gazebo_bridge shares its helpers."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import rclpy

from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT
from fosp_sim.env import make_arena
from fosp_sim.gazebo.sdf import world_sdf
from fosp_sim.gazebo.services import INSTALL
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import read_scenario

FILES = (NodeParameter("scenario", "", "File of the scenario."), ROBOT)
PARAMETERS = (*FILES, NodeParameter("gui", False, "Show the window of Gazebo."))


def read_parameters(node_name: str, table: Sequence[NodeParameter]) -> dict[str, str]:
    """Return the ROS parameters of this process as texts, read by a node that exists only during this call."""
    rclpy.init(args=sys.argv)
    node = rclpy.create_node(node_name)
    try:
        declare(node, table)
        return {row.name: str(node.get_parameter(row.name).value) for row in table}
    finally:
        node.destroy_node()
        rclpy.shutdown()


def cached_file(content: str, suffix: str) -> Path:
    """Write `content` to a file that outlives this process, and return its path, which depends on the content alone."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fosp" / "gazebo"
    path = folder / (hashlib.sha256(content.encode()).hexdigest()[:16] + suffix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    return path


def become(command: list[str]) -> None:
    """Replace this process by `command`. Raise UserError when it is not installed."""
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed; {INSTALL}") from None


def server_command(world: Path, gui: bool) -> list[str]:
    """Return the command of Gazebo with a world that runs at once, with or without a window."""
    return ["gz", "sim", "-r", *([] if gui else ["-s"]), str(world)]


def scenario_world(scenario: Path, robot: Path, episode: int = 0) -> str:
    """Return the SDF of a scenario's world with the scene of `episode`. Raise UserError when Gazebo cannot show it."""
    described, config = read_scenario(scenario), read_robot(robot)
    scene = draw_scene(described, episode)
    return world_sdf(make_arena(described, config), scene, config, config.camera_frame_rate_hz)


def main() -> None:
    try:
        given = read_parameters("gazebo_server", PARAMETERS)
        world = cached_file(scenario_world(Path(given["scenario"]), Path(given["robot"])), ".sdf")
        become(server_command(world, given["gui"] == "True"))
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
