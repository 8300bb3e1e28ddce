"""The line that a person sees while recording, from what really comes in: rates, losses and trouble of all cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from recording_rig import ROBOT, Arm

from fosp_bringup.stack import Stack
from fosp_cli.demonstration.graph_watch import GraphWatch
from fosp_cli.demonstration.session import Session, status_line, watched
from fosp_core import topics
from fosp_core.robot.config import CameraConfig, read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import StepFeedback

pytestmark = pytest.mark.timeout(60)


class CameraNode:
    """The diagnostics of a camera node, over and over, from a publisher of its own."""

    def __init__(self, graph: Any, name: str, dropped: str) -> None:
        self._name, self._dropped = name, dropped
        self.level, self.message = DiagnosticStatus.OK, "40.0 Hz"
        self._publisher = graph.node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        graph.node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        values = [KeyValue(key="dropped", value=self._dropped)]
        status = DiagnosticStatus(name=f"{self._name}: camera", level=self.level, message=self.message, values=values)
        self._publisher.publish(DiagnosticArray(status=[status]))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    cameras = (CameraConfig(serial="1"), CameraConfig(name="wrist", serial="2"))
    return Session(Stack(()), read_robot(ROBOT).model_copy(update={"cameras": cameras}), tmp_path, 5, "joy")


@pytest.fixture
def watch(ros_environment: Any, session: Session) -> Iterator[GraphWatch]:
    with GraphWatch(watched(session)) as watch:
        yield watch


@pytest.fixture
def shown(session: Session, watch: GraphWatch, wait_until: Callable[..., Any]) -> Callable[..., str]:
    """`shown(*parts, but=())`: the line, once it has all of `parts` and none of `but`."""

    def wait(*parts: str, but: tuple[str, ...] = ()) -> str:
        def line() -> str:
            watch.spin(0.05)
            now = status_line(session, watch, 2)
            good = all(part in now for part in parts) and not any(part in now for part in but)
            return now if good else ""

        return str(wait_until(line, 20, f"{parts} in the line without {but}"))

    return wait


def test_a_healthy_camera_does_not_hide_the_losses_and_the_trouble_of_another(
    graph: Any, shown: Callable[..., str]
) -> None:
    wrist = CameraNode(graph, "wrist_node", "3")
    camera = CameraNode(graph, "camera_node", "4")
    wrist.level, wrist.message = DiagnosticStatus.ERROR, "unplugged"
    shown("7 lost", "!! wrist_node: unplugged", but=("camera_node",))
    camera.level, camera.message = DiagnosticStatus.WARN, "12.0 Hz instead of 40"
    shown("!! camera_node: 12.0 Hz instead of 40; wrist_node: unplugged")
    wrist.level = camera.level = DiagnosticStatus.OK
    shown("7 lost", but=("!!",))


def test_a_count_that_is_no_number_does_not_end_the_recording(graph: Any, shown: Callable[..., str]) -> None:
    CameraNode(graph, "camera_node", "4")
    CameraNode(graph, "somebody_elses", "n/a")
    shown("4 lost")


def test_the_line_tells_episodes_rates_and_that_a_violation_is_seen(
    graph: Any, arm: Arm, session: Session, watch: GraphWatch, shown: Callable[..., str], wait_until: Callable[..., Any]
) -> None:
    shown("2/5 episodes  waiting", "commands 0 Hz, 0 lost")
    rate_of = session.robot.state_topic
    wait_until(lambda: watch.spin(0.05) or watch.rate_hz(rate_of) > 20, 20, "the states of the arm")
    shown("camera 0 Hz", but=("state 0 Hz",))  # the wrist camera is silent: the slowest one is what is told
    feedback = graph.node.create_publisher(StepFeedback, topics.FEEDBACK, qos.STEP)
    message = StepFeedback(is_first=True, cost=1.0)
    graph.node.create_timer(0.02, lambda: feedback.publish(message))
    shown("recording", "s COST")
