"""Recorded images as a camera: bags and folders, good and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_perception.camera.image_source import CameraSettings, SourceLost
from fosp_perception.camera.recorded_source import BagSource, FolderSource

COLOR = "/camera/color/image_raw"
HEIGHT, WIDTH = 6, 8


def frame(value: int, height: int = HEIGHT) -> NDArray[np.uint8]:
    image = np.full((height, WIDTH, 3), value, np.uint8)
    image[0, 0] = (250, 5, 0)
    return image


def image_message(pixels: NDArray[np.uint8]) -> Any:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    return types["sensor_msgs/msg/Image"](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera"),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding="rgb8",
        is_bigendian=0,
        step=pixels.shape[1] * 3,
        data=pixels.reshape(-1),
    )


def compressed_message(pixels: NDArray[np.uint8]) -> Any:
    types = typestore().types
    png = cv2.imencode(".png", pixels[..., ::-1])[1]
    return types["sensor_msgs/msg/CompressedImage"](
        image_message(pixels).header, "rgb8; png compressed bgr8", png.reshape(-1)
    )


def write_bag(path: Path, images: dict[str, list[NDArray[np.uint8]]]) -> Path:
    store = typestore()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, frames in images.items():
            compressed = topic.endswith("/compressed")
            kind = "sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image"
            connection = writer.add_connection(topic, kind, typestore=store)
            for i, pixels in enumerate(frames):
                message = compressed_message(pixels) if compressed else image_message(pixels)
                data = store.serialize_cdr(message, kind)
                writer.write(connection, 1_000_000 * (i + 1), data)
    return path


def value(source: FolderSource | BagSource) -> int:
    """The grey value of the next frame."""
    return int(source.read().color[1, 1, 0])


def assert_ended(source: FolderSource | BagSource) -> None:
    with pytest.raises(SourceLost, match="end of the recording") as lost:
        source.read()
    assert not lost.value.comes_back


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"frame_{i}.png"), frame(10 * i)[..., ::-1])
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_gives_its_images_as_rgb_in_the_order_of_their_names(folder: Path) -> None:
    source = FolderSource(CameraSettings(path=folder))
    assert source.size == (HEIGHT, WIDTH)
    for i in range(3):
        assert np.array_equal(source.read().color, frame(10 * i))
    assert_ended(source)


def test_a_looping_folder_begins_again(folder: Path) -> None:
    source = FolderSource(CameraSettings(path=folder, loop=True))
    values = [value(source) for _ in range(5)]
    assert values == [0, 10, 20, 0, 10]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        FolderSource(CameraSettings(path=tmp_path / "absent"))
    with pytest.raises(UserError, match="holds no image"):
        FolderSource(CameraSettings(path=tmp_path))


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match="can be decoded"):
        FolderSource(CameraSettings(path=tmp_path))


def test_an_image_of_another_size_is_refused(folder: Path) -> None:
    cv2.imwrite(str(folder / "frame_9.png"), frame(0, height=7))
    source = FolderSource(CameraSettings(path=folder))
    for _ in range(3):
        source.read()
    with pytest.raises(UserError, match="one size"):
        source.read()


def test_a_bag_gives_the_frames_of_its_topic(tmp_path: Path) -> None:
    other = np.zeros((2, 2, 3), np.uint8)
    bag = write_bag(tmp_path / "bag", {COLOR: [frame(1), frame(2)], "/other/image_raw": [other]})
    source = BagSource(CameraSettings(path=bag, topic="camera/color/image_raw"))
    assert source.size == (HEIGHT, WIDTH)
    assert [value(source), value(source)] == [1, 2]
    assert_ended(source)
    source.close()


def test_a_bag_of_compressed_images_is_a_camera_as_well(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", {f"{COLOR}/compressed": [frame(1)], "/other/image_raw": [frame(2)]})
    source = BagSource(CameraSettings(path=bag, topic=COLOR))
    assert np.array_equal(source.read().color, frame(1))
    source.close()


def test_a_looping_bag_begins_again(tmp_path: Path) -> None:
    source = BagSource(
        CameraSettings(path=write_bag(tmp_path / "bag", {COLOR: [frame(1), frame(2)]}), topic=COLOR, loop=True)
    )
    values = [value(source) for _ in range(5)]
    assert values == [1, 2, 1, 2, 1]
    source.close()


def test_the_only_image_topic_of_a_bag_is_taken_under_any_name(tmp_path: Path) -> None:
    source = BagSource(CameraSettings(path=write_bag(tmp_path / "bag", {"/front/image": [frame(3)]}), topic=COLOR))
    assert value(source) == 3
    source.close()


def test_a_bag_without_the_topic_is_refused_and_its_image_topics_are_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", {"/a/image": [frame(1)], "/b/image": [frame(1)]})
    with pytest.raises(UserError, match="/a/image, /b/image"):
        BagSource(CameraSettings(path=bag, topic=COLOR))


def test_a_bag_that_is_missing_empty_or_truncated_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bag"):
        BagSource(CameraSettings(path=tmp_path / "absent", topic=COLOR))
    with pytest.raises(UserError, match="holds no"):
        BagSource(CameraSettings(path=write_bag(tmp_path / "empty", {COLOR: []}), topic=COLOR))
    bag = write_bag(tmp_path / "bag", {COLOR: [frame(i) for i in range(20)]})
    (recording,) = bag.glob("*.mcap")
    recording.write_bytes(recording.read_bytes()[: recording.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or cut off") as error:
        BagSource(CameraSettings(path=bag, topic=COLOR))
    assert "\n" not in str(error.value)
