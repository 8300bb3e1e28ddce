"""Bags that would train on wrong data without a word: each is cut, counted, told or refused."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from altered_bags import images_as, write_mcap
from rosbags.rosbag2 import StoragePlugin, Writer

from fosp_core.bag import storage as bag_storage
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bag_sets import choose_robot, told_apart
from fosp_learner.data.bags import BagReport, check_bags, find_bags, read_bag, read_episodes

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
S = 1_000_000_000
WriteBag = Callable[..., Path]
Message = tuple[str, str, int, Any]
MessagesOf = Callable[[Path], list[Message]]


def refusal(bag: Path, robot: RobotConfig) -> str:
    with pytest.raises(UserError) as caught:
        read_episodes(bag, SMALL, robot, PERIOD_S)
    line = str(caught.value)
    assert line.startswith(f"{bag}: ")
    assert "\n" not in line
    assert "remove the bag" not in line
    return line


def notes(bag: Path, robot: RobotConfig) -> str:
    return "; ".join(read_bag(bag, SMALL, robot, PERIOD_S).report.notes)


def write(folder: Path, messages: list[Message], storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """Write messages in the order of the list."""
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for topic, kind, when, content in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
            writer.write(connections[topic], when, typestore().serialize_cdr(content, kind))
    return folder


def stamped(messages: list[Message], shift_s: float, value: int, log_shift_s: float) -> list[Message]:
    """The same messages at another time, with images of one grey value and commands of its sign."""
    moved = []
    for topic, kind, when, content in messages:
        stamp = content.header.stamp
        total = stamp.sec * S + stamp.nanosec + round(shift_s * S)
        header = replace(content.header, stamp=replace(stamp, sec=total // S, nanosec=total % S))
        changed = replace(content, header=header)
        if kind.endswith("/Image"):
            changed = replace(changed, data=np.full_like(content.data, value))
        if kind.endswith("/TwistStamped"):
            linear = replace(content.twist.linear, x=0.001 * value)
            changed = replace(changed, twist=replace(content.twist, linear=linear))
        moved.append((topic, kind, when + round(log_shift_s * S), changed))
    return moved


@pytest.mark.parametrize("log_goes_on", [True, False], ids=["log times go on", "log times start over, too"])
@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_simulator_that_was_reset_in_mid_bag_gives_its_passes_one_by_one(
    write_bag: WriteBag,
    messages_of: MessagesOf,
    robot: RobotConfig,
    tmp_path: Path,
    log_goes_on: bool,
    storage: StoragePlugin,
):
    once = messages_of(write_bag(frames=33))
    passes = [
        message
        for number in range(3)
        for message in stamped(once, 0.0, 10 + 50 * number, 1.0 * number if log_goes_on else 0.0)
    ]
    bag = write(tmp_path / "reset", passes, storage)
    reading = read_bag(bag, SMALL, robot, PERIOD_S)
    assert [len(e.reward) for e in reading.episodes] == [17] * 3
    for number, episode in enumerate(reading.episodes):
        assert set(episode.images.reshape(-1).tolist()) == {10 + 50 * number}
        assert episode.action[:-1, 0] == pytest.approx(0.001 * (10 + 50 * number) / 0.25, abs=1e-6)
        assert episode.reward[1:].tolist() == [2.0] * 16
    assert "go back by 0.800 s" in "; ".join(reading.report.notes)


def test_recordings_in_one_folder_are_bags_of_their_own_and_parts_of_one_are_joined(
    write_bag: WriteBag, messages_of: MessagesOf, robot: RobotConfig, tmp_path: Path
):
    bags = [write_bag(f"night_{number}") for number in range(3)]
    flat, split = tmp_path / "flat", tmp_path / "split"
    flat.mkdir()
    for bag, name in zip(bags, ("a", "b", "lab_3"), strict=True):
        shutil.copy(bag / f"{bag.name}.mcap", flat / f"{name}.mcap")
    assert [path.name for path in find_bags([flat])] == ["a.mcap", "b.mcap", "lab_3.mcap"]
    assert [report.steps for report in check_bags([flat], SMALL, robot, PERIOD_S)] == [4, 4, 4]
    split.mkdir()
    whole = sorted(messages_of(write_bag("long", frames=41)), key=lambda message: message[2])
    third = len(whole) // 3
    for number, part in ((9, whole[:third]), (10, whole[third : 2 * third]), (11, whole[2 * third :])):
        write_mcap(part[::-1], split / f"rec_{number}.mcap", "")
    assert find_bags([split]) == [split]
    (episode,) = read_episodes(split, SMALL, robot, PERIOD_S)
    assert len(episode.reward) == 21


def test_recordings_of_one_time_in_the_parts_of_one_folder_are_not_interleaved(
    write_bag: WriteBag, messages_of: MessagesOf, robot: RobotConfig, tmp_path: Path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    once = messages_of(write_bag(frames=33))
    for number in range(2):
        part = stamped(once, 0.0, 10 + 100 * number, 0.0)
        write_mcap(sorted(part, key=lambda message: -message[2]), folder / f"rec_{number}.mcap", "")
    for episode in read_episodes(folder, SMALL, robot, PERIOD_S):
        assert len(set(episode.images.reshape(-1).tolist())) == 1


def test_every_message_twice_counts_once(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def twice(message: Message) -> list[Message]:
        topic, kind, when, content = message
        return [message, (topic, kind, when + 3_000_000, content)]

    bag = write_bag()
    (once,), (found,) = (read_episodes(b, SMALL, robot, PERIOD_S) for b in (bag, rewrite_bag(bag, twice)))
    assert found.reward.tolist() == once.reward.tolist()
    report = read_bag(rewrite_bag(bag, twice, name="again"), SMALL, robot, PERIOD_S).report
    assert report.doubles == 9 + 9 + 21
    assert (
        "recorded twice and counted once (duplicates): 21 on arm/twist_command, 9 on fosp/feedback" in report.notes[0]
    )


def test_two_feedback_nodes_that_contradict_each_other_are_refused(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def second_opinion(message: Message) -> list[Message]:
        topic, kind, when, content = message
        if topic != "/fosp/feedback":
            return [message]
        return [message, (topic, kind, when + 1, replace(content, cost=1.0))]

    assert "contradict each other" in refusal(rewrite_bag(write_bag(), second_opinion), robot)


def test_a_camera_slower_than_the_decisions_is_refused_and_taken_at_its_own_period(
    write_bag: WriteBag, robot: RobotConfig
):
    bag = write_bag(frames=81, lost=tuple(i for i in range(81) if i % 4))
    assert "comes at 10 Hz, slower than a decision every 0.05 s (20 Hz)" in refusal(bag, robot)
    (episode,) = read_episodes(bag, SMALL, robot, 0.1)
    assert len(episode.reward) == 21


def test_a_camera_of_another_rate_than_the_robot_file_s_is_told(write_bag: WriteBag, robot: RobotConfig):
    fast = robot.model_copy(update={"camera_frame_rate_hz": 80.0})
    assert "comes at 40 Hz, the robot file says 80 Hz" in notes(write_bag(frames=21), fast)


def test_a_camera_whose_clock_is_ahead_is_refused(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    def ahead(message: Message) -> list[Message]:
        return stamped([message], 0.15, 9, 0.0) if message[1].endswith("Image") else [message]

    bag = rewrite_bag(write_bag(frames=41), ahead)
    assert "camera/color/image_raw is stamped 150 ms ahead of arm/twist_command" in refusal(bag, robot)


def test_commands_of_another_scale_are_told_and_refused_when_most_are(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def faster(share: int) -> Callable[[Message], list[Message]]:
        numbers = iter(range(10**6))

        def change(message: Message) -> list[Message]:
            fast = message[1].endswith("TwistStamped") and next(numbers) % share == 0
            return stamped([message], 0.0, 500, 0.0) if fast else [message]

        return change

    bag = write_bag(frames=21)
    assert "of linear.x are beyond the action's scale of 0.25 m/s (up to 0.5) and are clipped" in notes(
        rewrite_bag(bag, faster(5)), robot
    )
    assert "recorded with another robot file" in refusal(rewrite_bag(bag, faster(1), name="fast"), robot)


def test_linked_bags_are_read_once_each_and_circles_end(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    kept, chosen = write_bag("episode_a"), tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "episode_b").symlink_to(kept)
    (chosen / "circle").symlink_to(chosen)
    (chosen / "files").mkdir()
    for path in kept.iterdir():
        (chosen / "files" / path.name).symlink_to(path)
    assert find_bags([chosen]) == [chosen / "episode_b", chosen / "files"]
    assert [report.steps for report in check_bags([chosen], SMALL, robot, PERIOD_S)] == [4, 4]
    assert len(find_bags([chosen, kept])) == 2
    shutil.rmtree(kept)
    assert [report.problem.split(";")[0] for report in check_bags([chosen], SMALL, robot, PERIOD_S)] == [
        "is a link that leads nowhere",
        "holds no .mcap or .db3 file that can be read",
    ]


def test_a_single_file_is_a_bag(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    bag = write_bag()
    (expected,) = read_episodes(bag, SMALL, robot, PERIOD_S)
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        made = rewrite_bag(bag, storage=storage, name=storage.name.lower())
        (file,) = (path for path in made.iterdir() if path.name != "metadata.yaml")
        assert find_bags([file]) == [file]
        (episode,) = read_episodes(file, SMALL, robot, PERIOD_S)
        np.testing.assert_array_equal(episode.images, expected.images)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"is no bag; expected \.mcap"):
        find_bags([tmp_path / "notes.txt"])


def test_a_bag_of_ros_1_is_named_as_such_with_the_command_that_converts_it(robot: RobotConfig, tmp_path: Path):
    old = tmp_path / "old.bag"
    old.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    (report,) = check_bags([tmp_path], SMALL, robot, PERIOD_S)
    assert report.problem == f"is a bag of ROS 1; convert it: rosbags-convert --src {old} --dst {tmp_path / 'old'}"


def test_a_healthy_bag_with_a_type_that_nobody_defines_is_not_called_damaged(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    bag = rewrite_bag(write_bag(), storage=StoragePlugin.SQLITE3)
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE topics SET type = 'robot_msgs/msg/JointVelocity' WHERE name = ?", (command(robot),))
        database.execute("DELETE FROM message_definitions")
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    assert "lists it as geometry_msgs/msg/TwistStamped" in refusal(bag, robot)
    metadata.write_text(text.replace("geometry_msgs/msg/TwistStamped", "robot_msgs/msg/JointVelocity"))
    line = refusal(bag, robot)
    assert "expected geometry_msgs/msg/TwistStamped or geometry_msgs/msg/Twist on /arm/twist_command, found" in line
    assert "damaged" not in line


def command(robot: RobotConfig) -> str:
    return f"/{robot.command_topic}"


def test_a_log_time_that_is_no_time_is_one_line_for_that_bag(
    write_bag: WriteBag, messages_of: MessagesOf, robot: RobotConfig, tmp_path: Path
):
    write_bag("whole")
    bag = write_bag("rollover")
    (file,) = bag.glob("*.mcap")
    everything = messages_of(bag)
    everything[3] = (*everything[3][:2], 2**64 - 1000, everything[3][3])
    write_mcap(everything, file, "")
    spoilt, whole = check_bags([tmp_path], SMALL, robot, PERIOD_S)
    assert "logged at 18446744073709550616 ns, which is no time" in spoilt.problem
    assert whole.problem == ""


def test_one_broken_jpeg_is_a_lost_frame_and_many_are_refused(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def cut(which: set[int]) -> Callable[[Message], list[Message]]:
        numbers, as_jpeg = iter(range(10**6)), images_as(".jpg")

        def change(message: Message) -> list[Message]:
            (changed,) = as_jpeg(message)
            if changed[1].endswith("CompressedImage") and next(numbers) in which:
                changed[3].data = changed[3].data[:-10]
            return [changed]

        return change

    bag = write_bag(frames=33)
    report = read_bag(rewrite_bag(bag, cut({5}), name="one"), SMALL, robot, PERIOD_S).report
    assert (report.broken, report.steps, str(report.frames)) == (1, 16, "17/33")
    assert "left out 1 of 33 frames of camera/color/image_raw broken, the first at 0.12 s" in report.notes[0]
    line = refusal(rewrite_bag(bag, cut({5, 6, 7}), name="three"), robot)
    assert "3 of 33 frames of camera/color/image_raw broken, the first at 0.12 s" in line


def test_depth_is_no_colour_compressed_or_not(write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig):
    compressed = typestore().types["sensor_msgs/msg/CompressedImage"]

    def depth(form: str) -> Callable[[Message], list[Message]]:
        def change(message: Message) -> list[Message]:
            topic, kind, when, content = message
            if not kind.endswith("Image"):
                return [message]
            pixels = np.full((content.height, content.width), 30000, np.uint16)
            if form == "raw":
                raw = replace(content, encoding="16UC1", step=2 * content.width, data=pixels.view(np.uint8).reshape(-1))
                return [(topic, kind, when, raw)]
            packed = cv2.imencode(".png", pixels)[1].reshape(-1)
            return [(f"{topic}/compressed", "sensor_msgs/msg/CompressedImage", when,
                     compressed(content.header, form, packed))]  # fmt: skip

        return change

    bag = write_bag()
    for number, form in enumerate(("raw", "16UC1; png compressed ", "png", "32FC1; compressedDepth png")):
        line = refusal(rewrite_bag(bag, depth(form), name=f"depth_{number}"), robot)
        assert "holds no colour" in line or "holds depth, not colour" in line
    grey = read_bag(rewrite_bag(bag, depth("mono16; png compressed "), name="grey"), SMALL, robot, PERIOD_S)
    assert set(grey.episodes[0].images.reshape(-1).tolist()) == {117}


@pytest.mark.parametrize("change", ["fewer", "more"])
@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_bag_that_holds_other_messages_than_its_metadata_counts_is_refused(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, storage: StoragePlugin, change: str
):
    bag = rewrite_bag(write_bag(), storage=storage)
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    for entry in metadata["rosbag2_bagfile_information"]["topics_with_message_count"]:
        if entry["topic_metadata"]["name"] == "/fosp/feedback":
            entry["message_count"] += 1 if change == "fewer" else -1
    (bag / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert "holds 9 messages on /fosp/feedback, metadata.yaml counts" in refusal(bag, robot)
    (bag / "metadata.yaml").unlink()
    assert len(read_episodes(bag, SMALL, robot, PERIOD_S)) == 1


def test_a_chunk_that_claims_to_be_huge_is_never_unpacked(
    write_bag: WriteBag, robot: RobotConfig, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag()
    monkeypatch.setattr("fosp_core.bag.mcap_stream.LARGEST_CHUNK", 100)
    assert "a chunk's sizes are impossible" in refusal(bag, robot)
    assert bag_storage.LARGEST_MESSAGE <= 1 << 28


def report(name: str, **known: Any) -> BagReport:
    return BagReport(name, images=("64x48",), robot="sim_arm", task="reach", frame_ids=("wrist",), **known)


def test_a_bag_of_another_robot_task_or_size_than_the_others_is_named(robot: RobotConfig):
    same = [report("a"), report("b")]
    other_robot, other_task = replace(same[0], robot="lab2_arm"), replace(same[0], task="push")
    other_size, other_mount = replace(same[0], images=("32x24",)), replace(same[0], frame_ids=("bench",))
    odd = [other_robot, other_task, other_size, other_mount]
    problems = [found.problem for found in told_apart([*same, *odd], robot, given=False)]
    assert problems[:2] == ["", ""]
    assert "is of robot lab2_arm, not sim_arm" in problems[2]
    assert "is of task push, others are of reach" in problems[3]
    assert "images are 32x24, in others 64x48" in problems[4]
    assert problems[5] == ""
    given = told_apart([*same, *odd], robot, given=True)
    assert (given[2].problem, given[2].notes) == ("", ("names robot lab2_arm, read as sim_arm",))
    assert "camera frames are bench, in others wrist" in given[5].notes[0]
    copies = told_apart([replace(found, content="0123") for found in same], robot, given=True)
    assert [found.notes for found in copies] == [(), ("holds the same pictures, actions and rewards as a: a copy?",)]


def test_a_robot_that_is_given_is_taken_and_bags_that_tell_nothing_are_passed_over(
    write_bag: WriteBag, robot: RobotConfig
):
    other = robot.model_copy(update={"name": "lab2_arm", "command_topic": "lab2/command"})
    silent, named = write_bag("a", topics=("image",)), write_bag("b")
    (silent / "metadata.yaml").unlink()
    assert choose_robot([silent], [other]) is other
    assert choose_robot([silent, named], [other, robot]) is robot
    with pytest.raises(UserError, match=r"no robot's command topic is there.*say which with --robot"):
        choose_robot([silent], [other, robot])
    (named / "metadata.yaml").write_text((named / "metadata.yaml").read_text().replace("sim_arm", "lab2_arm"))
    pair = [named, write_bag("c")]
    with pytest.raises(UserError, match=r"bags of several robots: lab2_arm .*, sim_arm .*--robot"):
        choose_robot(pair, [other, robot])
    assert choose_robot([*pair, write_bag("d")], [other, robot], mixed=True) is robot
