"""A camera's own clock on the ROS clock. No ROS: nanoseconds in, nanoseconds out.

A device stamps the exposure with an exact clock of its own; the host knows only when a frame arrived, late by a delay
that varies. The least delay of the last seconds is that of an idle bus: arrival minus device time, at its minimum, is
the offset between the clocks (plus that least delay, which cannot be told from it). A frame that was held up thereby
keeps the age that it has, and the minimum follows the drift of the device's quartz.
"""

from __future__ import annotations

from collections import deque

BUCKET_NS = 1_000_000_000
BUCKETS = 10
"""Seconds that are remembered."""
_STEP_BACK_NS = 100_000_000
"""A stamp may be held back by no more than this to keep the order; beyond it the ROS clock itself was set back."""


class DeviceClock:
    """Of one device, from one plugging in to the next."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque()
        """(second of arrival, least offset in it), oldest first."""
        self._device_ns: int | None = None
        self._stamp_ns = -_STEP_BACK_NS

    def ros_ns(self, device_ns: int, arrival_ns: int) -> int:
        """Stamp of a frame that the device stamped `device_ns` and that arrived at `arrival_ns` on the ROS clock.

        Never later than the arrival, and later than the stamp before unless the ROS clock was set back.
        """
        if self._device_ns is not None and device_ns < self._device_ns:
            self._least.clear()  # the device was started anew, or its recording was
        self._device_ns = device_ns
        self._remember(arrival_ns - device_ns, arrival_ns // BUCKET_NS)
        stamp_ns = device_ns + min(offset for _, offset in self._least)
        if stamp_ns <= self._stamp_ns < stamp_ns + _STEP_BACK_NS:
            stamp_ns = min(self._stamp_ns + 1, arrival_ns)
        self._stamp_ns = stamp_ns
        return stamp_ns

    def _remember(self, offset_ns: int, bucket: int) -> None:
        if self._least and self._least[-1][0] == bucket:
            self._least[-1] = (bucket, min(offset_ns, self._least[-1][1]))
        else:
            self._least.append((bucket, offset_ns))
        while not bucket - BUCKETS < self._least[0][0] <= bucket:
            self._least.popleft()
