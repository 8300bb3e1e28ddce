"""`fosp up`: the stack without `ros2 launch`, from the description that the launch files read, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def up(
    name: Annotated[str, typer.Argument(help="`sim`, or a robot: a name in config/robots or a YAML file.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle; in simulation the shipped one.", metavar="DIR")] = None,
    scenario: Annotated[str, typer.Option(help="Of the simulation: a file, or a name.")] = "safe_reach",
    simulator: Annotated[str, typer.Option(help="Of the simulation: mujoco or gazebo.")] = "mujoco",
    camera: Annotated[
        str, typer.Option(help="Of a robot: none (a driver runs already), realsense, opencv, file.")
    ] = "none",
    camera_path: Annotated[str, typer.Option(help="Recording for camera `file`: a bag, images, or .db3.")] = "",
    feedback: Annotated[str, typer.Option(help="Of a robot: rules by name (config/feedback) or file.")] = "",
    record: Annotated[Path | None, typer.Option(help="Record one bag per episode there.", metavar="DIR")] = None,
    namespace: Annotated[str, typer.Option(help="Moves the whole stack.")] = "",
    params_file: Annotated[str, typer.Option(help="ROS parameter file; wins over everything else.")] = "",
    use_respawn: Annotated[bool, typer.Option("--use-respawn", help="Start dead nodes anew (never the monitor).")] = (
        False
    ),
    shadow: Annotated[str, typer.Option(help="Judge without gating: the phrase that the refusal names.")] = "",
    black_box: Annotated[
        Path | None, typer.Option(help="What happened before every stop goes there.", metavar="DIR")
    ] = Path("runs/black_box"),
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or fatal.")] = "info",
) -> int:
    """Run the stack in the foreground until Ctrl-C."""
    from fosp_bringup.stack import stack
    from fosp_bringup.supervisor import Supervisor

    simulated = name == "sim"
    described = stack(
        robot="" if simulated else name,
        simulator=simulator if simulated else "none",
        scenario=scenario if simulated else "",
        bundle=bundle or "",
        camera=camera,
        camera_path=camera_path,
        feedback=feedback,
        recorder=record or "",
        namespace=namespace,
        params_file=params_file,
        use_respawn=use_respawn,
        log_level=log_level,
        shadow=shadow,
        black_box=black_box or "",
    )
    return Supervisor(described).run()
