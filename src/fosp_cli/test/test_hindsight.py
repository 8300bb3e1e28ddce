from math import nan

import pytest

from fosp_cli.evaluation.hindsight import FORESIGHT_STEPS, Hindsight, hindsight
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.verdict import FrameStamp, Verdict

EPS = 0.5


def said(decision: Decision, q_h: float = 0.1) -> Verdict:
    """A verdict of which only the decision and q_h, held against EPS, matter."""
    nothing = {"model_id": "", "action_in": (), "action_out": (), "candidate": 0, "frame": FrameStamp(0), "step": 0}
    limits = {"eps": EPS, "surprise_limit": 1.0, "image_age_limit_s": 1.0, "robot_state_age_limit_s": 1.0}
    return Verdict(decision, Reason.OK, "", decided_s=0.0, q_h=q_h, **nothing, **limits)


def test_a_veto_is_false_when_no_violation_follows_within_a_second():
    steps = FORESIGHT_STEPS + 1
    verdicts = [said(Decision.RECOVER)] * steps
    in_the_last = [0.0] * (steps - 1) + [1.0]
    assert hindsight(verdicts, in_the_last, 1).false_vetoes == 1
    assert hindsight(verdicts, [0.0] * steps, 1).false_vetoes == steps


@pytest.mark.parametrize("decision", [Decision.RECOVER, Decision.STOP, Decision.LATCH])
def test_a_veto_without_a_feasible_answer_is_a_brake(decision):
    assert hindsight([said(decision)], [0.0], 1) == Hindsight(1, 1, 0, 0)


def test_a_veto_with_a_feasible_answer_is_no_brake_and_what_passes_is_no_veto():
    assert hindsight([said(Decision.SUBSTITUTE), said(Decision.PASS)], [0.0, 0.0], 1) == Hindsight(1, 0, 0, 0)


def test_missed_are_the_steps_before_a_violation_whose_proposal_was_feasible():
    verdicts = [said(Decision.PASS, 0.1), said(Decision.PASS, EPS), said(Decision.RECOVER, 0.9)]
    assert hindsight(verdicts, [0.0, 0.0, 1.0], 1) == Hindsight(0, 0, 1, 0)
    assert hindsight(verdicts, [0.0, 0.0, 1.0], 2) == Hindsight(0, 0, 2, 1)
    assert hindsight(verdicts, [0.0, 0.0, 1.0], 3) == Hindsight(0, 0, 3, 2)


def test_a_risk_that_was_not_evaluated_passes_nothing():
    assert hindsight([said(Decision.STOP, nan)], [1.0], 1).missed == 0
