"""Real-time scheduling is claimed where it is permitted, and its refusal is no failure."""

import threading

from fosp_core.realtime import STREAM_PRIORITY, claim_realtime_priority, has_realtime_priority


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
