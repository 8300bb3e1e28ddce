"""Thresholds of the runtime from validation episodes: reachability by conformal risk control, surprise, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.specs import Calibration
from fosp_learner.config import CalibrationConfig

Array = NDArray[np.float32]
LEAST_EPS = 1e-6
"""A threshold is clipped to [1e-6, 1 - 1e-6], and its bound is that of the clipped value."""


@dataclass(frozen=True)
class EpisodeValues:
    """Values of one validation episode of L rows; transition t goes from row t to row t + 1."""

    q_r: Array
    """(L - 1,) return of the executed actions."""
    q_c: Array
    """(L - 1,) cost of the executed actions."""
    q_h: Array
    """(L - 1,) reachability of the unsafe set under the executed actions."""
    v_h: Array
    """(L,) reachability of the unsafe set from the states."""
    cost: Array
    """(L - 1,) arriving at the end of the transition."""
    surprise: Array
    """(L - 1,) surprise of rows 1 to L - 1 in nats; on a first row everything is a surprise."""

    @property
    def violates(self) -> bool:
        return bool((self.cost > 0).any())


@dataclass(frozen=True)
class Threshold:
    """Outcome of the conformal fit."""

    eps: float
    miss_rate_bound: float
    supported: bool


def precedes_violation(cost: Array, horizon: int) -> NDArray[np.bool_]:
    """Return the transitions that a violation follows within `horizon` steps, their own included: (N,) -> (N,)."""
    violation = cost > 0
    result = np.zeros(len(cost), np.bool_)
    for ahead in range(min(horizon, len(cost))):
        result[: len(cost) - ahead] |= violation[ahead:]
    return result


def conformal_threshold(scores: Sequence[Array], alpha: float, ceiling: float = 1.0) -> Threshold:
    """Return the largest eps, at most `ceiling`, whose miss rate is at most alpha, by conformal risk control.

    `scores` holds, per violating episode, the q_h of the steps that precede its violations. The miss rate of an episode
    is its share of scores <= eps. For n exchangeable episodes a new one misses, in expectation, at most
    (n * mean + 1) / (n + 1) (Angelopoulos et al. 2022, theorem 1; losses are at most 1). When no eps brings that down
    to alpha (n < 1 / alpha - 1, or scores of about 0), eps lies just below the lowest score, or as low as a threshold
    may be, and `supported` is false.
    """
    n = len(scores)
    if n == 0:
        return Threshold(LEAST_EPS, 1.0, False)
    ordered = np.unique(np.concatenate(scores))

    def bound(eps: float) -> float:
        return (n * float(np.mean([(s <= eps).mean() for s in scores])) + 1) / (n + 1)

    below_all = min(_inside(float(np.nextafter(ordered[0], np.float32(-1)))), ceiling)
    if bound(below_all) > alpha:
        return Threshold(below_all, bound(below_all), False)
    low, high = 0, len(ordered) - 1
    while (
        low < high
    ):  # find the first score that may not be missed; the bound grows with eps and is 1 at the last score
        middle = (low + high) // 2
        low, high = (low, middle) if bound(float(ordered[middle])) > alpha else (middle + 1, high)
    # A lower eps misses less, so the bound holds for the ceiling, too.
    eps = min(_inside(float(np.nextafter(ordered[low], np.float32(-1)))), ceiling)
    return Threshold(eps, bound(eps), True)


def _inside(eps: float) -> float:
    return min(max(eps, LEAST_EPS), 1 - LEAST_EPS)


def calibrate(episodes: Sequence[EpisodeValues], config: CalibrationConfig) -> Calibration:
    """Return the calibration of a bundle; UserError without a validation step, or with a value that is not finite."""
    if not episodes or not any(len(e.surprise) for e in episodes):
        raise UserError("no validation episode to calibrate on; record more episodes")
    for name in ("q_r", "q_c", "q_h", "v_h", "cost", "surprise"):
        if not all(np.isfinite(getattr(episode, name)).all() for episode in episodes):
            raise UserError(f"{name} is not finite on a validation episode; the training diverged, start it anew")
    violating = [e for e in episodes if e.violates]
    scores = [e.q_h[precedes_violation(e.cost, config.horizon_steps)] for e in violating]
    threshold = conformal_threshold(scores, config.alpha, config.eps_ceiling)
    safe = [e.q_h for e in episodes if not e.violates]
    surprise = np.concatenate([e.surprise for e in episodes])
    return Calibration(
        eps=threshold.eps,
        alpha=config.alpha,
        horizon_steps=config.horizon_steps,
        episodes=len(episodes),
        violating_episodes=len(violating),
        miss_rate_bound=threshold.miss_rate_bound,
        false_veto_rate=float((np.concatenate(safe) > threshold.eps).mean()) if safe else 0.0,
        supported=threshold.supported,
        surprise_limit=max(float(np.quantile(surprise, config.surprise_quantile, method="higher")), 1e-6),
        ranges={
            "q_r": _range(np.concatenate([e.q_r for e in episodes]), config.range_margin, -np.inf),
            "q_c": _range(np.concatenate([e.q_c for e in episodes]), config.range_margin, 0.0),
            "q_h": (0.0, 1.0),
            "v_h": (0.0, 1.0),
        },
    )


def _range(values: Array, margin: float, lowest: float) -> tuple[float, float]:
    """Return the observed range, widened by a share of its span, or of 0.1 if that is larger."""
    low, high = float(values.min()), float(values.max())
    room = margin * max(high - low, 0.1)
    return max(low - room, lowest), high + room


def separation(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, the chance that a positive has the greater score; NaN without both kinds."""
    count = int(positive.sum())
    if not 0 < count < len(scores):
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (len(scores) - count)))
