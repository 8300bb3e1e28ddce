"""Thresholds of the runtime from validation episodes: reachability by split conformal prediction, surprise, ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.specs import Calibration
from fosp_learner.bundling.onsets import first_onset, last_chance
from fosp_learner.config import CalibrationConfig

Array = NDArray[np.float32]
_COSTLY = 0.15
"""Share of the safe steps that are vetoed, above which the cause is told."""
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

    def onset_score(self, horizon: int) -> float | None:
        """Return q_h at the last chance to prevent the episode's first violation; None without a violation."""
        onset = first_onset(self.cost)
        return None if onset is None else float(self.q_h[last_chance(onset, horizon)])


def onset_scores(episodes: Iterable[EpisodeValues], horizon: int) -> Array:
    """Return the scores of all onsets among the episodes, (n,)."""
    scores = (episode.onset_score(horizon) for episode in episodes)
    return np.array([score for score in scores if score is not None], np.float32)


@dataclass(frozen=True)
class Threshold:
    """Outcome of the conformal fit."""

    eps: float
    miss_rate_bound: float
    supported: bool


def conformal_threshold(scores: Array, alpha: float, ceiling: float = 1.0) -> Threshold:
    """Return the largest eps, at most `ceiling`, that misses a new onset with a probability of at most alpha.

    `scores` (n,) holds one q_h per onset, that of its last chance, and an onset is missed whose score is <= eps. For n
    exchangeable onsets a new one is missed with a probability of at most (missed + 1) / (n + 1), whatever the critic
    and however the steps of an episode depend on each other (split conformal prediction; it is conformal risk control,
    Angelopoulos et al. 2022, theorem 1, with a loss of 0 or 1). When no eps brings that down to alpha (n < 1 / alpha -
    1, or scores of about 0), eps lies just below the lowest score, or as low as a threshold may be, and `supported` is
    false.
    """
    n = len(scores)
    if n == 0:
        return Threshold(LEAST_EPS, 1.0, False)
    ordered = np.sort(scores)
    allowed = max(int(np.floor(alpha * (n + 1) + 1e-9)) - 1, 0)
    # A lower eps misses less, so the bound holds for the ceiling, too.
    eps = min(_inside(float(np.nextafter(np.float32(ordered[allowed]), np.float32(-1)))), ceiling)
    bound = (int((ordered <= eps).sum()) + 1) / (n + 1)
    return Threshold(eps, bound, bound <= alpha + 1e-9)


def set_by_one(calibration: Calibration) -> str:
    """Return what to do about a threshold that a single onset makes so low that it costs much; empty without need.

    With fewer than 2 / alpha - 1 onsets none may pass, so that the one whose risk was seen least sets eps for all.
    """
    onsets, needed = calibration.violating_episodes, int(np.ceil(2.0 / calibration.alpha - 1.0 - 1e-9))
    if onsets >= needed or calibration.false_veto_rate <= _COSTLY:
        return ""
    return (
        f"{calibration.false_veto_rate:.0%} of the safe steps are vetoed, by an eps that one of {onsets} onsets sets; "
        f"from {needed} on one may pass: record more episodes, and give them to fosp bundle calibrate --allow-larger"
    )


def _inside(eps: float) -> float:
    return min(max(eps, LEAST_EPS), 1 - LEAST_EPS)


def calibrate(episodes: Sequence[EpisodeValues], config: CalibrationConfig) -> Calibration:
    """Return the calibration of a bundle; UserError without a validation step, or with a value that is not finite."""
    if not episodes or not any(len(e.surprise) for e in episodes):
        raise UserError("no validation episode to calibrate on; record more episodes")
    for name in ("q_r", "q_c", "q_h", "v_h", "cost", "surprise"):
        if not all(np.isfinite(getattr(episode, name)).all() for episode in episodes):
            raise UserError(f"{name} is not finite on a validation episode; the training diverged, start it anew")
    scores = onset_scores(episodes, config.horizon_steps)
    threshold = conformal_threshold(scores, config.alpha, config.eps_ceiling)
    safe = [e.q_h for e in episodes if not e.violates]
    surprise = np.concatenate([e.surprise for e in episodes])
    return Calibration(
        eps=threshold.eps,
        alpha=config.alpha,
        horizon_steps=config.horizon_steps,
        episodes=len(episodes),
        violating_episodes=len(scores),
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


def lowered(calibration: Calibration, eps: float, episodes: Sequence[EpisodeValues]) -> Calibration:
    """Return the calibration with a lower threshold, whose false vetoes are counted on `episodes`.

    The bound on the miss rate stays as it was: a lower threshold misses less.
    """
    safe = [episode.q_h for episode in episodes if not episode.violates]
    eps = _inside(min(eps, calibration.eps))
    vetoed = float((np.concatenate(safe) > eps).mean()) if safe else 0.0
    return calibration.model_copy(update={"eps": eps, "false_veto_rate": vetoed})


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
