"""Connects the topics of Gazebo and ROS: this process becomes ros_gz_bridge, configured by topics.bridge_config."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_sim.gazebo.services import bridge_prefix
from fosp_sim.gazebo.topics import bridge_config
from fosp_sim.gazebo_server import FILES, become, cached_file, read_parameters
from fosp_sim.task.scenario import read_scenario

PARAMETERS = FILES


def bridge_command(config: Path, arguments: list[str]) -> list[str]:
    """Return the bridge's command with this process's `arguments`. Raise UserError when it is not installed."""
    executable = bridge_prefix() / "lib" / "ros_gz_bridge" / "parameter_bridge"
    return [str(executable), *arguments, "--ros-args", "-p", f"config_file:={config}"]


def main() -> None:
    try:
        given = read_parameters("gazebo_bridge", PARAMETERS)
        entries = bridge_config(read_robot(Path(given["robot"])), read_scenario(Path(given["scenario"])).task)
        become(bridge_command(cached_file(yaml.safe_dump(entries), ".yaml"), sys.argv[1:]))
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
