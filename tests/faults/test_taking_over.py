"""A person at a scripted gamepad takes the live robot over in the middle of an episode, and hands it back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graph_under_fault import GraphUnderFault, SentCommand, wait
from run_faults import beyond_limits

from fosp_core import topics
from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage
from fosp_core.bundle.bundle import read_manifest
from fosp_core.decisions import Decision, WhoDrives
from fosp_core.ros.stamps import seconds
from fosp_learner.finetuning.interventions import Intervention, read_labelled
from fosp_msgs.msg import SafetyVerdict

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def operated(ros_environment: Any, tmp_path: Path) -> Iterator[GraphUnderFault]:
    """The graph whose policy drives the arm to the left; a gamepad lies there."""
    with GraphUnderFault(tmp_path / "graph", operated=True, recorder=tmp_path / "bags") as graph:
        graph.drive()
        yield graph


def drives(graph: GraphUnderFault, source: WhoDrives, left: float) -> Any:
    """The condition that this one drives, and the arm with more than 0.1 m/s to this side (1: left, -1: right)."""
    return lambda: (
        graph.verdicts[-1][1].source == source
        and graph.verdicts[-1][1].decision < Decision.STOP
        and graph.commands[-1].value[1] * left > 0.1
    )


def paused_ticks(commands: list[SentCommand]) -> int:
    """Number of gaps in the command stream in which the robot's own watchdog would have stopped the robot."""
    stamps = np.array([command.stamp_s for command in commands])
    return int((np.diff(stamps) > 0.1).sum())


def test_a_person_drives_out_of_a_trap_and_the_bag_names_who_drove(operated: GraphUnderFault, tmp_path: Path) -> None:
    graph, begun = operated, len(operated.commands)
    wall = graph.robot.workspace
    assert wall is not None
    wait(lambda: graph.positions[-1][1][1] > wall.upper[1] - 0.03, 20.0, "an arm that hangs at the wall")
    graph.hands.way = -1.0
    graph.hands.holds = True
    wait(drives(graph, WhoDrives.OPERATOR, -1), 5.0, "a person who drives to the right")
    wait(lambda: graph.positions[-1][1][1] < wall.upper[1] - 0.2, 30.0, "an arm that is out of the trap")
    assert graph.verdicts[-1][1].q_h >= 0.0, "the critic tells the risk of the person"
    graph.hands.holds = False
    wait(lambda: graph.verdicts[-1][1].source == WhoDrives.NOBODY, 5.0, "nobody")
    wait(lambda: not any(graph.commands[-1].value), 5.0, "standstill")
    wait(drives(graph, WhoDrives.POLICY, 1), 10.0, "the policy that goes on")
    assert not graph.latched()
    ramped = [v.speed_scale for _, v in graph.verdicts if v.source == WhoDrives.POLICY and v.decision == Decision.PASS]
    assert min(ramped) < 0.5
    commands = graph.commands[begun:]
    assert (beyond_limits(commands, graph.robot), paused_ticks(commands)) == (0, 0)

    graph.begin_episode()
    # A reset cuts the episode short, so its bag is an incomplete one.
    bag = wait(lambda: [m.parent for m in (tmp_path / "bags").glob("incomplete_*/metadata.yaml")], 30.0, "the bag")[0]
    storage = BagStorage(bag)
    told = [deserialise(stored) for stored in storage.messages(lambda topic: topic.endswith(topics.VERDICT))]
    assert {int(message.source) for message in told} == {WhoDrives.POLICY, WhoDrives.OPERATOR, WhoDrives.NOBODY}
    assert {stored.topic for stored in storage.messages(lambda topic: topic.endswith(topics.OPERATOR))}
    period_s, observation = _period(graph)
    (labelled, *_) = read_labelled(bag, observation, graph.robot, period_s, 0.15)
    drove = labelled.interventions == Intervention.OPERATOR
    asked = [seconds(message.decided) for message in told if message.source == SafetyVerdict.SOURCE_OPERATOR]
    assert drove.sum() * period_s == pytest.approx(asked[-1] - asked[0], abs=0.3)
    assert labelled.episode.action[drove][:, 1].min() < -0.3, "what the person did is what was executed"


@pytest.mark.long
def test_a_hundred_hand_overs_lose_no_tick_on_the_live_graph(operated: GraphUnderFault) -> None:
    graph, begun, generator = operated, len(operated.commands), np.random.default_rng(7)
    for _ in range(100):
        graph.hands.way = float(generator.choice([-1.0, 1.0]))
        graph.hands.holds = True
        wait(lambda: graph.verdicts[-1][1].source == WhoDrives.OPERATOR, 5.0, "a person who drives")
        enough = len(graph.verdicts) + int(generator.integers(1, 6))
        wait(lambda enough=enough: len(graph.verdicts) > enough, 5.0, "some verdicts")
        graph.hands.holds = False
        wait(lambda: graph.verdicts[-1][1].source == WhoDrives.POLICY, 5.0, "the policy")
    commands = graph.commands[begun:]
    assert (beyond_limits(commands, graph.robot), paused_ticks(commands), graph.latched()) == (0, 0, False)


def _period(graph: GraphUnderFault) -> tuple[float, Any]:
    manifest = read_manifest(graph.directory / "bundle")
    return manifest.decision_period_s, manifest.observation
