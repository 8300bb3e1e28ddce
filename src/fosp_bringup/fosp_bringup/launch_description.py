"""The stack (stack.py) as launch_ros actions. Only `ros2 launch` imports this: nothing at run time needs launch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue as TypedParameter

from fosp_bringup.stack import MOST_RESPAWNS, ParameterValue, Process, Stack, enclave, settings, stack
from fosp_core.errors import UserError
from fosp_safety_monitor.parameters import SHADOW_PHRASE
from fosp_sim.gazebo.services import require_gazebo
from launch import LaunchContext, LaunchDescription

NOTHING = "none"
"""In place of a folder; `ros2 launch` takes no empty values."""
Arguments = Mapping[str, tuple[str, str]]
"""Name -> (default, description) of launch arguments."""

COMMON: Arguments = {
    "namespace": ("", "ROS namespace of the stack; empty: none."),
    "use_sim_time": ("false", "Read the time from /clock; a simulator then publishes it."),
    "params_file": ("", "ROS parameter file; wins over everything else."),
    "autostart": ("true", "Bring the nodes up at once; else call lifecycle_manager/startup."),
    "use_respawn": ("false", "Start dead nodes anew, never the safety monitor."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "record": ("", "Folder for one bag per episode; empty: nothing is recorded."),
    "shadow": ("", f"Judge without gating: only if it says '{SHADOW_PHRASE}'."),
    "black_box": ("~/.ros/fosp_black_box", f"Folder for the 30 s before every stop; {NOTHING}: nothing is kept."),
}
_FLAGS = ("use_sim_time", "autostart", "use_respawn", "auto_reset", "exploring")
_RENAMED = {"model": "bundle", "record": "recorder"}
"""Launch argument -> argument of stack(), where they differ."""


def launch_description(arguments: Arguments) -> LaunchDescription:
    """Declares `arguments` and COMMON, all of them arguments of stack(), and runs the stack that they describe."""
    declared = {**arguments, **COMMON, **arguments}  # its own first: that is how `--show-args` tells of them

    def start(context: LaunchContext) -> list[Any]:
        given = {name: LaunchConfiguration(name).perform(context) for name in declared}
        values = {
            _RENAMED.get(name, name): _flag(name, value) if name in _FLAGS else value for name, value in given.items()
        }
        box = given["black_box"]
        if values.get("simulator") == "gazebo":
            require_gazebo()
        values["black_box"] = "" if box == NOTHING else str(Path(box).expanduser())
        return actions(stack(**values))  # type: ignore[arg-type]

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in declared.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def actions(described: Stack) -> list[Any]:
    """One Node action per process; any that dies for good takes the whole launch down."""
    missing = {name: value for name, value in settings().items() if name not in os.environ}
    return [
        *(SetEnvironmentVariable(name, value) for name, value in missing.items()),
        *(_node(process, described) for process in described.processes),
    ]


def _node(process: Process, described: Stack) -> Node:
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
    """Text stays text: launch_ros would make a number of a serial number."""
    return {
        name: TypedParameter(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserError(f"{name} must be true or false, got '{value}'")
    return value.lower() == "true"
