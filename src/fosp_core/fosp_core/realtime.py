"""Real-time scheduling of the process, where the operating system grants it."""

from __future__ import annotations

import os

LOADING_PRIORITY = 1
"""Of loading another model beside the control path."""
CONTROL_PRIORITY = 5
"""Of what stands between camera and verdict: ahead of all that records, shows or learns."""
MONITOR_PRIORITY = 10
STREAM_PRIORITY = 20
"""Of the command stream, above all that the safety monitor does besides it."""


def claim_realtime_priority(priority: int) -> bool:
    """Schedule the calling thread, and threads it starts from now on, as SCHED_FIFO; False when it is not permitted.

    With other work on the machine this is the difference between a late command now and then and none. Called on the
    main thread before DDS starts: a thread of normal priority that holds the interpreter would delay the stream.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (PermissionError, AttributeError):
        return False
    return True


def has_realtime_priority() -> bool:
    """Whether the calling thread is scheduled so."""
    return hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) == os.SCHED_FIFO


def pin_to_cpu(cpu: int) -> str:
    """Run the calling thread on core `cpu` only. Empty when it does, else why it cannot be had."""
    if not hasattr(os, "sched_setaffinity"):
        return "this operating system cannot pin threads"
    allowed = os.sched_getaffinity(0)
    if cpu not in allowed:
        return f"core {cpu} is not among those of this process: {', '.join(map(str, sorted(allowed)))}"
    os.sched_setaffinity(0, {cpu})
    return ""
