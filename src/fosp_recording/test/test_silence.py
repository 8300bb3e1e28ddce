"""A monitor that fell silent without a word."""

from __future__ import annotations

import pytest

from fosp_recording.black_box import SilenceDetector


def streaming(detector: SilenceDetector, until_s: float, from_s: float = 0.0, beats: bool = True) -> None:
    """100 commands and 10 heartbeats per second."""
    for tick in range(round(from_s * 100), round(until_s * 100) + 1):
        detector.command(tick / 100)
        if beats and tick % 10 == 0:
            detector.beat(True, tick / 100)


@pytest.fixture
def detector() -> SilenceDetector:
    detector = SilenceDetector(0.2, heartbeat_gap_s=0.5)
    streaming(detector, 2.0)
    return detector


def test_a_stream_that_goes_on_is_nothing_to_tell(detector):
    assert detector.monitor_is_active
    assert detector.silence(2.19) == ""


def test_commands_that_cease_for_the_timeout_of_the_robot_are_told_once(detector):
    assert "no command for 0.20 s, and no word of a deactivation" in detector.silence(2.2)
    assert detector.silence(3.0) == ""
    assert not detector.monitor_is_active


def test_heartbeats_that_cease_while_the_commands_go_on_are_told(detector):
    streaming(detector, 2.5, from_s=2.01, beats=False)
    assert "no heartbeat of the safety monitor for 0.50 s" in detector.silence(2.5)


def test_on_simulated_time_heartbeats_may_cease():
    detector = SilenceDetector(0.2, 0.5, simulated_time=True)
    streaming(detector, 1.0)
    streaming(detector, 9.0, from_s=1.0, beats=False)
    assert detector.silence(9.0) == ""
    assert detector.silence(9.3) != ""


@pytest.mark.parametrize("word", [lambda detector: detector.end(2.05), lambda detector: detector.beat(False, 2.05)])
def test_silence_after_a_deactivation_is_none(detector, word):
    word(detector)
    assert detector.silence(2.5) == ""


def test_what_was_under_way_at_a_deactivation_does_not_begin_another_watch(detector):
    detector.end(2.05)
    detector.command(2.06)
    detector.beat(True, 2.07)
    assert not detector.monitor_is_active
    assert detector.silence(9.0) == ""


def test_a_monitor_that_is_active_again_is_watched_again(detector):
    detector.end(2.05)
    streaming(detector, 4.0, from_s=2.1)
    assert detector.silence(4.2) != ""


def test_commands_of_others_while_no_monitor_is_active_may_cease():
    detector = SilenceDetector(0.2, 0.5)
    streaming(detector, 1.0, beats=False)
    assert detector.silence(5.0) == ""


def test_a_watchdog_faster_than_a_listener_can_be_is_given_a_tenth_of_a_second():
    detector = SilenceDetector(0.003, 0.5)
    streaming(detector, 1.0)
    assert detector.silence(1.09) == ""
    assert detector.silence(1.11) != ""
