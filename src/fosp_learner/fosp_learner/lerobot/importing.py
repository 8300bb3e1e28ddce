"""A LeRobotDataset to bags, one per episode.

All numbers are read and judged before the first bag is written: a mapping that is physically wrong leaves nothing
behind. An episode that cannot be used is left out, with its reason, and the others are imported.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image import decoded_rgb, observation_image
from fosp_core.robot.config import RobotConfig
from fosp_learner.lerobot.imported_bag import ImportedBag
from fosp_learner.lerobot.judging import Columns, Judge, judge_by_columns, judge_by_rules
from fosp_learner.lerobot.layout import DataSet, EpisodeEntry, read_data_set, read_images, read_rows
from fosp_learner.lerobot.mapping import DataSetMapping, MappedCamera, MappedPosition, factors
from fosp_learner.lerobot.plausibility import motion_notes
from fosp_learner.lerobot.video import read_frames
from fosp_recording.episode_feedback import StepValues
from fosp_recording.feedback_rules import FeedbackConfig

_SAME_RATE = 0.05
"""Largest relative difference of two rates that count as one."""
_NEAR = 0.25
"""Largest distance of a row's timestamp from its nominal time, in rows."""


@dataclass(frozen=True)
class PlannedEpisode:
    """An episode whose numbers are good."""

    entry: EpisodeEntry
    task: str
    velocities: NDArray[np.float64]
    """(n, A) in m/s and rad/s, in force from each row on."""
    feedback: list[StepValues]
    """One for each row; n of them."""
    positions: NDArray[np.float64] | None = None
    """(n, 3) measured by the tool, m, where the mapping says where."""


@dataclass
class ImportPlan:
    """The episodes that will be imported, and what was found on the way."""

    data_set: DataSet
    robot: RobotConfig
    mapping: DataSetMapping
    stride: int
    """Rows from one image to the next."""
    episodes: list[PlannedEpisode] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """One line for each episode that is not imported."""
    notes: list[str] = field(default_factory=list)


def plan_import(
    root: Path,
    robot: RobotConfig,
    mapping: DataSetMapping,
    rules: FeedbackConfig | None = None,
    resample: bool = False,
    task: str = "",
) -> ImportPlan:
    """Read the numbers of the data set and judge every episode; UserError when none of it can be used, or must not be.

    `rules` take the place of the mapping's feedback columns. `resample` allows images of a higher rate than the
    robot's camera to be thinned out. `task` chooses one of several tasks, by its text or mapped name.
    """
    if robot.command_type == "PoseStamped":
        raise UserError(
            f"{robot.name} takes target poses, which a data set of velocities does not hold; import for a robot file "
            "with command_type: TwistStamped"
        )
    data_set = read_data_set(root)
    plan = ImportPlan(data_set, robot, mapping, _stride(data_set, robot, mapping, resample))
    _check_cameras(data_set, mapping.cameras)
    if rules is not None:
        judge, needed = judge_by_rules(rules, mapping.measurements, mapping.unobserved, data_set)
    elif mapping.feedback is not None:
        judge, needed = judge_by_columns(mapping.feedback, data_set)
    else:
        raise UserError(
            "nothing says what an episode was worth: give --feedback RULES, or feedback columns in the mapping"
        )
    action = data_set.feature(mapping.action.feature)
    axes = [action.column(mapping.action.axes[axis.name].name) for axis in robot.action.axes]
    scale = np.array(factors(mapping, robot, data_set.fps))
    measured = mapping.measurements.get(robot.pose_topic) if robot.kind == "arm" else None
    place = measured if isinstance(measured, MappedPosition) else None
    if place is not None:
        needed = {*needed, place.feature}
        at = [data_set.feature(place.feature).column(name) for name in place.names]
    files: dict[Path, dict[int, dict[str, NDArray[np.float64]]]] = {}
    tasks = _tasks(data_set, mapping, task)
    for entry, name in tasks:
        try:
            if entry.data not in files:
                files = {entry.data: read_rows(data_set, entry.data, {action.key, *needed})}
            columns = files[entry.data].get(entry.index, {})
            planned = _planned(entry, name, columns, action.key, axes, scale, judge, data_set.fps)
            if place is not None:
                planned = replace(planned, positions=columns[place.feature][: len(planned.feedback), at] * place.factor)
            plan.episodes.append(planned)
        except UserError as error:
            plan.left_out.append(f"episode {entry.index}: {error}")
    if not plan.episodes:
        raise UserError(f"{root}: no episode can be used; {plan.left_out[0]}" if tasks else f"{root}: holds no episode")
    velocities = [planned.velocities[:-1] for planned in plan.episodes]
    positions = [planned.positions for planned in plan.episodes]
    plan.notes += motion_notes(velocities, positions, data_set.fps, robot, mapping.action.beyond_scale)
    return plan


def write_bags(plan: ImportPlan, out: Path) -> Iterator[PlannedEpisode]:
    """Write the bags of the plan into `out`, and yield each episode that is written; others go to `plan.left_out`.

    UserError when `out` is not empty, or when the disk refuses or has too little room.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose another --out, nothing is overwritten")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_room(plan, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    for planned in plan.episodes:
        bag = ImportedBag(out, planned.entry.index, plan.robot)
        try:
            _write(bag, planned, plan)
        except UserError as error:
            bag.abort()
            plan.left_out.append(f"episode {planned.entry.index}: {error}")
            continue
        except OSError as error:
            bag.abort()
            raise UserError(f"{out}: {error.strerror or error}; free space, then import into another folder") from None
        except BaseException:
            bag.abort()
            raise
        yield planned
    shutil.rmtree(out / ".partial", ignore_errors=True)


def _stride(data_set: DataSet, robot: RobotConfig, mapping: DataSetMapping, resample: bool) -> int:
    """Return how many rows lead from one image to the next; UserError when the rates do not fit."""
    fps, rate = data_set.fps, robot.camera_frame_rate_hz
    if mapping.fps is not None and mapping.fps != fps:
        raise UserError(f"{data_set.root}: has {fps:g} rows per second, the mapping says fps: {mapping.fps}")
    if abs(fps - rate) <= _SAME_RATE * rate:
        return 1
    stride = round(fps / rate)
    told = f"{data_set.root}: has {fps:g} images per second, the cameras of {robot.name} {rate:g}"
    if stride < 2 or abs(fps / stride - rate) > _SAME_RATE * rate:
        raise UserError(f"{told}, and images cannot be made up: give a robot file with camera_frame_rate_hz: {fps:g}")
    if not resample:
        raise UserError(
            f"{told}: give --resample to take every {stride}. image, or a robot file with camera_frame_rate_hz: {fps:g}"
        )
    return stride


def _check_cameras(data_set: DataSet, cameras: Sequence[MappedCamera]) -> None:
    for camera in cameras:
        feature = data_set.feature(camera.feature)
        if feature.dtype not in ("image", "video"):
            there = ", ".join(key for key, f in data_set.features.items() if f.dtype in ("image", "video")) or "none"
            raise UserError(f"{data_set.root}: {camera.feature} holds no images; features that do: {there}")
        if 3 not in feature.shape:
            raise UserError(f"{data_set.root}: images of {camera.feature} are {feature.shape}, not RGB")


def _tasks(data_set: DataSet, mapping: DataSetMapping, wanted: str) -> list[tuple[EpisodeEntry, str]]:
    """Return the episodes and the names of their tasks; UserError when these are several, and none was chosen."""
    unknown = sorted(set(mapping.tasks) - {text for entry in data_set.episodes for text in entry.tasks})
    if unknown:
        raise UserError(f"{data_set.root}: has no task '{unknown[0]}', which the mapping names")
    named = [(entry, {mapping.tasks.get(text, text) for text in entry.tasks}) for entry in data_set.episodes]
    chosen = [(entry, names) for entry, names in named if not wanted or wanted in names or wanted in entry.tasks]
    every = sorted({name for _, names in chosen for name in names})
    if wanted and not chosen:
        there = ", ".join(repr(name) for name in sorted({name for _, names in named for name in names}))
        raise UserError(f"{data_set.root}: no episode of task '{wanted}'; there are: {there}")
    if len(every) > 1:
        told = ", ".join(repr(name) for name in every[:5])
        raise UserError(
            f"{data_set.root}: holds {len(every)} tasks ({told}), which are not trained on together: choose one with "
            "--task, or give them one name under tasks in the mapping"
        )
    return [(entry, next(iter(names), "unnamed")) for entry, names in chosen]


def _planned(
    entry: EpisodeEntry,
    task: str,
    columns: Columns,
    action: str,
    axes: list[int],
    scale: NDArray[np.float64],
    judge: Judge,
    fps: float,
) -> PlannedEpisode:
    """Return the episode in SI units; UserError says why it cannot be used."""
    rows = len(columns["timestamp"]) if columns else 0
    if rows != entry.length:
        raise UserError(f"has {rows} rows in {entry.data.name}, meta/episodes says {entry.length}")
    if rows < 2:
        raise UserError(f"too short: {rows} rows, a step needs two")
    expected = np.arange(rows)
    if not np.array_equal(columns["frame_index"][:, 0], expected):
        raise UserError("its rows are not in order (frame_index)")
    late = np.abs(columns["timestamp"][:, 0] * fps - expected) > _NEAR
    if late.any() or np.isnan(columns["timestamp"]).any():
        raise UserError(f"the timestamp of row {int(np.argmax(late))} does not fit {fps:g} rows per second")
    velocities = columns[action][:, axes] * scale
    bad = ~np.isfinite(velocities).all(1)
    if bad.any():
        raise UserError(f"{action} is not finite in {int(bad.sum())} rows, the first is {int(np.argmax(bad))}")
    feedback = judge(columns, entry.index)
    if len(feedback) < 2:
        raise UserError("it ends with its first row by the rules")
    return PlannedEpisode(entry, task, velocities[: len(feedback)], feedback)


def _check_room(plan: ImportPlan, out: Path) -> None:
    images = sum(len(planned.feedback) for planned in plan.episodes) // plan.stride
    pixels = 0
    for camera in plan.mapping.cameras:
        shape = plan.data_set.feature(camera.feature).shape
        pixels += int(np.prod(shape)) if camera.width is None else 3 * camera.width * (camera.height or 0)
    free = shutil.disk_usage(out).free
    if images * pixels > free:
        raise UserError(
            f"{out}: the bags may need {images * pixels / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; give width and "
            "height of the cameras in the mapping"
        )


def _write(bag: ImportedBag, planned: PlannedEpisode, plan: ImportPlan) -> None:
    fps, rows = plan.data_set.fps, len(planned.feedback)
    kept = [row for row in range(rows) if row % plan.stride == 0 or row == rows - 1]
    streams = [_images(plan, planned.entry, camera, kept) for camera in plan.mapping.cameras]
    with_image = set(kept)
    repeats = max(1, int(np.ceil(plan.robot.command_rate_hz / fps - 1e-6)))
    for row, values in enumerate(planned.feedback):
        time = row / fps
        if row in with_image:
            for camera, stream in zip(plan.mapping.cameras, streams, strict=True):
                bag.image(time, camera.topic, next(stream))
        bag.feedback(time, values)
        for part in range(repeats if row < rows - 1 else 0):
            bag.command(time + part / (repeats * fps), planned.velocities[row])
    bag.close(
        {
            "task": planned.task,
            "robot": plan.robot.name,
            "episode": str(planned.entry.index),
            "complete": "true",
            "source": f"LeRobotDataset {plan.data_set.root.resolve().name}, {fps:g} fps",
        }
    )


def _images(
    plan: ImportPlan, entry: EpisodeEntry, camera: MappedCamera, kept: list[int]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of the rows `kept`, in the size of the mapping; UserError when one is missing or damaged."""
    for pixels in _stored_images(plan.data_set, entry, camera.feature, kept):
        if camera.width is None or camera.height is None:
            yield pixels
            continue
        rows, columns = pixels.shape[:2]
        if columns < camera.width or rows < camera.height:
            raise UserError(f"images of {camera.feature} are {columns}x{rows}, smaller than the mapping's size")
        yield observation_image(pixels, camera.height, camera.width)


def _stored_images(data_set: DataSet, entry: EpisodeEntry, key: str, kept: list[int]) -> Iterator[NDArray[np.uint8]]:
    if data_set.feature(key).dtype == "video":
        path, begin_s = entry.videos[key]
        yield from read_frames(data_set.root / path, begin_s, data_set.fps, kept)
        return
    encoded = read_images(data_set, entry, key)
    if len(encoded) != entry.length:
        raise UserError(f"{key} has {len(encoded)} images for {entry.length} rows")
    for row in kept:
        yield decoded_rgb(np.frombuffer(encoded[row], np.uint8), key)
