"""Bags for an export: their numbers by the reader of training, and their images in full size, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bag_messages import read_observation
from fosp_learner.data.bag_names import find_topic
from fosp_learner.data.bag_streams import BagStreams, read_recording
from fosp_recording.episode_recorder import stamp_of

_THUMBNAIL = 8
"""Pixels along the sides of the images that the first reading keeps: it looks at all, and holds none."""


def read_parts(bag: Path, topics: tuple[str, ...], robot: RobotConfig, period_s: float) -> list[BagStreams]:
    """Return the streams of a bag with the cameras on `topics`, as training reads them; their images are thumbnails.

    UserError when training would refuse the bag.
    """
    cameras = tuple(
        CameraSpec(name=f"camera{number}", topic=topic, height=_THUMBNAIL, width=_THUMBNAIL)
        for number, topic in enumerate(topics)
    )
    return read_recording(bag, ObservationSpec(cameras=cameras), robot, period_s).parts


def read_frames_at(
    bag: Path, topic: str, robot: RobotConfig, size: tuple[int, int], wanted: NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of the camera on `topic` that carry the stamps `wanted`, each as often as it stands there.

    Stamps are in ns, in the order of the recording. Frames are cropped and resized to `size`, (height, width), and are
    (height, width, 3) uint8 RGB. UserError when one is not there.
    """
    storage, at = BagStorage(bag), 0
    name = find_topic(storage.topics(), robot.image_topic(topic).lstrip("/"), camera=True)
    for stored in storage.messages({name}.__contains__):
        if at == len(wanted):
            return
        stamp = stamp_of(bytes(stored.data[:12]), stored.type, stored.logged_ns)
        if stamp != wanted[at]:
            continue
        pixels, _ = read_observation(deserialise(stored), stored.type, *size)
        while at < len(wanted) and wanted[at] == stamp:
            yield pixels
            at += 1
    if at < len(wanted):
        raise UserError(f"{bag}: {topic} lacks the frame of {wanted[at] * 1e-9:.3f} s in the order of its stamps")


def task_of_bag(bag: Path) -> str:
    """Return the task that the recorder noted, "unnamed" if none."""
    return BagStorage(bag).custom_data.get("task", "") or "unnamed"
