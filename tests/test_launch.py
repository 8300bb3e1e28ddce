"""The launch files, where ROS brings launch and launch_ros (the wheels do not)."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("launch_ros", reason="launch_ros comes with an apt-installed ROS only")

from tiny_bundle import write_tiny_bundle

from fosp_bringup.stack import Stack, StackProcess, stack
from fosp_bringup.stack_options import StackOptions
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

ROOT = Path(__file__).parents[1]
LAUNCH_NAMES = {"bundle": "model", "recorder": "record"}
"""Field of StackOptions -> launch argument, where they differ."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROOT / "config" / "robots" / "sim_arm.yaml"))
    return tmp_path / "bundle"


def nodes(file: str, **arguments: str) -> list[Any]:
    """The Node actions of a launch file, for the given launch arguments."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import Node

    from launch import LaunchContext

    specification = importlib.util.spec_from_file_location("launch_file", ROOT / "launch" / file)
    assert specification is not None and specification.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    context = LaunchContext(noninteractive=True)
    context._set_asyncio_loop(asyncio.new_event_loop())
    context.launch_configurations.update(arguments)
    found: list[Any] = []
    for entity in module.generate_launch_description().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            found += [action for action in entity.execute(context) or [] if isinstance(action, Node)]
    return found


def launched(node: Any) -> dict[str, Any]:
    """Return everything from which launch_ros makes the command line of a Node action."""
    from launch_ros.utilities import evaluate_parameters

    from launch import LaunchContext

    evaluated = evaluate_parameters(LaunchContext(), node._Node__parameters)
    parameters = [part for part in evaluated if isinstance(part, dict)]
    arguments = node._Node__ros_arguments
    return {
        "package": node.node_package,
        "executable": node.node_executable,
        "name": node._Node__node_name,
        "namespace": node._Node__node_namespace,
        "parameters": {name: plain(value) for part in parameters for name, value in part.items()},
        "parameter files": [str(part) for part in evaluated if not isinstance(part, dict)],
        "remappings": node._Node__remappings,
        "arguments": dict(zip(arguments[::2], arguments[1::2], strict=True)),
        "respawn": node._ExecuteLocal__respawn,
    }


def described(process: StackProcess, running: Stack) -> dict[str, Any]:
    """Return the same for a process that `fosp up` starts."""
    arguments = running.ros_arguments(process)
    enclave, level = (arguments[arguments.index(name) + 1] for name in ("--enclave", "--log-level"))
    return {
        "package": process.package,
        "executable": process.executable or process.name,
        "name": process.name,
        "namespace": running.namespace,
        "parameters": {name: plain(value) for name, value in process.parameters.items()},
        "parameter files": [] if running.params_file is None else [str(running.params_file)],
        "remappings": [],
        "arguments": {"--log-level": level, "--enclave": enclave},
        "respawn": running.respawns(process),
    }


def as_text(value: Any) -> str:
    """An option as a launch argument says it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


COMMON: dict[str, Any] = {"namespace": "left", "log_level": "warn", "use_respawn": True, "params_file": "params.yaml"}
MODEL: dict[str, Any] = {"bundle": "bundle", "black_box": "box"}
ARM: dict[str, Any] = {"robot": "sim_arm", "camera": "file", "camera_path": "images", "feedback": "arm_reach"}
BASE: dict[str, Any] = {"robot": "diff_drive", "camera": "realsense", "feedback": "base_goal", "use_sim_time": True}
RECORD: dict[str, Any] = {"teleop": "gamepad", "recorder": "bags"}
FINETUNE: dict[str, Any] = {**MODEL, "learner": "run", "exploring": True}
CASES = [
    ("sim.launch.py", "sim_arm", {**MODEL, "simulator": "mujoco", "scenario": "safe_reach", "use_sim_time": True}),
    ("sim.launch.py", "sim_base", {**MODEL, "simulator": "mujoco", "scenario": "safe_goal", "auto_reset": False}),
    ("real_robot.launch.py", "sim_arm", {**MODEL, **ARM, "recorder": "bags", "autostart": False}),
    ("real_robot.launch.py", "diff_drive", {**MODEL, **BASE, "learner": "run"}),
    ("record.launch.py", "sim_arm", {**RECORD, **ARM}),
    ("record.launch.py", "diff_drive", {**RECORD, **BASE}),
    ("finetune.launch.py", "sim_arm", {**FINETUNE, **ARM, "offline": (Path("images"), Path("images"))}),
    ("finetune.launch.py", "diff_drive", {**FINETUNE, **BASE}),
]
FOLDERS = ("bundle", "black_box", "camera_path", "recorder", "learner", "params_file")
DEFAULTS = {"record.launch.py": ("teleop",), "finetune.launch.py": ("exploring",), "sim.launch.py": ("simulator",)}
"""Options that a launch file sets by itself."""


@pytest.mark.parametrize(("file", "robot", "given"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_launch_file_starts_each_node_as_the_stack_describes_it(
    file: str, robot: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "params.yaml").write_text("/**/lifecycle_manager: {ros__parameters: {heartbeat_s: 0.6}}\n")
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROOT / "config" / "robots" / f"{robot}.yaml"))
    options = {**COMMON, **given}
    options |= {name: tmp_path / options[name] for name in FOLDERS if name in options}
    running = stack(StackOptions(**options))
    arguments = {
        LAUNCH_NAMES.get(name, name): as_text(value)
        for name, value in options.items()
        if name not in DEFAULTS.get(file, ())
    }
    started = [launched(node) for node in nodes(file, **arguments)]
    assert started == [described(process, running) for process in running.processes]


def test_the_black_box_is_kept_where_nothing_else_is_said(bundle: Path, tmp_path: Path) -> None:
    given = {"model": str(bundle), "robot": "sim_arm"}
    assert "black_box_node" in [n.node_executable for n in nodes("real_robot.launch.py", **given)]
    without = nodes("real_robot.launch.py", black_box="none", **given)
    assert "black_box_node" not in [n.node_executable for n in without]


def test_fine_tuning_on_a_robot_is_switched_on_by_the_folder_of_its_run(bundle: Path, tmp_path: Path) -> None:
    given = {"robot": "sim_arm", "model": str(bundle), "feedback": "arm_reach"}

    def executables(file: str, **arguments: str) -> list[str]:
        return [n.node_executable for n in nodes(file, **given, **arguments)]

    assert "learner_node" not in executables("real_robot.launch.py")
    for file in ("real_robot.launch.py", "finetune.launch.py"):
        assert {"learner_node", "feedback_node"} <= set(executables(file, learner=str(tmp_path / "run")))


def test_a_serial_number_stays_text(tmp_path: Path) -> None:
    """launch_ros makes a number of text that looks like one, and the node would refuse it."""
    from launch_ros.utilities import evaluate_parameters

    from launch import LaunchContext

    robot = tmp_path / "robot.yaml"
    content = yaml.safe_load((ROOT / "config" / "robots" / "ur5e.yaml").read_text())
    robot.write_text(yaml.safe_dump({**content, "cameras": [{"serial": "012345678901", "exposure": 150}]}))
    camera = nodes(
        "record.launch.py", robot=str(robot), feedback="arm_reach", camera="realsense", record=str(tmp_path)
    )[0]
    (parameters,) = evaluate_parameters(LaunchContext(), camera._Node__parameters)
    assert (parameters["serial"], parameters["exposure"]) == ("012345678901", "150")
    assert (parameters["width"], parameters["depth"]) == (640, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"camera": "webcam"}, "camera must be one of"), ({"use_respawn": "yes"}, "must be true or false")],
)
def test_wrong_arguments_are_refused_in_one_line(bundle: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nodes("real_robot.launch.py", model=str(bundle), robot="sim_arm", **arguments)
