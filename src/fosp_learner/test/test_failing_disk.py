"""Recorder, black box, cache and experience on a disk that fails at any call: nothing half is called complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[3] / "tests"
IO, STALE, FULL = errno.EIO, errno.ESTALE, errno.ENOSPC
FAULTS = [
    ("recorder", IO),
    ("recorder", FULL),
    *(pytest.param(what, IO, marks=pytest.mark.long) for what in ("black_box", "cache", "buffer")),
    *(pytest.param(what, STALE, marks=pytest.mark.long) for what in ("recorder", "black_box", "cache", "buffer")),
    *(pytest.param(what, FULL, marks=pytest.mark.long) for what in ("black_box", "cache", "buffer")),
]
NOTE_OF_CACHE = 2
"""Calls at its end by which the cache notes what it was made of: only the next start is slower without that."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler is here to build the failing disk with")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = str(TESTS / "failing_disk.c")
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return library


@pytest.mark.parametrize(("what", "error"), FAULTS, ids=lambda value: errno.errorcode.get(value, value))
def test_whatever_call_the_disk_refuses_it_is_told_in_one_line_and_nothing_half_is_called_complete(
    disk: Path, what: str, error: int, tmp_path: Path, write_bag: Callable[..., Path]
) -> None:
    write_bag(frames=21, last_at=20)
    folder = tmp_path / "runs"
    folder.mkdir()
    program = [sys.executable, str(TESTS / "failing_disk_runs.py")]
    done = subprocess.run(
        [*program, what, str(error), str(folder), str(tmp_path / "bags")],
        env={**os.environ, "LD_PRELOAD": str(disk)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    by_operation: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    for operation, runs in by_operation.items():
        *failed, last = runs
        assert [run["faults"] for run in runs] == [[]] * len(runs), operation
        assert last["error"] == "", "nothing failed at last"
        told = failed[:-NOTE_OF_CACHE] if what == "cache" and operation != "fsync" else failed
        for run in told:
            assert run["error"].count("\n") == 0, run["error"]
            assert os.strerror(error) in run["error"] or (what == "cache" and "no space left" in run["error"])
        assert len(told) >= (operation != "rename"), operation
