"""The streams of a bag that matter to learning: camera frames, executed commands and feedback, ordered by stamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.executed import twists_of_poses
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_core.topics import FEEDBACK, is_in_bag
from fosp_learner.data.bag_messages import (
    RecordedFeedback,
    deserialise,
    read_command,
    read_feedback,
    read_observation,
    stamp_ns,
)
from fosp_learner.data.bag_storage import BagStorage, StoredTopic
from fosp_learner.data.mcap_stream import StoredMessage


@dataclass(frozen=True)
class BagStreams:
    """Streams of one bag; stamps in ns, ascending."""

    cameras: tuple[str, ...]
    """Topics; the first camera drives the decisions."""
    frame_ns: list[NDArray[np.int64]]
    """Stamps of each camera's frames, (n,)."""
    frames: list[list[NDArray[np.uint8]]]
    """Observation images (H, W, 3) of each camera, n of them."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each camera's frames as recorded."""
    command_ns: NDArray[np.int64]
    commands: NDArray[np.float64]
    """(n, A) in m/s and rad/s."""
    feedback_ns: NDArray[np.int64]
    feedback: list[RecordedFeedback]
    format: str
    notes: tuple[str, ...] = ()
    """Lines about what is odd in the files."""


@dataclass
class _Camera:
    topic: str
    size: tuple[int, int] | None = None
    frames: list[tuple[int, int, NDArray[np.uint8]]] = field(default_factory=list)


def read_streams(bag: Path, observation: ObservationSpec, robot: RobotConfig) -> BagStreams:
    """Read a bag once from its beginning to its end; UserError with one line that begins with the bag."""
    storage = BagStorage(bag)
    try:
        return _read(storage, observation, robot)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(bag)) else f"{bag}: {text}") from None


def find_topic(topics: Mapping[str, StoredTopic], topic: str, camera: bool = False) -> str:
    """Return the full name of a relative topic in the bag; a camera's may be compressed, if only that was recorded.

    UserError when there is none, when nothing was recorded on it, or when several fit.
    """
    topic = topic.lstrip("/")
    forms = (topic, f"{topic}/compressed") if camera else (topic,)
    named = [name for form in forms for name in topics if _matches(name, form)]
    if not named:
        there = ", ".join(sorted(topics)) or "none"
        raise UserError(f"topic {topic} is missing (there are: {there}); record it too")
    recorded = {name: topics[name] for name in named if topics[name].messages}
    if not recorded:
        raise UserError(f"no message on {topic}; remove the bag or record it again with that topic")
    for form in forms:
        fitting = [name for name in recorded if _matches(name, form)]
        exact = [name for name in fitting if name.lstrip("/") == form]
        if len(exact or fitting) > 1:
            raise UserError(f"several topics could be {topic}: {', '.join(sorted(fitting))}; record one robot per bag")
        if fitting:
            return (exact or fitting)[0]
    raise AssertionError("a recorded topic has one of the forms")


def _matches(name: str, topic: str) -> bool:
    return is_in_bag(name, topic)


def _read(storage: BagStorage, observation: ObservationSpec, robot: RobotConfig) -> BagStreams:
    topics = storage.topics()
    cameras = {
        find_topic(topics, robot.image_topic(camera.topic), camera=True): _Camera(camera.topic)
        for camera in observation.cameras
    }
    if len(cameras) < len(observation.cameras):
        raise UserError("two cameras of the observation have one topic; name each camera's own")
    command_topic, feedback_topic = find_topic(topics, robot.command_topic), find_topic(topics, FEEDBACK)
    commands: list[tuple[int, int, NDArray[np.float64]]] = []
    feedback: list[tuple[int, int, RecordedFeedback]] = []
    for stored in storage.messages({*cameras, command_topic, feedback_topic}.__contains__):
        message, logged_ns = deserialise(stored), stored.logged_ns
        if stored.topic == feedback_topic:
            when, content = read_feedback(message, stored.type)
            feedback.append((when, logged_ns, content))
        elif stored.topic == command_topic:
            when, command = read_command(message, stored.type, logged_ns, robot)
            commands.append((when, logged_ns, command))
        else:
            _take_frame(cameras[stored.topic], stored, message, observation)
    for camera in cameras.values():
        _sort(camera.topic, camera.frames)
    _sort(robot.command_topic, commands)
    _sort(FEEDBACK, feedback)
    command_array = np.array([command for _, _, command in commands], np.float64)
    if not np.isfinite(command_array).all():
        raise UserError(f"a command on {robot.command_topic} is not finite; remove the bag")
    if robot.command_type == "PoseStamped":
        seconds = (_stamps(commands) - commands[0][0]) * 1e-9
        command_array = twists_of_poses(seconds, command_array, robot.action, robot.command_timeout_s)
    result = BagStreams(
        tuple(camera.topic for camera in cameras.values()),
        [_stamps(camera.frames) for camera in cameras.values()],
        [[image for _, _, image in camera.frames] for camera in cameras.values()],
        tuple(camera.size or (0, 0) for camera in cameras.values()),
        _stamps(commands),
        command_array,
        _stamps(feedback),
        [content for _, _, content in feedback],
        storage.format,
        tuple(storage.notes),
    )
    _check_clocks(result, robot.command_topic)
    return result


def _take_frame(camera: _Camera, stored: StoredMessage, message: Any, observation: ObservationSpec) -> None:
    _, height, width, _ = observation.shape
    small, (rows, columns) = read_observation(message, stored.type, height, width)
    size = (columns, rows)
    if camera.size is None:
        if size[0] < width or size[1] < height:
            raise UserError(
                f"images of {camera.topic} are {size[0]}x{size[1]}, smaller than the model's {width}x{height}; "
                "record larger ones"
            )
        camera.size = size
    elif camera.size != size:
        raise UserError(
            f"images of {camera.topic} change from {camera.size[0]}x{camera.size[1]} to {size[0]}x{size[1]}; "
            "record one size per camera"
        )
    if small.base is not None:  # a view would keep the whole chunk of the file in memory
        small = small.copy()
    camera.frames.append((stamp_ns(message), stored.logged_ns, small))


def _sort(topic: str, arrived: list[Any]) -> None:
    """Sort by stamp, then by arrival. UserError without messages, or with stamps that nobody filled in."""
    if not arrived:
        raise UserError(f"no message on {topic}; remove the bag or record it again with that topic")
    arrived.sort(key=lambda entry: entry[:2])
    if len(arrived) > 1 and arrived[0][0] == arrived[-1][0]:
        raise UserError(f"all messages on {topic} carry one stamp; let their publisher stamp them, then record again")


def _stamps(arrived: Sequence[tuple[int, int, object]]) -> NDArray[np.int64]:
    return np.array([when for when, _, _ in arrived], np.int64)


def _check_clocks(streams: BagStreams, command_topic: str) -> None:
    """Raise UserError when a stream has no time in common with the first camera: their clocks differ."""
    begin, end = int(streams.frame_ns[0][0]), int(streams.frame_ns[0][-1])
    others = [
        *zip(streams.cameras[1:], streams.frame_ns[1:], strict=True),
        (command_topic, streams.command_ns),
        (FEEDBACK, streams.feedback_ns),
    ]
    for topic, stamps in others:
        if stamps[-1] < begin or stamps[0] > end:
            raise UserError(
                f"{topic} is stamped {stamps[0] * 1e-9:.3f} to {stamps[-1] * 1e-9:.3f} s, {streams.cameras[0]} "
                f"{begin * 1e-9:.3f} to {end * 1e-9:.3f} s: no time in common; record with one clock"
            )
