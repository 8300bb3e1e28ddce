"""A node that died or hung and came back."""

from __future__ import annotations

import pytest
from lifecycle_msgs.msg import State

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.monitor import Beat, HeartbeatWatch, sent_at

ACTIVE, INACTIVE = State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE


def beat(pid, state, at_s, read_s=None, ahead_s=1000.0):
    """Sent at `at_s` and read at `read_s`, both by the monotonic clock; the ROS clock is `ahead_s` then."""
    read_s = at_s if read_s is None else read_s
    return Beat(pid, state == ACTIVE, sent_at(at_s + ahead_s, Now(read_s + ahead_s, read_s)), read_s)


@pytest.fixture
def watch():
    watch = HeartbeatWatch("/safety_monitor_node")
    watch.arm()
    return watch


def test_a_node_that_beats_on_is_nothing_to_tell(watch):
    assert all(watch.heard("/policy_node", beat(7, ACTIVE, 0.1 * i), 0.5) is None for i in range(50))


def test_another_process_under_the_same_name_latches(watch):
    watch.heard("/policy_node", beat(7, ACTIVE, 1.0), 0.5)
    finding = watch.heard("/policy_node", beat(8, 1, 1.1), 0.5)
    assert (finding.decision, finding.reason) == (Decision.LATCH, Reason.NODE_RESTARTED)
    assert "/policy_node" in finding.text
    assert "process 7 is now 8" in finding.text
    assert watch.heard("/policy_node", beat(8, ACTIVE, 1.2), 0.5) is None, "told once"


def test_a_silence_while_active_latches_when_it_ends(watch):
    watch.heard("/policy_node", beat(7, ACTIVE, 1.0), 0.5)
    assert watch.heard("/policy_node", beat(7, ACTIVE, 1.49), 0.5) is None
    assert "0.60 s" in watch.heard("/policy_node", beat(7, ACTIVE, 2.09), 0.5).text


def test_a_node_that_was_asked_to_load_may_be_silent(watch):
    watch.heard("/policy_node", beat(7, INACTIVE, 1.0), 0.5)
    assert watch.heard("/policy_node", beat(7, ACTIVE, 9.0), 0.5) is None


def test_before_the_first_activation_nodes_may_come_and_go():
    watch = HeartbeatWatch("/safety_monitor_node")
    watch.heard("/policy_node", beat(7, ACTIVE, 1.0), 0.5)
    assert watch.heard("/policy_node", beat(8, ACTIVE, 1.1), 0.5) is None
    watch.arm()
    assert watch.heard("/policy_node", beat(9, ACTIVE, 1.2), 0.5) is not None


def test_the_monitors_own_heartbeat_is_not_watched(watch):
    watch.heard("/safety_monitor_node", beat(7, ACTIVE, 1.0), 0.5)
    assert watch.heard("/safety_monitor_node", beat(8, ACTIVE, 9.0), 0.5) is None


def test_a_recorder_that_pauses_or_dies_is_nothing_to_the_robot(watch):
    for name in ("/recorder_node", "/left/recorder_node"):
        watch.heard(name, beat(7, ACTIVE, 1.0), 0.5)
        assert watch.heard(name, beat(7, ACTIVE, 9.0), 0.5) is None
        assert watch.heard(name, beat(8, INACTIVE, 9.1), 0.5) is None
    watch.heard("/not_recorder_node", beat(7, ACTIVE, 1.0), 0.5)
    assert watch.heard("/not_recorder_node", beat(7, ACTIVE, 9.0), 0.5) is not None


def test_neither_a_late_reader_nor_a_jump_of_the_clock_is_a_silence(watch):
    watch.heard("/policy_node", beat(7, ACTIVE, 1.0), 0.5)
    assert watch.heard("/policy_node", beat(7, ACTIVE, 1.1, read_s=3.0), 0.5) is None
    assert watch.heard("/policy_node", beat(7, ACTIVE, 1.2, read_s=3.01), 0.5) is None
    assert watch.heard("/policy_node", beat(7, ACTIVE, 3.1, ahead_s=4600.0), 0.5) is None
    assert watch.heard("/policy_node", beat(7, ACTIVE, 3.2, ahead_s=-500.0), 0.5) is None


@pytest.mark.parametrize("ahead_s", [-2600.0, 998.2, 4600.0])
def test_a_clock_that_is_set_during_a_silence_does_not_hide_it(watch, ahead_s):
    watch.heard("/policy_node", beat(7, ACTIVE, 1.0), 0.5)
    assert "2.00 s" in watch.heard("/policy_node", beat(7, ACTIVE, 3.0, ahead_s=ahead_s), 0.5).text


def test_simulated_time_that_stands_still_is_no_silence(watch):
    watch.heard("/policy_node", Beat(7, ACTIVE, sent_s=10.0, receipt_s=1.0), 0.5)
    assert watch.heard("/policy_node", Beat(7, ACTIVE, sent_s=10.1, receipt_s=9.0), 0.5) is None
