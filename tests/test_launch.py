"""The launch files, where ROS brings launch and launch_ros (the wheels do not)."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("launch_ros", reason="launch_ros comes with an apt-installed ROS only")

from fosp_bringup.stack import stack
from fosp_core.errors import UserError
from fosp_core.specs import read_robot
from fosp_core.testing import write_tiny_bundle

ROOT = Path(__file__).parents[1]


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


def test_the_simulation_launches_the_described_stack(bundle: Path, tmp_path: Path) -> None:
    box = tmp_path / "box"
    described = stack(bundle=bundle, simulator="mujoco", scenario="safe_reach", black_box=box)
    launched = nodes("sim.launch.py", model=str(bundle), black_box=str(box))
    assert [(n.node_package, n.node_executable) for n in launched] == [(p.package, p.name) for p in described.processes]


def test_a_robot_launches_the_described_stack(bundle: Path, tmp_path: Path) -> None:
    given = {"robot": "sim_arm", "camera": "file", "camera_path": str(tmp_path), "feedback": "arm_reach"}
    described = stack(bundle=bundle, black_box=tmp_path / "box", **given)
    launched = nodes("real_robot.launch.py", model=str(bundle), black_box=str(tmp_path / "box"), **given)
    assert [n.node_executable for n in launched] == [p.executable or p.name for p in described.processes]
    assert "black_box_node" in [n.node_executable for n in nodes("real_robot.launch.py", model=str(bundle), **given)]
    without = nodes("real_robot.launch.py", model=str(bundle), black_box="none", **given)
    assert "black_box_node" not in [n.node_executable for n in without]


def test_a_person_records_with_the_described_stack(tmp_path: Path) -> None:
    described = stack(robot="ur5e", teleop="gamepad", feedback="arm_reach", camera="realsense", recorder=tmp_path)
    launched = nodes(
        "record.launch.py",
        robot="ur5e",
        feedback="arm_reach",
        camera="realsense",
        record=str(tmp_path),
        namespace="left",
    )
    assert [(n.node_package, n.node_executable) for n in launched] == [
        (p.package, p.executable or p.name) for p in described.processes
    ]
    assert {n._Node__node_namespace for n in launched} == {"left"}


def test_fine_tuning_on_a_robot_is_switched_on_by_the_folder_of_its_run(bundle: Path, tmp_path: Path) -> None:
    given = {"robot": "sim_arm", "model": str(bundle), "feedback": "arm_reach"}

    def launched(file: str, **arguments: str) -> list[str]:
        return [n.node_executable for n in nodes(file, **given, **arguments)]

    assert "learner_node" not in launched("real_robot.launch.py")
    for file in ("real_robot.launch.py", "finetune.launch.py"):
        assert {"learner_node", "feedback_node"} <= set(launched(file, learner=str(tmp_path / "run")))


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
