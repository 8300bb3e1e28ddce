"""The traces of a safety monitor that dies: its exit, its last event, and a black box of its last seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from monitored_chain import FORWARD, NODE, ROBOT_FILE, Chain, decided, moves, reset
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.decisions import Decision
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyEvent, SafetyVerdict, StepFeedback
from fosp_recording.black_box_node import AFTERMATH_S

DRIVER_TOPIC = "driver/image/compressed"


class BlackBox:
    """A real black_box_node of the arm, whose camera's driver publishes compressed images on a topic of its own."""

    def __init__(self, start_node: Callable[..., Any], tmp_path: Path) -> None:
        mapped = {"camera_topics": {topics.COLOR_IMAGE: DRIVER_TOPIC}}
        robot = tmp_path / "mapped.yaml"
        robot.write_text(yaml.safe_dump(yaml.safe_load(ROBOT_FILE.read_text()) | mapped))
        self.out = tmp_path / "boxes"
        arguments = ["-p", f"out:={self.out}", "-p", f"robot:={robot}"]
        self.process = start_node("fosp_recording.black_box_node", *arguments)

    def causes(self) -> dict[str, Path]:
        """Why each bag was written -> its folder."""
        return {notes(folder)["cause"]: folder for folder in sorted(self.out.glob("black_box_*"))}

    def bag_because(self, cause: str) -> Callable[[], Path | None]:
        """For wait_until: the folder of the bag that was written for it; a machine that stalls may cause others."""
        return lambda: next((folder for said, folder in self.causes().items() if cause in said), None)

    def remembers(self, chain: Chain) -> Callable[[], bool]:
        """For wait_until: whether it has told that it heard anything for a second."""

        def told() -> bool:
            values = [
                float(value.value)
                for message in list(chain.diagnostics)
                for status in message.status
                for value in status.values
                if value.key == "remembered (s)"
            ]
            return bool(values) and values[-1] > 1.0

        return told


@pytest.fixture
def black_box(chain: Chain, start_node: Callable[..., Any], tmp_path: Path, wait_until: Any) -> BlackBox:
    box = BlackBox(start_node, tmp_path)
    wait_until(box.remembers(chain), 20.0, "a black box that remembers")
    return box


def seconds_since_a_stop(chain: Chain) -> float:
    """Return the time since the last verdict that stopped the robot, s; infinity when there was none."""
    now_s = chain.node.get_clock().now().nanoseconds * 1e-9
    return now_s - max((seconds(v.decided) for v in chain.verdicts if v.decision >= Decision.STOP), default=-math.inf)


def notes(folder: Path) -> dict[str, str]:
    """Return the notes in the bag's metadata."""
    found: dict[str, str] = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"][
        "custom_data"
    ]
    return found


@pytest.mark.parametrize("ended", [False, pytest.param(True, marks=pytest.mark.long)], ids=["alone", "with the stack"])
def test_a_monitor_that_is_killed_leaves_a_black_box_of_its_last_seconds(
    chain: Chain, process: Any, black_box: BlackBox, wait_until: Any, ended: bool
) -> None:
    process.kill()
    if ended:
        assert black_box.process.stop() == 0
    folder = wait_until(black_box.bag_because("no command for"), 15.0, "a black box")
    assert float(notes(folder)["seconds"]) > 1.0
    with AnyReader([folder], default_typestore=typestore()) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        (verdicts,) = (connection for connection in reader.connections if connection.topic == "/fosp/verdict")
        judged = [reader.deserialize(data, verdicts.msgtype) for _, _, data in reader.messages([verdicts])]
    assert counts["/arm/twist_command"] > 50
    assert (SafetyVerdict.PASS, chain.model_id) in {(verdict.decision, verdict.model_id) for verdict in judged}


@pytest.mark.long
def test_a_deactivation_leaves_no_black_box(chain: Chain, graph: Any, black_box: BlackBox, wait_until: Any) -> None:
    assert graph.transition(NODE, Transition.TRANSITION_DEACTIVATE)
    silent_s = time.monotonic()
    wait_until(lambda: time.monotonic() > silent_s + 0.5)
    assert black_box.process.stop() == 0
    assert not [cause for cause in black_box.causes() if "deactivation" in cause or "went down" in cause]


@pytest.mark.long
def test_a_black_box_that_is_started_anew_writes_no_bag_of_a_stop_before_its_time(
    chain: Chain, graph: Any, start_node: Any, tmp_path: Path, wait_until: Any
) -> None:
    assert graph.call(Trigger, f"{NODE}/estop", Trigger.Request()).success
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_ESTOP))
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")
    box = BlackBox(start_node, tmp_path)
    wait_until(box.remembers(chain), 20.0, "a black box that remembers")
    # A stall of the machine stops the robot, too; a bag that is due for that would have its cause.
    wait_until(lambda: seconds_since_a_stop(chain) > AFTERMATH_S + 0.5, 30.0, "a while without a stop")
    chain.actions = [[float("nan"), 0.0, 0.0]]
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_NOT_FINITE))
    chain.actions = [FORWARD]
    wait_until(box.bag_because("NaN"), 15.0, "a black box")
    assert not [cause for cause in box.causes() if "emergency stop" in cause]


@pytest.mark.long
def test_a_black_box_keeps_compressed_images_of_the_topic_that_the_robot_file_maps(
    chain: Chain, graph: Any, black_box: BlackBox, wait_until: Any
) -> None:
    images = graph.node.create_publisher(CompressedImage, DRIVER_TOPIC, qos.IMAGE_SOURCE)
    wait_until(lambda: images.get_subscription_count() > 0)
    graph.node.create_timer(0.05, lambda: images.publish(CompressedImage(format="jpeg", data=b"picture")))
    assert graph.call(Trigger, f"{NODE}/estop", Trigger.Request()).success
    folder = wait_until(black_box.bag_because("emergency stop"), 15.0, "a black box")
    with AnyReader([folder], default_typestore=typestore()) as reader:
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
    assert kinds[f"/{DRIVER_TOPIC}"] == "sensor_msgs/msg/CompressedImage"


def test_the_end_of_an_episode_leaves_a_black_box_only_if_something_was_violated(
    graph: Any, start_node: Any, tmp_path: Path, wait_until: Any
) -> None:
    feedback = graph.node.create_publisher(StepFeedback, topics.FEEDBACK, qos.FEEDBACK_SOURCE)
    events = graph.node.create_publisher(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
    box = BlackBox(start_node, tmp_path)
    wait_until(lambda: feedback.get_subscription_count() and events.get_subscription_count(), 20.0, "a black box")

    def end(episode: int, cost: float) -> None:
        feedback.publish(StepFeedback(episode=episode, is_first=True))
        feedback.publish(StepFeedback(episode=episode, cost=cost))
        feedback.publish(StepFeedback(episode=episode, is_last=True))
        now = graph.node.get_clock().now().to_msg()
        reason, text = SafetyVerdict.REASON_NO_EPISODE, f"episode {episode} ended"
        events.publish(SafetyEvent(kind=SafetyEvent.STOPPED, reason=reason, text=text, stamp=now))

    end(1, cost=0.0)
    ended_s = time.monotonic()
    wait_until(lambda: time.monotonic() > ended_s + AFTERMATH_S)
    end(2, cost=1.0)
    wait_until(box.bag_because("episode 2 ended"), 15.0, "a black box")
    assert list(box.causes()) == ["episode 2 ended"]


def test_a_monitor_whose_command_thread_fails_says_so_and_ends_with_exit_code_1(
    ros_environment: Any, start_node: Any, graph: Any, node_arguments: Any, robot: RobotConfig, wait_until: Any
) -> None:
    model_id, arguments = node_arguments
    chain = Chain(graph, robot, model_id)
    events = graph.listen(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
    process = start_node("failing_monitor", *arguments)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert graph.transition(NODE, transition), process.log
    wait_until(lambda: not process.running, 20.0, "its end")
    assert process.process.returncode == 1, process.log
    assert "RuntimeError: the command stream failed: the publisher is broken" in process.log
    latched = wait_until(lambda: next((event for event in events if event.kind == SafetyEvent.LATCHED), None))
    assert latched.reason == SafetyVerdict.REASON_NOT_READY
    assert "the publisher is broken" in latched.text
    assert len(chain.commands) <= 100
