"""Removal of the shared-memory segments that killed Fast DDS processes leave in /dev/shm.

A living process holds a lock on the _el (or _sl) file beside each of its segments; a segment that nobody holds is dead.
Even a clean exit leaves the segments of the process's ports, which stay until another process uses the same port.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/dev/shm")
NEWBORN_S = 1.0
"""Age, s, below which a file may belong to a process that is about to lock it."""
_NAME = re.compile(r"(?:sem\.)?(fastrtps_(?:port\d+|[0-9a-f]{8,}))(?:_el|_sl|_mutex)?")


def clean_shared_memory(folder: Path = FOLDER) -> list[str]:
    """Remove the files of this user's dead Fast DDS processes, and return their names."""
    removed = []
    for paths in _dead(folder):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                removed.append(path.name)
    return removed


def dead_files(folder: Path = FOLDER) -> list[Path]:
    """Return the files that `clean_shared_memory` would remove."""
    return [path for paths in _dead(folder) for path in paths]


def _dead(folder: Path) -> Iterator[list[Path]]:
    """Yield the files of each dead segment; its locks are held until the caller takes the next one."""
    segments: dict[str, list[Path]] = {}
    for path in folder.glob("*fastrtps_*"):
        match = _NAME.fullmatch(path.name)
        if match:
            segments.setdefault(match[1], []).append(path)
    for paths in segments.values():
        with contextlib.ExitStack() as locks:
            if all(_is_ours_and_old(path) for path in paths) and _hold(paths, locks):
                yield paths


def _is_ours_and_old(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return True
    return status.st_uid == os.geteuid() and time.time() - status.st_ctime > NEWBORN_S


def _hold(paths: list[Path], locks: contextlib.ExitStack) -> bool:
    """Lock every lock file; return False when a living process holds one of them."""
    for path in paths:
        if path.name.endswith(("_el", "_sl")):
            try:
                file = locks.enter_context(path.open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                continue
            except OSError:
                return False
    return True
