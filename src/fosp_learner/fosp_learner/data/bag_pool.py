"""Work on many bags in several processes, with the results in the order of the bags."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from fosp_core.errors import UserError
from fosp_core.processes import end_with_parent

T = TypeVar("T")

BYTES_PER_WORKER = 64 * 2**20
"""A process takes a second to start, and reads about so much in a few: below it reading in-process is faster."""
_AHEAD = 2
"""Results per process that may wait for those before them: bounds the memory."""


def in_processes(
    work: Callable[[Path], T], bags: Sequence[Path], size: Callable[[], int], workers: int | None = None
) -> Generator[T, None, None]:
    """`work(bag)` of each bag, in order; `work` must be picklable.

    `workers` None: one process per core, as far as the bytes that `size` counts are worth it; at most 1 means in this
    process. Processes are spawned, not forked, so that threads of this one (torch's, OpenCV's) do no harm. What `work`
    raises is raised here, at its bag's turn.
    """
    if workers is None:
        workers = min(len(os.sched_getaffinity(0)), size() // BYTES_PER_WORKER)
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
    """In a new process: one thread of its own, Ctrl-C is for the parent to handle, and no life beyond the parent's."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
