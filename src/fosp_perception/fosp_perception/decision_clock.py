"""The choice of the camera frames that are decided upon, and of those that begin an episode. No ROS.

Frames drive the decisions, not a timer: a decision waits for nothing but its frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fosp_core.clock import FUTURE_TOLERANCE_S


class FrameUse(Enum):
    """Use of a camera frame."""

    SKIP = "between two decisions, or older than the last one"
    STEP = "decide, going on from the last step"
    FIRST = "decide, as the first step of an episode"
    REFUSE = "stamped in the future: the clocks of camera and computer differ"


@dataclass(frozen=True)
class DecisionPeriod:
    """Decision period and camera frame period, in s."""

    decision_s: float
    frame_s: float

    @property
    def due_s(self) -> float:
        """Least time from the last decision to the frame of the next one; half a frame of jitter is allowed."""
        return self.decision_s - 0.5 * self.frame_s

    @property
    def gap_s(self) -> float:
        """Longest pause within an episode: two periods, as the learner splits bags, and half a frame of jitter."""
        return 2.0 * self.decision_s + 0.5 * self.frame_s


class DecisionClock:
    """Remembers the last decision and the reported start of an episode; stamps are in s, on the ROS clock."""

    def __init__(self, period: DecisionPeriod) -> None:
        self._period = period
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of an episode."""
        self.last_s: float | None = None
        self._first_s: float | None = None
        self._start_s: float | None = None

    def start_episode(self, stamp_s: float) -> None:
        """Take note that an episode starts with the frame of this stamp: the first frame from there on is a FIRST.

        If that frame has been decided upon already, as a STEP of the old episode, the next decision is a FIRST; if it
        was a FIRST, nothing is left to do.
        """
        if self._first_s is None or stamp_s > self._first_s:
            self._start_s = stamp_s

    def use(self, stamp_s: float, now_s: float) -> FrameUse:
        """Return the use of the frame of `stamp_s` that has arrived at `now_s`."""
        if not stamp_s - now_s <= FUTURE_TOLERANCE_S:
            return FrameUse.REFUSE
        if self.last_s is None or abs(stamp_s - self.last_s) > self._period.gap_s:
            return FrameUse.FIRST
        started = self._start_s is not None and stamp_s >= self._start_s
        if started and self._start_s is not None and self._start_s > self.last_s:
            return FrameUse.FIRST
        if stamp_s - self.last_s < self._period.due_s:
            return FrameUse.SKIP
        return FrameUse.FIRST if started else FrameUse.STEP

    def decided(self, stamp_s: float, use: FrameUse) -> None:
        """Take note that the frame of `stamp_s` has been decided upon, as STEP or FIRST."""
        self.last_s = stamp_s
        if use is FrameUse.FIRST:
            self._first_s, self._start_s = stamp_s, None
