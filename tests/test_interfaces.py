"""The table that the security policies are made of, held against the running graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fosp_bringup.interfaces import Interface
from fosp_bringup.paths import robot_path
from fosp_bringup.security_policy import read_policy, robot_policy
from fosp_bringup.stack import MANAGER, Stack, stack
from fosp_bringup.supervisor import Supervisor
from fosp_core.specs import read_robot
from fosp_core.testing import write_tiny_bundle

pytestmark = pytest.mark.timeout(180)


def simulated(folder: Path) -> Stack:
    """A simulated arm with a recorder, on simulated time."""
    write_tiny_bundle(folder / "bundle", read_robot(robot_path("sim_arm")))
    return stack(
        bundle=folder / "bundle",
        recorder=folder / "bags",
        simulator="mujoco",
        scenario="safe_reach",
        use_sim_time=True,
    )


def seen(node: Any, name: str) -> Interface:
    """What the graph says of one node."""

    def names(found: list[tuple[str, list[str]]]) -> frozenset[str]:
        return frozenset(topic for topic, _ in found)

    return Interface(
        names(node.get_publisher_names_and_types_by_node(name, "/")),
        names(node.get_subscriber_names_and_types_by_node(name, "/")),
        names(node.get_service_names_and_types_by_node(name, "/")),
        names(node.get_client_names_and_types_by_node(name, "/")),
    )


def test_the_policy_of_each_node_lists_exactly_what_it_says_and_hears(
    graph: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    from std_srvs.srv import Trigger

    running = simulated(tmp_path)
    expected = {path.strip("/"): allowed for path, allowed in read_policy(robot_policy("sim_arm")).items()}
    # Of the nodes that the manager may call, this stack holds but some.
    called = frozenset(f"/{process.name}/change_state" for process in running.processes if process.managed)
    assert called < expected[MANAGER].calls
    expected[MANAGER] = replace(expected[MANAGER], calls=called)
    # The recorder subscribes to what somebody publishes; marks come from an operator only.
    recorder = expected["recorder_node"]
    assert "/fosp/mark" in recorder.subscribes
    expected["recorder_node"] = replace(recorder, subscribes=recorder.subscribes - {"/fosp/mark"})

    def active() -> bool:
        assert supervisor.alive, supervisor.died
        return bool(graph.call(Trigger, f"{MANAGER}/is_active", Trigger.Request(), 60.0).success)

    with Supervisor(running, colour=False) as supervisor:
        wait_until(active, 90, "an active graph")
        for name in (process.name for process in running.processes):
            try:
                wait_until(lambda name=name: seen(graph.node, name) == expected[name], 5)
            except AssertionError:
                assert seen(graph.node, name) == expected[name], f"interfaces.py does not know {name} as it is"
