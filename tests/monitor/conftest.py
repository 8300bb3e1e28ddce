"""A real safety_monitor_node, and the chain that proposes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from monitored_chain import MODULE, MOVES_UNASKED, NODE, ROBOT_FILE, Chain, moves
from tiny_bundle import write_tiny_bundle

from fosp_core.robot.config import RobotConfig, read_robot
from fosp_msgs.msg import SafetyVerdict


@pytest.fixture
def robot() -> RobotConfig:
    return read_robot(ROBOT_FILE)


@pytest.fixture
def node_arguments(tmp_path: Path, robot: RobotConfig) -> tuple[str, list[str]]:
    """Id of a tiny bundle, and the arguments of a node that runs it."""
    manifest = write_tiny_bundle(tmp_path / "bundle", robot)
    return manifest.id, ["-p", f"bundle:={tmp_path / 'bundle'}", "-p", f"robot:={ROBOT_FILE}", *MOVES_UNASKED]


@pytest.fixture
def bring_up(start_node: Callable[..., Any], graph: Any) -> Callable[..., Any]:
    """`bring_up(arguments)`: a monitor node, configured and active."""

    def bring(arguments: list[str]) -> Any:
        process = start_node(MODULE, *arguments)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert graph.transition(NODE, transition), process.log
        return process

    return bring


@pytest.fixture
def process(bring_up: Callable[..., Any], node_arguments: tuple[str, list[str]]) -> Any:
    return bring_up(node_arguments[1])


@pytest.fixture
def chain(graph: Any, robot: RobotConfig, process: Any, node_arguments: Any, wait_until: Any) -> Iterator[Chain]:
    """The arm, moving forward under verdicts that pass."""
    chain = Chain(graph, robot, node_arguments[0])
    wait_until(lambda: chain.verdicts and chain.verdicts[-1].decision == SafetyVerdict.PASS, 20.0, "a PASS")
    wait_until(lambda: moves(chain), 5.0, "motion")
    yield chain
    chain.policy_lives = chain.encoder_lives = chain.robot_lives = False
