"""Exploration noise keeps its direction for a while, and its size."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_policy.exploration import COMMON_SHARE, mixed, next_drift

PERIOD_S = 0.05


def drifts(correlation_s: float, steps: int = 20_000) -> np.ndarray:
    rng, drift, values = np.random.default_rng(0), None, []
    for _ in range(steps):
        drift = next_drift(drift, 3, PERIOD_S, correlation_s, rng)
        values.append(drift)
    return np.array(values)


def correlation(values: np.ndarray, seconds: float) -> float:
    lag = round(seconds / PERIOD_S)
    return float((values[:-lag] * values[lag:]).mean() / (values**2).mean())


@pytest.mark.parametrize("correlation_s", [0.25, 0.5, 1.0])
def test_the_drift_is_standard_normal_and_correlated_for_its_time(correlation_s: float) -> None:
    values = drifts(correlation_s)
    assert values.mean() == pytest.approx(0.0, abs=0.06)
    assert values.std() == pytest.approx(1.0, abs=0.05)
    assert correlation(values, correlation_s) == pytest.approx(np.exp(-1), abs=0.05)


def test_with_a_correlation_time_far_below_the_period_it_is_white() -> None:
    assert correlation(drifts(0.01), PERIOD_S) == pytest.approx(0.0, abs=0.02)


def test_it_carries_the_robot_further_than_white_noise_of_the_same_size() -> None:
    def strayed(values: np.ndarray) -> float:
        """Root mean square of the way in 1 s at a speed that follows the noise."""
        return float(np.sqrt((values[:20_000].reshape(-1, 20, 3).sum(1) ** 2).mean()) * PERIOD_S)

    assert strayed(drifts(0.5)) > 3 * strayed(drifts(0.01))


def test_candidates_share_the_drift_and_keep_the_size_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20_000, 6, 2), dtype=np.float32)
    drift = rng.standard_normal((20_000, 1, 2), dtype=np.float32)
    both = mixed(noise, drift)
    assert both.std() == pytest.approx(1.0, abs=0.02)
    assert float((both[:, 0] * both[:, 1]).mean()) == pytest.approx(COMMON_SHARE, abs=0.03)
