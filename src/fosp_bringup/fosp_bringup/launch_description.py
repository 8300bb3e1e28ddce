"""The stack of stack.py as launch_ros actions. Only launch files import this module: no node needs launch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as TypedParameter

from fosp_bringup.environment import settings
from fosp_bringup.neighbours import sole_graph
from fosp_bringup.stack import MOST_RESPAWNS, ParameterValue, Stack, StackProcess, enclave, stack
from fosp_bringup.stack_options import NOTHING, parse_options, undeclared_arguments
from fosp_core.errors import UserError
from fosp_safety_monitor.parameters import SHADOW_PHRASE, UNSUPPORTED_PHRASE
from launch import LaunchContext, LaunchDescription

REQUIRED = None
"""Default of an argument that has to be given."""
Arguments = Mapping[str, tuple[str | None, str]]
"""Launch argument -> (default, description)."""

COMMON: Arguments = {
    "namespace": ("", "ROS namespace of the stack; empty for the root."),
    "network": ("false", "Let other machines hear a simulated graph, which by default stays on this one."),
    "use_sim_time": ("false", "Read the time from /clock, which the simulator then publishes."),
    "params_file": (NOTHING, "ROS parameter file; its values win over all others."),
    "autostart": ("true", "Bring the nodes up at once; if false, when lifecycle_manager/startup is called."),
    "use_respawn": ("false", "Start a node anew when it dies; never the safety monitor."),
    "log_level": ("info", "Log level: debug, info, warn, error or fatal."),
    "record": (NOTHING, "Folder that gets one bag per episode; none to record nothing."),
    "episodes": ("required", "required: the robot moves only while an episode runs on fosp/feedback; or not_used."),
    "shadow": (NOTHING, f"The phrase '{SHADOW_PHRASE}': the safety monitor judges and does not gate."),
    "unsupported": (
        NOTHING,
        f"The phrase '{UNSUPPORTED_PHRASE}': a bundle may judge whose calibration is unsupported.",
    ),
    "console": ("false", "Serve the operator's console to a browser; its address is printed at the start."),
    "black_box": ("~/.ros/fosp_black_box", f"Folder that keeps the 30 s before every stop; {NOTHING} to keep nothing."),
}
_RENAMED = {"model": "bundle", "record": "recorder"}
"""Launch argument -> field of StackOptions, where the names differ."""


TAKE_OVER: Arguments = {
    "teleop": (
        NOTHING,
        "Device by which a person takes the robot over from the policy: gamepad, spacemouse, keyboard (run `fosp "
        "keyboard` in a terminal), or the path of a file like config/teleop/gamepad.yaml.",
    ),
    "retreat": ("false", "A robot that hangs goes back along its own trail, and after some tries asks for help."),
    "gate_operator": ("false", "With teleop: the critic gates the person, too, and does not only tell their risk."),
}
"""Arguments of the launch files in which a bundle drives."""


def launch_description(arguments: Arguments) -> LaunchDescription:
    """Declare `arguments` and COMMON, which are the options of a stack, and run the stack that they describe.

    An argument that is not declared is an error where it is nearly one that is, or the name of the same option of
    `fosp up`, and else a warning: a launch file that includes this one has arguments of its own.
    """
    declared = {**arguments, **COMMON, **arguments}  # the launch file's own first, also in what `--show-args` prints

    def start(context: LaunchContext) -> list[Any]:
        mistakes, doubts = undeclared_arguments(context.launch_configurations, declared, _RENAMED)
        if mistakes:
            raise UserError("; ".join(mistakes))
        given = {_RENAMED.get(name, name): LaunchConfiguration(name).perform(context) for name in declared}
        beside = "model" in declared and given.get("teleop", NOTHING) not in ("", NOTHING)
        options = parse_options({**given, "take_over": str(beside)})
        if options.simulator == "gazebo":
            from fosp_sim.gazebo.services import require_gazebo

            require_gazebo()
        described = stack(options)
        _held.enter_context(sole_graph(described.namespace, described.stays_here))
        return [*(LogInfo(msg=f"WARNING: {line}") for line in doubts), *actions(described)]

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in declared.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


_held = contextlib.ExitStack()
"""The names of the stacks of this launch, which are held until its process ends."""


def actions(described: Stack) -> list[Any]:
    """Return one Node action per process; a process that dies for good takes the whole launch down."""
    missing = {name: value for name, value in settings(described.stays_here).items() if name not in os.environ}
    return [
        *([LogInfo(msg=described.warning)] if described.warning else []),
        *(SetEnvironmentVariable(name, value) for name, value in missing.items()),
        *(_node(process, described) for process in described.processes),
    ]


def _node(process: StackProcess, described: Stack) -> Node:
    parameters: list[Any] = [_typed(process.parameters)] if process.parameters else []
    if described.params_file is not None:
        parameters.append(str(described.params_file))
    respawn = described.respawns(process)
    return Node(
        package=process.package,
        executable=process.executable or process.name,
        name=process.name,
        namespace=described.namespace,
        parameters=parameters,
        ros_arguments=["--log-level", described.log_level, "--enclave", enclave(process.name, described.namespace)],
        output="screen",
        respawn=respawn,
        respawn_delay=1.0,
        respawn_max_retries=MOST_RESPAWNS if process.dispensable else -1,
        on_exit=None if respawn else Shutdown(reason=f"{process.name} ended"),
    )


def _typed(parameters: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """Return the parameters with their types: launch_ros would take a serial number for a number."""
    return {
        name: TypedParameter(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
