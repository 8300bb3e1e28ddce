"""The status that camera_node publishes on /diagnostics: rate, losses, temperature, and problems in one line."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

SLOW = 0.9
"""A rate below this share of the requested one is a problem."""
HOT_C = 70.0
"""Temperature above which a camera has a problem: RealSense cameras throttle and fail not far above it."""
WINDOW_S = 2.0


class FrameStatistics:
    """Rate and losses of a stream of frames; a gap in the device's count of frames is a loss."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque()
        self._number: int | None = None
        self.frames = 0
        self.dropped = 0

    def add(self, arrival_s: float, number: int | None = None) -> None:
        self.frames += 1
        self._arrivals.append(arrival_s)
        self._forget(arrival_s)
        if number is not None and self._number is not None and number > self._number + 1:
            self.dropped += number - self._number - 1
        self._number = number

    def interrupted(self) -> None:
        """Forget the count of a device that was gone: it begins again, which is no loss."""
        self._number = None
        self._arrivals.clear()

    def rate_hz(self, now_s: float) -> float:
        """Return the frames per second over the last WINDOW_S, which are 0 with fewer than two frames."""
        self._forget(now_s)
        if len(self._arrivals) < 2:
            return 0.0
        return (len(self._arrivals) - 1) / max(self._arrivals[-1] - self._arrivals[0], 1e-6)

    def _forget(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0] < now_s - WINDOW_S:
            self._arrivals.popleft()


@dataclass
class CameraReport:
    """State of one camera from one diagnostic message to the next."""

    node: str
    """Name of the node with its namespace."""
    source: str
    rate_hz: float
    lost: str = ""
    """Reason why there are no frames; empty while there are."""
    warnings: tuple[str, ...] = ()
    details: dict[str, str] = field(default_factory=dict)
    latency_s: float = float("nan")
    """Time from exposure to publishing of the newest frame."""
    reconnects: int = 0
    dropped_before: int = 0


def diagnostic_array(
    report: CameraReport, statistics: FrameStatistics, active: bool, monotonic_s: float
) -> DiagnosticArray:
    """Return one status: ERROR without frames, WARN with problems, else OK. The caller sets the stamp."""
    rate_hz = statistics.rate_hz(monotonic_s)
    problems = list(report.warnings)
    newly = statistics.dropped - report.dropped_before
    report.dropped_before = statistics.dropped
    if newly:
        problems.append(f"{newly} frames lost in the last second")
    if active and rate_hz < SLOW * report.rate_hz:
        problems.append(f"{rate_hz:.1f} Hz instead of {report.rate_hz:g}")
    problems += [
        f"{name.removesuffix('_c')} {value} °C"
        for name, value in report.details.items()
        if name.endswith("_c") and float(value) > HOT_C
    ]
    if report.lost:
        level, text = DiagnosticStatus.ERROR, report.lost
    elif problems:
        level, text = DiagnosticStatus.WARN, "; ".join(problems)
    else:
        level, text = DiagnosticStatus.OK, f"{rate_hz:.1f} Hz" if active else "not active"
    values = {
        "rate_hz": f"{rate_hz:.2f}",
        "frames": str(statistics.frames),
        "dropped": str(statistics.dropped),
        "latency_ms": f"{report.latency_s * 1e3:.1f}",
        "reconnects": str(report.reconnects),
        **report.details,
    }
    status = DiagnosticStatus(
        level=level,
        name=f"{report.node}: camera",
        hardware_id=report.source,
        message=text,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])
