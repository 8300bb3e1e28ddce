"""One event for each change that matters to the operator."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_msgs.msg import SafetyEvent
from fosp_safety_monitor.judge.verdict import PASSED, Finding
from fosp_safety_monitor.operator.operator_view import EventKind, EventLog

LATE = Finding(Decision.STOP, Reason.DEADLINE, "late")
OLD = Finding(Decision.STOP, Reason.STALE_IMAGE, "old")
BROKEN = Finding(Decision.LATCH, Reason.NOT_FINITE, "NaN")
SLOW = Finding(Decision.PASS, Reason.SLOW_DOWN, "slow")


def test_events_are_changes_of_kind_or_of_a_stops_reason():
    log = EventLog()
    events = [log.see(finding) for finding in (PASSED, SLOW, LATE, LATE, OLD, BROKEN, BROKEN, PASSED)]
    kinds = [event and event.kind for event in events]
    assert kinds == [
        EventKind.MOVING,
        None,
        EventKind.STOPPED,
        None,
        EventKind.STOPPED,
        EventKind.LATCHED,
        None,
        EventKind.MOVING,
    ]
    assert events[2].text == "late"


def test_kinds_have_the_values_of_the_message():
    assert all(getattr(SafetyEvent, kind.name) == kind for kind in EventKind)


def test_a_reset_that_is_refused_again_and_again_is_told_of_once_until_something_changes():
    log = EventLog()
    log.see(BROKEN)
    refused = [log.reset_answered(False, Reason.NOT_FINITE, f"refused {i}") for i in range(30)]
    assert [event.kind for event in refused if event] == [EventKind.RESET_REFUSED]
    assert log.see(BROKEN) is None, "a refusal changes nothing"
    assert log.reset_answered(True, Reason.NOT_FINITE, "latch ended").kind is EventKind.RESET
    assert log.see(PASSED).kind is EventKind.MOVING
    log.see(BROKEN)
    assert log.reset_answered(False, Reason.NOT_FINITE, "refused").kind is EventKind.RESET_REFUSED
