"""Small recorded bags and episodes for the tests of this package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_episodes import random_episode
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from tiny_bundle import CAMERA_LIMITS, lenient_reference

from fosp_core.bag_types import typestore
from fosp_core.bundle.reference import REFERENCE
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import Manifest
from fosp_learner.bundling.calibration import calibrate
from fosp_learner.bundling.validation import assess
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset
from fosp_learner.pretrain import bundle_of
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

START_S = 1000
FRAME_NS = 25_000_000
COMMAND_NS = 10_000_000


@dataclass
class WrittenBag:
    """Content of a written bag: frames at 40 Hz, feedback with each, commands at 100 Hz."""

    frames: int = 9
    size: tuple[int, int] = (24, 32)
    speed: float = 0.125
    """m/s of linear.x."""
    frame_id: str = "base_link"
    cost_at: int = -1
    terminal_at: int = -1
    last_at: int = -1
    lost: tuple[int, ...] = ()
    """Frames that are missing."""
    topics: tuple[str, ...] = ("image", "feedback", "command")


@pytest.fixture(scope="session")
def robot() -> RobotConfig:
    return read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")


@pytest.fixture
def write_bag(tmp_path: Path, robot: RobotConfig) -> Callable[..., Path]:
    def write(name: str = "episode_000000", **settings: object) -> Path:
        folder = tmp_path / "bags" / name
        folder.parent.mkdir(exist_ok=True)
        _write(folder, robot, WrittenBag(**settings))
        return folder

    return write


Message = tuple[str, str, int, Any]
"""Topic, type, time in ns and content of one message."""


def read_messages(bag: Path) -> list[Message]:
    """All messages, in order of time."""
    with Reader(bag) as reader:
        return [
            (connection.topic, connection.msgtype, when, typestore().deserialize_cdr(data, connection.msgtype))
            for connection, when, data in reader.messages()
        ]


@pytest.fixture
def messages_of() -> Callable[[Path], list[Message]]:
    return read_messages


@pytest.fixture
def rewrite_bag() -> Callable[..., Path]:
    """Write a bag again, each message as `change` makes it, in another storage or compression."""

    def rewrite(
        bag: Path,
        change: Callable[[Message], list[Message]] = lambda message: [message],
        name: str = "rewritten",
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
    ) -> Path:
        writer = Writer(bag.parent / name, version=9, storage_plugin=storage)
        if compression != CompressionMode.NONE:
            writer.set_compression(compression, CompressionFormat.ZSTD)
        connections: dict[str, Any] = {}
        with writer:
            for topic, kind, when, content in (new for message in read_messages(bag) for new in change(message)):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
                writer.write(connections[topic], when, typestore().serialize_cdr(content, kind))
        return bag.parent / name

    return rewrite


def _write(folder: Path, robot: RobotConfig, recording: WrittenBag) -> None:
    store = typestore()
    types = store.types
    vector = types["geometry_msgs/msg/Vector3"]

    def header(ns: int, frame: str = "camera"):
        stamp = types["builtin_interfaces/msg/Time"](START_S + ns // 10**9, ns % 10**9)
        return types["std_msgs/msg/Header"](stamp, frame)

    def image(i: int):
        height, width = recording.size
        pixels = np.full(height * width * 3, i, np.uint8)
        return types["sensor_msgs/msg/Image"](header(i * FRAME_NS), height, width, "rgb8", 0, 3 * width, pixels)

    def feedback(i: int):
        return types["fosp_msgs/msg/StepFeedback"](
            header(i * FRAME_NS), 0, i == 0, 0.0 if i == 0 else 1.0, float(i == recording.cost_at),
            i == recording.terminal_at, i == recording.last_at, i == recording.terminal_at, 0.5,
        )  # fmt: skip

    def command(i: int):
        twist = types["geometry_msgs/msg/Twist"](vector(recording.speed, 0.0, 0.0), vector(0.0, 0.0, 0.0))
        return types["geometry_msgs/msg/TwistStamped"](header(i * COMMAND_NS, recording.frame_id), twist)

    kinds = {
        "image": ("/camera/color/image_raw", "sensor_msgs/msg/Image", image, FRAME_NS),
        "feedback": ("/fosp/feedback", "fosp_msgs/msg/StepFeedback", feedback, FRAME_NS),
        "command": (f"/{robot.command_topic}", "geometry_msgs/msg/TwistStamped", command, COMMAND_NS),
    }
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.set_custom_data("task", "safe_reach")
        writer.set_custom_data("robot", robot.name)
        for kind in recording.topics:
            topic, type_name, make, period = kinds[kind]
            connection = writer.add_connection(topic, type_name, typestore=store)
            count = recording.frames if kind != "command" else (recording.frames - 1) * FRAME_NS // COMMAND_NS + 1
            for i in range(count):
                if kind == "image" and i in recording.lost:
                    continue
                message = store.serialize_cdr(make(i), type_name)
                writer.write(connection, START_S * 10**9 + i * period, message)


@pytest.fixture(scope="session")
def assemble() -> Callable[..., tuple[Manifest, dict[str, Path | bytes]]]:
    """Manifest and files of a bundle of the trainer's networks, calibrated on `validation`."""

    def make(trainer: Trainer, validation: Dataset, *described: Any) -> tuple[Manifest, dict[str, Path | bytes]]:
        config = trainer.config.calibration
        robot: RobotConfig = described[0]
        cameras = len(trainer.config.observation.cameras)
        assessment = assess(trainer, filter_episodes(trainer.world_model, validation), config.horizon_steps)
        calibration = calibrate(assessment.values, config).model_copy(update={"camera": CAMERA_LIMITS})
        manifest, files = bundle_of(trainer, assessment, calibration, *described)
        return manifest, files | {REFERENCE: lenient_reference(cameras, robot.action.size).to_bytes()}

    return make


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    return random_episode


@pytest.fixture
def episodes() -> list[Episode]:
    return [random_episode(8 + i % 5, i, violates=i % 2 == 0) for i in range(8)]
