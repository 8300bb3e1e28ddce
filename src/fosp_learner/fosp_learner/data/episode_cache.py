"""Cache of the arrays of all episodes on disk, written as they come, so that memory holds only a few bags at a time.

The arrays grow in a staging folder `.KEY`, which is renamed to `KEY` once all of it is on disk: after a crash, a kill
or a full disk there is either the whole cache or none. The process that writes the staging folder holds its lock;
another process that wants the same cache waits, and the staging folder of a dead process is removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fosp_core.errors import UserError

INDEX = "index.json"
_write_npy_header: Any = npy.write_array_header_1_0  # untyped in numpy
_NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class ArrayWriter:
    """Writes one .npy file that grows along its first axis, as `numpy.save` would write the whole array."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rows = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) with the dtype and further axes of the first call."""
        if self._file is None:
            self._file = self._path.open("wb")
            self._dtype, self._row_shape = rows.dtype, rows.shape[1:]
            self._write_header()
        if (rows.dtype, rows.shape[1:]) != (self._dtype, self._row_shape):
            raise ValueError(f"{self._path.name}: {rows.dtype} {rows.shape} after {self._dtype} {self._row_shape}")
        self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def finish(self) -> None:
        """Write the final length, and sync the file to the disk."""
        if self._file is None:
            raise ValueError(f"{self._path.name}: no rows")
        self._file.seek(0)
        self._write_header()
        _to_disk(self._file)
        self._file.close()

    def abort(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write_header(self) -> None:
        """Write the header; numpy leaves room in it, so that it has the same size for every length."""
        assert self._file is not None
        shape = (self._rows, *self._row_shape)
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        _write_npy_header(self._file, described)


class CacheWriter:
    """Writes the arrays `names` of one cache, and its index."""

    def __init__(self, staging: Path, names: tuple[str, ...]) -> None:
        self._staging = staging
        self._arrays = {name: ArrayWriter(staging / f"{name}.npy") for name in names}
        self._index: list[dict[str, Any]] = []
        self.rows = 0

    def append(self, arrays: object, entry: dict[str, Any]) -> None:
        """Append the attributes `names` of `arrays` and an entry of the index. UserError when the disk is full."""
        with _disk(self._staging.parent):
            for name, writer in self._arrays.items():
                rows = getattr(arrays, name)
                writer.append(rows)
            self.rows += len(rows)
        self._index.append(entry)

    def finish(self) -> None:
        """Sync everything to the disk. UserError when it is full."""
        with _disk(self._staging.parent):
            for writer in self._arrays.values():
                writer.finish()
            with (self._staging / INDEX).open("wb") as file:
                file.write(json.dumps(self._index).encode())
                _to_disk(file)

    def abort(self) -> None:
        for writer in self._arrays.values():
            writer.abort()


@contextmanager
def new_cache(target: Path, names: tuple[str, ...]) -> Iterator[CacheWriter | None]:
    """Give a writer of the cache `target`; None when another process has just written it.

    The cache appears when the context ends, unless it ends by an exception. UserError when the disk refuses.
    """
    with _disk(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(target.parent)
        staging = target.parent / f".{target.name}"
        lock = _lock(staging, target)
    if lock is None:
        yield None
        return
    writer = CacheWriter(staging, names)
    try:
        yield writer
        writer.finish()
        with _disk(target.parent):
            os.fsync(lock)
            staging.rename(target)
            _sync_folder(target.parent)
    finally:
        writer.abort()
        shutil.rmtree(staging, ignore_errors=True)  # gone already when all went well
        os.close(lock)


def open_cache(target: Path, names: tuple[str, ...]) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
    """Return the arrays, memory-mapped, and the index; UserError when they do not fit each other."""
    try:
        arrays = {name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
        index = json.loads((target / INDEX).read_text())
        rows = sum(entry["length"] for entry in index)
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(f"{target}: damaged cache ({detail}); remove this folder, it is made again") from None
    if not rows or any(len(array) != rows for array in arrays.values()):
        raise UserError(f"{target}: damaged cache (arrays of other lengths); remove this folder, it is made again")
    return arrays, index


def _lock(staging: Path, target: Path) -> int | None:
    """Return the open descriptor of an empty, locked staging folder; None when `target` has appeared."""
    while True:
        staging.mkdir(exist_ok=True)
        lock = _locked(staging, fcntl.LOCK_EX)
        if lock is None:
            continue
        if target.is_dir():
            with suppress(OSError):
                staging.rmdir()
            os.close(lock)
            return None
        for path in staging.iterdir():
            path.unlink()
        return lock


def _locked(folder: Path, operation: int) -> int | None:
    """Lock a folder; None when it was renamed or removed in the meantime."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, operation)
        if os.fstat(lock).st_ino == folder.stat().st_ino:
            return lock
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove_left_behind(cache: Path) -> None:
    """Remove the staging folders of dead processes, which hold no lock."""
    for folder in cache.glob(".*"):
        if not (len(folder.name) == 65 and folder.is_dir()):
            continue
        with suppress(BlockingIOError):
            lock = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


@contextmanager
def _disk(cache: Path) -> Iterator[None]:
    """Turn an error of the disk into a UserError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            reason = "no space left for the cache of the bags; free some or choose another disk, nothing was kept"
        else:
            reason = f"the cache of the bags cannot be written: {error.strerror or error}"
        raise UserError(f"{cache}: {reason}") from None


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
