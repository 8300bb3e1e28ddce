"""The thread of the command stream, and the ticks of other threads in between."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from fosp_safety_monitor.command.command_stream import LEAST_GAP, CommandStream

PERIOD_S = 0.01
LONG_S = 0.2
"""Period in which a test has the time to look between two ticks of the grid, even on a busy machine."""
DEADLINE_S = 10.0


class Ticks:
    """A tick that remembers when, by which thread, and whether another one was under way. `work` is done in each."""

    def __init__(self, count=10**9, work=lambda: None):
        self.count, self.work = count, work
        self.at_s: list[float] = []
        self.threads: list[str] = []
        self.crossed = False
        self._under_way = False

    def __call__(self):
        self.crossed |= self._under_way
        self._under_way = True
        self.at_s.append(time.monotonic())
        self.threads.append(threading.current_thread().name)
        self.work()
        self._under_way = False
        return len(self.at_s) < self.count


def started(tick, period_s=PERIOD_S):
    """A stream after its first tick."""
    stream = CommandStream(period_s, tick, on_failure=lambda error: None)
    stream.start()
    wait_for(lambda: tick.at_s)
    return stream


def ended(stream, tick):
    """The stream after its last tick."""
    tick.count = 0
    assert stream.join(DEADLINE_S)


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- the grid ----------------------------------------------------------------------------------------
def test_a_stream_ticks_at_its_rate_until_told_to_end():
    tick = Ticks(30)
    stream = started(tick)
    assert stream.join(DEADLINE_S)
    assert stream.statistics.ticks == 30
    assert tick.at_s[-1] - tick.at_s[0] >= 28.5 * PERIOD_S


def test_deadlines_that_have_passed_are_skipped_and_counted():
    def busy():
        if len(tick.at_s) == 1:
            until = time.monotonic() + 5.2 * PERIOD_S
            while time.monotonic() < until:  # as if the machine were busy with something else
                time.sleep(0.001)

    tick = Ticks(4, busy)
    stream = started(tick)
    assert stream.join(DEADLINE_S)
    assert stream.statistics.late_ticks >= 4
    assert stream.statistics.worst_lateness_s >= 4 * PERIOD_S
    assert stream.statistics.ticks == 4


def test_a_tick_that_raises_ends_the_stream_and_is_told():
    failures, told = [], threading.Event()

    def tick():
        raise RuntimeError("no publisher")

    def on_failure(error):
        failures.append(error)
        told.set()

    stream = CommandStream(PERIOD_S, tick, on_failure)
    stream.start()
    assert told.wait(DEADLINE_S)
    assert stream.join(DEADLINE_S)
    assert str(failures[0]) == "no publisher"
    assert not stream.tick_now(), "without the grid no other thread may feed the robot's watchdog"


def test_a_tick_of_another_thread_that_raises_ends_the_stream_and_is_told_once():
    failures = []
    tick = Ticks()
    stream = CommandStream(LONG_S, tick, failures.append)
    stream.start()
    wait_for(lambda: tick.at_s)

    def broken():
        raise RuntimeError("no publisher")

    tick.work = broken
    assert not stream.tick_now()
    assert stream.join(DEADLINE_S)
    assert [str(error) for error in failures] == ["no publisher"]
    assert len(tick.at_s) == 2, "the grid does not go on after a tick that failed"


# -- ticks in between --------------------------------------------------------------------------------
def test_a_decision_ticks_at_once_in_its_own_thread():
    tick = Ticks()
    stream = started(tick, LONG_S)
    begun_s = time.monotonic()
    assert stream.tick_now()
    assert tick.threads == ["command_stream", threading.current_thread().name]
    assert tick.at_s[1] - begun_s < 0.5 * LONG_S
    assert (stream.statistics.ticks, stream.statistics.between, stream.statistics.commands) == (1, 1, 2)
    ended(stream, tick)


def test_the_grid_does_not_move_however_many_decisions_come():
    tick = Ticks(40)
    stream = started(tick)
    while not stream.join(0.0):
        stream.tick_now()
        time.sleep(0.0004)
    grid_s = [at_s for at_s, name in zip(tick.at_s, tick.threads, strict=True) if name == "command_stream"]
    assert grid_s[-1] - grid_s[0] <= (40 + stream.statistics.late_ticks) * PERIOD_S
    assert all("command_stream" in pair for pair in pairwise(tick.threads)), "at most one between two of the grid"
    assert stream.statistics.commands == len(tick.at_s)


def test_every_command_stays_in_force_for_the_least_gap():
    tick = Ticks(40)
    stream = started(tick)
    while not stream.join(0.0):
        stream.tick_now()
    assert stream.statistics.between > 10
    gaps_s = [after - before for before, after in pairwise(tick.at_s)]
    assert min(gaps_s) >= LEAST_GAP * PERIOD_S


def test_ticks_of_many_threads_never_cross():
    tick = Ticks(200, work=lambda: time.sleep(0.0005))
    stream = CommandStream(0.002, tick, on_failure=lambda error: None)

    def decide():
        while not stream.join(0.0):
            stream.tick_now()

    threads = [threading.Thread(target=decide) for _ in range(4)]
    stream.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(tick.at_s) >= 200
    assert len(set(tick.threads)) > 1
    assert not tick.crossed
    assert tick.at_s == sorted(tick.at_s)


def test_a_tick_of_the_grid_that_waits_for_another_thread_is_counted_as_late():
    tick = Ticks()
    stream = started(tick, LONG_S)
    tick.work = lambda: time.sleep(1.6 * LONG_S)
    assert stream.tick_now()
    tick.work = lambda: None
    wait_for(lambda: stream.statistics.ticks == 2)
    assert stream.statistics.late_ticks >= 1
    ended(stream, tick)


@pytest.mark.parametrize("end", ["before its start", "closed", "ended"])
def test_no_other_thread_ticks_unless_the_stream_runs(end):
    tick = Ticks()
    if end == "before its start":
        stream = CommandStream(PERIOD_S, tick, on_failure=lambda error: None)
    else:
        stream = started(tick)
        if end == "closed":
            stream.close()
        ended(stream, tick)
    assert not stream.tick_now()
    assert set(tick.threads) <= {"command_stream"}


def test_no_tick_of_another_thread_begins_or_goes_on_after_close():
    tick = Ticks(work=lambda: time.sleep(0.0005))
    stream = started(tick, 0.002)
    closed_s = []

    def decide():
        while not closed_s or time.monotonic() < closed_s[0] + 0.05:
            stream.tick_now()

    thread = threading.Thread(target=decide, name="decisions")
    thread.start()
    wait_for(lambda: stream.statistics.between > 5)
    stream.close()
    closed_s.append(time.monotonic())
    thread.join(DEADLINE_S)
    ended(stream, tick)
    last_s = max(at_s for at_s, name in zip(tick.at_s, tick.threads, strict=True) if name == "decisions")
    assert last_s < closed_s[0]
