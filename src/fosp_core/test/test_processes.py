"""Real-time scheduling is claimed where it is permitted, and its refusal is no failure."""

import os
import threading

from fosp_core.processes import STREAM_PRIORITY, claim_realtime_priority, has_realtime_priority, pin_to_cpu


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
