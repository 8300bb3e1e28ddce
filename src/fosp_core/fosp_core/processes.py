"""Processes and threads: real-time priorities, and parallel work in processes that end with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")

_LOADING_PRIORITY = 1
"""Priority of threads that load another model beside the control path."""
_REST, _LONGEST_REST_S = 2.0, 0.1
"""Rest of such a thread, as a multiple of the time for which it has worked, and its longest rest."""
_below_control = threading.local()
CONTROL_PRIORITY = 5
"""Priority of the nodes from camera to proposal: ahead of all that records, displays or learns."""
MONITOR_PRIORITY = 10
"""Priority of the safety monitor."""
STREAM_PRIORITY = 20
"""Priority of the command stream: above everything else that the safety monitor does."""
TRAINING_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Environment of a process that trains: it keeps freed memory and uses huge pages, so that no tensor is mapped anew."""
DISPENSABLE = frozenset({"recorder_node"})
"""Managed nodes that no motion depends on: the robot goes on when one pauses or dies, and when it comes back."""


def claim_realtime_priority(priority: int) -> bool:
    """Schedule the calling thread, and threads that it starts later, as SCHED_FIFO; return False when not permitted.

    Without it, other work on the machine makes a command late now and then. Call it on the main thread before DDS
    starts, because a thread of normal priority that holds the interpreter would delay the command stream.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (PermissionError, AttributeError):
        return False
    return True


def has_realtime_priority() -> bool:
    """Return True when the calling thread is scheduled as SCHED_FIFO."""
    return hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) == os.SCHED_FIFO


def pin_to_cpu(cpu: int) -> str:
    """Keep the calling thread on core `cpu`; return the reason when that is not possible, else an empty string."""
    if not hasattr(os, "sched_setaffinity"):
        return "this operating system cannot pin threads"
    allowed = os.sched_getaffinity(0)
    if cpu not in allowed:
        return f"core {cpu} is not among those of this process: {', '.join(map(str, sorted(allowed)))}"
    os.sched_setaffinity(0, {cpu})
    return ""


def keep_below_control() -> None:
    """Schedule the calling thread below every control thread, but above all that is not real-time.

    A thread of normal priority will not do: it holds the interpreter now and then, and the command stream would wait
    for as long as other work has its core. Such a thread calls `give_way` often. Nothing changes where the process has
    no real-time priority.
    """
    with suppress(PermissionError, AttributeError):
        if os.sched_getscheduler(0) == os.SCHED_FIFO:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_LOADING_PRIORITY))
            _below_control.since_s = time.monotonic()


def give_way() -> None:
    """Let a thread that is kept below control rest for twice as long as it has worked; others return at once.

    A real-time thread that computes without a rest keeps its core from all that has normal priority, as the robot's
    driver may have. Linux also stops every real-time thread of a core that they fill (sched_rt_runtime_us).
    """
    since_s: float | None = getattr(_below_control, "since_s", None)
    if since_s is not None:
        time.sleep(min(_REST * (time.monotonic() - since_s), _LONGEST_REST_S))
        _below_control.since_s = time.monotonic()


END_S = 10.0
"""Time that a process may take to clean up and end."""


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
            _end(set(multiprocessing.active_children()) - others)
        pool.shutdown()


def _end(processes: Iterable[BaseProcess]) -> None:
    """Let the processes clean up and end, and kill those that still run after END_S.

    Python drops a SystemExit that is raised in a callback or a finaliser, and such a process would go on with its work.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + END_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


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


def return_freed_memory() -> None:
    """Give memory that was freed back to the operating system, where the C library (glibc) can; it takes milliseconds.

    Call it while nothing waits for this process.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def end_process(code: int) -> NoReturn:
    """End the process at once, after all that it had to do is done.

    A regular exit would run the destructors of libraries beside their own threads. Those of DDS and ONNX Runtime now
    and then hang, and those of torch's process group abort.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
