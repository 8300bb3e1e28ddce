"""A bag of one imported episode, with the topics and types of the recorder: images, commands and feedback."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core import topics
from fosp_core.bag_types import BagWriter, typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_recording.episode_feedback import StepValues
from fosp_recording.episode_recorder import EPISODE_PREFIX, PARTIAL_FOLDER

EPOCH_NS = 1_700_000_000 * 1_000_000_000
"""Stamp of the first row of episode 0: a data set does not say when it was recorded."""
_SPACING_NS = 1_000 * 1_000_000_000
_DISTINCT = 400_000
"""Number of episodes with stamps of their own before the seconds of a ROS time overflow."""


class ImportedBag:
    """The bag of one episode; its folder appears when it is complete."""

    def __init__(self, out: Path, episode: int, robot: RobotConfig) -> None:
        """Open `out`/episode_NNNNNN; UserError when it exists or cannot be written."""
        name = f"{EPISODE_PREFIX}{episode:06d}"
        self.folder, self._robot = out / name, robot
        if self.folder.exists():
            raise UserError(f"{self.folder} exists already; choose another --out")
        self._partial = out / PARTIAL_FOLDER / name
        self._start_ns = EPOCH_NS + episode % _DISTINCT * _SPACING_NS
        self._types = typestore().types
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._bag = BagWriter(self._partial)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror or error}") from None

    def close(self, notes: Mapping[str, str]) -> None:
        """Complete the bag with `notes` in its metadata, and move it to its folder."""
        self._bag.note(notes)
        self._bag.finish(self.folder)

    def abort(self) -> None:
        """Remove what has been written."""
        self._bag.abort()
        shutil.rmtree(self._partial, ignore_errors=True)

    def image(self, time: float, topic: str, pixels: NDArray[np.uint8]) -> None:
        """Write an image (H, W, 3) uint8 RGB of the camera on `topic`, as a bundle names it; as PNG where the robot
        sends compressed images."""
        height, width, _ = pixels.shape
        header = self._header(time, f"{topic.split('/')[0]}_color_optical_frame")
        if self._robot.is_compressed(topic):
            _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            message = self._make(
                "sensor_msgs/msg/CompressedImage", header=header, format="png", data=encoded.reshape(-1)
            )
        else:
            message = self._make(
                "sensor_msgs/msg/Image",
                header=header,
                height=height,
                width=width,
                encoding="rgb8",
                is_bigendian=0,
                step=3 * width,
                data=np.ascontiguousarray(pixels).reshape(-1),
            )
        self._write(self._robot.image_topic(topic), message, time)

    def command(self, time: float, twist: NDArray[np.float64]) -> None:
        """Write a command in m/s and rad/s, one number per axis of the robot's action."""
        vectors = {"linear": [0.0, 0.0, 0.0], "angular": [0.0, 0.0, 0.0]}
        for axis, value in zip(self._robot.action.axes, twist, strict=True):
            vector, component = axis.name.split(".")
            vectors[vector]["xyz".index(component)] = float(value)
        message = self._make(
            "geometry_msgs/msg/Twist",
            **{
                name: self._make("geometry_msgs/msg/Vector3", **dict(zip("xyz", vector, strict=True)))
                for name, vector in vectors.items()
            },
        )
        if self._robot.command_type == "TwistStamped":
            header = self._header(time, self._robot.action.frame_id)
            message = self._make("geometry_msgs/msg/TwistStamped", header=header, twist=message)
        self._write(self._robot.command_topic, message, time)

    def feedback(self, time: float, values: StepValues) -> None:
        """Write the feedback of a row."""
        header = self._header(time, "")
        self._write(topics.FEEDBACK, self._make("fosp_msgs/msg/StepFeedback", header=header, **asdict(values)), time)

    def _header(self, time: float, frame_id: str) -> Any:
        seconds, nanoseconds = divmod(self._stamp(time), 1_000_000_000)
        stamp = self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _stamp(self, time: float) -> int:
        return self._start_ns + round(time * 1e9)

    def _make(self, name: str, /, **fields: Any) -> Any:
        return self._types[name](**fields)

    def _write(self, topic: str, message: Any, time: float) -> None:
        topic, kind = topic if topic.startswith("/") else f"/{topic}", message.__msgtype__
        if topic not in self._bag.topics:
            self._bag.add_topic(topic, kind)
        self._bag.write(topic, self._stamp(time), typestore().serialize_cdr(message, kind))
