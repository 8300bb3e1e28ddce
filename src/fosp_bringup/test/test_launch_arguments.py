"""Launch arguments that no file declares, with stand-ins for launch and launch_ros, which only an apt ROS brings."""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fosp_bringup.stack import Stack
from fosp_bringup.stack_options import undeclared_arguments
from fosp_core.errors import UserError

DECLARED = ("scenario", "model", "robot", "record", "namespace")
RENAMED = {"model": "bundle", "record": "recorder"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("recrod", "record"),
        ("bundle", "model"),
        ("recorder", "record"),
        ("name_space", "namespace"),
        ("Robot", "robot"),
    ],
)
def test_a_name_that_is_nearly_another_is_a_mistake(given: str, meant: str) -> None:
    mistakes, others = undeclared_arguments(["scenario", given], DECLARED, RENAMED)
    assert mistakes == [f"launch argument {given}:= is not declared and has no effect: did you mean {meant}:=?"]
    assert others == []


def test_an_argument_of_another_launch_file_is_named_with_the_nearest() -> None:
    mistakes, others = undeclared_arguments(["gripper", "mode_of_robot"], DECLARED, RENAMED)
    assert mistakes == []
    assert others[0].startswith("launch argument gripper:= is not declared and has no effect; there are")
    assert undeclared_arguments(DECLARED, DECLARED, RENAMED) == ([], [])


class Recorded:
    """Any action or substitution of launch: it keeps its arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: Any) -> str:
        return str(context.launch_configurations[self.args[0]])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that starts sim.launch.py's description, as far as stack(), with launch arguments."""
    names = {
        "launch": ("LaunchContext", "LaunchDescription"),
        "launch.actions": (
            *("DeclareLaunchArgument", "LogInfo", "OpaqueFunction", "SetEnvironmentVariable", "Shutdown"),
        ),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
        "launch_ros.parameter_descriptions": ("ParameterValue",),
    }
    for module, classes in names.items():
        stand_in = ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.delitem(sys.modules, "fosp_bringup.launch_description", raising=False)
    description = importlib.import_module("fosp_bringup.launch_description")
    monkeypatch.setattr(description, "stack", lambda options: Stack(()))
    monkeypatch.setattr(description, "sole_graph", lambda *arguments: nullcontext())

    def run(**given: str) -> list[str]:
        (entities,) = description.launch_description({"model": ("", ""), "robot": ("sim_arm", "")}).args
        configurations = {e.args[0]: e.kwargs["default_value"] for e in entities if "default_value" in e.kwargs} | given
        actions = entities[-1].kwargs["function"](SimpleNamespace(launch_configurations=configurations))
        return [action.kwargs["msg"] for action in actions if "msg" in action.kwargs]

    yield run
    sys.modules.pop("fosp_bringup.launch_description", None)


def test_a_launch_with_a_typo_does_not_start(start: Any) -> None:
    assert start() == []
    with pytest.raises(UserError, match=r"recrod:= is not declared and has no effect: did you mean record:=\?"):
        start(recrod="/tmp/x")
    with pytest.raises(UserError, match=r"did you mean model:=\?"):
        start(bundle="runs/better")


@pytest.mark.parametrize(("teleop", "takes_over"), [("gamepad", True), ("none", False)])
def test_a_device_beside_a_bundle_takes_over(
    start: Any, monkeypatch: pytest.MonkeyPatch, teleop: str, takes_over: bool
) -> None:
    seen: list[Any] = []
    description = sys.modules["fosp_bringup.launch_description"]
    monkeypatch.setattr(description, "stack", lambda options: seen.append(options) or Stack(()))
    monkeypatch.setattr(description, "COMMON", {**description.COMMON, **description.TAKE_OVER})
    start(teleop=teleop)
    assert (seen[0].take_over, seen[0].teleop) == (takes_over, teleop if takes_over else None)


def test_a_launch_with_an_unknown_argument_says_so(start: Any) -> None:
    (line,) = start(gripper_force="3")
    assert line.startswith("WARNING: launch argument gripper_force:= is not declared")
