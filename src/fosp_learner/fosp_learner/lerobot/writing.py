"""Writes the files of a LeRobotDataset v3 for lerobot 0.6: parquet, MP4 or PNG, and meta/ with statistics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_learner.lerobot.layout import (
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
)
from fosp_learner.lerobot.statistics import ImageStatistics, number_statistics
from fosp_learner.lerobot.video import VideoWriter

_CHUNK = 1000
"""Files of a folder."""
_DATA_BYTES, _VIDEO_BYTES = 100 << 20, 200 << 20
"""Size from which the next episode begins a new file."""
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class NumberFeature:
    """A feature of numbers: its names, and float32 or bool."""

    names: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class CameraFeature:
    """A feature of images, (height, width, 3) RGB."""

    height: int
    width: int


@dataclass
class _Track:
    """The images of one camera: the open video or, without one, the PNGs of the rows that are not written yet."""

    writer: VideoWriter | None = None
    file: int = -1
    statistics: ImageStatistics = field(default_factory=ImageStatistics)


class DataSetWriter:
    """Writes a data set, episode after episode, into a folder that must not exist yet; `finish` completes it."""

    def __init__(
        self,
        root: Path,
        fps: int,
        robot: str,
        numbers: Mapping[str, NumberFeature],
        cameras: Mapping[str, CameraFeature],
        codec: str,
        crf: int,
    ) -> None:
        self._root, self._fps, self._robot = root, fps, robot
        self._numbers, self._cameras, self._codec, self._crf = dict(numbers), dict(cameras), codec, crf
        self._tracks = {key: _Track() for key in cameras}
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._held: dict[str, list[NDArray[Any]]] = {key: [] for key in numbers}
        self._frames = 0
        self._data: pq.ParquetWriter | None = None
        self._data_file = -1
        root.mkdir(parents=True)

    def add_episode(
        self, task: str, columns: Mapping[str, NDArray[Any]], images: Mapping[str, Iterable[NDArray[np.uint8]]]
    ) -> None:
        """Append an episode: the columns (n, width) of every feature of numbers, and n images of every camera."""
        rows, number = len(next(iter(columns.values()))), len(self._episodes)
        task_index = self._tasks.setdefault(task, len(self._tasks))
        index = np.arange(self._frames, self._frames + rows)
        counters = (
            (np.arange(rows) / self._fps).astype(np.float32),
            np.arange(rows),
            np.full(rows, number),
            index,
            np.full(rows, task_index),
        )
        entry: dict[str, Any] = {"episode_index": number, "tasks": [task], "length": rows}
        statistics = {
            **{key: number_statistics(column) for key, column in columns.items()},
            **{key: number_statistics(column[:, None]) for key, column in zip(_COUNTERS, counters, strict=True)},
        }
        arrays: dict[str, Any] = {}
        for key, feature in self._cameras.items():
            place, stored, seen = self._add_images(key, feature, images[key], rows)
            entry |= place
            arrays |= stored
            statistics[key] = seen.summary()
            self._tracks[key].statistics.merge(seen)
        for key, column in columns.items():
            self._held.setdefault(key, []).append(column)
        arrays |= {key: _array(columns[key], feature) for key, feature in self._numbers.items()}
        arrays |= {key: pa.array(column) for key, column in zip(_COUNTERS, counters, strict=True)}
        self._write_rows(pa.table(arrays))
        chunk, file = divmod(self._data_file, _CHUNK)
        entry |= {"data/chunk_index": chunk, "data/file_index": file}
        entry |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + rows}
        entry |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        entry |= {f"stats/{key}/{name}": value for key, stats in statistics.items() for name, value in stats.items()}
        self._episodes.append(entry)
        self._frames += rows

    @property
    def tasks(self) -> Collection[str]:
        """Texts of the tasks so far."""
        return self._tasks.keys()

    def finish(self) -> None:
        """Complete the files; UserError when there was no episode."""
        if not self._episodes:
            raise UserError("no episode was written")
        for track in self._tracks.values():
            if track.writer is not None:
                track.writer.close()
        assert self._data is not None
        self._data.close()
        tasks = pa.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        self._write_table(tasks.replace_schema_metadata({"pandas": json.dumps(_TASK_INDEX)}), TASKS_PATH)
        self._write_table(pa.Table.from_pylist(self._episodes), EPISODES_PATH.format(chunk_index=0, file_index=0))
        counters = {
            "timestamp": [np.concatenate([np.arange(e["length"]) / self._fps for e in self._episodes])],
            "frame_index": [np.concatenate([np.arange(e["length"]) for e in self._episodes])],
            "episode_index": [np.concatenate([np.full(e["length"], e["episode_index"]) for e in self._episodes])],
            "index": [np.arange(self._frames)],
            "task_index": [np.concatenate([np.full(e["length"], self._tasks[e["tasks"][0]]) for e in self._episodes])],
        }
        every = {**self._held, **{key: [column[0][:, None]] for key, column in counters.items()}}
        statistics = {key: number_statistics(np.concatenate(parts)) for key, parts in every.items()}
        statistics |= {key: track.statistics.summary() for key, track in self._tracks.items()}
        self._write_json(STATS_PATH, statistics)
        self._write_json(INFO_PATH, self._info())

    def abort(self) -> None:
        """Remove what has been written."""
        for track in self._tracks.values():
            if track.writer is not None:
                track.writer.abort()
        shutil.rmtree(self._root, ignore_errors=True)

    def _add_images(
        self, key: str, feature: CameraFeature, images: Iterable[NDArray[np.uint8]], rows: int
    ) -> tuple[dict[str, Any], dict[str, Any], ImageStatistics]:
        """Store the images of an episode; return what its entry says of them, a column for its rows, and statistics."""
        seen, encoded, count = ImageStatistics(), list[dict[str, Any]](), 0
        track, begin = self._tracks[key], 0
        if self._codec != "png":
            writer = self._writer(key, feature)
            begin = writer.frames
        for count, image in enumerate(images, 1):
            seen.add(image)
            if self._codec == "png":
                _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                encoded.append({"bytes": data.tobytes(), "path": None})
            else:
                writer.add(image, first=count == 1)
        if count != rows:
            raise UserError(f"{key}: {count} images for {rows} rows")
        if self._codec == "png":
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            return {}, {key: pa.array(encoded, kind)}, seen
        chunk, file = divmod(track.file, _CHUNK)
        place = {
            f"videos/{key}/chunk_index": chunk,
            f"videos/{key}/file_index": file,
            f"videos/{key}/from_timestamp": begin / self._fps,
            f"videos/{key}/to_timestamp": (begin + rows) / self._fps,
        }
        return place, {}, seen

    def _writer(self, key: str, feature: CameraFeature) -> VideoWriter:
        """Return the video that takes the next episode of a camera."""
        track = self._tracks[key]
        if track.writer is not None and track.writer.written >= _VIDEO_BYTES:
            track.writer.close()
            track.writer = None
        if track.writer is None:
            track.file += 1
            chunk, file = divmod(track.file, _CHUNK)
            path = self._root / VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
            track.writer = VideoWriter(path, self._fps, feature.height, feature.width, self._codec, self._crf)
        return track.writer

    def _write_rows(self, table: pa.Table) -> None:
        chunk, file = divmod(self._data_file, _CHUNK)
        path = self._root / DATA_PATH.format(chunk_index=chunk, file_index=file)
        if self._data is not None and path.stat().st_size >= _DATA_BYTES:
            self._data.close()
            self._data = None
        if self._data is None:
            self._data_file += 1
            chunk, file = divmod(self._data_file, _CHUNK)
            path = self._root / DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._data.write_table(table)

    def _write_table(self, table: pa.Table, name: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="snappy")

    def _write_json(self, name: str, content: object) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n")

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for key, camera in self._cameras.items():
            shape = [camera.height, camera.width, 3]
            features[key] = {
                "dtype": "image" if self._codec == "png" else "video",
                "shape": shape,
                "names": ["height", "width", "channels"],
            }
            if self._codec != "png":
                features[key]["info"] = {
                    "video.height": camera.height,
                    "video.width": camera.width,
                    "video.codec": self._codec,
                    "video.pix_fmt": "yuv420p",
                    "video.fps": self._fps,
                    "video.channels": 3,
                    "video.crf": self._crf,
                    "has_audio": False,
                    "is_depth_map": False,
                }
        for key, feature in self._numbers.items():
            features[key] = {"dtype": feature.dtype, "shape": [len(feature.names)], "names": list(feature.names)}
        for key in _COUNTERS:
            features[key] = {"dtype": "float32" if key == "timestamp" else "int64", "shape": [1], "names": None}
        return {
            "codebase_version": VERSION,
            "fps": self._fps,
            "features": features,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": _DATA_BYTES >> 20,
            "video_files_size_in_mb": _VIDEO_BYTES >> 20,
            "data_path": DATA_PATH,
            "video_path": None if self._codec == "png" else VIDEO_PATH,
            "robot_type": self._robot,
            "splits": {"train": f"0:{len(self._episodes)}"},
        }


_TASK_INDEX = {
    "index_columns": ["task"],
    "column_indexes": [
        {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    ],
    "columns": [
        {
            "name": "task_index",
            "field_name": "task_index",
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        },
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ],
    "pandas_version": "2.3.3",
}
"""How pandas notes that the text of the task is the index of its table, as lerobot expects it."""


def _array(column: NDArray[Any], feature: NumberFeature) -> Any:
    kind = pa.bool_() if feature.dtype == "bool" else pa.float32()
    flat = pa.array(np.ascontiguousarray(column).reshape(-1), kind)
    width = column.shape[1]
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
