"""The executables that the packages install are modules with a main, and the stack starts no others."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import setuptools
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path
from fosp_bringup.stack import stack
from fosp_bringup.stack_options import StackOptions
from fosp_core.robot.config import read_robot

ROOT = Path(__file__).parents[1]
SETUPS = sorted(ROOT.glob("src/*/setup.py"))


def executables(setup_file: Path) -> dict[tuple[str, str], str]:
    """Return {(package, executable): module} of a package, as its setup.py states them."""
    stated: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **keywords: stated.update(keywords))
        patch.chdir(setup_file.parent)
        runpy.run_path(str(setup_file))
    pairs = (script.split(" = ") for script in stated.get("entry_points", {}).get("console_scripts", []))
    return {(stated["name"], name): target.removesuffix(":main") for name, target in pairs}


INSTALLED = {name: module for setup_file in SETUPS for name, module in executables(setup_file).items()}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str]]:
    """Package, executable and module of every process that a stack of any kind starts."""
    folder = tmp_path_factory.mktemp("stacks")
    bundle = folder / "bundle"
    write_tiny_bundle(bundle, read_robot(robot_path("sim_arm")))
    simulated = {"bundle": bundle, "scenario": "safe_reach"}
    kept = {"recorder": folder / "bags", "black_box": folder / "box"}
    every = [
        StackOptions(**simulated, **kept, simulator="mujoco", learner=folder / "run", console=True),
        StackOptions(**simulated, simulator="gazebo"),
        StackOptions(**kept, robot="ur5e", teleop="gamepad", camera="realsense", feedback="arm_reach"),
    ]
    found = {process.name: process for options in every for process in stack(options).processes}
    assert len(found) >= 12
    return {(process.package, process.executable or process.name, process.module) for process in found.values()}


@pytest.mark.parametrize(("name", "module"), INSTALLED.items(), ids=[" ".join(name) for name in INSTALLED])
def test_an_installed_executable_is_a_module_with_a_main(name: tuple[str, str], module: str) -> None:
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    assert "\ndef main() -> " in Path(found.origin).read_text()


def test_the_stack_starts_only_what_is_installed(processes: set[tuple[str, str, str]]) -> None:
    assert {(package, executable): module for package, executable, module in processes}.items() <= INSTALLED.items()
