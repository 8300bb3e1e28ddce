"""What changes for the operator: one event when the robot is stopped, latched, let go. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.verdict import Finding


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
    """Turns findings of the command ticks and answers to resets into events, one for each change of kind or of reason.

    An operator who asks again and again is answered, but tells nobody anything new: the event that latched the robot
    must stay among the last ones, which late joiners see.
    """

    def __init__(self) -> None:
        self._last: tuple[EventKind, Reason] | None = None
        self._answered: tuple[EventKind, Reason] | None = None

    def see(self, finding: Finding) -> Event | None:
        """The event that a tick's finding is, if it is one."""
        kind = kind_of(finding)
        reason = finding.reason if kind is not EventKind.MOVING else Reason.OK
        if (kind, reason) == self._last:
            return None
        self._last, self._answered = (kind, reason), None
        return Event(kind, finding.reason, finding.text)

    def reset_answered(self, granted: bool, reason: Reason, text: str) -> Event | None:
        """The event that the answer to a reset is, if it is one; `reason` of the latch."""
        kind = EventKind.RESET if granted else EventKind.RESET_REFUSED
        if (kind, reason) == self._answered:
            return None
        self._answered = kind, reason
        return Event(kind, reason, text)
