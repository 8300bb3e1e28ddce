"""Real-time priorities of processes and threads, where the operating system grants them."""

from __future__ import annotations

import os
from contextlib import suppress

_LOADING_PRIORITY = 1
"""Priority of threads that load another model beside the control path."""
CONTROL_PRIORITY = 5
"""Priority of the nodes from camera to proposal: ahead of all that records, displays or learns."""
MONITOR_PRIORITY = 10
"""Priority of the safety monitor."""
STREAM_PRIORITY = 20
"""Priority of the command stream: above everything else that the safety monitor does."""


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
    for as long as other work has its core. Nothing changes where the process has no real-time priority.
    """
    with suppress(PermissionError, AttributeError):
        if os.sched_getscheduler(0) == os.SCHED_FIFO:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_LOADING_PRIORITY))
