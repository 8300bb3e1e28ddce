"""The files of a LeRobotDataset v3: meta/info.json, tasks and episodes, and the rows of numbers in data/.

Videos are read in video.py. Nothing here trusts a file: every error is one line that names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fosp_core.errors import UserError

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS_PATH = "meta/tasks.parquet"
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"


@dataclass(frozen=True)
class Feature:
    """One feature of info.json."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Names of its entries; their numbers where the data set names none."""

    def column(self, name: str) -> int:
        """Return the index of the entry `name`; UserError lists the names that there are."""
        if name not in self.names:
            raise UserError(f"feature {self.key} has no entry '{name}'; there are: {', '.join(self.names)}")
        return self.names.index(name)


@dataclass(frozen=True)
class EpisodeEntry:
    """One row of meta/episodes: where an episode lies."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    videos: Mapping[str, tuple[Path, float]]
    """Feature -> video file, and the second at which the episode begins in it."""


@dataclass(frozen=True)
class DataSet:
    """A data set as its meta/ describes it."""

    root: Path
    fps: float
    features: Mapping[str, Feature]
    episodes: tuple[EpisodeEntry, ...]

    def feature(self, key: str) -> Feature:
        """Return a feature; UserError lists those that there are."""
        if key not in self.features:
            raise UserError(f"{self.root}: no feature '{key}'; there are: {', '.join(sorted(self.features))}")
        return self.features[key]


def read_data_set(root: Path) -> DataSet:
    """Read meta/; UserError in one line when it is missing, damaged, or not of version 3."""
    info = _info(root)
    version = str(info.get("codebase_version", ""))
    if not version.startswith("v3."):
        raise UserError(
            f"{root}: a LeRobotDataset of version {version or 'unknown'}, this reads v3: convert it with "
            "lerobot's convert_dataset_v21_to_v30 script"
        )
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= 1000:
        raise UserError(f"{root}/{INFO_PATH}: fps must be a number above 0, found {fps!r}")
    features = {key: _feature(root, key, entry) for key, entry in _mapping(root, info.get("features")).items()}
    return DataSet(root, float(fps), features, _episodes(root, info, features))


def read_rows(data_set: DataSet, file: Path, keys: Iterable[str]) -> dict[int, dict[str, NDArray[Any]]]:
    """Return the columns `keys` of one data file by episode: (n, width) float64 each, and `timestamp` (n, 1).

    A number that is missing is NaN. UserError when the file is missing or damaged, or rows are out of order.
    """
    wanted = sorted({*keys, "episode_index", "frame_index", "timestamp"})
    table = _table(data_set.root / file, wanted)
    missing = [key for key in wanted if key not in table.column_names]
    if missing:
        raise UserError(f"{data_set.root / file}: column {missing[0]} is missing")
    columns = {key: _numbers(table.column(key), data_set.root / file, key) for key in wanted}
    episodes = columns.pop("episode_index")[:, 0].astype(np.int64)
    found: dict[int, dict[str, NDArray[Any]]] = {}
    starts = np.flatnonzero(np.diff(episodes, prepend=episodes[:1] - 1)) if len(episodes) else np.zeros(0, np.int64)
    for start, stop in zip(starts, [*starts[1:], len(episodes)], strict=True):
        index = int(episodes[start])
        if index in found:
            raise UserError(f"{data_set.root / file}: rows of episode {index} lie at several places")
        found[index] = {key: column[start:stop] for key, column in columns.items()}
    return found


def read_images(data_set: DataSet, entry: EpisodeEntry, key: str) -> list[bytes]:
    """Return the encoded images of a feature of dtype image; UserError when one is missing or not in the file."""
    path = data_set.root / entry.data
    table = _table(path, ["episode_index", key], [("episode_index", "=", entry.index)])
    held = [row.get("bytes") if isinstance(row, dict) else None for row in table.column(key).to_pylist()]
    if any(image is None for image in held):
        raise UserError(f"an image of {key} is missing in {path.name}")
    return [bytes(image) for image in held if image is not None]


def _info(root: Path) -> dict[str, Any]:
    path = root / INFO_PATH
    try:
        info = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{root}: no LeRobotDataset here ({INFO_PATH} is missing)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _mapping(root, info)


def _mapping(root: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{root}/{INFO_PATH}: expected keys, found {type(value).__name__}")
    return value


def _feature(root: Path, key: str, entry: Any) -> Feature:
    entry = _mapping(root, entry)
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise UserError(f"{root}/{INFO_PATH}: feature {key} lacks dtype or shape")
    width = int(np.prod(shape)) if dtype not in ("image", "video") and shape else 1
    if not 0 < width <= 100_000:
        raise UserError(f"{root}/{INFO_PATH}: feature {key} has shape {shape}")
    return Feature(key, dtype, tuple(shape), feature_names(entry.get("names"), width))


def feature_names(names: Any, width: int) -> tuple[str, ...]:
    """Return one name per entry of a feature, from the forms that data sets use: a list, {"motors": [...]}, {name: i}.

    Where that does not give `width` names, the entries are named by their numbers.
    """
    if isinstance(names, dict):
        if names and all(isinstance(index, int) for index in names.values()):
            names = sorted(names, key=names.__getitem__)
        else:
            names = next((value for value in names.values() if isinstance(value, list)), None)
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == width == len({str(name) for name in names}):
        return tuple(str(name) for name in names)
    return tuple(str(number) for number in range(width))


def _episodes(root: Path, info: dict[str, Any], features: Mapping[str, Feature]) -> tuple[EpisodeEntry, ...]:
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"{root}: meta/episodes holds no parquet file")
    videos = [key for key, feature in features.items() if feature.dtype == "video"]
    rows = [row for file in files for row in _episode_rows(file)]
    entries = []
    for row in rows:
        try:
            entries.append(_entry(row, info, videos))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{root}/meta/episodes: an entry is damaged ({type(error).__name__}: {error})") from None
    entries.sort(key=lambda entry: entry.index)
    if [entry.index for entry in entries] != list(range(len(entries))):
        raise UserError(f"{root}/meta/episodes: episodes are not numbered 0 to {len(entries) - 1}")
    return tuple(entries)


def _episode_rows(file: Path) -> list[dict[str, Any]]:
    try:
        names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from None
    return _table(file, names).to_pylist()


def _entry(row: dict[str, Any], info: dict[str, Any], videos: list[str]) -> EpisodeEntry:
    def place(template: str, prefix: str, **more: str) -> Path:
        chunk, number = int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"])
        path = PurePosixPath(template.format(chunk_index=chunk, file_index=number, **more))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} lies outside of the data set")
        return Path(path)

    data_path, video_path = str(info.get("data_path") or DATA_PATH), str(info.get("video_path") or VIDEO_PATH)
    tasks = row.get("tasks") or ()
    return EpisodeEntry(
        int(row["episode_index"]),
        int(row["length"]),
        tuple(str(task) for task in ([tasks] if isinstance(tasks, str) else tasks)),
        place(data_path, "data"),
        {
            key: (place(video_path, f"videos/{key}", video_key=key), float(row[f"videos/{key}/from_timestamp"]))
            for key in videos
        },
    )


def _table(path: Path, columns: list[str], filters: Any = None) -> Any:
    try:
        there = set(pq.read_schema(path).names)
        return pq.read_table(path, columns=[name for name in columns if name in there], filters=filters)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing") from None
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read: {' '.join(str(error).split())[:120]}")


def _numbers(column: Any, path: Path, key: str) -> NDArray[np.float64]:
    """Return a column as (n, width) float64; UserError when it does not hold numbers, as many in each row."""
    rows = len(column)
    values: Any = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type.value_type)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        if values.null_count:
            raise UserError(f"{path}: a row of {key} is missing")
        values = values.flatten()
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
        raise UserError(f"{path}: column {key} holds {values.type}, not numbers")
    flat = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    if rows and len(flat) % rows:
        raise UserError(f"{path}: rows of {key} are of different lengths")
    return flat.reshape(rows, -1)
