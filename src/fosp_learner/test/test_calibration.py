"""The threshold eps keeps its promise: of the steps that precede a violation, a new episode misses at most alpha."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_learner.bundling.calibration import (
    LEAST_EPS,
    EpisodeValues,
    calibrate,
    conformal_threshold,
    precedes_violation,
    separation,
)
from fosp_learner.bundling.validation import q_h_auc
from fosp_learner.config import CalibrationConfig

same_every_time = settings(deadline=None, derandomize=True, max_examples=60)

Scores = list[np.ndarray]
"""Per violating episode: q_h of the steps that precede its violations, (steps,) float32."""


def conformal_eps(scores: Scores, alpha: float) -> float:
    return conformal_threshold(scores, alpha).eps


def uncorrected_eps(scores: Scores, alpha: float) -> float:
    """The largest threshold that misses at most alpha of the episodes at hand: no correction for their number."""
    below = np.nextafter(np.unique(np.concatenate(scores)), np.float32(-1))
    missed = np.mean([(s[:, None] <= below).mean(0) for s in scores], 0)
    return float(below[missed <= alpha].max())


def miss_rate(scores: Scores, eps: float) -> float:
    """Mean over episodes of the share of risky steps that the threshold lets pass."""
    return float(np.mean([(s <= eps).mean() for s in scores]))


def miss_rate_on_the_one_left_out(scores: Scores, alpha: float, fit: Callable[[Scores, float], float]) -> float:
    """Exchangeable means that each of the episodes might as well be the new one: the mean over who it is."""
    left_out = range(len(scores))
    return float(np.mean([miss_rate([scores[i]], fit(scores[:i] + scores[i + 1 :], alpha)) for i in left_out]))


some_scores = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4).map(lambda s: np.array(s, np.float32))


@same_every_time
@given(st.lists(some_scores, min_size=6, max_size=12), st.sampled_from([0.2, 0.35, 0.5]))
def test_whatever_the_scores_the_episode_left_out_is_missed_at_most_as_promised(scores: Scores, alpha: float):
    assume(all(conformal_threshold(scores[:i] + scores[i + 1 :], alpha).supported for i in range(len(scores))))
    assert miss_rate_on_the_one_left_out(scores, alpha, conformal_eps) <= alpha + 1e-9


def test_without_the_finite_sample_correction_the_promise_is_broken():
    # 20 episodes to calibrate on and one new. Uncorrected, one of 20 may be missed: eps lies below the second lowest
    # score, and 2 of the 21 episodes would be missed as the new one. Corrected, none may be: 1 of 21 would.
    scores = [np.array([value], np.float32) for value in np.linspace(0.2, 0.9, 21)]
    assert miss_rate_on_the_one_left_out(scores, 0.05, uncorrected_eps) == pytest.approx(2 / 21)
    assert miss_rate_on_the_one_left_out(scores, 0.05, conformal_eps) == pytest.approx(1 / 21)


def drawn_episodes(rng: np.random.Generator, number: int) -> Scores:
    """Risk before violations; episodes differ, so their steps are not independent of each other."""
    return [
        np.clip(rng.normal(rng.normal(0.7, 0.1), 0.05, rng.integers(1, 6)), 0, 1).astype(np.float32)
        for _ in range(number)
    ]


@pytest.mark.parametrize(("episodes", "alpha"), [(20, 0.05), (60, 0.1)])
def test_miss_rate_on_many_drawn_episodes_is_at_most_alpha_and_not_much_less(episodes: int, alpha: float):
    rng = np.random.default_rng(0)
    kept, broken = [], []
    for _ in range(200):
        calibration, new = drawn_episodes(rng, episodes), drawn_episodes(rng, 10)
        kept.append(miss_rate(new, conformal_eps(calibration, alpha)))
        broken.append(miss_rate(new, uncorrected_eps(calibration, alpha)))
    error = 3 * float(np.std(kept)) / np.sqrt(len(kept))
    assert alpha - 2 / episodes < np.mean(kept) <= alpha + error
    assert np.mean(broken) > np.mean(kept)


@same_every_time
@given(st.lists(some_scores, min_size=1, max_size=12), st.floats(0.05, 0.6))
def test_the_bound_that_is_recorded_is_that_of_the_threshold_that_is_handed_out(scores: Scores, alpha: float):
    threshold = conformal_threshold(scores, alpha)
    bound = (len(scores) * miss_rate(scores, threshold.eps) + 1) / (len(scores) + 1)
    assert threshold.miss_rate_bound == pytest.approx(bound)
    assert threshold.supported == (bound <= alpha)
    assert 0 < threshold.eps < 1


def test_a_critic_that_sees_no_risk_before_violations_supports_no_promise():
    scores = [np.array([1e-9], np.float32)] * 100
    threshold = conformal_threshold(scores, alpha=0.05)
    assert (threshold.eps, threshold.supported, threshold.miss_rate_bound) == (LEAST_EPS, False, 1.0)


def test_threshold_is_the_largest_that_the_bound_allows():
    scores = [np.array([value], np.float32) for value in np.linspace(0.1, 0.9, 39)]
    threshold = conformal_threshold(scores, alpha=0.1)
    # (missed + 1) / 40 <= 0.1 allows three of 39 episodes to be missed: eps lies just below the fourth score.
    assert threshold.supported
    assert scores[2][0] < threshold.eps < scores[3][0]
    assert threshold.eps == pytest.approx(scores[3][0], abs=1e-6)
    assert threshold.miss_rate_bound == pytest.approx(0.1)


def test_too_few_violating_episodes_fall_back_to_the_lowest_score():
    scores = [np.array([0.4, 0.6], np.float32), np.array([0.5], np.float32)]
    threshold = conformal_threshold(scores, alpha=0.05)
    assert not threshold.supported
    assert threshold.eps == pytest.approx(0.4, abs=1e-6)
    assert threshold.eps < 0.4
    assert threshold.miss_rate_bound == pytest.approx(1 / 3)


def test_without_violations_nothing_is_promised():
    threshold = conformal_threshold([], alpha=0.05)
    assert not threshold.supported
    assert threshold.miss_rate_bound == 1
    assert threshold.eps < 1e-3


def test_steps_precede_a_violation_within_the_horizon():
    cost = np.array([0, 0, 0, 1, 0, 0], np.float32)
    assert precedes_violation(cost, 2).tolist() == [False, False, True, True, False, False]


@same_every_time
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=12), st.integers(1, 15))
def test_a_step_counts_if_any_cost_arrives_at_its_end_or_within_the_horizon(cost: list[float], horizon: int):
    expected = [any(cost[t : t + horizon]) for t in range(len(cost))]
    assert precedes_violation(np.array(cost, np.float32), horizon).tolist() == expected


def values(length: int, violates: bool, seed: int) -> EpisodeValues:
    rng = np.random.default_rng(seed)
    cost = np.zeros(length - 1, np.float32)
    q_h = rng.uniform(0.0, 0.2, length - 1).astype(np.float32)
    if violates:
        cost[-1] = 1
        q_h[-5:] = rng.uniform(0.6, 0.9, 5)
    reward = rng.uniform(-1, 3, length - 1).astype(np.float32)
    return EpisodeValues(reward, cost, q_h, q_h, cost, rng.uniform(0, 4, length - 1).astype(np.float32))


def test_calibration_of_separable_risk_vetoes_nothing_safe():
    episodes = [values(30, i % 2 == 0, i) for i in range(80)]
    found = calibrate(episodes, CalibrationConfig(alpha=0.05, horizon_steps=5))
    assert found.supported
    assert 0.2 < found.eps < 0.7
    assert found.false_veto_rate == 0
    assert found.miss_rate_bound <= 0.05
    assert (found.episodes, found.violating_episodes) == (80, 40)
    assert 3.9 < found.surprise_limit <= 4.0


def test_all_safe_data_supports_no_promise_and_every_action_is_vetoed():
    found = calibrate([values(30, False, i) for i in range(40)], CalibrationConfig(alpha=0.05))
    assert not found.supported
    assert (found.episodes, found.violating_episodes, found.miss_rate_bound) == (40, 0, 1.0)
    assert found.eps == LEAST_EPS
    assert found.false_veto_rate == 1


def test_what_is_not_finite_is_an_error():
    broken = values(30, True, 0)
    broken = replace(broken, q_h=np.full_like(broken.q_h, np.nan))
    with pytest.raises(UserError, match="q_h is not finite"):
        calibrate([values(30, True, 1), broken], CalibrationConfig())


def test_ranges_cover_what_was_seen_with_room_to_spare():
    episodes = [values(30, i % 2 == 0, i) for i in range(8)]
    ranges = calibrate(episodes, CalibrationConfig(range_margin=0.5)).ranges
    assert ranges["q_r"][0] < -2.5
    assert ranges["q_r"][1] > 4.5
    assert ranges["q_c"][0] == 0
    assert ranges["q_h"] == (0.0, 1.0)


def test_nothing_to_calibrate_on_is_an_error():
    with pytest.raises(UserError, match="record more"):
        calibrate([], CalibrationConfig())


def test_separation_is_one_half_for_ties_and_one_for_perfect_order():
    positive = np.array([False, False, True, True])
    assert separation(np.array([0.1, 0.2, 0.8, 0.9]), positive) == 1.0
    assert separation(np.array([0.5, 0.5, 0.5, 0.5]), positive) == 0.5
    assert np.isnan(separation(np.array([0.5]), np.array([True])))


def test_the_auc_counts_the_steps_before_a_violation_against_those_of_episodes_without_one() -> None:
    def episode(q_h: list[float], cost: list[float]) -> EpisodeValues:
        score, nothing = np.array(q_h, np.float32), np.zeros(len(q_h), np.float32)
        return EpisodeValues(nothing, nothing, score, nothing, np.array(cost, np.float32), nothing)

    violating, safe = episode([0.9, 0.1, 0.8], [0.0, 0.0, 1.0]), episode([0.2, 0.3], [0.0, 0.0])
    assert q_h_auc([violating, safe], 1) == 1.0, "the step of 0.8 alone; that of 0.9 is nobody's example"
    assert q_h_auc([violating, safe], 2) == 0.5
    assert np.isnan(q_h_auc([safe], 1))
