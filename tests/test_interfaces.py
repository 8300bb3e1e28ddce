"""The table that the security policies are made of, held against running graphs, which together have all its nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_bringup.interfaces import Interface, interfaces
from fosp_bringup.paths import robot_path
from fosp_bringup.stack import MANAGER, MONITOR, Stack, default_bundle, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_core.robot.config import read_robot

pytestmark = pytest.mark.timeout(180)


def simulated(folder: Path) -> Stack:
    """A simulated arm that may retreat, with a recorder and a person who can take over, on simulated time."""
    write_tiny_bundle(folder / "bundle", read_robot(robot_path("sim_arm")))
    options = StackOptions(
        bundle=folder / "bundle",
        recorder=folder / "bags",
        simulator="mujoco",
        scenario="safe_reach",
        use_sim_time=True,
        teleop="gamepad",
        take_over=True,
        retreat=True,
    )
    return stack(options)


def seen(node: Any, name: str) -> Interface:
    """Return the interface of one node as the graph reports it; it is empty while the node is not there."""
    if name not in node.get_node_names():
        return Interface()

    def names(found: list[tuple[str, list[str]]]) -> frozenset[str]:
        return frozenset(topic for topic, _ in found)

    return Interface(
        names(node.get_publisher_names_and_types_by_node(name, "/")),
        names(node.get_subscriber_names_and_types_by_node(name, "/")),
        names(node.get_service_names_and_types_by_node(name, "/")),
        names(node.get_client_names_and_types_by_node(name, "/")),
    )


def excess(one: Interface, other: Interface) -> set[str]:
    """Return the topics and services of `one` that `other` does not have."""
    return {name for part in fields(Interface) for name in getattr(one, part.name) - getattr(other, part.name)}


def hold(
    node: Any, wait_until: Callable[..., Any], expected: Mapping[str, Interface], may_lack: Mapping[str, frozenset[str]]
) -> None:
    """Each node is as `expected` says, once it has been found; it need not have what `may_lack` names for it."""

    def differences(name: str) -> list[str]:
        found = seen(node, name)
        lacking = excess(expected[name], found) - may_lack.get(name, frozenset())
        return sorted(excess(found, expected[name]) | lacking)

    for name in expected:
        try:
            wait_until(lambda name=name: not differences(name), 10)
        except AssertionError:
            assert differences(name) == [], f"interfaces.py does not know {name} as it is"


@contextmanager
def active(described: Stack, graph: Any, wait_until: Callable[..., Any]) -> Iterator[None]:
    """The graph of a stack, all of it active."""
    from std_srvs.srv import Trigger

    def is_active() -> bool:
        assert supervisor.alive, supervisor.died
        return bool(graph.call(Trigger, f"{MANAGER}/is_active", Trigger.Request(), 60.0).success)

    with Supervisor(described, colour=False) as supervisor:
        wait_until(is_active, 90, "an active graph")
        yield


def known(described: Stack, table: Mapping[str, Interface]) -> dict[str, Interface]:
    """The entries of a stack's nodes. Of the nodes that the manager may call, this stack holds but some."""
    expected = {process.name: table[process.name] for process in described.processes}
    called = frozenset(f"/{process.name}/change_state" for process in described.processes if process.managed)
    assert called < expected[MANAGER].calls
    return {**expected, MANAGER: replace(expected[MANAGER], calls=called)}


def of_the_arm(simulated: bool) -> dict[str, Interface]:
    """The table of the arm; without the simulator as if it were a real one, on the computer's own time."""
    table = interfaces(read_robot(robot_path("sim_arm")), simulated)
    return {name: part.resolved(name, "") for name, part in table.items()}


def test_the_interface_of_each_node_lists_exactly_what_it_says_and_hears(
    graph: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    running = simulated(tmp_path)
    table = of_the_arm(simulated=True)
    with active(running, graph, wait_until):
        # The recorder subscribes to what somebody publishes; marks come from an operator only.
        lacking = {"teleop_node": frozenset({"/fosp/proposal", "/spacenav/joy"})}
        hold(graph.node, wait_until, known(running, table), {"recorder_node": frozenset({"/fosp/mark"}), **lacking})


@pytest.mark.long
def test_so_do_those_of_the_nodes_that_a_robot_has_besides(
    graph: Any, start_node: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """Camera, feedback, black box; and the learner on another machine with its receiver."""
    (tmp_path / "images").mkdir()
    assert cv2.imwrite(str(tmp_path / "images" / "0.png"), np.zeros((48, 64, 3), np.uint8))
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")))
    robot = ("-p", f"robot:={robot_path('sim_arm')}")
    start_node("fosp_learner.bundle_receiver", *robot, "-p", f"folder:={tmp_path / 'received'}")
    learner = ("-p", f"bundle:={default_bundle('safe_reach')}", "-p", f"run:={tmp_path / 'run'}")
    start_node("fosp_learner.learner_node", *robot, *learner, "-p", "announce:=offer")
    options = StackOptions(
        robot="sim_arm",
        bundle=tmp_path / "bundle",
        camera="file",
        camera_path=tmp_path / "images",
        feedback="arm_reach",
        black_box=tmp_path / "box",
    )
    running = stack(options)
    table = of_the_arm(simulated=False)
    expected = {**known(running, table), **{name: table[name] for name in ("learner_node", "bundle_receiver")}}
    # The learner records what somebody publishes: of this graph's topics not the robot's own, and no marks.
    silent = frozenset({"/joint_states", "/tool_pose", "/fosp/mark", "/fosp/operator"})
    no_retreat = frozenset({"/tool_pose"})
    lacking = {"learner_node": silent, MONITOR: frozenset({"/fosp/operator"}), "policy_node": no_retreat}
    with active(running, graph, wait_until):
        hold(graph.node, wait_until, expected, lacking)


def test_so_do_those_of_the_nodes_with_a_person_in_place_of_a_model(graph: Any, wait_until: Callable[..., Any]) -> None:
    """The operator's guard has the monitor's name and enclave, and needs less."""
    running = stack(StackOptions(robot="sim_arm", teleop="gamepad", feedback="arm_reach"))
    expected = known(running, of_the_arm(simulated=False))
    guard = expected.pop(MONITOR)
    with active(running, graph, wait_until):
        hold(graph.node, wait_until, expected, {"teleop_node": frozenset({"/spacenav/joy", "/fosp/operator"})})
        wait_until(lambda: "/arm/twist_command" in seen(graph.node, MONITOR).publishes, 10)
        assert excess(seen(graph.node, MONITOR), guard) == set()
