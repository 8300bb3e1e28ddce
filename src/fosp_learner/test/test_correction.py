"""The threshold follows violations of experience: at once, with a floor, by kind of scenes, and within its bound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.specs import Calibration
from fosp_learner.bundling.calibration import EpisodeValues, calibrate
from fosp_learner.config import CalibrationConfig
from fosp_learner.finetuning.config import CorrectionConfig
from fosp_learner.finetuning.correction import Correction, correction_of, error_bound, for_new_scenes, newest_scene
from fosp_learner.finetuning.online_buffer import Entry

same_every_time = settings(deadline=None, derandomize=True, max_examples=100)
CONFIG = CorrectionConfig()
configs = st.builds(
    CorrectionConfig, target=st.floats(0.01, 0.3), rate=st.floats(0.05, 2.0), floor=st.floats(0.02, 1.0)
)


def driven_through(scores: Iterable[float], config: CorrectionConfig, eps: float) -> Correction:
    """An episode violates where its onset's score is at or below the threshold in force: the monitor let it pass."""
    correction = Correction(config)
    for score in scores:
        correction = correction.after(score <= eps * correction.share)
    return correction


@same_every_time
@given(st.lists(st.floats(0, 1), max_size=300), configs, st.floats(0.05, 0.5))
def test_whatever_the_scenes_do_the_errors_above_the_floor_keep_their_bound(
    scores: list[float], config: CorrectionConfig, eps: float
) -> None:
    assert driven_through(scores, config, eps).errors <= error_bound(config, len(scores)) + 1e-9


@same_every_time
@given(st.lists(st.booleans(), max_size=300), configs)
def test_the_threshold_stays_between_its_floor_and_the_calibrated_one(
    violated: list[bool], config: CorrectionConfig
) -> None:
    correction = Correction(config)
    for one in violated:
        before, correction = correction, correction.after(one)
        assert config.floor <= correction.share <= 1.0
        assert correction.share < before.share or not one or correction.at_floor, "a violation tightens at once"
    assert correction.episodes == len(violated)
    assert correction.errors + correction.beyond == sum(violated)


def test_on_a_drifting_stream_the_long_run_rate_is_the_target_and_without_correction_it_is_not() -> None:
    rng = np.random.default_rng(0)
    episodes, eps = 4000, 0.17
    scale = np.linspace(0.0, 2.5, episodes)  # scores of onsets sink as the scenes become stranger
    scores = np.where(rng.random(episodes) < 0.3, np.exp(rng.normal(-0.5 - scale, 0.7)), 1.0)
    config = CorrectionConfig(target=0.02, rate=0.3, floor=0.01)
    corrected = driven_through(scores, config, eps)
    assert float((scores <= eps).mean()) > 0.08
    assert corrected.errors / episodes < 0.025
    assert corrected.beyond == 0


def test_a_violation_halves_the_threshold_and_fifty_episodes_without_one_bring_it_back() -> None:
    after = Correction(CONFIG).after(True)
    assert after.share == pytest.approx(0.5, abs=0.01)
    for _ in range(48):
        after = after.after(False)
    assert after.share < 1.0
    assert after.after(False).after(False).share == 1.0


def test_the_floor_is_left_at_the_first_episode_without_a_violation_that_makes_up_for_one_step() -> None:
    at_floor = Correction(CONFIG)
    for _ in range(20):
        at_floor = at_floor.after(True)
    assert at_floor.share == CONFIG.floor
    assert at_floor.beyond > 0
    for _ in range(51):
        at_floor = at_floor.after(False)
    assert at_floor.share > CONFIG.floor, "it is not wound up by violations that no threshold prevents"


def test_a_floor_of_one_corrects_nothing() -> None:
    assert Correction(CorrectionConfig(floor=1.0)).after(True).share == 1.0


def entry(violates: bool, scene: str = "", shows_hazards: bool = False, start: int = 0) -> Entry:
    return Entry("e", "d", start, 9, not violates, violates, 0, 0, False, 0, scene, shows_hazards)


def test_each_kind_of_scenes_has_its_own_threshold_and_hazards_that_are_shown_do_not_count() -> None:
    seen = [entry(True, "shelf"), entry(False, "table"), entry(True, "table", shows_hazards=True)]
    assert correction_of(seen, "shelf", CONFIG, {}, 0.2).share < 1.0
    assert correction_of(seen, "table", CONFIG, {}, 0.2).share == 1.0
    assert correction_of(seen, "table", CONFIG, {}, 0.2).episodes == 1
    assert newest_scene(seen) == "table"
    assert newest_scene([]) == ""


def test_a_judge_answers_for_the_violations_that_it_missed_alone() -> None:
    seen = [entry(True, start=0), entry(True, start=9), entry(False, start=18), entry(True, start=27)]
    scores = {0: 0.5, 9: 0.15, 27: 0.15}
    found = correction_of(seen, "", CONFIG, scores, 0.2)
    assert (found.episodes, found.foreseen, found.errors) == (4, 2, 1), "0.15 is above the eps that the second one left"
    assert found.share == pytest.approx(Correction(CONFIG).after(True).after(False).share)
    assert correction_of(seen[:1], "", CONFIG, scores, 0.2).share == 1.0
    assert correction_of(seen[:1], "", CONFIG, {0: 0.2}, 0.2).errors == 1, "at eps an action passes"
    assert correction_of(seen[:1], "", CONFIG, {}, 0.2).errors == 1, "unknown counts as missed"
    assert correction_of(seen[:1], "", CONFIG, {0: float("nan")}, 0.2).errors == 1


def episode(score: float) -> EpisodeValues:
    """An episode whose onset has this score at its last chance, one step before it."""
    q_h = np.array([0.0, score, 0.9], np.float32)
    return EpisodeValues(q_h, q_h, q_h, q_h, np.array([0, 0, 1], np.float32), q_h)


SETTINGS = CalibrationConfig(alpha=0.1, horizon_steps=2)


def pooled(scores: Iterable[float]) -> Calibration:
    return calibrate([episode(score) for score in scores], SETTINGS)


def test_enough_onsets_of_the_new_scenes_set_the_threshold_alone() -> None:
    new = [episode(score) for score in np.linspace(0.3, 0.5, 19)]
    found = for_new_scenes(pooled(np.linspace(0.1, 0.9, 39)), new, SETTINGS, Correction(CONFIG))
    assert found.supported
    assert found.violating_episodes == 19
    before = pooled(np.linspace(0.6, 0.9, 39))
    assert 0.3 < for_new_scenes(before, new, SETTINGS, Correction(CONFIG)).eps < 0.32 < before.eps
    tighter = Correction(CONFIG).after(True).after(True)
    assert for_new_scenes(before, new, SETTINGS, tighter).eps == pytest.approx(before.eps * tighter.share)


@pytest.mark.parametrize("score", [1e-4, 0.2, 0.8])
def test_a_few_onsets_of_the_new_scenes_count_once_by_the_correction(score: float) -> None:
    before, after = pooled(np.linspace(0.3, 0.9, 39)), Correction(CONFIG).after(True)
    assert for_new_scenes(before, [episode(score)], SETTINGS, Correction(CONFIG)) == before
    assert for_new_scenes(before, [episode(score)], SETTINGS, after).eps == pytest.approx(before.eps * after.share)
    assert for_new_scenes(before, [], SETTINGS, after).eps == pytest.approx(before.eps * after.share)
