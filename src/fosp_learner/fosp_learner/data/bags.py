"""Recorded bags to episodes, with a report on each bag. alignment.py says how streams become rows."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.processes import end_with_parent
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_core.topics import is_in_bag
from fosp_learner.data.alignment import Episode as Episode
from fosp_learner.data.alignment import Rows, Tolerances, build_episode, find_rows, steps_without_command
from fosp_learner.data.bag_storage import METADATA, SUFFIXES, BagStorage
from fosp_learner.data.bag_streams import BagStreams, read_streams

T = TypeVar("T")

_BYTES_PER_WORKER = 64 * 2**20
"""Bytes that pay for a process of their own: below, starting it takes longer than reading the bags here."""
_AHEAD = 2
"""Results per process that may wait for earlier ones, which bounds the memory."""
_MOST_SPLITS_TOLD = 3


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
    images: tuple[str, ...] = ()
    """Recorded image size of each camera, such as 640x480."""
    frames: Used = Used()
    """Frames of the first camera; those that became rows are used."""
    feedback: Used = Used()
    commands: Used = Used()
    notes: tuple[str, ...] = ()
    """Lines that say what was dropped or missing, and why."""
    problem: str = ""


@dataclass(frozen=True)
class BagReading:
    """Episodes of one bag, and the report on it."""

    episodes: list[Episode]
    report: BagReport


def find_bags(folders: Sequence[Path]) -> list[Path]:
    """Return the bag folders at or below `folders`, sorted; UserError for a folder that holds none."""
    bags: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of bags")
        # Hidden folders hold what is being recorded at this moment.
        found = {
            path.parent
            for path in folder.rglob("*")
            if (path.name == METADATA or path.name.endswith(SUFFIXES))
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        }
        if not found:
            raise UserError(f"{folder}: no bag here; expected folders with metadata.yaml and .mcap, one per episode")
        bags |= found
    return sorted(bags)


def bag_metadata(bag: Path) -> dict[str, str]:
    """Return the recorder's notes in the bag (`custom_data` of metadata.yaml), such as task and robot."""
    return BagStorage(bag).custom_data


def bag_topics(bag: Path) -> set[str]:
    """Return the topics that hold messages, without the leading slash."""
    return {name.lstrip("/") for name, topic in BagStorage(bag).topics().items() if topic.messages}


def choose_robot(bags: Sequence[Path], robots: Sequence[RobotConfig]) -> RobotConfig:
    """Return the robot that the first bag names, else the one whose command topic it holds; UserError if not one."""
    named = [robot for robot in robots if robot.name == bag_metadata(bags[0]).get("robot")]
    if len(named) == 1:
        return named[0]
    topics = bag_topics(bags[0])
    fitting = [robot for robot in robots if any(is_in_bag(topic, robot.command_topic) for topic in topics)]
    if len(fitting) != 1:
        found = "several robots fit" if fitting else "no robot's command topic is there"
        names = ", ".join(f"{robot.name} ({robot.command_topic})" for robot in fitting or robots)
        raise UserError(f"{bags[0]}: {found}: {names}; say which with --robot")
    return fitting[0]


def task_of(bags: Sequence[Path]) -> str:
    """Return the task that the bags name, "unnamed" if none does; UserError when they differ."""
    tasks = {bag_metadata(bag).get("task", "") for bag in bags} - {""}
    if len(tasks) > 1:
        raise UserError(f"bags of different tasks ({', '.join(sorted(tasks))}) cannot be trained on together")
    return tasks.pop() if tasks else "unnamed"


def read_episodes(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> list[Episode]:
    """Return the episodes of one bag; UserError with one line that names the bag and its problem."""
    return read_bag(bag, observation, robot, period_s).episodes


def read_bag(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagReading:
    """Return the episodes of one bag and the report on it; UserError as for `read_episodes`."""
    streams = read_streams(bag, observation, robot)
    rows = find_rows(streams, Tolerances.of(period_s, 1.0 / robot.camera_frame_rate_hz))
    episodes = [
        build_episode(_name(bag, i), part, ends, streams, robot.action, robot.command_timeout_s)
        for i, (part, ends) in enumerate(rows.parts)
    ]
    if not episodes:
        raise UserError(f"{bag}: no two decision frames with feedback between them{_because(rows)}; remove the bag")
    return BagReading(episodes, _report(bag, streams, rows, episodes, robot, period_s))


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
) -> list[BagReport]:
    """Return one report per bag; the problem of a bag is in its report, not raised."""
    bags = find_bags(folders)
    check = partial(_checked, observation=observation, robot=robot, period_s=period_s)
    return list(_in_order(check, bags, workers))


def one_size(reports: Sequence[BagReport]) -> None:
    """Raise UserError when cameras recorded other sizes in one bag than in another, since their crops would differ."""
    for report in reports:
        if report.images != reports[0].images:
            was, now = ", ".join(reports[0].images), ", ".join(report.images)
            raise UserError(
                f"images are {was} in {reports[0].bag}, but {now} in {report.bag}; train on bags of one image size"
            )


def _checked(bag: Path, observation: ObservationSpec, robot: RobotConfig, period_s: float) -> BagReport:
    try:
        return read_bag(bag, observation, robot, period_s).report
    except UserError as error:
        return BagReport(bag.name, problem=str(error).removeprefix(f"{bag}: "))


def _name(bag: Path, part: int) -> str:
    return bag.name if part == 0 else f"{bag.name}.{part}"


def _report(
    bag: Path, streams: BagStreams, rows: Rows, episodes: list[Episode], robot: RobotConfig, period_s: float
) -> BagReport:
    steps = sum(len(e.reward) - 1 for e in episodes)
    spans = [(int(streams.frame_ns[0][part[0]]), int(streams.frame_ns[0][part[-1]])) for part, _ in rows.parts]
    hold_ns = round(robot.command_timeout_s * 1e9)
    idle = sum(steps_without_command(streams, part, robot.command_timeout_s) for part, _ in rows.parts)
    return BagReport(
        bag.name,
        len(episodes),
        steps,
        steps * period_s,
        success=any(e.success for e in episodes),
        violation=any(e.violates for e in episodes),
        format=streams.format,
        images=tuple(f"{width}x{height}" for width, height in streams.sizes),
        frames=Used(sum(len(part) for part, _ in rows.parts), len(streams.frame_ns[0])),
        feedback=_used(streams.feedback_ns, spans),
        commands=_used(streams.command_ns, [(begin - hold_ns, end) for begin, end in spans]),
        notes=tuple(_notes(streams, rows, steps, idle)),
    )


def _used(stamps: NDArray[np.int64], spans: list[tuple[int, int]]) -> Used:
    """Count the messages with a stamp in any of the spans."""
    inside = np.zeros(len(stamps), np.bool_)
    for begin, end in spans:
        inside |= (stamps >= begin) & (stamps <= end)
    return Used(int(inside.sum()), len(stamps))


def _notes(streams: BagStreams, rows: Rows, steps: int, idle: int) -> Iterator[str]:
    yield from streams.notes
    if len(rows.parts) > 1:
        yield f"{len(rows.parts)} episodes"
    told = rows.splits[:_MOST_SPLITS_TOLD]
    yield from (f"split at {split}" for split in told)
    if len(rows.splits) > len(told):
        yield f"split at {len(rows.splits) - len(told)} more places"
    yield from _dropped(rows)
    if idle:
        yield f"no command in force in {idle} of {steps} steps"


def _dropped(rows: Rows) -> Iterator[str]:
    for topic, count in rows.unaligned.items():
        yield f"{count} frames dropped, none of {topic} belongs to them"
    if rows.outside:
        yield f"{rows.outside} frames outside of episodes"
    if rows.single:
        yield f"{rows.single} rows without another one to make a step with"


def _because(rows: Rows) -> str:
    reasons = "; ".join(chain(rows.splits[:1], _dropped(rows)))
    return f" ({reasons})" if reasons else ""


def _in_order(work: Callable[[Path], T], bags: Sequence[Path], workers: int | None) -> Generator[T, None, None]:
    """Yield `work(bag)` of each bag, in order; `work` must be picklable.

    Without `workers` there is one process per core, as far as the bytes of the bags are worth it; at most 1 means this
    process. Processes are spawned, not forked, since this one has threads (of torch, of OpenCV). An error of `work` is
    raised here, at its bag's turn.
    """
    if workers is None:
        size = sum(path.stat().st_size for bag in bags for path in bag.iterdir())
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


def _prepare() -> None:
    """Give a new process a single thread, leave Ctrl-C to the parent, and end it with the parent."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
