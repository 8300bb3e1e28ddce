"""What changes for the operator: one event when the robot is stopped, latched, let go. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fosp_safety_monitor.verdict import Decision, Finding, Reason


class EventKind(IntEnum):
    """With the values of fosp_msgs/SafetyEvent."""

    MOVING = 0
    STOPPED = 1
    LATCHED = 2
    RESET = 3
    RESET_REFUSED = 4
    ACTIVATED = 5
    DEACTIVATED = 6


@dataclass(frozen=True)
class Event:
    """One line for the operator."""

    kind: EventKind
    reason: Reason
    text: str


def kind_of(finding: Finding) -> EventKind:
    """What a command tick's finding means for the robot."""
    if finding.decision is Decision.LATCH:
        return EventKind.LATCHED
    return EventKind.STOPPED if finding.decision is Decision.STOP else EventKind.MOVING


class EventLog:
    """Turns the findings of the command ticks into events, one for each change of kind or of a stop's reason."""

    def __init__(self) -> None:
        self._last: tuple[EventKind, Reason] | None = None

    def see(self, finding: Finding) -> Event | None:
        """The event that a tick's finding is, if it is one."""
        kind = kind_of(finding)
        reason = finding.reason if kind is not EventKind.MOVING else Reason.OK
        if (kind, reason) == self._last:
            return None
        self._last = kind, reason
        return Event(kind, finding.reason, finding.text)
