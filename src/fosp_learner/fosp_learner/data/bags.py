"""Recorded bags to episodes, with a report on each bag. alignment.py says how streams become rows."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.files import files_of
from fosp_core.bag.files import find_bags as find_bags
from fosp_core.bag.storage import BagStorage
from fosp_core.errors import UserError
from fosp_core.processes import end_with_parent
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_learner.data.alignment import Episode as Episode
from fosp_learner.data.alignment import Rows, build_episode, rows_of, steps_without_command
from fosp_learner.data.bag_streams import BagRecording, BagStreams, read_recording
from fosp_learner.data.clocks import StreamClock, rate_notes
from fosp_learner.data.lenses import Lens
from fosp_learner.data.odd_ones import Traits, traits_of

T = TypeVar("T")

_BYTES_PER_WORKER = 64 * 2**20
"""Bytes that pay for a process of their own: below, starting it takes longer than reading the bags here."""
_AHEAD = 2
"""Results per process that may wait for earlier ones, which bounds the memory."""
_MOST_SPLITS_TOLD = 3
_HANGS_S, _MOVES = 1.0, 0.2
"""Time for which a camera may repeat one picture while commands are above this share of an action's scale, s."""
_GRIPPER_MOVES = 0.1
"""Change of the gripper's setpoint, of 2 for its whole stroke, below which it never moves."""
_BEYOND = 1.02
"""Multiple of an action's scale from which on a command is beyond it."""


@dataclass(frozen=True)
class Used:
    """Number of messages of a stream, and how many of them went into steps."""

    used: int = 0
    recorded: int = 0

    def __str__(self) -> str:
        return f"{self.used}/{self.recorded}"


@dataclass(frozen=True)
class BagReport:
    """Report on one bag; `problem` is empty when the bag can be trained on."""

    bag: str
    episodes: int = 0
    steps: int = 0
    seconds: float = 0.0
    success: bool = False
    violation: bool = False
    format: str = ""
    """Storage and compression."""
    cameras: tuple[str, ...] = ()
    """Topics of the cameras."""
    images: tuple[str, ...] = ()
    """Recorded image size of each camera, such as 640x480."""
    frames: Used = Used()
    """Frames of the first camera; those that became rows are used."""
    feedback: Used = Used()
    commands: Used = Used()
    notes: tuple[str, ...] = ()
    """Lines that say what was dropped or missing, and why."""
    problem: str = ""
    path: str = ""
    robot: str = ""
    task: str = ""
    """Robot and task that the bag names; empty when it names none."""
    clocks: tuple[StreamClock, ...] = ()
    """Clocks and rates of the commands, the feedback and each camera, as measured."""
    frame_ids: tuple[str, ...] = ()
    """Frame of each camera."""
    lenses: tuple[Lens | None, ...] = ()
    """Lens of each camera, where its camera_info was recorded."""
    doubles: int = 0
    """Messages that were recorded twice, and count once."""
    broken: int = 0
    """Frames that could not be decoded, and are left out."""
    content: str = ""
    """Hash of pictures, actions, rewards and costs, which two recordings never share."""
    traits: Traits = field(default_factory=Traits)
    """Those of its longest episode."""


@dataclass(frozen=True)
class BagReading:
    """Episodes of one bag, and the report on it."""

    episodes: list[Episode]
    report: BagReport


def bag_metadata(bag: Path) -> dict[str, str]:
    """Return the recorder's notes in the bag (`custom_data` of metadata.yaml), such as task and robot."""
    return BagStorage(bag).custom_data


def bag_topics(bag: Path) -> set[str]:
    """Return the topics that hold messages, without the leading slash."""
    return {name.lstrip("/") for name, topic in BagStorage(bag).topics().items() if topic.messages}


def read_episodes(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> list[Episode]:
    """Return the episodes of one bag; UserError with one line that names the bag and its problem."""
    return read_bag(bag, observation, robot, period_s).episodes


def read_bag(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagReading:
    """Return the episodes of one bag and the report on it; UserError as for `read_episodes`."""
    recording = read_recording(bag, observation, robot, period_s)
    found = rows_of(recording, robot, period_s)
    episodes: list[Episode] = []
    for streams, rows in found:
        for part, ends in rows.parts:
            name = bag_name(bag, len(episodes))
            episodes.append(build_episode(name, part, ends, streams, robot.action, robot.command_timeout_s))
    if not episodes:
        raise UserError(f"{bag}: no two decision frames with feedback between them{_because(recording, found)}")
    try:
        return BagReading(episodes, _report(bag, recording, found, episodes, robot, period_s))
    except UserError as error:
        raise UserError(f"{bag}: {error}") from None


def read_bags(
    bags: Sequence[Path],
    observation: ObservationSpec,
    robot: RobotConfig,
    period_s: float,
    workers: int | None = None,
) -> Generator[BagReading, None, None]:
    """Read each of `bags` in their order, in as many processes as pay off, or in `workers`."""
    return _in_order(partial(read_bag, observation=observation, robot=robot, period_s=period_s), bags, workers)


def check_bags(
    folders: Sequence[Path],
    observation: ObservationSpec,
    robot: RobotConfig,
    period_s: float,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BagReport]:
    """Return one report per bag; the problem of a bag is in its report, not raised. `progress(done, total)` counts."""
    bags = find_bags(folders)
    check = partial(_checked, observation=observation, robot=robot, period_s=period_s)
    reports = []
    progress(0, len(bags))
    for report in _in_order(check, bags, workers):
        reports.append(report)
        progress(len(reports), len(bags))
    return reports


def _checked(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagReport:
    try:
        return read_bag(bag, observation, robot, period_s).report
    except UserError as error:
        problem = str(error).removeprefix(f"{bag}: ")
    named: dict[str, str] = {}
    with suppress(UserError):
        named = bag_metadata(bag)
    return BagReport(bag.name, problem=problem, path=str(bag), robot=named.get("robot", ""), task=named.get("task", ""))


def bag_name(bag: Path, part: int) -> str:
    """Return the name of an episode: that of its bag, with a number from the second one on."""
    return bag.name if part == 0 else f"{bag.name}.{part}"


def _report(
    bag: Path,
    recording: BagRecording,
    found: Sequence[tuple[BagStreams, Rows]],
    episodes: list[Episode],
    robot: RobotConfig,
    period_s: float,
) -> BagReport:
    steps = sum(len(e.reward) - 1 for e in episodes)
    hold_ns = round(robot.command_timeout_s * 1e9)
    idle = frames = feedback = commands = 0
    for streams, rows in found:
        stamps = streams.frame_ns[0]
        spans = [(int(stamps[part[0]]), int(stamps[part[-1]])) for part, _ in rows.parts]
        idle += sum(steps_without_command(streams, part, robot.command_timeout_s) for part, _ in rows.parts)
        frames += sum(len(part) for part, _ in rows.parts)
        feedback += _used(streams.feedback_ns, spans)
        commands += _used(streams.command_ns, [(begin - hold_ns, end) for begin, end in spans])
    # The frame that ends an episode is a row whenever it comes.
    whole = [(s, part[:-1] if ends else part) for s, rows in found for part, ends in rows.parts]
    seconds = [np.diff(s.frame_ns[0][part]) * 1e-9 for s, part in whole]
    camera = recording.clocks[2]
    rates = rate_notes(camera, robot.camera_frame_rate_hz, np.concatenate(seconds), period_s)
    notes = [*recording.notes, *_notes(found), *rates, *_beyond_scale(recording, robot), *_hanging(recording, robot)]
    notes += _gripper(recording, robot)
    if idle:
        notes.append(f"no command in force in {idle} of {steps} steps")
    totals, named = recording.recorded, bag_metadata(bag)
    longest = max(episodes, key=lambda e: len(e.reward))
    return BagReport(
        bag.name,
        len(episodes),
        steps,
        steps * period_s,
        success=any(e.success for e in episodes),
        violation=any(e.violates for e in episodes),
        format=recording.format,
        cameras=recording.parts[0].cameras,
        images=tuple(f"{width}x{height}" for width, height in recording.sizes),
        frames=Used(frames, totals[0]),
        feedback=Used(feedback, totals[1]),
        commands=Used(commands, totals[2]),
        notes=tuple(notes),
        path=str(bag),
        clocks=recording.clocks,
        frame_ids=recording.frame_ids,
        lenses=recording.lenses,
        doubles=recording.doubles,
        broken=recording.broken,
        content="-".join(content_of(e.images, e.action, e.reward, e.cost) for e in episodes),
        traits=traits_of(longest.images, longest.reward, longest.cost),
        robot=named.get("robot", ""),
        task=named.get("task", ""),
    )


def content_of(
    images: NDArray[np.uint8], action: NDArray[np.float32], reward: NDArray[np.float32], cost: NDArray[np.float32]
) -> str:
    """Return a hash of what training sees of an episode, by which copies are told whatever their stamps and names."""
    digest = hashlib.sha256()
    for rows in (images, action, reward, cost):
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()[:16]


def _used(stamps: NDArray[np.int64], spans: list[tuple[int, int]]) -> int:
    """Count the messages with a stamp in any of the spans."""
    inside = np.zeros(len(stamps), np.bool_)
    for begin, end in spans:
        inside |= (stamps >= begin) & (stamps <= end)
    return int(inside.sum())


def _beyond_scale(recording: BagRecording, robot: RobotConfig) -> Iterator[str]:
    """Yield a line for each axis whose commands do not fit into the action; UserError when most of them do not."""
    commands = np.concatenate([streams.commands for streams in recording.parts])[:, : robot.action.twist_size]
    for axis, values in zip(robot.action.axes, np.abs(commands).T, strict=True):
        beyond, moving = int((values > _BEYOND * axis.scale).sum()), int((values > 0).sum())
        if not beyond:
            continue
        line = (
            f"{beyond} of {moving} commands of {axis.name} are beyond the action's scale of {axis.scale:g} {axis.unit} "
            f"(up to {values.max():.3g})"
        )
        if beyond > 0.5 * moving:
            raise UserError(f"{line}: they were recorded with another robot file; give that one with --robot")
        yield f"{line} and are clipped"


def _gripper(recording: BagRecording, robot: RobotConfig) -> Iterator[str]:
    """Yield a line for a gripper that is told the same throughout: nothing can be learned of it."""
    if robot.action.gripper is None:
        return
    told = np.concatenate([streams.commands for streams in recording.parts])[:, -1]
    if np.ptp(told) < _GRIPPER_MOVES:
        yield f"the gripper is told {robot.action.gripper.value(float(told[0])):.3g} throughout: it never moves"


def _hanging(recording: BagRecording, robot: RobotConfig) -> Iterator[str]:
    """Yield a line for each camera that repeats one picture under new stamps while the robot is told to move.

    The noise of a real camera makes every picture differ, even of a scene that stands still.
    """
    scale, size = np.array(robot.action.scale), robot.action.twist_size
    longest: dict[str, tuple[float, float]] = {}
    for streams in recording.parts:
        moving = (np.abs(streams.commands[:, :size]) / scale).max(axis=1) > _MOVES
        for topic, stamps, frames in zip(streams.cameras, streams.frame_ns, streams.frames, strict=True):
            begin = 0
            for index in range(1, len(frames) + 1):
                if index < len(frames) and np.array_equal(frames[index], frames[index - 1]):
                    continue
                first, last = int(stamps[begin]), int(stamps[index - 1])
                inside = moving[(streams.command_ns >= first) & (streams.command_ns <= last)]
                told = len(inside) and inside.mean() > 0.5
                if told and (last - first) * 1e-9 > max(_HANGS_S, longest.get(topic, (0.0, 0.0))[0]):
                    longest[topic] = ((last - first) * 1e-9, (first - int(stamps[0])) * 1e-9)
                begin = index
    for topic, (took_s, at_s) in longest.items():
        yield f"{topic} shows one picture for {took_s:.2f} s at {at_s:.2f} s while the robot is told to move: it hung?"


def _notes(found: Sequence[tuple[BagStreams, Rows]]) -> Iterator[str]:
    count = sum(len(rows.parts) for _, rows in found)
    if count > 1:
        yield f"{count} episodes"
    splits = [
        f"{split} of part {number}" if len(found) > 1 else split
        for number, (_, rows) in enumerate(found, 1)
        for split in rows.splits
    ]
    told = splits[:_MOST_SPLITS_TOLD]
    yield from (f"split at {split}" for split in told)
    if len(splits) > len(told):
        yield f"split at {len(splits) - len(told)} more places"
    yield from _dropped([rows for _, rows in found])


def _dropped(found: Sequence[Rows]) -> Iterator[str]:
    unaligned: Counter[str] = Counter()
    for rows in found:
        unaligned.update(rows.unaligned)
    for topic, count in unaligned.items():
        yield f"{count} frames dropped, none of {topic} belongs to them"
    outside, single = sum(rows.outside for rows in found), sum(rows.single for rows in found)
    if outside:
        yield f"{outside} frames outside of episodes"
    if single:
        yield f"{single} rows without another one to make a step with"


def _because(recording: BagRecording, found: Sequence[tuple[BagStreams, Rows]]) -> str:
    splits = [split for _, rows in found for split in rows.splits]
    reasons = "; ".join(chain(recording.notes, splits[:1], _dropped([rows for _, rows in found])))
    return f" ({reasons})" if reasons else ""


def _in_order(work: Callable[[Path], T], bags: Sequence[Path], workers: int | None) -> Generator[T, None, None]:
    """Yield `work(bag)` of each bag, in order; `work` must be picklable.

    Without `workers` there is one process per core, as far as the bytes of the bags are worth it; at most 1 means this
    process. Processes are spawned, not forked, since this one has threads (of torch, of OpenCV). An error of `work` is
    raised here, at its bag's turn.
    """
    if workers is None:
        size = sum(path.stat().st_size for bag in bags for path in _files(bag))
        workers = min(len(os.sched_getaffinity(0)), size // _BYTES_PER_WORKER)
    workers = min(workers, len(bags))
    if workers <= 1:
        yield from map(work, bags)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare)
    waiting: deque[Future[T]] = deque()
    try:
        for bag in bags:
            waiting.append(pool.submit(work, bag))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process that reads bags was killed, probably for want of memory; free some, run again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _files(bag: Path) -> list[Path]:
    try:
        return files_of(bag)
    except UserError:
        return []


def _prepare() -> None:
    """Give a new process a single thread, leave Ctrl-C to the parent, and end it with the parent."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
