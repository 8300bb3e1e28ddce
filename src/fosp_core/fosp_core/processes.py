"""Work in parallel processes that end with their parent, at once and silently, whatever ends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, TypeVar

Result = TypeVar("Result")


class ProcessDied(Exception):
    """A process was killed, perhaps for lack of memory, before its work was done."""


def in_processes(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], workers: int | None = None
) -> Generator[tuple[int, Result], None, None]:
    """Call `work` with each of `arguments` in parallel processes (default: one per core).

    Yield (index into `arguments`, result) in the order of completion. `work`, its arguments and its result must be
    importable and picklable. When the caller stops early, by an error, Ctrl-C or `close()`, SystemExit is raised in
    every process. Raise what `work` raises, and ProcessDied.
    """
    count = max(1, min(workers or os.cpu_count() or 1, len(arguments)))
    others = set(multiprocessing.active_children())
    # Processes are spawned: neither an OpenGL context nor the threads of ONNX Runtime survive a fork.
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare)
    futures: dict[Future[Result], int] = {}
    try:
        with _children_ignore_interrupts():
            for index, values in enumerate(arguments):
                futures[pool.submit(_cleaned_up, work, *values)] = index
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise ProcessDied("a process died, perhaps for lack of memory; try --workers 1") from None
    finally:
        if not all(future.done() for future in futures):
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown()


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C, which a terminal sends to all: their parent ends them.

    They inherit the blocked signal. The parent defers the signal until every process is started; blocking it is not
    enough, because another thread may take it.
    """
    resource_tracker.ensure_running()  # if started later, it would unblock the signal
    arrived: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda taken, _: arrived.append(taken))
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for taken in arrived[:1]:
        signal.raise_signal(taken)


def _cleaned_up(work: Callable[..., Result], *values: Any) -> Result:
    """Call `work`, and end the process if it was terminated meanwhile; the pool would go on with the next call."""
    try:
        return work(*values)
    except SystemExit:
        os._exit(1)


def _prepare() -> None:
    """Let a new process clean up when it is terminated, and end with its parent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end_with_parent()


def end_with_parent() -> None:
    """End this process of multiprocessing as soon as its parent has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a process of multiprocessing"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
