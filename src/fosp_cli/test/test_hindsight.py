from math import nan

import pytest

from fosp_cli.evaluation.metrics import FORESIGHT_STEPS, DecidedStep, Hindsight, hindsight
from fosp_core.decisions import Decision

EPS = 0.5


def steps(*said: tuple[Decision, float]) -> list[DecidedStep]:
    """One step per decision period; each has a decision and a q_h, with the threshold EPS."""
    return [DecidedStep(period, decision, q_h, EPS, shadow=True) for period, (decision, q_h) in enumerate(said)]


def test_a_veto_is_false_when_no_violation_follows_within_a_second():
    count = FORESIGHT_STEPS + 1
    vetoed = steps(*[(Decision.RECOVER, 0.1)] * count)
    in_the_last = [0.0] * (count - 1) + [1.0]
    assert hindsight(vetoed, in_the_last, 1).false_vetoes == 1
    assert hindsight(vetoed, [0.0] * count, 1).false_vetoes == count


@pytest.mark.parametrize("decision", [Decision.RECOVER, Decision.STOP, Decision.LATCH])
def test_a_veto_without_a_feasible_answer_is_a_brake(decision):
    assert hindsight(steps((decision, 0.1)), [0.0], 1) == Hindsight(1, 1, 0, 0)


def test_a_veto_with_a_feasible_answer_is_no_brake_and_what_passes_is_no_veto():
    said = steps((Decision.SUBSTITUTE, 0.1), (Decision.PASS, 0.1))
    assert hindsight(said, [0.0, 0.0], 1) == Hindsight(1, 0, 0, 0)


def test_missed_is_an_onset_whose_last_chance_was_feasible():
    said = steps((Decision.PASS, 0.1), (Decision.PASS, EPS), (Decision.RECOVER, 0.9), (Decision.PASS, 0.1))
    assert hindsight(said, [0.0, 0.0, 1.0, 1.0], 1) == Hindsight(0, 0, 1, 0)
    assert hindsight(said, [0.0, 0.0, 1.0, 1.0], 2) == Hindsight(0, 0, 1, 1), "a veto at the onset comes too late"
    assert hindsight(said[1:], [0.0, 0.0, 1.0, 1.0], 3) == Hindsight(0, 0, 0, 0), "nothing was decided in time"


def test_a_risk_that_was_not_evaluated_passes_nothing():
    assert hindsight(steps((Decision.STOP, nan)), [1.0], 1).missed == 0
