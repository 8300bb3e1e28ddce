"""Whether a node of the graph died or hung and came back: the robot must not go on by itself then. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.verdict import Finding

ACTIVE = 3
"""lifecycle_msgs/State.PRIMARY_STATE_ACTIVE."""


@dataclass(frozen=True)
class Beat:
    """The last heartbeat of a node: a late reader's delay is no silence, nor is a jump of the clock of the stamps."""

    pid: int
    state: int
    sent_s: float
    """Monotonic clock, by `sent_at`; on simulated time, which may stand still, the stamp itself."""
    receipt_s: float
    """Monotonic clock."""


def sent_at(stamp_s: float, now: Now) -> float:
    """When a heartbeat of `stamp_s` (ROS clock) that is read `now` was sent, s, by the monotonic clock.

    However the ROS clock was set since the heartbeat before: only its age, by the clock of now, counts.
    """
    return now.monotonic_s - (now.ros_s - stamp_s)


class HeartbeatWatch:
    """Remembers the heartbeats of the nodes beside the monitor's own; judges them once it is armed."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._beats: dict[str, Beat] = {}
        self._armed = False

    def arm(self) -> None:
        """The monitor was activated: from now on a node that comes back latches, also while the monitor is inactive."""
        self._armed = True

    def heard(self, name: str, beat: Beat, gap_limit_s: float) -> Finding | None:
        """The LATCH that a heartbeat asks for: of another process than before, or after a silence while active."""
        if name == self._own_name:
            return None
        before = self._beats.get(name)
        self._beats[name] = beat
        if before is None or not self._armed:
            return None
        if before.pid != beat.pid:
            return _came_back(f"{name} died and was started anew (process {before.pid} is now {beat.pid})")
        silence_s = min(beat.sent_s - before.sent_s, beat.receipt_s - before.receipt_s)
        if silence_s >= gap_limit_s and before.state == beat.state == ACTIVE:
            return _came_back(f"{name} is back after a silence of {silence_s:.2f} s, limit {gap_limit_s:g} s")
        return None


def _came_back(text: str) -> Finding:
    return Finding(Decision.LATCH, Reason.NODE_RESTARTED, text)
