"""A person's requests from a terminal, and all that a graph may answer; the graph itself is a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_cli.cli import run
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
READY, TRIAL, ACTIVE = ModelStatus.STATE_READY, ModelStatus.STATE_TRIAL, ModelStatus.STATE_ACTIVE
REFUSED, ROLLED_BACK = ModelStatus.STATE_REFUSED, ModelStatus.STATE_ROLLED_BACK


class Encoder:
    """Says what it is told to say of a bundle that is announced, as encoder_node does."""

    def __init__(self, graph: Any, answers: list[tuple[int, str]], running: str = "0" * 64) -> None:
        self.announced: list[ModelAnnouncement] = []
        self._answers = answers
        self._statuses = graph.node.create_publisher(ModelStatus, topics.MODEL_STATUS, qos.LATCHED_EVENTS)
        graph.node.create_subscription(
            ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, self._on_announced, qos.MODEL_STATUSES
        )
        self.say(ACTIVE, running)

    def say(self, state: int, model_id: str, detail: str = "", node: str = "/encoder_node") -> None:
        self._statuses.publish(ModelStatus(state=state, node=node, model_id=model_id, detail=detail))

    def _on_announced(self, message: ModelAnnouncement) -> None:
        self.announced.append(message)
        self.say(REFUSED, message.model_id, "of another node", "/policy_node")
        for state, detail in self._answers:
            self.say(state, message.model_id, detail)


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, str]:
    """Folder and id."""
    manifest = write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT))
    return tmp_path / "bundle", manifest.id


@pytest.mark.parametrize(
    ("answers", "code", "last"),
    [
        ([(READY, ""), (TRIAL, ""), (ACTIVE, "")], 0, "has passed its trial and stays"),
        ([(READY, ""), (TRIAL, ""), (ROLLED_BACK, "vetoes in 90 %")], 1, "decides again: vetoes in 90 %"),
        ([(REFUSED, "a stop is latched")], 1, "refused: a stop is latched"),
    ],
)
def test_a_bundle_is_announced_and_its_fate_told(
    graph: Any, bundle: tuple[Path, str], capsys: Any, answers: list[tuple[int, str]], code: int, last: str
) -> None:
    folder, model_id = bundle
    encoder = Encoder(graph, answers)
    assert run(["bundle", "announce", str(folder)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(answers)
    assert all(line.startswith(model_id[:12]) for line in lines)
    assert lines[-1].endswith(last)
    (announced,) = encoder.announced
    assert (announced.model_id, announced.path) == (model_id, str(folder.absolute()))


def test_a_bundle_that_runs_already_is_not_announced(graph: Any, bundle: tuple[Path, str], capsys: Any) -> None:
    encoder = Encoder(graph, [], running=bundle[1])
    assert run(["bundle", "announce", str(bundle[0])]) == 0
    assert "makes the decisions already" in capsys.readouterr().out
    assert encoder.announced == []


@pytest.mark.parametrize(("success", "message"), [(True, "latch ended"), (False, "refused, it is still there")])
@pytest.mark.parametrize("order", ["reset", "engage", "disengage"])
def test_an_order_is_passed_on_with_what_the_monitor_says(
    graph: Any, capsys: Any, order: str, success: bool, message: str
) -> None:
    def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = success, message
        return response

    graph.node.create_service(Trigger, f"safety_monitor_node/{order}", serve)
    assert run([order]) == int(not success)
    said = capsys.readouterr()
    assert (said.out if success else said.err) == f"{message}\n"


@pytest.mark.parametrize("command", ["reset", "engage", "disengage", "bundle announce"])
def test_a_graph_that_is_not_there_is_told(
    ros_environment: Any, bundle: tuple[Path, str], capsys: Any, monkeypatch: Any, command: str
) -> None:
    monkeypatch.setattr("fosp_cli.operator_client.DISCOVERY_S", 0.3)
    arguments = [str(bundle[0])] if "announce" in command else []
    assert run([*command.split(), *arguments, "--namespace", "nobody"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is the graph up" in line
