"""Missed onsets at a fixed rate of false alarms, and the power of a comparison."""

import pytest

from fosp_cli.evaluation.intervals import power_of_halving
from fosp_cli.evaluation.onsets import OnsetRisks, onset_figures, onset_risks

QUIET = OnsetRisks((), tuple(x / 100 for x in range(100)))


def test_steps_within_the_horizon_are_before_the_onset_and_those_beyond_the_foresight_are_quiet():
    costs = [0.0] * 8 + [1.0, 1.0]
    risks = [0.1 * period for period in range(10)]
    split = onset_risks(range(10), risks, costs, horizon_steps=3, foresight_steps=5)
    assert split.before_onset == pytest.approx((0.6, 0.7, 0.8)), "periods 6, 7, 8, of which the last violates"
    assert split.quiet == pytest.approx((0.0, 0.1, 0.2, 0.3))


def test_an_episode_without_a_violation_is_quiet_all_along():
    assert onset_risks([0, 1], [0.2, 0.3], [0.0, 0.0], 3, 20) == OnsetRisks((), (0.2, 0.3))


def test_the_threshold_stops_one_in_twenty_quiet_steps():
    seen = onset_figures([QUIET, OnsetRisks((0.9, 0.97, 0.99), ()), OnsetRisks((0.5,), ())])
    assert seen["onset_threshold"] == pytest.approx(0.95)
    assert seen["onset_miss_rate"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-4)


def test_scaling_every_risk_changes_no_miss():
    episodes = [QUIET, OnsetRisks((0.9, 0.97), ())]
    halved = [OnsetRisks(tuple(x / 2 for x in e.before_onset), tuple(x / 2 for x in e.quiet)) for e in episodes]
    assert onset_figures(halved)["onset_miss_rate"] == onset_figures(episodes)["onset_miss_rate"]


@pytest.mark.parametrize("episodes", [[], [QUIET], [OnsetRisks((0.5,), ())], [QUIET, OnsetRisks((float("nan"),), ())]])
def test_where_nothing_can_be_said_nothing_is(episodes):
    assert onset_figures(episodes)["onset_miss_rate"] is None


def test_a_few_hundred_scenes_do_not_tell_a_halving_of_four_per_cent():
    def pairs(n):
        violations, shared, other = round(0.04 * n), round(0.009 * n), round(0.0115 * n)
        first = [True] * violations + [False] * (n - violations)
        second = [True] * shared + [False] * (violations - shared) + [True] * other
        return first, second + [False] * (n - len(second))

    assert power_of_halving(*pairs(100)) < 0.2
    assert power_of_halving(*pairs(850)) == pytest.approx(0.8, abs=0.05)
    assert power_of_halving(*pairs(4000)) > 0.99


def test_without_a_violation_there_is_nothing_to_halve():
    assert power_of_halving([False] * 10, [False] * 10) is None
    assert power_of_halving([], []) is None
