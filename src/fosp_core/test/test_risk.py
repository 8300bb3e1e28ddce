"""The quantity that eps is a threshold of."""

import numpy as np
import pytest

from fosp_core.bundle.risk import judged_risk

Q_H = np.array([[0.1, 0.5, 0.9]], np.float32)


def of(spread: list[float], weight: float | None = 2.0) -> list[float]:
    return judged_risk({"q_h": Q_H, "q_h_spread": np.array([spread], np.float32)}, weight)[0].tolist()


def test_the_spread_adds_to_the_risk_up_to_certainty():
    assert of([0.1, 0.0, 0.3]) == pytest.approx([0.3, 0.5, 1.0])
    assert judged_risk({"q_h": Q_H, "q_h_spread": Q_H}, 2.0).dtype == np.float32


def test_without_a_weight_the_risk_is_what_the_critic_says():
    assert judged_risk({"q_h": Q_H}, None) is not None
    assert of([0.1, 0.1, 0.1], None) == pytest.approx(Q_H[0].tolist())


def test_a_bundle_that_promises_a_spread_and_gives_none_is_not_judged_by_less():
    with pytest.raises(KeyError):
        judged_risk({"q_h": Q_H}, 1.0)


@pytest.mark.parametrize("spread", [float("nan"), -0.1, float("-inf")])
def test_a_spread_that_cannot_be_makes_no_action_feasible(spread: float):
    assert np.isnan(of([spread, 0.0, 0.0])[0])
    assert not of([spread, 0.0, 0.0])[0] <= 0.99


def test_a_critic_beyond_its_range_is_not_hidden():
    broken = {"q_h": np.array([[3.0, np.nan]], np.float32), "q_h_spread": np.zeros((1, 2), np.float32)}
    risk = judged_risk(broken, 1.0)[0]
    assert risk[0] == 3.0
    assert np.isnan(risk[1])


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.4, 1.0])
def test_it_is_never_below_what_the_critic_says(spread: float):
    assert (judged_risk({"q_h": Q_H, "q_h_spread": np.full_like(Q_H, spread)}, 0.7) >= Q_H).all()
