"""SROS2 policies as they are generated: the table of interfaces, one enclave per process, nothing for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from tiny_bundle import write_tiny_bundle

from fosp_bringup.interfaces import (
    COMMISSIONING,
    OPERATOR,
    Interface,
    commissioning_interface,
    interfaces,
    managed,
    operator_interface,
)
from fosp_bringup.paths import robot_path, share
from fosp_bringup.security_policy import robot_policy
from fosp_bringup.stack import MONITOR, Stack, stack
from fosp_bringup.stack_options import StackOptions
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

ROBOTS = sorted(path.stem for path in (share() / "config" / "robots").glob("*.yaml") if "." not in path.stem)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder, read_robot(robot_path("sim_arm")))
    return folder


def stacks(bundle: Path, folder: Path) -> list[Stack]:
    common: dict[str, Any] = {"bundle": bundle, "recorder": folder, "namespace": "left"}
    some = [
        StackOptions(simulator="mujoco", scenario="safe_reach", **common),
        StackOptions(robot="sim_arm", teleop="spacemouse", recorder=folder, namespace="left"),
        StackOptions(robot="sim_arm", camera="file", camera_path=folder, feedback="arm_reach", **common),
    ]
    return [stack(options) for options in some]


def read_policy(text: str) -> dict[str, Interface]:
    """Enclave -> all that the policy allows it."""
    found: dict[str, Interface] = {}
    for element in ElementTree.fromstring(text).iter("enclave"):

        def names(kind: str, right: str, element: ElementTree.Element = element) -> frozenset[str]:
            return frozenset(str(entry.text) for entry in element.findall(f".//{kind}[@{right}='ALLOW']/*"))

        found[element.attrib["path"]] = Interface(
            names("topics", "publish"),
            names("topics", "subscribe"),
            names("services", "reply"),
            names("services", "request"),
        )
    return found


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_policy_allows_what_the_table_of_interfaces_lists_and_no_more(robot: str) -> None:
    text = robot_policy(robot)
    found = read_policy(text)
    config = read_robot(robot_path(robot))
    table = interfaces(config, simulated="/sim_node" in found)
    table |= {COMMISSIONING: commissioning_interface(config), OPERATOR: operator_interface()}
    assert found == {f"/{name}": allowed.resolved(name, "") for name, allowed in table.items()}
    assert text == robot_policy(robot), "in the same order each time"


def test_a_robot_that_a_scenario_is_for_has_the_simulator_in_its_policy() -> None:
    simulated = {robot for robot in ROBOTS if "/sim_node" in read_policy(robot_policy(robot))}
    assert {"sim_arm", "sim_base"} <= simulated
    assert not simulated & {"ur5e", "franka_fr3", "diff_drive"}


@pytest.mark.parametrize("robot", ROBOTS)
def test_no_right_is_given_to_all_names(robot: str) -> None:
    for path, allowed in read_policy(robot_policy(robot)).items():
        names = allowed.publishes | allowed.subscribes | allowed.serves | allowed.calls
        assert names, path
        assert not [name for name in names if "*" in name or "?" in name or not name.startswith("/")]


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_monitor_alone_may_command_the_robot(robot: str) -> None:
    command = "/" + read_robot(robot_path(robot)).command_topic
    speakers = [path for path, allowed in read_policy(robot_policy(robot)).items() if command in allowed.publishes]
    assert speakers == ["/safety_monitor_node"]


def test_every_process_of_a_stack_has_an_enclave_of_its_own(bundle: Path, tmp_path: Path) -> None:
    policy = read_policy(robot_policy("sim_arm", "left"))
    nodes = managed(read_robot(robot_path("sim_arm")))
    for described in stacks(bundle, tmp_path):
        for process in described.processes:
            arguments = described.ros_arguments(process)
            path = arguments[arguments.index("--enclave") + 1]
            assert path == f"/left/{process.name}"
            assert path in policy, f"add {process.name} to interfaces.py"
            assert ("/left/fosp/heartbeat" in policy[path].publishes) == process.managed == (process.name in nodes)


def test_an_operator_may_end_a_latch_and_drive_nothing() -> None:
    allowed = read_policy(robot_policy("sim_base"))[f"/{OPERATOR}"]
    assert {f"/safety_monitor_node/{order}" for order in ("reset", "estop", "engage", "disengage")} <= allowed.calls
    assert allowed.publishes == {"/rosout", "/parameter_events", "/fosp/model_announcement"}


def test_the_commissioning_program_may_propose_and_bring_up_the_guard() -> None:
    allowed = read_policy(robot_policy("sim_arm"))[f"/{COMMISSIONING}"]
    assert "/fosp/proposal" in allowed.publishes
    assert "/safety_monitor_node/change_state" in allowed.calls


def test_the_monitor_may_hear_all_that_a_robot_file_asks_for_consent(tmp_path: Path) -> None:
    content = yaml.safe_load(robot_path("sim_arm").read_text()) | {
        "enabling": {"topic": "joy", "type": "Joy", "button": 1},
        "ready": [{"kind": "bool", "topic": "program_running", "transient_local": True}],
        "protective_force_n": 20.0,
        "wrench_topic": "wrench",
    }
    file = tmp_path / "asking.yaml"
    file.write_text(yaml.safe_dump(content))
    monitor = read_policy(robot_policy(str(file)))[f"/{MONITOR}"]
    assert {"/joy", "/program_running", "/wrench", "/fosp/feedback"} <= monitor.subscribes
    assert {"/safety_monitor_node/engage", "/safety_monitor_node/disengage"} <= monitor.serves


def test_an_unknown_robot_is_refused() -> None:
    with pytest.raises(UserError, match="no robot 'nobody'"):
        robot_policy("nobody")


@pytest.mark.parametrize("how", ["action", "array"])
def test_the_monitor_alone_may_command_a_gripper(tmp_path: Path, how: str) -> None:
    content = yaml.safe_load(robot_path("sim_pick").read_text())
    content["gripper"] |= {"how": how}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(content))
    found = interfaces(read_robot(tmp_path / "robot.yaml"))
    asks = {name for name, one in found.items() if "gripper/commands/_action/send_goal" in one.calls}
    tells = {name for name, one in found.items() if "gripper/commands" in one.publishes}
    assert (asks, tells) == (({"safety_monitor_node"}, set()) if how == "action" else (set(), {"safety_monitor_node"}))
    assert {name for name, one in found.items() if "fosp/gripper_command" in one.publishes} == {"safety_monitor_node"}
    hears = {name for name, one in found.items() if "gripper/joint_states" in one.subscribes}
    assert {"safety_monitor_node", "recorder_node", "black_box_node"} <= hears
