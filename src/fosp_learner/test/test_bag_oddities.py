"""Bags that are odd as other stacks have seen them: none is used for what it is not, or refused for a wrong reason."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

from fosp_core.bag_types import typestore
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import check_bags, read_bag

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
Message = tuple[str, str, int, Any]
Bags = Callable[..., Path]


def notes(bag: Path, robot: RobotConfig) -> str:
    return "; ".join(read_bag(bag, SMALL, robot, PERIOD_S).report.notes)


def refusal(bag: Path, robot: RobotConfig) -> str:
    (report,) = check_bags([bag], SMALL, robot, PERIOD_S, workers=1)
    assert report.problem
    assert "\n" not in report.problem
    return report.problem


def moved(names: dict[str, str]) -> Callable[[Message], list[Message]]:
    """Put streams into namespaces: part of their name -> namespace."""

    def change(message: Message) -> list[Message]:
        topic, *rest = message
        space = next((space for part, space in names.items() if part in topic), "")
        return [(f"{space}{topic}", *rest)]

    return change


def test_streams_of_two_namespaces_are_not_taken_for_one_robot(
    write_bag: Bags, rewrite_bag: Bags, robot: RobotConfig
) -> None:
    bag = write_bag()
    one = rewrite_bag(bag, moved({"camera": "/left", "command": "/left", "feedback": "/left"}), name="one")
    assert read_bag(one, SMALL, robot, PERIOD_S).report.notes == ()
    part = rewrite_bag(bag, moved({"command": "/left", "feedback": "/left"}), name="part")
    assert "streams stand inside and outside of a namespace" in notes(part, robot)
    two = rewrite_bag(bag, moved({"camera": "/left", "command": "/right"}), name="two")
    assert "streams of several namespaces" in refusal(two, robot)


def test_a_camera_that_hangs_is_told_and_a_scene_that_stands_still_is_not(
    write_bag: Bags, rewrite_bag: Bags, robot: RobotConfig
) -> None:
    def freeze(message: Message) -> list[Message]:
        topic, kind, when, content = message
        if kind != "sensor_msgs/msg/Image" or content.data[0] < 10:
            return [message]
        return [(topic, kind, when, replace(content, data=np.full_like(content.data, 10)))]

    bag, still = write_bag(frames=61), write_bag("still", frames=61, speed=0.0)
    assert notes(bag, robot) == notes(rewrite_bag(still, freeze, name="frozen_still"), robot) == ""
    hung = notes(rewrite_bag(bag, freeze, name="frozen"), robot)
    assert "camera/color/image_raw shows one picture for 1.25 s at 0.25 s while the robot is told to move" in hung


def test_a_message_of_another_definition_is_one_line_for_its_bag(
    write_bag: Bags, messages_of: Callable[[Path], list[Message]], robot: RobotConfig, tmp_path: Path
) -> None:
    good = write_bag()
    other = tmp_path / "bags" / "other"
    kind = "geometry_msgs/msg/TwistStamped"
    definition = "std_msgs/Header header\nfloat64 speed\n" + "=" * 80 + "\nMSG: std_msgs/Header\n"
    definition += "builtin_interfaces/Time stamp\nstring frame_id\n" + "=" * 80 + "\nMSG: builtin_interfaces/Time\n"
    definition += "int32 sec\nuint32 nanosec\n"
    with Writer(other, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for topic, of_type, when, content in messages_of(good):
            if topic not in connections:
                own = {"msgdef": definition, "rihs01": "RIHS01_00"} if of_type == kind else {"typestore": typestore()}
                connections[topic] = writer.add_connection(topic, of_type, **own)
            data = bytes(typestore().serialize_cdr(content, of_type))
            writer.write(connections[topic], when, data[:32] if of_type == kind else data)
    first, second = check_bags([tmp_path / "bags"], SMALL, robot, PERIOD_S, workers=1)
    assert (first.bag, first.problem) == (good.name, "")
    assert "/arm/twist_command" in second.problem
    assert "\n" not in second.problem


def test_healthy_messages_of_another_encoding_are_not_called_damaged(
    write_bag: Bags, rewrite_bag: Bags, robot: RobotConfig
) -> None:
    bag = rewrite_bag(write_bag(), storage=StoragePlugin.SQLITE3)
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database, database:
        database.execute("UPDATE messages SET data = CAST(x'00070000' || substr(data, 5) AS BLOB)")
    said = refusal(bag, robot)
    assert "serialised as XCDR2, which is healthy" in said
    assert "damaged" not in said


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_bag_that_was_unpacked_or_packed_after_its_metadata_was_written_is_read(
    write_bag: Bags, rewrite_bag: Bags, robot: RobotConfig, storage: StoragePlugin
) -> None:
    bag = rewrite_bag(write_bag(), storage=storage, compression=CompressionMode.FILE)
    (packed,) = bag.glob("*.zstd")
    plain = packed.with_suffix("")
    with packed.open("rb") as source, plain.open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    assert "is not used" in notes(bag, robot), "both are there"
    packed.unlink()
    assert read_bag(bag, SMALL, robot, PERIOD_S).report.steps == 4
    name = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["relative_file_paths"]
    text = (bag / "metadata.yaml").read_text().replace(name[0], plain.name)
    (bag / "metadata.yaml").write_text(text)
    assert read_bag(bag, SMALL, robot, PERIOD_S).report.steps == 4
    with plain.open("rb") as source, packed.open("wb") as target:
        zstandard.ZstdCompressor().copy_stream(source, target)
    plain.unlink()
    assert read_bag(bag, SMALL, robot, PERIOD_S).report.steps == 4


@pytest.mark.parametrize("left", ["", "\n", "\0\0\0\0"], ids=["empty", "line", "zeros"])
def test_metadata_that_never_reached_the_disk_is_that_of_a_recording_cut_off(
    write_bag: Bags, robot: RobotConfig, left: str
) -> None:
    bag = write_bag()
    (bag / "metadata.yaml").write_text(left)
    assert read_bag(bag, SMALL, robot, PERIOD_S).report.steps == 4


def test_what_is_left_when_a_part_of_a_split_recording_is_lost_is_not_joined_over_the_gap(
    write_bag: Bags, messages_of: Callable[[Path], list[Message]], robot: RobotConfig, tmp_path: Path
) -> None:
    from altered_bags import write_mcap

    whole = messages_of(write_bag(frames=61))
    folder = tmp_path / "split"
    folder.mkdir()
    third = len(whole) // 3
    for number in range(3):
        write_mcap(whole[number * third : (number + 1) * third][::-1], folder / f"rec_{number}.mcap", "")
    assert read_bag(folder, SMALL, robot, PERIOD_S).report.steps > 20
    (folder / "rec_1.mcap").unlink()
    reports = check_bags([folder], SMALL, robot, PERIOD_S, workers=1)
    assert [(report.bag, report.episodes, report.steps) for report in reports] == [
        ("rec_0.mcap", 1, 10),
        ("rec_2.mcap", 1, 9),
    ]


def test_copies_of_a_bag_under_other_names_are_told(write_bag: Bags, robot: RobotConfig, tmp_path: Path) -> None:
    from fosp_learner.data.bag_sets import told_apart

    bag = write_bag()
    shutil.copytree(bag, bag.parent / "again")
    reports = told_apart(check_bags([bag.parent], SMALL, robot, PERIOD_S, workers=1), robot, given=False)
    assert [bool(report.notes) for report in reports] == [False, True]
