"""Bags to a LeRobotDataset: every frame of the first camera is a row, or every frame at a lower `fps` of the mapping.

Row t holds the image, the mean of the commands until the next row, and what the feedback said of that time as `next.*`.
The last row of an episode has no action after it: action, reward and cost are 0 there, and `next.done` is true.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.executed import mean_command
from fosp_core.robot.config import RobotConfig
from fosp_learner.data.alignment import Tolerances, find_rows
from fosp_learner.data.bag_streams import BagStreams
from fosp_learner.lerobot.mapping import MAPPING_FILE, NEVER, DataSetMapping, MappedCamera, factors
from fosp_learner.lerobot.recorded import read_frames_at, read_parts, task_of_bag
from fosp_learner.lerobot.writing import CameraFeature, DataSetWriter, NumberFeature

_SAME_RATE = 0.05
"""Largest relative difference of the measured camera rate from the robot file's."""
DONE = "next.done"


@dataclass
class ExportReport:
    """An account of what was exported, and of what was not."""

    episodes: int = 0
    rows: int = 0
    held: int = 0
    """Rows whose frame was lost, and which show the one before."""
    left_out: list[str] = field(default_factory=list)
    """One line for each bag that was not exported."""


@dataclass(frozen=True)
class _Part:
    """One episode of a bag."""

    columns: dict[str, NDArray[Any]]
    stamps: list[NDArray[np.int64]]
    """The stamps of the frames that the rows show, ns; one array per camera."""


@dataclass
class _Read:
    """The numbers of one bag."""

    sizes: list[tuple[int, int]]
    """Height and width that the images of each camera are exported in."""
    parts: list[_Part]
    held: int
    task: str


def export_bags(
    bags: Sequence[Path], robot: RobotConfig, mapping: DataSetMapping, out: Path, report: ExportReport
) -> Iterator[Path]:
    """Write a data set of the bags, and yield each bag that is done; `out` appears when all are.

    A bag whose numbers cannot be used is left out, and the report says why. UserError when none can be used, when `out`
    exists, or when an image is damaged or the disk refuses.
    """
    if out.exists():
        raise UserError(f"{out} exists already; choose another --out, nothing is overwritten")
    fps = export_fps(mapping, robot)
    partial = out.parent / f".{out.name}.partial_{os.getpid()}"
    writer: DataSetWriter | None = None
    sizes: list[tuple[int, int]] = []
    try:
        for bag in bags:
            try:
                read = _read(bag, robot, mapping, fps)
                if writer is not None and read.sizes != sizes:
                    raise UserError(f"images are {_told(read.sizes)}, in the bags before {_told(sizes)}")
            except UserError as error:
                report.left_out.append(f"{bag.name}: {str(error).removeprefix(f'{bag}: ')}")
                yield bag
                continue
            if writer is None:
                sizes, writer = read.sizes, _writer(partial, robot, mapping, fps, read.sizes)
            _write(bag, read, robot, mapping, writer)
            report.episodes += len(read.parts)
            report.rows += sum(len(part.stamps[0]) for part in read.parts)
            report.held += read.held
            yield bag
        if writer is None:
            raise UserError(f"no bag can be exported; {report.left_out[0]}")
        writer.finish()
        _note_mapping(partial / MAPPING_FILE, mapping, fps, writer.tasks)
        partial.rename(out)
    except OSError as error:
        if writer is not None:
            writer.abort()
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        if writer is not None:
            writer.abort()
        raise


def export_fps(mapping: DataSetMapping, robot: RobotConfig) -> int:
    """Return the rows per second; UserError when they are no whole part of the camera rate."""
    rate = robot.camera_frame_rate_hz
    fps = mapping.fps or round(rate)
    ratio = rate / fps
    if fps < 1 or round(ratio) < 1 or abs(ratio / max(1, round(ratio)) - 1) > _SAME_RATE:
        parts = ", ".join(str(round(rate / n)) for n in (1, 2, 3, 4) if rate / n >= 1)
        raise UserError(
            f"fps: {fps} is no whole part of the {rate:g} Hz of {robot.name}'s cameras; take one of {parts}"
        )
    return fps


def number_features(mapping: DataSetMapping, robot: RobotConfig) -> dict[str, NumberFeature]:
    """Return the features of numbers that an export writes."""
    names = tuple(mapping.action.axes[axis.name].name for axis in robot.action.axes)
    features = {mapping.action.feature: NumberFeature(names)}
    columns = mapping.feedback
    if columns is not None:
        numbers = (columns.reward, None if columns.cost == NEVER else columns.cost)
        features |= {name: NumberFeature((name,)) for name in numbers if name}
        features |= {name: NumberFeature((name,), "bool") for name in (columns.success, columns.terminal) if name}
    return {**features, DONE: NumberFeature((DONE,), "bool")}


def _writer(
    root: Path, robot: RobotConfig, mapping: DataSetMapping, fps: int, sizes: list[tuple[int, int]]
) -> DataSetWriter:
    cameras = {camera.feature: CameraFeature(*size) for camera, size in zip(mapping.cameras, sizes, strict=True)}
    numbers = number_features(mapping, robot)
    return DataSetWriter(root, fps, robot.name, numbers, cameras, mapping.video.codec, mapping.video.crf)


def _note_mapping(path: Path, mapping: DataSetMapping, fps: int, tasks: Collection[str]) -> None:
    """Write the mapping that leads back into the data set, where lerobot does not look."""
    whole = mapping.model_copy(
        update={
            "fps": fps,
            "cameras": tuple(c.model_copy(update={"width": None, "height": None}) for c in mapping.cameras),
            "tasks": {text: name for text, name in mapping.tasks.items() if text in tasks},
        }
    )
    path.write_text(yaml.safe_dump(whole.model_dump(mode="json", exclude_defaults=True), sort_keys=False))


def _read(bag: Path, robot: RobotConfig, mapping: DataSetMapping, fps: int) -> _Read:
    """Read the numbers of a bag; UserError says why it cannot be used."""
    frame_ns, row_ns = 1e9 / robot.camera_frame_rate_hz, 1e9 / fps
    tolerances = Tolerances(row_ns - 0.5 * frame_ns, 2.0 * row_ns + 0.5 * frame_ns, 1.5 * frame_ns)
    streams = read_parts(bag, tuple(camera.topic for camera in mapping.cameras), robot, 1.0 / fps)
    found = [(stream, part, ends) for stream in streams for part, ends in find_rows(stream, tolerances).parts]
    if not found:
        raise UserError("no two frames with feedback between them")
    _check_rate(np.concatenate([np.diff(stream.frame_ns[0][part]) for stream, part, _ in found]), fps)
    held, parts = 0, []
    for stream, part, ends in found:
        slots = _slots(stream.frame_ns[0][part], fps)
        held += len(slots) - len(part)
        parts.append(_part(stream, part, slots, ends, robot, mapping, fps))
    recorded = [(height, width) for width, height in streams[0].sizes]
    sizes = [_exported(camera, size) for camera, size in zip(mapping.cameras, recorded, strict=True)]
    task = task_of_bag(bag)
    texts = {name: text for text, name in mapping.tasks.items()}
    return _Read(sizes, parts, held, texts.get(task, task))


def _exported(camera: MappedCamera, size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that images of `size` are exported in."""
    if camera.width is None or camera.height is None:
        return size
    if camera.height > size[0] or camera.width > size[1]:
        raise UserError(f"images of {camera.topic} are {_told([size])}, smaller than the mapping's size")
    return camera.height, camera.width


def _check_rate(steps_ns: NDArray[np.int64], fps: int) -> None:
    measured = 1e9 / float(np.median(steps_ns))
    if abs(measured - fps) > _SAME_RATE * fps:
        raise UserError(
            f"images come {measured:.3g} times per second, not {fps}: give a robot file with the true "
            "camera_frame_rate_hz, or fps in the mapping"
        )


def _slots(stamps: NDArray[np.int64], fps: int) -> list[int]:
    """Return for each row of the data set, which has no gaps, the frame that it shows: a lost one repeats the last."""
    counts = np.maximum(1, np.round(np.diff(stamps) * 1e-9 * fps)).astype(int)
    return [frame for frame, count in enumerate(counts.tolist()) for _ in range(count)] + [len(stamps) - 1]


def _part(
    streams: BagStreams,
    part: list[int],
    slots: list[int],
    ends: bool,
    robot: RobotConfig,
    mapping: DataSetMapping,
    fps: int,
) -> _Part:
    stamps = streams.frame_ns[0][part]
    edges = np.interp(np.arange(len(slots)), np.searchsorted(slots, np.arange(len(part))), stamps - stamps[0])
    edge_ns = np.round(edges).astype(np.int64) + stamps[0]
    seconds = (edge_ns - stamps[0]) * 1e-9
    command_s = np.asarray((streams.command_ns - stamps[0]) * 1e-9, np.float64)
    rows = len(slots)
    velocity = np.zeros((rows, robot.action.size))
    reward, cost = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    success, terminal, done = (np.zeros(rows, np.bool_) for _ in range(3))
    low = np.searchsorted(streams.feedback_ns, edge_ns, "right")
    for row in range(rows - 1):
        velocity[row] = mean_command(
            command_s, streams.commands, float(seconds[row]), float(seconds[row + 1]), robot.command_timeout_s
        )
        arrived = streams.feedback[low[row] : low[row + 1]]
        reward[row] = sum(f.reward for f in arrived)
        cost[row] = max((f.cost for f in arrived), default=0.0)
        success[row] = any(f.success for f in arrived)
        terminal[row] = ends and any(f.terminal for f in arrived)
    done[-1], success[-1], terminal[-1] = True, success[-2], terminal[-2]
    spec = mapping.feedback
    if spec is not None and spec.cost == NEVER and cost.any():
        raise UserError("holds violations, which the mapping excludes by cost: never; name a column")
    columns: dict[str, NDArray[Any]] = {
        mapping.action.feature: (velocity / np.array(factors(mapping, robot, fps))).astype(np.float32),
        DONE: done[:, None],
    }
    if spec is not None:
        named = {spec.reward: reward, spec.cost: cost, spec.success: success, spec.terminal: terminal}
        moved = spec.belongs_to == "same"
        columns |= {
            name: (np.roll(column, 1) if moved else column)[:, None]
            for name, column in named.items()
            if name and name != NEVER
        }
    shown = stamps[slots]
    every = [shown, *(other[np.searchsorted(other, shown, "right") - 1] for other in streams.frame_ns[1:])]
    return _Part(columns, every)


def _write(bag: Path, read: _Read, robot: RobotConfig, mapping: DataSetMapping, writer: DataSetWriter) -> None:
    images = {
        camera.feature: read_frames_at(
            bag, camera.topic, robot, read.sizes[number], np.concatenate([part.stamps[number] for part in read.parts])
        )
        for number, camera in enumerate(mapping.cameras)
    }
    for part in read.parts:
        count = len(part.stamps[0])
        writer.add_episode(read.task, part.columns, {key: islice(stream, count) for key, stream in images.items()})


def _told(sizes: list[tuple[int, int]]) -> str:
    return ", ".join(f"{width}x{height}" for height, width in sizes)
