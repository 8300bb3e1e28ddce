"""The threshold eps keeps its promise: a new onset passes at its last chance with a probability of at most alpha."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_core.specs import Calibration
from fosp_learner.bundling.calibration import (
    LEAST_EPS,
    Array,
    EpisodeValues,
    calibrate,
    conformal_threshold,
    onset_scores,
    separation,
    set_by_one,
)
from fosp_learner.bundling.onsets import first_onset, last_chance, precedes_onset, precedes_violation
from fosp_learner.bundling.validation import q_h_auc
from fosp_learner.config import CalibrationConfig

same_every_time = settings(deadline=None, derandomize=True, max_examples=60)


def conformal_eps(scores: Array, alpha: float) -> float:
    return conformal_threshold(scores, alpha).eps


def uncorrected_eps(scores: Array, alpha: float) -> float:
    """The largest threshold that misses at most alpha of the onsets at hand: no correction for their number."""
    return float(np.nextafter(np.sort(scores)[int(alpha * len(scores))], np.float32(-1)))


def miss_rate_on_the_one_left_out(scores: Array, alpha: float, fit: Callable[[Array, float], float]) -> float:
    """Exchangeable means that each of the onsets might as well be the new one: the mean over which it is."""
    return float(np.mean([scores[i] <= fit(np.delete(scores, i), alpha) for i in range(len(scores))]))


some_scores = st.lists(st.floats(0, 1, width=32), min_size=6, max_size=14).map(lambda s: np.array(s, np.float32))


@same_every_time
@given(some_scores, st.sampled_from([0.2, 0.35, 0.5]))
def test_whatever_the_scores_the_onset_left_out_is_missed_at_most_as_promised(scores: Array, alpha: float):
    assume(all(conformal_threshold(np.delete(scores, i), alpha).supported for i in range(len(scores))))
    assert miss_rate_on_the_one_left_out(scores, alpha, conformal_eps) <= alpha + 1e-9


def test_without_the_finite_sample_correction_the_promise_is_broken():
    # 20 onsets to calibrate on and one new. Uncorrected, one of 20 may be missed: eps lies below the second lowest
    # score, and 2 of the 21 onsets would be missed as the new one. Corrected, none may be: 1 of 21 would.
    scores = np.linspace(0.2, 0.9, 21).astype(np.float32)
    assert miss_rate_on_the_one_left_out(scores, 0.05, uncorrected_eps) == pytest.approx(2 / 21)
    assert miss_rate_on_the_one_left_out(scores, 0.05, conformal_eps) == pytest.approx(1 / 21)


HORIZON = 3


def driven_episodes(rng: np.random.Generator, number: int) -> list[EpisodeValues]:
    """Violating episodes whose risk rises towards an onset and is certain inside the violation, where most steps lie.

    Steps of an episode depend on each other: one critic's error is common to all of them.
    """
    episodes = []
    for _ in range(number):
        before, inside = int(rng.integers(HORIZON, 12)), int(rng.integers(1, 40))
        seen = np.linspace(0.0, 0.5, before) + rng.normal(0.1, 0.1)
        q_h = np.clip(np.concatenate([seen, np.full(inside, 0.95)]), 0, 1).astype(np.float32)
        cost = np.concatenate([np.zeros(before - 1), np.ones(inside + 1)]).astype(np.float32)
        episodes.append(EpisodeValues(q_h, cost, q_h, q_h, cost, q_h))
    return episodes


@pytest.mark.parametrize(("episodes", "alpha"), [(20, 0.05), (60, 0.1)])
def test_the_promise_holds_for_onsets_in_episodes_of_dependent_steps_and_most_cost(episodes: int, alpha: float):
    rng = np.random.default_rng(0)
    kept, counting_contact = [], []
    for _ in range(300):
        calibration, new = driven_episodes(rng, episodes), onset_scores(driven_episodes(rng, 10), HORIZON)
        kept.append(float((new <= conformal_eps(onset_scores(calibration, HORIZON), alpha)).mean()))
        steps = np.concatenate([e.q_h[precedes_violation(e.cost, HORIZON)] for e in calibration])
        counting_contact.append(float((new <= conformal_eps(steps, alpha)).mean()))
    error = 3 * float(np.std(kept)) / np.sqrt(len(kept))
    assert alpha - 2 / episodes < np.mean(kept) <= alpha + error
    assert np.mean(counting_contact) > 3 * alpha, "steps inside violations hide the onsets that are missed"


@same_every_time
@given(some_scores, st.floats(0.05, 0.6))
def test_the_bound_that_is_recorded_is_that_of_the_threshold_that_is_handed_out(scores: Array, alpha: float):
    threshold = conformal_threshold(scores, alpha)
    bound = (int((scores <= threshold.eps).sum()) + 1) / (len(scores) + 1)
    assert threshold.miss_rate_bound == pytest.approx(bound)
    assert threshold.supported == (bound <= alpha + 1e-9)
    assert 0 < threshold.eps < 1


def test_a_critic_that_sees_no_risk_before_violations_supports_no_promise():
    threshold = conformal_threshold(np.full(100, 1e-9, np.float32), alpha=0.05)
    assert (threshold.eps, threshold.supported, threshold.miss_rate_bound) == (LEAST_EPS, False, 1.0)


def test_threshold_is_the_largest_that_the_bound_allows():
    scores = np.linspace(0.1, 0.9, 39).astype(np.float32)
    threshold = conformal_threshold(scores, alpha=0.1)
    # (missed + 1) / 40 <= 0.1 allows three of 39 onsets to be missed: eps lies just below the fourth score.
    assert threshold.supported
    assert scores[2] < threshold.eps < scores[3]
    assert threshold.eps == pytest.approx(scores[3], abs=1e-6)
    assert threshold.miss_rate_bound == pytest.approx(0.1)


def test_too_few_onsets_fall_back_to_the_lowest_score():
    threshold = conformal_threshold(np.array([0.5, 0.4], np.float32), alpha=0.05)
    assert not threshold.supported
    assert threshold.eps == pytest.approx(0.4, abs=1e-6)
    assert threshold.eps < 0.4
    assert threshold.miss_rate_bound == pytest.approx(1 / 3)


def test_without_violations_nothing_is_promised():
    threshold = conformal_threshold(np.zeros(0, np.float32), alpha=0.05)
    assert not threshold.supported
    assert threshold.miss_rate_bound == 1
    assert threshold.eps < 1e-3


def test_what_precedes_an_onset_ends_with_it():
    cost = [0, 0, 0, 1, 1, 0, 1]
    assert (first_onset(cost), last_chance(3, 3)) == (3, 1)
    assert precedes_onset(cost, 3).tolist() == [False, True, True, True, False, False, False]
    assert not precedes_onset([0, 0], 3).any()


def test_an_onset_sooner_than_the_robot_could_stop_is_judged_by_the_first_step():
    assert last_chance(1, 5) == 0
    assert precedes_onset([0, 1, 1], 5).tolist() == [True, True, False]


def test_an_episode_that_begins_in_a_violation_has_its_onset_after_that_one():
    assert first_onset([1, 1, 0]) is None
    assert first_onset([1, 0, 0, 1]) == 3
    assert not precedes_onset([1, 1], 2).any()


def test_the_score_of_an_onset_is_the_risk_at_its_last_chance_and_nothing_later():
    q_h = np.array([0.1, 0.2, 0.9, 0.9, 0.9], np.float32)
    cost = np.array([0, 0, 0, 1, 1], np.float32)
    episode = EpisodeValues(q_h, q_h, q_h, q_h, cost, q_h)
    assert episode.onset_score(3) == pytest.approx(0.2)
    assert onset_scores([episode, replace(episode, cost=0 * cost)], 3).tolist() == pytest.approx([0.2])


@same_every_time
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=12), st.integers(1, 15))
def test_a_step_precedes_a_violation_if_any_cost_arrives_within_the_horizon(cost: list[float], horizon: int):
    expected = [any(cost[t : t + horizon]) for t in range(len(cost))]
    assert precedes_violation(np.array(cost, np.float32), horizon).tolist() == expected
    assert not (precedes_onset(cost, horizon) & ~np.array(expected)).any()


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


def test_a_threshold_that_one_onset_of_few_sets_is_told_where_it_costs_much() -> None:
    made = Calibration(
        eps=0.003,
        alpha=0.05,
        horizon_steps=3,
        episodes=90,
        violating_episodes=32,
        miss_rate_bound=0.031,
        false_veto_rate=0.77,
        supported=True,
        surprise_limit=1.0,
        ranges={},
    )
    assert set_by_one(made).startswith(
        "77% of the safe steps are vetoed, by an eps that one of 32 onsets sets; from 39 on"
    )
    assert set_by_one(made.model_copy(update={"violating_episodes": 39})) == ""
    assert set_by_one(made.model_copy(update={"false_veto_rate": 0.1})) == ""
