"""Recorded images as a camera: a bag, or a folder of images. No ROS node."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.ros.image_message import rgb_view
from fosp_perception.camera.image_source import CameraFrame, CameraIntrinsics, CameraSettings, SourceLost

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
COMPRESSED = "/compressed"
"""Suffix that image_transport adds to the name of a topic."""
END = "end of the recording"


class RecordedSource:
    """Base class of the bag and folder sources, whose frames are stamped when they are published."""

    paced = True
    warnings: tuple[str, ...] = ()

    def __init__(self, settings: CameraSettings) -> None:
        assert settings.path is not None
        self._path, self._loop = settings.path, settings.loop
        self.name = str(settings.path)

    def details(self) -> dict[str, str]:
        return {}


class FolderSource(RecordedSource):
    """The images of a folder in the order of their names."""

    def __init__(self, settings: CameraSettings, now_ns: Callable[[], int] | None = None) -> None:
        super().__init__(settings)
        folder = self._path
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of images")
        self._paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise UserError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
        self._next = 0
        self.intrinsics = CameraIntrinsics()
        self.size = _read_image(self._paths[0]).shape[:2]

    def read(self) -> CameraFrame:
        if self._next == len(self._paths):
            if not self._loop:
                raise SourceLost(END, comes_back=False)
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        frame = _read_image(path)
        _check_size(frame, self.size, str(path))
        return CameraFrame(frame)

    def close(self) -> None:
        """Do nothing: no file is held open."""


class BagSource(RecordedSource):
    """The frames of one image topic of a bag, in the order in which they were recorded."""

    def __init__(self, settings: CameraSettings, now_ns: Callable[[], int] | None = None) -> None:
        super().__init__(settings)
        self._storage = BagStorage(self._path)
        self._topics = self._storage.topics()
        self._topic = self._choose_topic(settings.topic)
        self._frames = self._read_all()
        self._ahead: NDArray[np.uint8] | None = next(self._frames, None)
        if self._ahead is None:
            raise UserError(f"{self._path}: holds no message on {self._topic}")
        self.size = self._ahead.shape[:2]
        self.intrinsics = self._read_intrinsics()

    def read(self) -> CameraFrame:
        frame, self._ahead = self._ahead, None
        if frame is None:
            frame = next(self._frames, None)
        if frame is None and self._loop:
            self._frames = self._read_all()
            frame = next(self._frames, None)
        if frame is None:
            raise SourceLost(END, comes_back=False)
        _check_size(frame, self.size, f"{self._path}, {self._topic}")
        return CameraFrame(frame)

    def close(self) -> None:
        self._frames.close()

    def _choose_topic(self, wanted: str) -> str:
        """Return the topic `wanted` where the bag has it, raw or compressed, else the bag's only image topic."""
        topics = sorted(name for name, topic in self._topics.items() if topic.type in IMAGE_TYPES)
        for name in (wanted.lstrip("/"), wanted.lstrip("/") + COMPRESSED):
            for topic in topics:
                if topic.lstrip("/") == name:
                    return topic
        if len(topics) != 1:
            held = f"its image topics are {', '.join(topics)}" if topics else "it holds no image topic"
            raise UserError(f"{self._path}: no image topic {wanted}; {held}")
        return topics[0]

    def _messages(self, topic: str) -> Iterator[Any]:
        for stored in self._storage.messages(topic.__eq__):
            try:
                yield deserialise(stored)
            except UserError as error:
                raise UserError(f"{self._path}: {error}") from None

    def _read_all(self) -> Generator[NDArray[np.uint8], None, None]:
        """Yield the frames in the order in which they arrived; those that are broken are lost, as in training."""
        for message in self._messages(self._topic):
            with suppress(BrokenMessage):
                yield rgb_view(message)

    def _read_intrinsics(self) -> CameraIntrinsics:
        """Return the intrinsics of the first camera_info beside the image topic, or uncalibrated ones."""
        beside = self._topic.removesuffix(COMPRESSED).rsplit("/", 1)[0] + "/camera_info"
        found = self._topics.get(beside)
        message = next(self._messages(beside), None) if found is not None and found.type == INFO_TYPE else None
        if message is None:
            return CameraIntrinsics()
        return CameraIntrinsics(
            message.distortion_model, tuple(message.d), tuple(message.k), tuple(message.r), tuple(message.p)
        )


def _read_image(path: Path) -> NDArray[np.uint8]:
    """Return the image in a file, (H, W, 3) uint8 RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: not an image that can be decoded")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def _check_size(frame: NDArray[np.uint8], size: tuple[int, ...], source: str) -> None:
    if frame.shape[:2] != size:
        raise UserError(
            f"{source}: a frame of {frame.shape[1]}x{frame.shape[0]} among frames of {size[1]}x{size[0]}; "
            "a camera has one size"
        )
