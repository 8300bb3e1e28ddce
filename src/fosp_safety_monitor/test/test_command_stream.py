"""The thread of the command stream, and how it keeps step with the decisions."""

from __future__ import annotations

import random
import threading
import time

import pytest

from fosp_safety_monitor.command.command_stream import SLEW, CommandStream, alignment_shift_s

PERIOD_S = 0.01


def align(first_tick_s, decisions_s, ticks=4000):
    """Waits from decisions to their ticks, of a simulated stream."""
    tick_s, waits, shift_s = first_tick_s, [], 0.0
    pending = list(decisions_s)
    for _ in range(ticks):
        while pending and pending[0] <= tick_s:
            waits.append(tick_s - pending.pop(0))
            shift_s = alignment_shift_s(waits[-1], PERIOD_S)
        tick_s, shift_s = tick_s + PERIOD_S + shift_s, 0.0
    return waits


@pytest.mark.parametrize("phase_s", [0.0, 0.001, 0.004, 0.006, 0.0099])
def test_ticks_come_to_follow_decisions_of_the_same_rhythm(phase_s):
    waits = align(phase_s, [0.05 * index for index in range(700)])
    assert sorted(waits[-200:])[190] < 0.0006, "but for the one in 31 that just misses its tick"


@pytest.mark.parametrize("spread_s", [0.0001, 0.0003, 0.001])
def test_decisions_that_come_a_little_earlier_or_later_seldom_miss_their_ticks(spread_s):
    jitter = random.Random(0)
    waits = align(0.004, [0.05 * index + jitter.gauss(0.0, spread_s) for index in range(700)])
    assert sum(wait > 0.006 for wait in waits[-400:]) < 24


def test_what_can_wait_lets_the_tick_that_is_due_go_first():
    stamps = []

    def tick():
        stamps.append(time.monotonic())
        return len(stamps) < 200

    stream = CommandStream(PERIOD_S, tick, on_failure=lambda error: None)
    stream.start()
    waited = []
    while not stream.join(0.0):
        before = len(stamps)
        begun = time.monotonic()
        stream.let_tick()
        waited.append((time.monotonic() - begun, len(stamps) - before))
        time.sleep(0.0003)
    assert any(ticked for _, ticked in waited), "came back after the tick"
    assert sorted(seconds for seconds, _ in waited)[len(waited) // 2] < 0.001, "mostly none is due"


def test_an_alignment_bends_a_period_by_no_more_than_the_slew():
    assert all(abs(alignment_shift_s(wait * 1e-4, PERIOD_S)) <= SLEW * PERIOD_S for wait in range(-50, 150))


def test_a_stream_ticks_at_its_rate_until_told_to_end():
    stamps = []

    def tick():
        stamps.append(time.monotonic())
        return len(stamps) < 30

    stream = CommandStream(PERIOD_S, tick, on_failure=lambda error: None)
    stream.start()
    assert stream.join(10.0)
    assert stream.statistics.ticks == 30
    assert stamps[-1] - stamps[0] >= 28.5 * PERIOD_S


def test_deadlines_that_have_passed_are_skipped_and_counted():
    stamps = []

    def tick():
        if len(stamps) == 1:
            until = time.monotonic() + 5.2 * PERIOD_S
            while time.monotonic() < until:  # as if the machine were busy with something else
                time.sleep(0.001)
        stamps.append(time.monotonic())
        return len(stamps) < 4

    stream = CommandStream(PERIOD_S, tick, on_failure=lambda error: None)
    stream.start()
    assert stream.join(10.0)
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
    assert told.wait(10.0)
    assert stream.join(10.0)
    assert str(failures[0]) == "no publisher"
    assert stream.join(0.0)
