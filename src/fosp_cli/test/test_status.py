"""The line that `fosp up` shows, without ROS: what the topics told, and which lines of the nodes are shown."""

from __future__ import annotations

import pytest

from fosp_cli.demonstration.status import GraphStatus, is_worth_reading
from fosp_msgs.msg import SafetyEvent, SafetyVerdict, StepFeedback


def test_the_line_tells_episode_decision_risk_and_outcomes() -> None:
    status = GraphStatus()
    assert status.line(0.0) == "no episode runs  0 ended: 0 reached, 0 violated"
    status.on_feedback(StepFeedback(episode=3, is_first=True), 10.0)
    status.on_verdict(SafetyVerdict(decision=SafetyVerdict.SUBSTITUTE, q_h=0.31, eps=0.2), 12.0)
    assert status.line(12.0).startswith("episode 3, 2 s  SUBSTITUTE risk 0.310/0.200  0 ended")
    status.on_verdict(SafetyVerdict(q_h=0.31, eps=0.2, source=SafetyVerdict.SOURCE_OPERATOR), 12.0)
    assert "  operator: PASS risk 0.310/0.200" in status.line(12.0)
    status.on_feedback(StepFeedback(episode=3, cost=1.0), 13.0)
    status.on_feedback(StepFeedback(episode=3, is_last=True, success=True), 14.0)
    assert status.line(20.0) == "no episode runs  1 ended: 1 reached, 1 violated", "an old verdict is not the present"


def test_a_latch_comes_first_in_the_line_with_the_command_that_ends_it() -> None:
    status = GraphStatus()
    status.on_event(SafetyEvent(kind=SafetyEvent.LATCHED, text="a node died"))
    assert status.line(0.0).startswith("LATCHED: a node died (./fosp reset)  no episode")
    status.on_event(SafetyEvent(kind=SafetyEvent.MOVING))
    assert "LATCHED" not in status.line(0.0)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[encoder_node] [INFO] [1.0] [encoder_node]: model 0123 on cpu", False),
        ("[encoder_node] [WARN] [1.0] [encoder_node]: no latent", True),
        ("[lifecycle_manager] [INFO] [1.0] [lifecycle_manager]: active", True),
        ("[policy_node] Traceback (most recent call last):", True),
        ("[fosp] sim_node ended with exit code 1", True),
    ],
)
def test_warnings_and_seldom_events_are_shown_and_routine_is_not(line: str, shown: bool) -> None:
    assert is_worth_reading(line) is shown
