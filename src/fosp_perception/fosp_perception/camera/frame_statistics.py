"""Rate and losses of a stream of frames. No ROS: monotonic seconds in."""

from __future__ import annotations

from collections import deque

WINDOW_S = 2.0


class FrameStatistics:
    """Told of every frame: when it arrived and, if the device counts them, its number; gaps in the count are losses."""

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
        """The device was gone: its count begins anew, which is no loss."""
        self._number = None
        self._arrivals.clear()

    def rate_hz(self, now_s: float) -> float:
        """Frames per second over the last WINDOW_S; 0 with fewer than two of them."""
        self._forget(now_s)
        if len(self._arrivals) < 2:
            return 0.0
        return (len(self._arrivals) - 1) / max(self._arrivals[-1] - self._arrivals[0], 1e-6)

    def _forget(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0] < now_s - WINDOW_S:
            self._arrivals.popleft()
