"""A bundle of unsupported calibration runs in simulation, and on a robot only where a person says so in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path
from fosp_bringup.stack import MONITOR, Stack, stack
from fosp_bringup.stack_options import StackOptions
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_safety_monitor.parameters import UNSUPPORTED_PHRASE


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")), calibration={"supported": False})
    return tmp_path / "bundle"


def said(described: Stack) -> object:
    monitor = next(process for process in described.processes if process.name == MONITOR)
    return monitor.parameters.get("unsupported")


def test_the_simulation_says_the_phrase_by_itself(bundle: Path) -> None:
    options = StackOptions(simulator="mujoco", scenario="safe_reach", bundle=bundle)
    assert said(stack(options)) == UNSUPPORTED_PHRASE
    supported = StackOptions(simulator="mujoco", scenario="safe_reach")
    assert said(stack(supported)) is None


def test_on_a_robot_a_person_says_it(bundle: Path) -> None:
    with pytest.raises(UserError, match=f"accept it in words: unsupported:={UNSUPPORTED_PHRASE}"):
        stack(StackOptions(robot="sim_arm", bundle=bundle))
    assert said(stack(StackOptions(robot="sim_arm", bundle=bundle, unsupported=UNSUPPORTED_PHRASE))) is not None
    with pytest.raises(UserError, match="to mean it, say"):
        StackOptions(robot="sim_arm", bundle=bundle, unsupported="yes")


def test_a_parameter_file_does_not_say_it_alone(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(f"{MONITOR}:\n  ros__parameters:\n    unsupported: {UNSUPPORTED_PHRASE}\n")
    with pytest.raises(UserError, match="would let a doubtful bundle judge"):
        stack(StackOptions(robot="sim_arm", bundle=bundle, params_file=path))
