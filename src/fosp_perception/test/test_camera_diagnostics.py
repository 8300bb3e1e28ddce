"""Rate and losses of a stream, and what /diagnostics makes of them."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from fosp_perception.camera.camera_diagnostics import CameraReport, FrameStatistics, diagnostic_array


def running(rate_hz: float = 30.0, missing: tuple[int, ...] = ()) -> FrameStatistics:
    """Three seconds of frames."""
    statistics = FrameStatistics()
    for i in range(int(3 * rate_hz)):
        if i not in missing:
            statistics.add(i / rate_hz, i)
    return statistics


def status(report: CameraReport, statistics: FrameStatistics, active: bool = True) -> DiagnosticStatus:
    return diagnostic_array(report, statistics, active, 3.0).status[0]


@pytest.fixture
def report() -> CameraReport:
    return CameraReport("camera_node", "0123", 30.0)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    assert running().rate_hz(3.0) == pytest.approx(30.0)
    assert running().rate_hz(60.0) == 0.0


def test_gaps_in_the_devices_count_are_losses() -> None:
    assert running(missing=(5, 6, 40)).dropped == 3


def test_after_an_interruption_the_count_begins_anew() -> None:
    statistics = running()
    statistics.interrupted()
    statistics.add(3.0, 900)
    statistics.add(3.1, 901)
    assert statistics.dropped == 0


def test_sources_that_do_not_count_lose_nothing() -> None:
    statistics = FrameStatistics()
    for i in range(10):
        statistics.add(float(i))
    assert statistics.dropped == 0


def test_a_camera_as_it_should_be_is_ok(report: CameraReport) -> None:
    assert status(report, running()).level == DiagnosticStatus.OK


def test_losses_are_warned_of_once(report: CameraReport) -> None:
    statistics = running(missing=(80, 81))
    first = status(report, statistics)
    assert first.level == DiagnosticStatus.WARN
    assert "2 frames lost" in first.message
    assert status(report, statistics).level == DiagnosticStatus.OK


def test_a_slow_camera_is_warned_of_but_not_before_it_is_active(report: CameraReport) -> None:
    assert "15.0 Hz instead of 30" in status(report, running(15.0)).message
    assert status(report, FrameStatistics(), active=False).level == DiagnosticStatus.OK


def test_what_the_source_warns_of_and_heat_are_told(report: CameraReport) -> None:
    report.warnings, report.details = ("on USB 2.1",), {"temperature_c": "75"}
    told = status(report, running())
    assert told.level == DiagnosticStatus.WARN
    assert "on USB 2.1" in told.message
    assert "temperature 75 °C" in told.message
    assert {value.key: value.value for value in told.values}["temperature_c"] == "75"


def test_a_lost_camera_is_an_error_whatever_else_is_so(report: CameraReport) -> None:
    report.lost, report.warnings = "RealSense 0123 was unplugged", ("on USB 2.1",)
    told = status(report, running())
    assert (told.level, told.message) == (DiagnosticStatus.ERROR, "RealSense 0123 was unplugged")
