"""The streams of a bag that matter to learning: camera frames, executed commands and feedback, ordered by stamp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.mcap_stream import StoredMessage
from fosp_core.bag.messages import deserialise, stamp_ns
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.executed import twists_of_poses
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_core.topics import FEEDBACK, GRIPPER
from fosp_learner.data.arrival import Cut, Stream, drop_doubles, in_parts
from fosp_learner.data.bag_messages import (
    CAMERA_TYPES,
    JOINT_STATE,
    STEP_FEEDBACK,
    TWIST,
    RecordedFeedback,
    command_types,
    read_command,
    read_feedback,
    read_gripper,
    read_observation,
    with_gripper,
)
from fosp_learner.data.bag_names import find_topic, namespace_notes
from fosp_learner.data.clocks import StreamClock, at_pace, check_rates, clock_notes, measure, pace_notes, pace_of
from fosp_learner.data.lenses import INFO, Lens, LensOfCamera
from fosp_learner.data.measured_motion import MeasuredMotion
from fosp_recording.recorded_topics import info_beside

Frame = NDArray[np.uint8]
_BROKEN_SHARE = 0.05
"""Share of a camera's frames that may be broken; a single one always may. They are lost frames."""
_MOST_CUTS_TOLD = 3


@dataclass(frozen=True)
class BagStreams:
    """Streams of one bag, or of one part of it; stamps in ns, ascending."""

    cameras: tuple[str, ...]
    """Topics; the first camera drives the decisions."""
    frame_ns: list[NDArray[np.int64]]
    """Stamps of each camera's frames, (n,)."""
    frames: list[list[Frame]]
    """Observation images (H, W, 3) of each camera, n of them."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each camera's frames as recorded."""
    command_ns: NDArray[np.int64]
    commands: NDArray[np.float64]
    """(n, A) in m/s and rad/s; the last column of a robot with a gripper is its normalised setpoint."""
    feedback_ns: NDArray[np.int64]
    feedback: list[RecordedFeedback]
    format: str
    notes: tuple[str, ...] = ()
    """Lines about what is odd in the files."""


@dataclass(frozen=True)
class BagRecording:
    """The parts of one bag that can be used, one after the other, and what was measured of the whole."""

    parts: list[BagStreams]
    sizes: tuple[tuple[int, int], ...]
    format: str
    notes: tuple[str, ...]
    """Lines about what is odd in the files, what was left out, and what the clocks say."""
    recorded: tuple[int, int, int]
    """Number of frames of the first camera, of feedback and of commands in the files."""
    clocks: tuple[StreamClock, ...] = ()
    """Those of the commands, of the feedback, and of each camera, in the longest part."""
    frame_ids: tuple[str, ...] = ()
    """Frame of each camera by its images."""
    doubles: int = 0
    broken: int = 0
    lenses: tuple[Lens | None, ...] = ()
    """That of each camera, as its camera_info beside the images tells; None where there is none."""


@dataclass
class _Camera:
    topic: str
    size: tuple[int, int] | None = None
    frame_id: str = ""
    stream: Stream[Frame] = field(default_factory=lambda: Stream[Frame](""))
    broken: list[tuple[int, str]] = field(default_factory=list)
    """Log time of each broken frame, and what is wrong with it."""
    lens: LensOfCamera = field(default_factory=lambda: LensOfCamera(""))


def read_recording(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagRecording:
    """Read a bag once from its beginning to its end; UserError with one line that begins with the bag."""
    try:
        return _read(BagStorage(bag), observation, robot, period_s)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(f"{bag}: ") else f"{bag}: {text}") from None


def _read(storage: BagStorage, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagRecording:
    topics = storage.topics()
    cameras = {
        find_topic(topics, robot.image_topic(camera.topic), camera=True): _Camera(camera.topic)
        for camera in observation.cameras
    }
    if len(cameras) < len(observation.cameras):
        raise UserError("two cameras of the observation have one topic; name each camera's own")
    command_topic, feedback_topic = find_topic(topics, robot.command_topic), find_topic(topics, FEEDBACK)
    mixed = namespace_notes(
        {
            **{name: camera.topic for name, camera in cameras.items()},
            command_topic: robot.command_topic,
            feedback_topic: FEEDBACK,
        }
    )
    allowed: dict[str, tuple[str, ...]] = dict.fromkeys(cameras, CAMERA_TYPES)
    allowed |= {command_topic: command_types(robot), feedback_topic: (STEP_FEEDBACK,)}
    gripper_topic = "" if robot.gripper is None else find_topic(topics, GRIPPER)
    allowed |= {gripper_topic: (JOINT_STATE,)} if gripper_topic else {}
    for name in allowed:
        _require_type(name, topics[name].type, allowed[name])
    gripper: list[tuple[int, float]] = []
    commands = Stream[NDArray[np.float64]](robot.command_topic)
    feedback = Stream[RecordedFeedback](FEEDBACK)
    for camera in cameras.values():
        camera.stream.topic = camera.lens.camera = camera.topic
    beside = {info_beside(name): camera.lens for name, camera in cameras.items()}
    lenses = {name: lens for name, lens in beside.items() if name in topics and topics[name].type == INFO}
    allowed |= dict.fromkeys(lenses, (INFO,))
    motion = MeasuredMotion(robot)
    pose_topics = motion.topics_among(topics)
    allowed |= pose_topics
    for place, stored in enumerate(storage.messages(allowed.__contains__)):
        _require_type(stored.topic, stored.type, allowed[stored.topic])
        try:
            if stored.topic == feedback_topic:
                when, content = read_feedback(deserialise(stored))
                feedback.add(when, stored.logged_ns, place, content)
            elif stored.topic == command_topic:
                when, command = read_command(deserialise(stored), stored.type, stored.logged_ns, robot)
                commands.add(when, stored.logged_ns, place, command)
            elif stored.topic == gripper_topic:
                gripper.append((place, read_gripper(deserialise(stored), robot)))
            elif stored.topic in pose_topics:
                motion.take(deserialise(stored))
            elif stored.topic in lenses:
                _take_lens(lenses[stored.topic], stored)
            else:
                _take_frame(cameras[stored.topic], stored, place, observation)
        except (AttributeError, TypeError, ValueError) as error:  # the bag's own definition has other fields
            raise UserError(f"{stored.topic} holds another {stored.type} than ROS 2 has ({error})") from None
    found = list(cameras.values())
    if gripper_topic:
        commands.contents[:] = with_gripper(commands.contents, commands.places, gripper)
    return _recording(storage, found, commands, feedback, topics[command_topic].type, robot, period_s, mixed, motion)


def _recording(
    storage: BagStorage,
    cameras: list[_Camera],
    commands: Stream[NDArray[np.float64]],
    feedback: Stream[RecordedFeedback],
    command_type: str,
    robot: RobotConfig,
    period_s: float,
    mixed: Sequence[str],
    motion: MeasuredMotion,
) -> BagRecording:
    notes = [*storage.notes, *mixed]
    for camera in cameras:
        notes += [*_broken(camera), *camera.lens.notes(camera.size)]
        camera.stream.recorded = len(camera.stream.stamps) + len(camera.broken)
    for stream in (*(camera.stream for camera in cameras), commands, feedback):
        _require_stamps(cast(Stream[object], stream))
    if not np.isfinite(np.array(commands.contents, np.float64)).all():
        raise UserError(f"a command on {robot.command_topic} is not finite; leave the bag out")
    commands = drop_doubles(commands, np.array_equal)
    feedback = drop_doubles(feedback, lambda a, b: a == b, lambda a, b: a.episode == b.episode)
    frames = [drop_doubles(camera.stream, np.array_equal) for camera in cameras]
    streams = [cast(Stream[object], stream) for stream in (commands, feedback, *frames)]
    doubled = [f"{stream.doubles} on {stream.topic}" for stream in streams if stream.doubles]
    if doubled:
        notes.append(f"recorded twice and counted once (duplicates): {', '.join(doubled)}")
    found = in_parts(streams)
    notes += _cut_notes(found.cuts, found.between)
    parts: list[BagStreams] = []
    longest: tuple[int, tuple[StreamClock, ...]] = (-1, ())
    refusal = ""
    for number, part in enumerate(found.parts):
        try:
            streamed = _part(part, cameras, storage.format, robot, after_cut=number > 0)
            clocks, pace = _clocks(part, stamped=command_type != TWIST)
            for line in (*pace_notes(pace), *clock_notes(clocks, period_s)):
                if line not in notes:
                    notes.append(line)
            check_rates(clocks[2:], period_s)
        except _PartUnusable as error:
            refusal = refusal or str(error)
            if len(found.parts) > 1:
                notes.append(f"part {number + 1} is not used: {error}")
            continue
        parts.append(streamed)
        longest = max(longest, (len(streamed.frame_ns[0]), clocks), key=lambda entry: entry[0])
    if not parts:
        raise UserError(refusal or "nothing of it can be used")
    told = {line for part in parts for line in motion.notes(part.command_ns, part.commands)}
    notes += sorted(told)
    return BagRecording(
        parts,
        tuple(camera.size or (0, 0) for camera in cameras),
        storage.format,
        tuple(notes),
        (frames[0].recorded, feedback.recorded, commands.recorded),
        longest[1],
        tuple(camera.frame_id for camera in cameras),
        sum(stream.doubles for stream in streams),
        sum(len(camera.broken) for camera in cameras),
        tuple(camera.lens.lens for camera in cameras),
    )


class _PartUnusable(UserError):
    """A part of a bag that has not all streams at one time."""


def _part(
    streams: Sequence[Stream[object]], cameras: Sequence[_Camera], storage: str, robot: RobotConfig, after_cut: bool
) -> BagStreams:
    """Return the streams of one part: commands, feedback and each camera, stamps ascending."""
    for stream in streams:
        if not stream.stamps:
            raise _PartUnusable(f"no message on {stream.topic}")
    commands, feedback, *frames = streams
    command_ns, command_array = commands.stamps_ns(), np.array(commands.contents, np.float64)
    if robot.command_type == "PoseStamped":
        seconds = (command_ns - command_ns[0]) * 1e-9
        poses, gripper = np.split(command_array, [7], axis=1)
        twists = twists_of_poses(seconds, poses, robot.action, robot.command_timeout_s)
        command_array = np.hstack([twists, gripper])
    # What was commanded before a cut may hold for a while, but by which stamps nobody knows: begin with a command.
    begins = [int(np.searchsorted(f.stamps_ns(), command_ns[0])) if after_cut else 0 for f in frames]
    if any(begin == len(f.stamps) for begin, f in zip(begins, frames, strict=True)):
        raise _PartUnusable(f"no frame after its first message on {commands.topic}")
    result = BagStreams(
        tuple(camera.topic for camera in cameras),
        [f.stamps_ns()[begin:] for begin, f in zip(begins, frames, strict=True)],
        [cast(list[Frame], f.contents[begin:]) for begin, f in zip(begins, frames, strict=True)],
        tuple(camera.size or (0, 0) for camera in cameras),
        command_ns,
        command_array,
        feedback.stamps_ns(),
        cast(list[RecordedFeedback], feedback.contents),
        storage,
    )
    _check_clocks(result, robot.command_topic)
    return result


def _clocks(part: Sequence[Stream[object]], stamped: bool) -> tuple[tuple[StreamClock, ...], float]:
    """Return the clocks of a part, and its pace: log time per stamped time of the commands."""
    commands, *others = part
    # Without a header the log times are the stamps: at another pace than the images' they belong to other moments.
    pace = pace_of(commands.stamps_ns(), commands.logged_ns()) if stamped else 1.0
    logged = [at_pace(stream.logged_ns(), commands.logged[0], pace) for stream in part]
    first = measure(commands.topic, commands.stamps_ns(), logged[0], stamped, None)
    rest = zip(others, logged[1:], strict=True)
    return (first, *(measure(s.topic, s.stamps_ns(), times, True, first) for s, times in rest)), pace


def _cut_notes(cuts: Sequence[Cut], between: int) -> Iterator[str]:
    for cut in cuts[:_MOST_CUTS_TOLD]:
        yield f"{cut}: split there"
    if len(cuts) > _MOST_CUTS_TOLD:
        yield f"stamps go back at {len(cuts) - _MOST_CUTS_TOLD} more places: split there"
    if between:
        yield f"{between} parts too short to tell what belongs together are not used"


def _require_type(topic: str, found: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise UserError(f"expected {' or '.join(allowed)} on {topic}, found {found}")


def _take_frame(camera: _Camera, stored: StoredMessage, place: int, observation: ObservationSpec) -> None:
    _, height, width, _ = observation.shape
    try:
        message: Any = deserialise(stored)
        small, (rows, columns) = read_observation(message, stored.type, height, width)
    except BrokenMessage as error:
        camera.broken.append((stored.logged_ns, str(error)))
        return
    size = (columns, rows)
    if camera.size is None:
        if size[0] < width or size[1] < height:
            raise UserError(
                f"images of {camera.topic} are {size[0]}x{size[1]}, smaller than the model's {width}x{height}; "
                "record larger ones"
            )
        camera.size, camera.frame_id = size, str(message.header.frame_id)
    elif camera.size != size:
        raise UserError(
            f"images of {camera.topic} change from {camera.size[0]}x{camera.size[1]} to {size[0]}x{size[1]}; "
            "record one size per camera"
        )
    if small.base is not None:  # a view would keep the whole chunk of the file in memory
        small = small.copy()
    camera.stream.add(stamp_ns(message), stored.logged_ns, place, small)


def _take_lens(lens: LensOfCamera, stored: StoredMessage) -> None:
    try:
        lens.take(deserialise(stored))
    except UserError as error:
        lens.refuse(str(error))


def _broken(camera: _Camera) -> list[str]:
    """Return a line about the broken frames of a camera; UserError when they are too many."""
    if not camera.broken:
        return []
    count, total = len(camera.broken), len(camera.broken) + len(camera.stream.stamps)
    when, text = camera.broken[0]
    first = min([when, *camera.stream.logged])
    line = f"{count} of {total} frames of {camera.topic} broken, the first at {(when - first) * 1e-9:.2f} s: {text}"
    if count > max(1, _BROKEN_SHARE * total) or count == total:
        raise UserError(line)
    return [f"left out {line}"]


def _require_stamps(stream: Stream[object]) -> None:
    """Raise UserError without messages, or with stamps that nobody filled in."""
    if not stream.stamps:
        raise UserError(f"no message on {stream.topic}; record it again with that topic")
    if len(stream.stamps) > 1 and min(stream.stamps) == max(stream.stamps):
        raise UserError(
            f"all messages on {stream.topic} carry one stamp; let their publisher stamp them, then record again"
        )


def _check_clocks(streams: BagStreams, command_topic: str) -> None:
    """Raise _PartUnusable when a stream has no time in common with the first camera: their clocks differ."""
    begin, end = int(streams.frame_ns[0][0]), int(streams.frame_ns[0][-1])
    others = [
        *zip(streams.cameras[1:], streams.frame_ns[1:], strict=True),
        (command_topic, streams.command_ns),
        (FEEDBACK, streams.feedback_ns),
    ]
    for topic, stamps in others:
        if stamps[-1] < begin or stamps[0] > end:
            raise _PartUnusable(
                f"{topic} is stamped {stamps[0] * 1e-9:.3f} to {stamps[-1] * 1e-9:.3f} s, {streams.cameras[0]} "
                f"{begin * 1e-9:.3f} to {end * 1e-9:.3f} s: no time in common; record with one clock"
            )
