"""Bags as other recorders write them give the same episodes as ours."""

import shutil
import sqlite3
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
import zstandard
from altered_bags import images_as, write_mcap
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from sensor_msgs.msg import CompressedImage, Image

from fosp_core import image
from fosp_core.bag import storage as bag_storage
from fosp_core.bag.mcap_stream import StoredMessage
from fosp_core.bag_types import typestore
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image.encodings import ENCODINGS, rgb_of_raw
from fosp_core.robot.config import RobotConfig
from fosp_core.ros.image_message import observation_view
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bag_messages import COMPRESSED, IMAGE, read_observation
from fosp_learner.data.bags import Episode, bag_metadata, bag_topics, find_bags, read_bag, read_episodes

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
CAMERA = "/camera/color/image_raw"
WriteBag = Callable[..., Path]
Message = tuple[str, str, int, Any]
MessagesOf = Callable[[Path], list[Message]]


def assert_same(found: list[Episode], expected: list[Episode], images: float = 0) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.images.astype(int), b.images.astype(int), atol=images)
        for field in ("action", "reward", "cost", "is_terminal"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
    ],
)
def test_every_storage_and_compression_gives_the_same_episode(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, storage: StoragePlugin, compression: CompressionMode
):
    bag = write_bag(terminal_at=8, last_at=8, cost_at=3)
    rewritten = rewrite_bag(bag, storage=storage, compression=compression)
    assert rewritten in find_bags([bag.parent])
    assert_same(read_episodes(rewritten, SMALL, robot, PERIOD_S), read_episodes(bag, SMALL, robot, PERIOD_S))


@pytest.mark.parametrize(("extension", "tolerance"), [(".png", 0), (".jpg", 2)])
def test_compressed_images_are_found_on_the_topic_of_image_transport(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, extension: str, tolerance: float
):
    bag = write_bag()
    compressed = rewrite_bag(bag, images_as(extension))
    assert_same(
        read_episodes(compressed, SMALL, robot, PERIOD_S), read_episodes(bag, SMALL, robot, PERIOD_S), tolerance
    )


def test_colours_of_bgr_and_compressed_images_are_in_order(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    def colour(message: Message) -> list[Message]:
        content = message[3]
        if message[1] == "sensor_msgs/msg/Image":
            content.data = np.tile(np.array([10, 20, 30], np.uint8), content.height * content.width)
            content.encoding = "bgr8"
        return [message]

    bag = rewrite_bag(write_bag(), colour)
    (episode,) = read_episodes(bag, SMALL, robot, PERIOD_S)
    assert episode.images[0, 0, 0, 0].tolist() == [30, 20, 10]


def test_a_jpeg_that_was_cut_off_is_refused_and_not_filled_with_grey(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    as_jpeg = images_as(".jpg")

    def cut(message: Message) -> list[Message]:
        (changed,) = as_jpeg(message)
        if changed[1] == "sensor_msgs/msg/CompressedImage":
            changed[3].data = changed[3].data[:-10]
        return [changed]

    with pytest.raises(UserError, match="cannot be decoded"):
        read_episodes(rewrite_bag(write_bag(), cut), SMALL, robot, PERIOD_S)


@pytest.mark.parametrize(
    ("extension", "before_size"), [(".png", b"IHDR"), (".jpg", b"\xff\xc0\0\x11\x08")], ids=["png", "jpeg"]
)
def test_a_small_picture_that_would_unpack_to_more_than_a_camera_s_is_never_unpacked(
    write_bag: WriteBag,
    rewrite_bag: WriteBag,
    robot: RobotConfig,
    monkeypatch: pytest.MonkeyPatch,
    extension: str,
    before_size: bytes,
):
    compress = images_as(extension)

    def lie(message: Message) -> list[Message]:
        (changed,) = compress(message)
        if changed[1] == "sensor_msgs/msg/CompressedImage":
            data = bytearray(changed[3].data)
            at = data.index(before_size) + len(before_size)
            size = struct.pack(">II" if extension == ".png" else ">HH", 8000, 8000)
            data[at : at + len(size)] = size
            changed[3].data = np.frombuffer(data, np.uint8)
        return [changed]

    def reached(*_: Any) -> None:
        raise AssertionError("decoded, with all the memory that it takes")

    lying = rewrite_bag(write_bag(), lie)
    monkeypatch.setattr(cv2, "imdecode", reached)
    with pytest.raises(UserError, match=r"8000x8000.* larger than a camera's"):
        read_episodes(lying, SMALL, robot, PERIOD_S)


def test_a_raw_image_larger_than_a_camera_s_is_refused(
    write_bag: WriteBag, robot: RobotConfig, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag()
    monkeypatch.setattr(image, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(UserError, match="larger than a camera's"):
        read_episodes(bag, SMALL, robot, PERIOD_S)


def test_a_split_sqlite_bag_of_humble_is_read(
    write_bag: WriteBag, robot: RobotConfig, messages_of: MessagesOf, tmp_path: Path
):
    bag, humble = write_bag(), tmp_path / "bags" / "humble"
    humble.mkdir()
    everything = messages_of(bag)
    topics = sorted({(topic, kind) for topic, kind, _, _ in everything})
    for part, chosen in enumerate((everything[:20], everything[20:])):
        with sqlite3.connect(humble / f"humble_{part}.db3") as database:
            database.executescript(
                "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
                "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT);"
                "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
                " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
                "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
                " data BLOB NOT NULL); CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
                "INSERT INTO schema VALUES (3, 'humble');"
            )
            for number, (topic, kind) in enumerate(topics, 1):
                database.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (number, topic, kind))
            for topic, kind, when, content in chosen:
                data = bytes(typestore().serialize_cdr(content, kind))
                number = topics.index((topic, kind)) + 1
                database.execute(
                    "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", (number, when, data)
                )
    counted = [
        {
            "topic_metadata": {"name": t, "type": k, "serialization_format": "cdr", "offered_qos_profiles": ""},
            "message_count": sum(m[0] == t for m in everything),
        }
        for t, k in topics
    ]
    information = {
        "version": 5,
        "storage_identifier": "sqlite3",
        "relative_file_paths": ["humble/humble_0.db3", "humble/humble_1.db3"],
        "compression_format": "",
        "compression_mode": "",
        "topics_with_message_count": counted,
    }
    (humble / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}))
    assert bag_topics(humble) == {t.lstrip("/") for t, _ in topics}
    assert_same(read_episodes(humble, SMALL, robot, PERIOD_S), read_episodes(bag, SMALL, robot, PERIOD_S))


@pytest.mark.parametrize("chunk", [None, "", "lz4"])
def test_an_mcap_without_index_and_out_of_order_is_read(
    write_bag: WriteBag, robot: RobotConfig, messages_of: MessagesOf, chunk: str | None
):
    bag = write_bag()
    expected = read_episodes(bag, SMALL, robot, PERIOD_S)
    write_mcap(messages_of(bag), next(bag.glob("*.mcap")), chunk)
    assert_same(read_episodes(bag, SMALL, robot, PERIOD_S), expected)


def test_a_chunk_that_fails_its_checksum_is_one_line(write_bag: WriteBag, messages_of: MessagesOf, robot: RobotConfig):
    bag = write_bag()
    (file,) = bag.glob("*.mcap")
    write_mcap(messages_of(bag), file, "")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged near byte \d+ \(a chunk does not match") as caught:
        read_episodes(bag, SMALL, robot, PERIOD_S)
    assert "\n" not in str(caught.value)


def test_what_is_readable_of_a_recording_cut_off_mid_write_is_used(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    bag = rewrite_bag(write_bag(frames=9, size=(480, 640)))  # in the order of time, in chunks of about a frame
    (whole,) = read_episodes(bag, SMALL, robot, PERIOD_S)
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    (bag / "metadata.yaml").unlink()
    assert bag in find_bags([bag.parent])
    assert bag_metadata(bag) == {}
    reading = read_bag(bag, SMALL, robot, PERIOD_S)
    (episode,) = reading.episodes
    length = len(episode.reward)
    assert 2 <= length < len(whole.reward)
    np.testing.assert_array_equal(episode.images, whole.images[:length])
    np.testing.assert_array_equal(episode.action[:-1], whole.action[: length - 1])
    assert not episode.is_terminal.any()
    assert "cut off mid-write" in reading.report.notes[0]


def test_a_tail_of_zeros_after_a_power_cut_is_not_taken_for_content(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    bag = rewrite_bag(write_bag(frames=9, size=(480, 640)))
    (file,) = bag.glob("*.mcap")
    content = file.read_bytes()
    keep = int(0.6 * len(content))
    file.write_bytes(content[:keep] + bytes(len(content) - keep))
    (bag / "metadata.yaml").unlink()
    (episode,) = read_episodes(bag, SMALL, robot, PERIOD_S)
    assert all((image == image[0, 0, 0, 0]).all() for image in episode.images)


def test_a_recording_cut_off_before_its_first_chunk_is_one_line(write_bag: WriteBag, robot: RobotConfig):
    bag = write_bag()
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:500])
    (bag / "metadata.yaml").unlink()
    with pytest.raises(UserError, match="cut off before anything readable"):
        read_episodes(bag, SMALL, robot, PERIOD_S)


def test_a_sqlite_recording_without_metadata_is_read_unless_its_log_is_open(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig
):
    bag = write_bag()
    cut = rewrite_bag(bag, storage=StoragePlugin.SQLITE3)
    (cut / "metadata.yaml").unlink()
    assert_same(read_episodes(cut, SMALL, robot, PERIOD_S), read_episodes(bag, SMALL, robot, PERIOD_S))
    (cut / "rewritten.db3-wal").write_bytes(b"rows")
    with pytest.raises(UserError, match=r"was not closed.* sqlite3 rewritten\.db3 \.tables"):
        read_episodes(cut, SMALL, robot, PERIOD_S)


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("keep", [0.1, 0.7])
def test_a_finished_bag_with_a_shortened_file_is_refused(
    write_bag: WriteBag, rewrite_bag: WriteBag, robot: RobotConfig, storage: StoragePlugin, keep: float
):
    bag = rewrite_bag(write_bag(), storage=storage, compression=CompressionMode.FILE)
    (file,) = bag.glob("*.zstd")
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(UserError, match="damaged or cut off"):
        read_episodes(bag, SMALL, robot, PERIOD_S)


def test_a_file_that_metadata_lists_must_be_there_and_another_is_not_used(write_bag: WriteBag, robot: RobotConfig):
    bag = write_bag()
    (file,) = bag.glob("*.mcap")
    shutil.copy(file, bag / "copy.mcap")
    reading = read_bag(bag, SMALL, robot, PERIOD_S)
    assert reading.report.notes == ("copy.mcap is not used, metadata.yaml does not list it",)
    file.unlink()
    with pytest.raises(UserError, match=r"episode_000000\.mcap is missing"):
        read_episodes(bag, SMALL, robot, PERIOD_S)


@pytest.mark.parametrize("listed", ["../{}/{}", "/{}/{}"])
def test_a_bag_that_lists_files_outside_of_its_folder_is_refused(
    write_bag: WriteBag, robot: RobotConfig, tmp_path: Path, listed: str
):
    bag = write_bag()
    path = bag / "metadata.yaml"
    information = yaml.safe_load(path.read_text())
    (name,) = information["rosbag2_bagfile_information"]["relative_file_paths"]
    information["rosbag2_bagfile_information"]["relative_file_paths"] = [listed.format(bag.name, name)]
    path.write_text(yaml.safe_dump(information))
    with pytest.raises(UserError, match="outside of the bag"):
        read_bag(bag, SMALL, robot, PERIOD_S)


def test_metadata_that_no_recorder_wrote_is_refused_in_one_line(write_bag: WriteBag):
    bag = write_bag()
    sound = (bag / "metadata.yaml").read_text()
    for text, said in (
        ("[" * 5000, "nested too deeply|not valid YAML"),
        ("a: \0", "not valid YAML: unacceptable character"),
        ("[1, 2]", "no rosbag2 metadata"),
        (
            sound.replace("\n  message_count: ", "\n  message_count: 1\n  message_count: ", 1),
            "'message_count' stands twice",
        ),
    ):
        (bag / "metadata.yaml").write_text(text)
        with pytest.raises(UserError, match=said) as caught:
            bag_topics(bag)
        assert str(caught.value).startswith(f"{bag}: metadata.yaml")
        assert "\n" not in str(caught.value)
    with (bag / "metadata.yaml").open("w") as file:
        file.truncate(17 << 20)
    with pytest.raises(UserError, match="larger than rosbag2 metadata can be"):
        bag_topics(bag)


def test_a_message_that_unpacks_to_more_than_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bag_storage, "LARGEST_MESSAGE", 1 << 20)
    packed = zstandard.ZstdCompressor().compress(bytes(2 << 20))
    with pytest.raises(UserError, match=r"/camera.*unpacks to more than 1 MiB"):
        bag_storage._unpacked(StoredMessage("/camera", "", "", 0, packed))
    small = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    assert bag_storage._unpacked(StoredMessage("/camera", "", "", 0, small)).data == bytes(1 << 20)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_recorded_frame_gives_the_observation_that_the_robot_made_of_it(extension: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    large = cv2.resize(pixels, (640, 480), interpolation=cv2.INTER_CUBIC)
    data = np.asarray(cv2.imencode(extension, large)[1]).ravel()
    recorded = SimpleNamespace(format=extension[1:], data=data)
    trained, _ = read_observation(recorded, COMPRESSED, 64, 64)
    seen, _ = observation_view(CompressedImage(format=extension[1:], data=data.tobytes()), 64, 64)
    assert np.array_equal(trained, seen)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_recorded_raw_frame_of_every_encoding_gives_the_observation_that_the_robot_made_of_it(encoding: str) -> None:
    lines = 96 if encoding.startswith("nv") else 64
    step = next(step for step in range(64, 64 * 8 + 1, 64) if readable(encoding, lines, step))
    data = np.random.default_rng(0).integers(0, 256, lines * step, np.uint8)
    recorded = SimpleNamespace(encoding=encoding, height=64, width=64, step=step, data=data, is_bigendian=0)
    trained, _ = read_observation(recorded, IMAGE, 32, 32)
    live = Image(encoding=encoding, height=64, width=64, step=step, data=array("B", data.tobytes()))
    seen, _ = observation_view(live, 32, 32)
    assert np.array_equal(trained, seen)
    assert trained.shape == (32, 32, 3)


def readable(encoding: str, lines: int, step: int) -> bool:
    try:
        rgb_of_raw(np.zeros(lines * step, np.uint8), encoding, 64, 64, step)
    except BrokenMessage:
        return False
    return True
