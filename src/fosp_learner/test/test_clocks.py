"""Rates of cameras, and stamps against log times: what is measured, told and refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_learner.data.clocks import (
    StreamClock,
    at_pace,
    check_rates,
    clock_notes,
    measure,
    pace_notes,
    pace_of,
    rate_notes,
)

PERIOD_S = 0.05
STAMPS = np.arange(40, dtype=np.int64) * 25_000_000
COMMANDS = measure("command", STAMPS, STAMPS + 200_000, True, None)


def camera(age_s: Callable[[np.ndarray], np.ndarray] | float, reference: StreamClock = COMMANDS) -> StreamClock:
    ages = age_s(np.linspace(0, 1, len(STAMPS))) if callable(age_s) else np.full(len(STAMPS), age_s)
    logged = STAMPS + (ages * 1e9).astype(np.int64)
    return measure("camera", STAMPS, logged, True, reference)


def test_rate_age_and_lag_are_measured() -> None:
    clock = camera(0.03)
    assert clock.rate_hz == pytest.approx(40)
    assert clock.age_s == pytest.approx(0.03)
    assert clock.lag_s == pytest.approx(0.0298)
    assert clock.drift_s == pytest.approx(0)
    assert list(clock_notes([COMMANDS, clock], PERIOD_S)) == []


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (-0.015, "camera is stamped 15 ms ahead of command"),
        (0.2, "camera was logged 200 ms after its stamps (lag)"),
        (lambda share: 0.03 + 0.06 * share, "the clocks of camera and command drift apart by 31 ms"),
    ],
)
def test_a_clock_that_is_off_by_little_is_told(age_s: Callable | float, told: str) -> None:
    assert list(clock_notes([COMMANDS, camera(age_s)], PERIOD_S)) == [told]


@pytest.mark.parametrize(
    ("age_s", "refused"),
    [
        (-0.1, "stamped 100 ms ahead of command"),
        (0.7, "stamped 700 ms behind command"),
        (lambda share: 0.03 + 0.15 * share, "drift apart by 77 ms"),
    ],
)
def test_a_clock_that_pairs_images_with_other_commands_is_refused(age_s: Callable | float, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        list(clock_notes([COMMANDS, camera(age_s)], PERIOD_S))


def test_a_recorder_on_another_clock_is_no_fault_and_neither_is_a_busy_machine() -> None:
    commands = measure("command", STAMPS, STAMPS + 2_000_000_000, True, None)
    assert list(clock_notes([commands, camera(2.03, commands)], PERIOD_S)) == []
    for busy in (lambda share: np.arange(len(share)) % 3 == 0, lambda share: share < 0.4):
        loaded = camera(lambda share, busy=busy: 0.03 + 0.2 * busy(share))
        assert list(clock_notes([COMMANDS, loaded], PERIOD_S)) == []


def test_a_machine_that_logged_everything_late_is_told_and_its_stamps_are_used() -> None:
    late = np.random.default_rng(0).uniform(0.3, 2.5, len(STAMPS))
    (line,) = clock_notes([COMMANDS, camera(lambda share: late)], PERIOD_S)
    assert line.startswith("messages were logged up to")


def test_log_times_that_say_nothing_are_not_judged() -> None:
    converted = measure("camera", STAMPS, np.full(len(STAMPS), 10**18), True, COMMANDS)
    assert (converted.age_s, converted.lag_s) == (None, None)
    assert list(clock_notes([COMMANDS, converted], PERIOD_S)) == []


@pytest.mark.parametrize(("rate_hz", "fine"), [(40.0, True), (20.0, True), (17.0, True), (15.0, False), (10.0, False)])
def test_a_camera_slower_than_the_decisions_is_refused_with_both_rates(rate_hz: float, fine: bool) -> None:
    clock = StreamClock("camera", rate_hz, 0.0)
    if fine:
        check_rates([clock], PERIOD_S)
        return
    with pytest.raises(UserError, match=rf"camera comes at {rate_hz:g} Hz, slower than a decision every 0\.05 s"):
        check_rates([clock], PERIOD_S)


def test_another_rate_than_the_robot_file_s_is_told_and_refused_where_steps_are_not_the_period() -> None:
    clock, even = StreamClock("camera", 60.0, 0.0), np.full(9, 0.05)
    assert list(rate_notes(StreamClock("camera", 41.0, 0.0), 40.0, even, PERIOD_S)) == []
    assert list(rate_notes(clock, 40.0, even, PERIOD_S)) == ["camera comes at 60 Hz, the robot file says 40 Hz"]
    with pytest.raises(UserError, match=r"robot file says 40 Hz: steps take 67 ms.*decision_period_s: 0\.067"):
        list(rate_notes(StreamClock("camera", 30.0, 0.0), 40.0, np.full(9, 0.067), PERIOD_S))


@pytest.mark.parametrize(("slow", "told"), [(0, ""), (2, "2 of 20 steps are much longer"), (8, "refused")])
def test_a_camera_that_slows_down_in_the_dark_is_told_and_refused_when_it_is_often(slow: int, told: str) -> None:
    steps, clock = np.array([0.1] * slow + [0.05] * (20 - slow)), StreamClock("camera", 40.0, 0.0)
    if told == "refused":
        with pytest.raises(UserError, match=r"8 of 20 steps are much longer.*does not keep its rate; fix its"):
            list(rate_notes(clock, 40.0, steps, PERIOD_S))
        return
    assert "".join(rate_notes(clock, 40.0, steps, PERIOD_S)).startswith(told)


def test_steps_of_33_and_67_ms_of_a_30_hz_camera_are_no_fault() -> None:
    steps = np.array([1 / 30, 2 / 30] * 10)
    assert list(rate_notes(StreamClock("camera", 30.0, 0.0), 30.0, steps, PERIOD_S)) == []


def at_speed(speed: float, moments: np.ndarray) -> np.ndarray:
    """Log times of moments in ns that are played at `speed`, 3 ms later, by the machine's clock."""
    return (1e18 + moments / speed + 3e6).astype(np.int64)


@pytest.mark.parametrize("speed", [0.25, 0.5, 4.0])
def test_streams_that_begin_and_end_at_different_moments_agree_at_any_speed_of_the_playback(speed: float) -> None:
    commands, images = np.arange(400) * 10_000_000, 2 * 10**9 + np.arange(40) * 25_000_000
    pace = pace_of(commands, at_speed(speed, commands))
    assert pace == pytest.approx(1 / speed, rel=0.01)
    logged = [
        at_pace(at_speed(speed, stamps), int(at_speed(speed, commands)[0]), pace) for stamps in (commands, images)
    ]
    reference = measure("command", commands, logged[0], True, None)
    clock = measure("camera", images, logged[1], True, reference)
    assert clock.lag_s == pytest.approx(0.0, abs=1e-3)
    assert list(clock_notes([reference, clock], PERIOD_S)) == []
    assert f"passed {speed:g} times as fast" in "".join(pace_notes(pace))
    behind = measure("camera", images - 10**9, logged[1], True, reference)
    with pytest.raises(UserError, match="stamped 1000 ms behind"):
        list(clock_notes([reference, behind], PERIOD_S))


def test_a_clock_that_keeps_the_pace_of_the_stamps_or_a_short_stream_is_taken_as_it_is() -> None:
    assert pace_of(STAMPS, STAMPS + 7) == 1.0
    assert pace_of(10 * STAMPS, (10.4 * STAMPS).astype(np.int64)) == 1.0
    assert pace_of(STAMPS, (STAMPS * 1.2).astype(np.int64)) == 1.0, "a busy machine"
    assert pace_of(STAMPS[:10], 4 * STAMPS[:10]) == 1.0
    assert pace_of(STAMPS, np.full(len(STAMPS), 10**18)) == 1.0
    assert list(pace_notes(1.0)) == []


def test_a_few_messages_by_a_clock_that_was_set_meanwhile_say_nothing() -> None:
    few, many = np.full(len(STAMPS), 3_000_000), np.full(len(STAMPS), 3_000_000)
    few[:3], many[:20] = -(10**10), -(10**10)
    assert list(clock_notes([COMMANDS, measure("camera", STAMPS, STAMPS + few, True, COMMANDS)], PERIOD_S)) == []
    with pytest.raises(UserError, match="ahead of command"):
        list(clock_notes([COMMANDS, measure("camera", STAMPS, STAMPS + many, True, COMMANDS)], PERIOD_S))
