"""`fosp up`: the stack without `ros2 launch`, from the description that the launch files read, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fosp_cli.commands.options import Camera, CameraPath, Feedback, Namespace, Scenario


def up(
    name: Annotated[
        str, typer.Argument(help="`sim`, or a robot: a name in config/robots, or a YAML file.", metavar="sim|ROBOT")
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Model bundle; by default, in simulation, the shipped one.", metavar="DIR")
    ] = None,
    scenario: Scenario = "safe_reach",
    simulator: Annotated[str, typer.Option(help="For `sim`: mujoco or gazebo.", metavar="NAME")] = "mujoco",
    camera: Camera = "none",
    camera_path: CameraPath = "",
    feedback: Feedback = "",
    record: Annotated[Path | None, typer.Option(help="Record one bag per episode there.", metavar="DIR")] = None,
    learner: Annotated[
        Path | None,
        typer.Option(help="Fine-tune while it runs: folder of the run, new or to be gone on with.", metavar="DIR"),
    ] = None,
    learner_config: Annotated[
        Path | None,
        typer.Option(help="YAML with settings of the fine-tuning that differ from the defaults.", metavar="FILE"),
    ] = None,
    offline: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of the bags that the bundle was trained on; may be given again.", metavar="DIR"),
    ] = None,
    exploring: Annotated[
        bool, typer.Option("--exploring", help="The policy draws its actions, to learn from them.")
    ] = (False),
    namespace: Namespace = "",
    params_file: Annotated[
        str, typer.Option(help="ROS parameter file; wins over everything else.", metavar="FILE")
    ] = "",
    use_respawn: Annotated[bool, typer.Option("--use-respawn", help="Start dead nodes anew (never the monitor).")] = (
        False
    ),
    shadow: Annotated[
        str,
        typer.Option(help="The safety monitor judges without gating: the phrase that it asks for.", metavar="PHRASE"),
    ] = "",
    black_box: Annotated[
        Path | None, typer.Option(help="What happened in the 30 s before every stop goes there.", metavar="DIR")
    ] = Path("runs/black_box"),
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or fatal.", metavar="LEVEL")] = "info",
) -> int:
    """Run the stack in the foreground until Ctrl-C."""
    from fosp_bringup.stack import stack
    from fosp_bringup.stack_options import StackOptions, optional
    from fosp_bringup.supervisor import Supervisor

    simulated = name == "sim"
    if simulated and simulator == "gazebo":
        from fosp_sim.gazebo.services import require_gazebo

        require_gazebo()
    options = StackOptions(
        robot=None if simulated else name,
        simulator=optional(simulator) if simulated else None,
        scenario=scenario if simulated else None,
        bundle=bundle,
        camera=optional(camera),
        camera_path=Path(camera_path) if camera_path else None,
        feedback=feedback or None,
        recorder=record,
        learner=learner,
        learner_config=learner_config,
        offline=tuple(offline or ()),
        exploring=exploring,
        namespace=namespace,
        params_file=Path(params_file) if params_file else None,
        use_respawn=use_respawn,
        log_level=log_level,
        shadow=shadow or None,
        black_box=black_box,
    )
    described = stack(options)
    return Supervisor(described).run()
