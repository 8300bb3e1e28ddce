from pathlib import Path

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_learner.bundling.calibration import EpisodeValues, calibrate
from fosp_learner.config import CalibrationConfig
from fosp_learner.report.figure_data import calibration_curve, read_losses, realised_reach, reliability


def values(q_h: list[float], cost: list[float]) -> EpisodeValues:
    q = np.array(q_h, np.float32)
    v_h = np.append(q, q[-1:])
    return EpisodeValues(q, q, q, v_h, np.array(cost, np.float32), np.ones(len(q), np.float32))


def test_the_curve_counts_what_each_threshold_misses_and_vetoes():
    episodes = [values([0.1, 0.2, 0.9], [0, 0, 1]), values([0.1, 0.8, 0.3], [0, 0, 1]), values([0.1, 0.3], [0, 0])]
    curve = calibration_curve(episodes, horizon=1, points=1001)
    at = {round(float(e), 3): i for i, e in enumerate(curve.eps)}
    assert (curve.miss_rate[at[0.1]], curve.miss_rate[at[0.3]]) == (0.0, 0.5), "the step at 0.3 precedes a violation"
    assert curve.bound[at[0.3]] == pytest.approx((2 * 0.5 + 1) / 3)
    assert (curve.false_veto_rate[at[0.1]], curve.false_veto_rate[at[0.3]]) == (0.5, 0.0)


def test_the_curve_agrees_with_the_calibration_at_its_threshold():
    rng = np.random.default_rng(0)
    episodes = [values(rng.uniform(0.2, 1, 6).tolist(), [0, 0, 0, 0, 0, 1]) for _ in range(60)]
    episodes += [values(rng.uniform(0, 0.5, 6).tolist(), [0] * 6) for _ in range(40)]
    found = calibrate(episodes, CalibrationConfig(alpha=0.1))
    curve = calibration_curve(episodes, horizon=1, points=5001)
    below = int(np.searchsorted(curve.eps, found.eps, "right")) - 1
    assert curve.bound[below] == pytest.approx(found.miss_rate_bound)
    assert curve.false_veto_rate[below] == pytest.approx(found.false_veto_rate)
    assert curve.bound[below + 1] > 0.1, "and no greater one would do"


def test_without_violations_nothing_is_claimed():
    curve = calibration_curve([values([0.1, 0.3], [0, 0])], horizon=1)
    assert np.isnan(curve.miss_rate).all()
    assert (curve.bound == 1.0).all()


def test_realised_reach_is_the_discount_to_the_power_of_the_steps_before_the_next_violation():
    cost = np.array([0, 0, 1, 0, 2, 0], np.float32)
    assert realised_reach(cost, 0.5).tolist() == [0.25, 0.5, 1.0, 0.5, 1.0, 0.0]


def test_reliability_compares_bin_by_bin():
    found = reliability(np.array([0.1, 0.2, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]), np.array([0, 0.5, 0.7, 1.0]))
    assert found.predicted.tolist() == pytest.approx([0.15, 0.95])
    assert found.observed.tolist() == [0.5, 1.0]
    assert found.count.tolist() == [2, 2]
    assert found.error.tolist() == pytest.approx([0.5 / np.sqrt(2), 0.0])


def test_losses_are_read_by_figure(tmp_path: Path):
    path = tmp_path / "losses.csv"
    path.write_text("step,figure,value\n25,a,1.5\n25,b,2\n50,a,1\n")
    steps, found = read_losses(path)["a"]
    assert (steps.tolist(), found.tolist()) == ([25, 50], [1.5, 1.0])
    path.write_text("step,figure\n25,a\n")
    with pytest.raises(UserError, match="damaged"):
        read_losses(path)
    with pytest.raises(UserError, match="folder of a run"):
        read_losses(tmp_path / "none.csv")
