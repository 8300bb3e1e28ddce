"""`fosp bags show` and what `ros2 bag record` needs: pictures of bags, the list of topics, storage options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer

from fosp_bringup.paths import robot_path, share
from fosp_cli.cli import run
from fosp_cli.pictures import FRAMES, read_row
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    scenario = Scenario(task="safe_reach", seed=1, max_steps=10)
    list(record_episodes(scenario, read_robot(robot_path("sim_arm")), "careful", 2, folder))
    return folder


def compressed_bag(path: Path, costs: list[float]) -> Path:
    """One second at 10 Hz: JPEG frames, feedback with these costs, and a mark in the middle."""
    store = typestore()
    types = store.types
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].reshape(-1)

    def header(i: int) -> Any:
        return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](100, i * 10**8), "camera")

    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {
            "/left/camera/color/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
            "/left/fosp/feedback": "fosp_msgs/msg/StepFeedback",
            "/left/fosp/mark": "std_msgs/msg/String",
        }
        image, feedback, mark = (writer.add_connection(t, kind, typestore=store) for t, kind in kinds.items())
        for i, cost in enumerate(costs):
            when = 100 * 10**9 + i * 10**8
            picture = types[image.msgtype](header(i), "jpeg", jpeg)
            writer.write(image, when, store.serialize_cdr(picture, image.msgtype))
            told = types[feedback.msgtype](header(i), 0, i == 0, 0.0, cost, False, False, False, 0.1)
            writer.write(feedback, when, store.serialize_cdr(told, feedback.msgtype))
        writer.write(mark, 100 * 10**9 + 5 * 10**8, store.serialize_cdr(types[mark.msgtype]("operator"), mark.msgtype))
    return path


def test_the_picture_has_a_row_for_each_episode(bags: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "sheet" / "bags.png"
    assert run(["bags", "show", str(bags), "--out", str(out)]) == 0
    assert f"2 episodes: {out}" in capsys.readouterr().out
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape[1] > 3 * picture.shape[0]
    assert picture.std() > 20, "it shows something"


def test_a_row_holds_frames_from_first_to_last_and_what_came_of_the_episode(tmp_path: Path) -> None:
    row = read_row(compressed_bag(tmp_path / "episode", [0.0] * 7 + [1.0, 0.0, 0.0]))
    assert len(row.frames) == FRAMES
    assert (row.times[0], row.times[-1]) == (0.0, pytest.approx(0.9))
    assert row.frames[0].shape == (96, 128, 3)
    assert row.outcome == "no success, violation"
    assert row.cost_times == [pytest.approx(0.7)]
    assert row.mark_times == [pytest.approx(0.5)]


def test_a_damaged_bag_and_a_wrong_name_are_one_line(bags: Path, tmp_path: Path, capsys: Any) -> None:
    bag = compressed_bag(tmp_path / "episode", [0.0] * 5)
    (recording,) = bag.glob("*.mcap")
    recording.write_bytes(recording.read_bytes()[:200])
    with pytest.raises(UserError, match="episode: "):
        read_row(bag)
    assert run(["bags", "show", str(bags), "--out", str(tmp_path / "picture.svg")]) == 2
    assert "must end in .png" in capsys.readouterr().err


def test_the_topics_for_ros2_bag_record_are_those_of_the_recorder_and_move_with_the_namespace(capsys: Any) -> None:
    assert run(["bags", "topics", "diff_drive", "--namespace", "left"]) == 0
    names = capsys.readouterr().out.split()
    assert {"/left/camera/color/image_raw", "/left/camera/color/camera_info", "/left/cmd_vel"} <= set(names)
    assert {"/left/odom", "/left/fosp/feedback", "/left/fosp/verdict"} <= set(names)


def test_the_storage_options_are_ones_that_the_mcap_storage_of_rosbag2_has() -> None:
    options = yaml.safe_load((share() / "config" / "record" / "mcap_storage.yaml").read_text())
    flags = {"noChunkCRC", "noChunking", "noMessageIndex", "noSummary", "forceCompression"}
    assert set(options) == flags | {"chunkSize", "compression", "compressionLevel"}
    assert all(options[flag] is False for flag in flags)
    assert options["compression"] in ("None", "Lz4", "Zstd")
    assert options["compressionLevel"] in ("Fastest", "Fast", "Default", "Slow", "Slowest")
    assert isinstance(options["chunkSize"], int)
