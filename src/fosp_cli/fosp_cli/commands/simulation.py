"""`fosp world`: a scenario as a world for Gazebo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import ScenarioArgument


def world(
    scenario: ScenarioArgument,
    out: Annotated[Path, typer.Option(help="SDF file to write.", metavar="FILE")],
    episode: Annotated[int, typer.Option(min=0, help="Episode of the scenario whose scene the world holds.")] = 0,
    bridge: Annotated[
        Path | None, typer.Option(help="YAML file to write the configuration of ros_gz_bridge to.", metavar="FILE")
    ] = None,
) -> None:
    """Write the world that `fosp up sim --simulator gazebo` runs, to look at or to put another robot into."""
    import yaml

    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot
    from fosp_sim.env import make_arena
    from fosp_sim.gazebo.sdf import world_sdf
    from fosp_sim.gazebo.topics import bridge_config
    from fosp_sim.task.draw import draw_scene
    from fosp_sim.task.scenario import read_scenario

    described = read_scenario(scenario_path(scenario))
    robot = read_robot(robot_path(described.robot))
    scene = draw_scene(described, episode)
    contents = {out: world_sdf(make_arena(described, robot), scene, robot, robot.camera_frame_rate_hz)}
    if bridge is not None:
        contents[bridge] = yaml.safe_dump(bridge_config(robot, described.task), sort_keys=False)
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        except OSError as error:
            raise UserError(f"{path}: cannot write: {error.strerror or error}") from None
        print(f"{path}: written")
