"""recorder_node over real DDS, whose bags others can read, and the start of black_box_node."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from failing_disk import library
from lifecycle_msgs.msg import State, Transition
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.clock import HEARTBEAT_GAP_S
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Heartbeat
from fosp_safety_monitor.parameters import DESCRIPTIONS

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_base.yaml"
FRAMES, PAUSE = 8, 16
IMAGE_TOPIC, FEEDBACK_TOPIC, COMMAND_TOPIC = "/camera/color/image_raw", "/fosp/feedback", "/cmd_vel"


class Robot:
    """Publishes a frame, its feedback and a command, all of one stamp, at 40 Hz; 8 frames an episode, 16 in between."""

    def __init__(self, graph: Any) -> None:
        from geometry_msgs.msg import TwistStamped
        from sensor_msgs.msg import Image

        from fosp_core import topics
        from fosp_core.ros import qos
        from fosp_core.ros.image_message import fill_image
        from fosp_msgs.msg import StepFeedback

        self._node = graph.node
        self._image, self._feedback, self._command = Image(), StepFeedback(), TwistStamped()
        fill_image(self._image, np.full((240, 320, 3), 7, np.uint8))
        self._publishers = [
            self._node.create_publisher(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE),
            self._node.create_publisher(StepFeedback, topics.FEEDBACK, qos.STEP),
            self._node.create_publisher(TwistStamped, "cmd_vel", qos.COMMAND_HISTORY),
        ]
        self._moment = 0
        self._timer = self._node.create_timer(0.025, self._publish)
        self.ends = True

    def _publish(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        self._feedback.episode, step = divmod(self._moment, FRAMES + PAUSE)
        self._feedback.is_first, self._feedback.is_last = step == 0, step == FRAMES - 1 and self.ends
        for publisher, message in zip(self._publishers, (self._image, self._feedback, self._command), strict=True):
            message.header.stamp = stamp
            publisher.publish(message)
        self._moment += 1


@pytest.fixture
def robot(graph: Any) -> Robot:
    return Robot(graph)


def start_recorder(start_node: Callable[..., Any], graph: Any, out: Path) -> Any:
    node = start_node("fosp_recording.recorder_node", "-p", f"out:={out}", "-p", f"robot:={ROBOT}")
    assert graph.transition("recorder_node", Transition.TRANSITION_CONFIGURE), node.log
    assert graph.transition("recorder_node", Transition.TRANSITION_ACTIVATE), node.log
    return node


def test_each_episode_becomes_a_bag_that_rosbags_and_the_tools_of_mcap_read(
    start_node: Callable[..., Any], graph: Any, robot: Robot, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    node = start_recorder(start_node, graph, tmp_path / "bags")
    complete = {IMAGE_TOPIC: FRAMES, FEEDBACK_TOPIC: FRAMES, COMMAND_TOPIC: FRAMES}

    def complete_bag() -> Path | None:
        """The first bags may lack topics that the recorder had not discovered yet."""
        return next((bag for bag in sorted((tmp_path / "bags").glob("episode_*")) if counts(bag) == complete), None)

    bag = wait_until(complete_bag, timeout_s=20, what="a complete bag")
    feedback = messages(bag, FEEDBACK_TOPIC)
    assert [message.is_first for message in feedback] == [True] + [False] * (FRAMES - 1)
    assert [message.is_last for message in feedback] == [False] * (FRAMES - 1) + [True]
    assert len({message.episode for message in feedback}) == 1
    frames = messages(bag, IMAGE_TOPIC)
    assert [message.header.stamp for message in frames] == [message.header.stamp for message in feedback]
    decoded = decoded_by_mcap(bag)
    assert {topic: len(found) for topic, found in decoded.items()} == complete
    assert [message.is_last for message in decoded[FEEDBACK_TOPIC]] == [message.is_last for message in feedback]
    assert bytes(decoded[IMAGE_TOPIC][0].data) == frames[0].data.tobytes()
    assert node.stop() == 0


def longest_silence(beats: list[Any], since: int) -> float:
    """The longest time between two heartbeats, s, by their stamps."""
    sent = [seconds(beat.stamp) for beat in beats[since:]]
    return max(b - a for a, b in pairwise(sent))


@pytest.mark.long
def test_a_disk_that_takes_seconds_to_close_a_bag_silences_no_heartbeat_and_loses_no_message(
    start_node: Callable[..., Any], graph: Any, robot: Robot, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "bags"
    beats = graph.listen(Heartbeat, topics.HEARTBEAT, qos.STEP)
    start_node("slow_recorder", "-p", f"out:={out}", "-p", f"robot:={ROBOT}", "-r", "__node:=recorder_node")
    assert graph.transition("recorder_node", Transition.TRANSITION_CONFIGURE)
    assert graph.transition("recorder_node", Transition.TRANSITION_ACTIVATE)
    since = len(beats)
    wait_until(lambda: len(list(out.glob("episode_*"))) == 2, timeout_s=30, what="two bags of a slow disk")
    assert longest_silence(beats, since) < 0.4
    newest = max(out.glob("episode_*"))
    assert counts(newest) == {IMAGE_TOPIC: FRAMES, FEEDBACK_TOPIC: FRAMES, COMMAND_TOPIC: FRAMES}


def test_a_drive_that_is_pulled_out_ends_the_recording_in_one_line_and_nothing_else(
    start_node: Callable[..., Any],
    graph: Any,
    robot: Robot,
    wait_until: Callable[..., Any],
    ros_environment: Any,
    tmp_path: Path,
) -> None:
    """The disk takes 40 pieces, which are a few bags, and then no more."""
    out = tmp_path / "bags"
    disk = {"LD_PRELOAD": str(library(tmp_path)), "FAILING_DISK": f"{out} write 40 {errno.EIO}"}
    ros_environment.variables.update(disk)
    beats = graph.listen(Heartbeat, topics.HEARTBEAT, qos.STEP)
    node = start_recorder(start_node, graph, out)
    wait_until(lambda: "recording stopped" in node.log, timeout_s=40, what="the disk to fail")
    moment = len(beats)
    wait_until(lambda: len(beats) > moment + 15, timeout_s=10, what="heartbeats after it")
    assert longest_silence(beats, moment - 5) < HEARTBEAT_GAP_S
    assert beats[-1].state == State.PRIMARY_STATE_ACTIVE
    assert node.log.count("recording stopped: Input/output error") == 1, node.log
    assert "Traceback" not in node.log
    found = sorted(out.glob("*_0*"))
    assert found
    for bag in found:
        assert counts(bag)[FEEDBACK_TOPIC] == FRAMES, bag
    assert node.stop() == 0


def test_a_camera_that_is_slow_to_tell_its_temperature_silences_no_heartbeat(
    start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    assert cv2.imwrite(str(tmp_path / "images" / "0.png"), np.zeros((48, 64, 3), np.uint8))
    beats = graph.listen(Heartbeat, topics.HEARTBEAT, qos.STEP)
    told = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
    start_node("slow_camera", "-p", "source:=folder", "-p", f"path:={tmp_path / 'images'}", "-p", "loop:=true")
    assert graph.transition("camera_node", Transition.TRANSITION_CONFIGURE)
    assert graph.transition("camera_node", Transition.TRANSITION_ACTIVATE)
    since = len(beats)
    wait_until(
        lambda: any(v.key == "temperature_c" for m in told for s in m.status for v in s.values),
        timeout_s=20,
        what="the temperature",
    )
    assert longest_silence(beats, since) < 0.4


def counts(bag: Path) -> dict[str, int]:
    """Messages of each topic that has any."""
    with AnyReader([bag], default_typestore=typestore()) as reader:
        return {c.topic: c.msgcount for c in reader.connections if c.msgcount}


def decoded_by_mcap(bag: Path) -> dict[str, list[Any]]:
    """Messages of each topic by the format's own library: checksums, index, and the definitions inside of the file."""
    (file,) = bag.glob("*.mcap")
    found: dict[str, list[Any]] = {}
    with file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for _, channel, _, message in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append(message)
        summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics.message_count == sum(map(len, found.values()))
    return found


def messages(bag: Path, topic: str) -> list[Any]:
    with AnyReader([bag], default_typestore=typestore()) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [reader.deserialize(data, connection.msgtype) for connection, _, data in reader.messages(connections)]


def test_the_metadata_is_what_ros2_bag_info_reads(
    start_node: Callable[..., Any], graph: Any, robot: Robot, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "bags"
    node = start_recorder(start_node, graph, out)
    bag = out / "episode_000001"
    wait_until(bag.is_dir, what=node.log)
    information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert information["message_count"] == sum(counts(bag).values()) >= 2
    assert [(bag / name).is_file() for name in information["relative_file_paths"]] == [True]
    described = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in information["topics_with_message_count"]}
    assert {IMAGE_TOPIC, FEEDBACK_TOPIC, COMMAND_TOPIC} <= set(described)
    assert described[IMAGE_TOPIC]["type"] == "sensor_msgs/msg/Image"
    assert described[FEEDBACK_TOPIC]["type_description_hash"].startswith("RIHS01_")


def test_an_episode_that_is_cut_off_by_the_end_of_the_recorder_is_kept_as_incomplete(
    start_node: Callable[..., Any], graph: Any, robot: Robot, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "bags"
    node = start_recorder(start_node, graph, out)
    robot.ends = False
    wait_until(lambda: any((out / ".partial").iterdir()), what=node.log)
    assert node.stop() == 0
    assert {path.name.partition("_")[0] for path in out.iterdir()} == {".partial", "incomplete"}
    assert not any((out / ".partial").iterdir())


def test_a_folder_that_cannot_be_written_fails_the_configuration_with_one_line(
    start_node: Callable[..., Any], graph: Any, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    node = start_node("fosp_recording.recorder_node", "-p", f"out:={blocked / 'bags'}", "-p", f"robot:={ROBOT}")
    assert not graph.transition("recorder_node", Transition.TRANSITION_CONFIGURE)
    assert node.log.count(os.linesep) == 1, node.log
    assert "recording stopped" in node.log
    assert node.running


def test_a_black_box_refuses_a_heartbeat_gap_that_the_safety_monitor_would_refuse(
    start_node: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = ["-p", f"out:={tmp_path / 'boxes'}", "-p", f"robot:={ROBOT}", "-p", "heartbeat_gap_s:=9.0"]
    node = start_node("fosp_recording.black_box_node", *arguments)
    wait_until(lambda: not node.running, what="its end")
    assert node.process.returncode == 2
    bounds = next(parameter.range for parameter in DESCRIPTIONS if parameter.name == "heartbeat_gap_s")
    assert f"parameter 'heartbeat_gap_s' must be in {bounds}" in node.log
