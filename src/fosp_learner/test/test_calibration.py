import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_learner.calibration import (
    EpisodeValues,
    calibrate,
    conformal_threshold,
    precedes_violation,
    separation,
)
from fosp_learner.config import CalibrationConfig


def scores_of(rng: np.random.Generator, episodes: int) -> list[np.ndarray]:
    """Risk before violations; episodes differ, so steps are not independent."""
    return [
        np.clip(rng.normal(rng.normal(0.7, 0.1), 0.05, rng.integers(1, 6)), 0, 1).astype(np.float32)
        for _ in range(episodes)
    ]


def test_miss_rate_on_new_episodes_is_at_most_alpha():
    rng = np.random.default_rng(0)
    missed = []
    for _ in range(200):
        eps = conformal_threshold(scores_of(rng, 60), alpha=0.1).eps
        missed.append(np.mean([(s <= eps).mean() for s in scores_of(rng, 20)]))
    assert 0.05 < np.mean(missed) <= 0.11


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
