"""The running graph: `fosp up` starts it, `engage`, `disengage` and `reset` are an operator's orders to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fosp_cli.commands.options import (
    Bundle,
    Camera,
    CameraLoop,
    CameraPath,
    Domain,
    Feedback,
    GateOperator,
    Namespace,
    Network,
    OfflineBags,
    OpenConsole,
    Retreat,
    RobotArgument,
    Scenario,
    SceneKind,
    Settings,
    TakeOver,
)

security = typer.Typer(
    no_args_is_help=True, help="Write the SROS2 policy that allows each node its own topics and nothing else."
)


def up(
    name: Annotated[
        str,
        typer.Argument(
            help="'sim' for the simulation, or a robot: a name in config/robots or a YAML file.", metavar="sim|ROBOT"
        ),
    ],
    bundle: Bundle = None,
    scenario: Scenario = "safe_reach",
    simulator: Annotated[str, typer.Option(help="Simulator of 'sim': mujoco or gazebo.", metavar="NAME")] = "mujoco",
    gui: Annotated[bool, typer.Option("--gui", help="Show the window of Gazebo.")] = False,
    camera: Camera = "none",
    camera_path: CameraPath = "",
    camera_loop: CameraLoop = False,
    feedback: Feedback = "",
    teleop: TakeOver = "",
    gate_operator: GateOperator = False,
    retreat: Retreat = False,
    record: Annotated[
        Path | None, typer.Option(help="Folder to record one bag per episode into.", metavar="DIR")
    ] = None,
    learner: Annotated[
        Path | None,
        typer.Option(
            help="Fine-tune the policy while the graph runs, in this run folder (new or to be continued).",
            metavar="DIR",
        ),
    ] = None,
    learner_config: Settings = None,
    offline: OfflineBags = None,
    exploring: Annotated[
        bool, typer.Option("--exploring", help="Let the policy sample its actions, so that the learner sees more.")
    ] = False,
    scene: SceneKind = "",
    namespace: Namespace = "",
    domain: Domain = "",
    network: Network = False,
    params_file: Annotated[
        str, typer.Option(help="ROS parameter file. Its values override all others.", metavar="FILE")
    ] = "",
    use_respawn: Annotated[
        bool, typer.Option("--use-respawn", help="Restart nodes that die, except the safety monitor.")
    ] = False,
    shadow: Annotated[
        str,
        typer.Option(
            help="Let the safety monitor judge without gating. Give the phrase that the monitor asks for.",
            metavar="PHRASE",
        ),
    ] = "",
    episodes: Annotated[
        str,
        typer.Option(
            help="required: the robot moves only while an episode runs on fosp/feedback. not_used: always.",
            metavar="WORD",
        ),
    ] = "required",
    unsupported: Annotated[
        str,
        typer.Option(
            help="Let a bundle judge on a robot whose calibration is unsupported. Give the phrase that the monitor "
            "asks for.",
            metavar="PHRASE",
        ),
    ] = "",
    black_box: Annotated[
        Path | None, typer.Option(help="Folder for a recording of the 30 s before every stop.", metavar="DIR")
    ] = Path("runs/black_box"),
    console: OpenConsole = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show every line of every node in place of a status line, as it is where stdout is no terminal.",
        ),
    ] = False,
    log_level: Annotated[
        str, typer.Option(help="Log level of the nodes: debug, info, warn, error or fatal.", metavar="LEVEL")
    ] = "info",
) -> int:
    """Start the graph of a robot or of the simulation, and run it in the foreground until Ctrl-C."""
    from fosp_bringup.neighbours import AUTOMATIC, choose_domain, sole_graph
    from fosp_bringup.stack import stack
    from fosp_bringup.stack_options import StackOptions, optional
    from fosp_bringup.supervisor import Supervisor
    from fosp_cli.commands.console import keep_token
    from fosp_cli.live_line import is_rich_terminal

    simulated = name == "sim"
    if simulated and simulator == "gazebo":
        from fosp_sim.gazebo.services import require_gazebo

        require_gazebo()
    options = StackOptions(
        robot=None if simulated else name,
        simulator=optional(simulator) if simulated else None,
        scenario=scenario if simulated else None,
        gui=gui,
        bundle=bundle,
        camera=optional(camera),
        camera_path=Path(camera_path) if camera_path else None,
        camera_loop=camera_loop,
        feedback=feedback or None,
        teleop=teleop or None,
        take_over=bool(teleop),
        gate_operator=gate_operator,
        retreat=retreat,
        recorder=record,
        learner=learner,
        learner_config=learner_config,
        offline=tuple(offline or ()),
        exploring=exploring,
        scene=scene,
        namespace=namespace,
        params_file=Path(params_file) if params_file else None,
        use_respawn=use_respawn,
        log_level=log_level,
        shadow=shadow or None,
        episodes=episodes,
        unsupported=unsupported or None,
        black_box=black_box,
        console=console,
        network=network,
    )
    if console:
        keep_token()
    described = stack(options)
    number = choose_domain(domain)
    with sole_graph(namespace, described.stays_here):
        if number != 0 and domain == AUTOMATIC:
            print(f"ROS domain {number}; in other terminals first: export ROS_DOMAIN_ID={number}", flush=True)
        if verbose or not is_rich_terminal():
            return Supervisor(described).run()
        from fosp_cli.demonstration.status import run_with_status

        return run_with_status(described)


def engage(namespace: Namespace = "") -> int:
    """Consent to the motion of a real robot: look that nobody is in its way first, because it may move at once.

    The exit code is 1 if the safety monitor refuses, as it does while anything else stops the robot.
    """
    return _ask_monitor("engage", namespace)


def disengage(namespace: Namespace = "") -> int:
    """Take the consent to motion back: the robot stops, and `fosp engage` lets it move again."""
    return _ask_monitor("disengage", namespace)


def reset(namespace: Namespace = "") -> int:
    """End a latched stop of the running graph. Remove its cause first. A real robot has to be engaged afterwards.

    The exit code is 1 if the safety monitor refuses, as it does while the cause persists.
    """
    return _ask_monitor("reset", namespace)


def _ask_monitor(service: Literal["reset", "engage", "disengage"], namespace: str) -> int:
    from fosp_cli.operator_client import OperatorClient

    with OperatorClient(namespace) as client:
        done, said = client.ask_monitor(service)
    print(said, file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


@security.callback()
def _keep_group() -> None:
    """Keep `policy` a sub-command while it is the only one."""


@security.command()
def policy(
    robot: RobotArgument,
    namespace: Namespace = "",
    out: Annotated[
        Path | None, typer.Option(help="File to write. By default the policy is printed.", metavar="FILE")
    ] = None,
) -> None:
    """Write the SROS2 policy for every node that a stack of this robot can have."""
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
