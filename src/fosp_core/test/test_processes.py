"""Real-time scheduling is claimed where it is permitted, and its refusal is no failure."""

import os
import subprocess
import sys
import threading
import time

import pytest

from fosp_core.processes import (
    STREAM_PRIORITY,
    claim_realtime_priority,
    give_way,
    has_realtime_priority,
    keep_below_control,
    pin_to_cpu,
)


def test_a_claim_says_whether_it_was_granted_and_holds_for_its_thread_only():
    outcomes = []

    def claim():
        outcomes.append((claim_realtime_priority(STREAM_PRIORITY), has_realtime_priority()))

    before = has_realtime_priority()
    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()
    ((granted, has),) = outcomes
    assert granted == has or before
    assert has_realtime_priority() == before


def test_a_thread_is_pinned_to_a_core_that_it_may_use_and_says_why_not_to_another():
    said = []

    def pin():
        mine = min(os.sched_getaffinity(0))
        said.extend([pin_to_cpu(mine), os.sched_getaffinity(0) == {mine}, pin_to_cpu(100_000)])

    thread = threading.Thread(target=pin)
    thread.start()
    thread.join()
    assert said[:2] == ["", True]
    assert "core 100000 is not among those of this process" in said[2]


FREES = """
import os
from pathlib import Path
from fosp_core.processes import return_freed_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") * 1e-6

blocks, between = [], []
for _ in range(2000):
    blocks.append(bytes(50_000))
    between.append(bytes(600))  # keeps the C library from giving back the end of its heap by itself
del blocks
held_mb = resident_mb()
return_freed_memory()
assert resident_mb() < held_mb - 50.0, (resident_mb(), held_mb)
"""


def test_freed_memory_goes_back_to_the_operating_system():
    # In a process of its own: the heap of this one has holes of other tests that the blocks would go to.
    subprocess.run([sys.executable, "-c", FREES], check=True, timeout=60)


def test_a_thread_kept_below_control_rests_for_twice_as_long_as_it_worked_and_others_do_not(monkeypatch):
    clock_s, rests_s = [100.0], []

    def rest(seconds: float) -> None:
        rests_s.append(seconds)
        clock_s[0] += seconds

    def load():
        keep_below_control()
        for worked_s in (0.01, 0.02, 3600.0):
            clock_s[0] += worked_s
            give_way()

    monkeypatch.setattr(time, "monotonic", lambda: clock_s[0])
    monkeypatch.setattr(time, "sleep", rest)
    monkeypatch.setattr(os, "sched_getscheduler", lambda process: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: None)
    give_way()
    assert rests_s == []
    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert rests_s == [pytest.approx(0.02), pytest.approx(0.04), 0.1]
