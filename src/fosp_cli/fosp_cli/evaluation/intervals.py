"""Rates, means and differences with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
_RESAMPLES = 10_000
_BLOCK = 500
"""Resamples drawn at a time, which bounds the memory."""


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval (low, high) of a rate, (0, 1) for no trials (Wilson 1927).

    `successes` may also be a sum of shares in [0, 1]. The interval of their mean is then conservative, because a share
    varies no more than a success does.
    """
    if trials == 0:
        return 0.0, 1.0
    p, n, z2 = successes / trials, trials, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def told_rate(name: str, hits: Sequence[bool]) -> str:
    """Return a rate and its 95 % interval in words, such as "success 90.0 % (79.9 - 95.3)"; at least one trial."""
    low, high = wilson_interval(sum(hits), len(hits))
    return f"{name} {100 * sum(hits) / len(hits):.1f} % ({100 * low:.1f} - {100 * high:.1f})"


def paired_rate_difference(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float, float]:
    """Return the rate of `first` minus that of `second` over the same trials, and its 95 % interval (low, high).

    This is method 10 of Newcombe, Improved confidence intervals for the difference between binomial proportions based
    on paired data, Statistics in Medicine 17 (1998): the Wilson intervals of both rates, joined by the square-and-add
    rule with the continuity-corrected correlation of the pairs. Unlike McNemar's test it bounds the difference even
    when every trial has the same outcome. No trials give (0, -1, 1). Raise ValueError for unequal numbers of trials.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        return 0.0, -1.0, 1.0
    n = len(pairs)
    both, neither = sum(a and b for a, b in pairs), sum(not a and not b for a, b in pairs)
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    (low_1, high_1), (low_2, high_2) = wilson_interval(sum(first), n), wilson_interval(sum(second), n)
    p1, p2 = sum(first) / n, sum(second) / n
    margins = sum(first) * (n - sum(first)) * sum(second) * (n - sum(second))
    association: float = both * neither - only_first * only_second
    if association > 0:
        association = max(0.0, association - n / 2)
    correlation = association / math.sqrt(margins) if margins else 0.0

    def half(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    difference = p1 - p2
    return difference, difference - half(p1 - low_1, high_2 - p2), difference + half(high_1 - p1, p2 - low_2)


def power_of_halving(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Return the chance that so many paired trials would tell a halving of the greater rate from no change.

    This is the power of McNemar's test at 5 % (two-sided, normal approximation; Connor, Sample size for testing
    differences in proportions for the paired-sample design, Biometrics 43, 1987) for the share of discordant pairs that
    was seen, and at least as many as a halving makes. None when neither has an outcome, since there is nothing to
    halve. Raise ValueError for unequal numbers of trials.
    """
    pairs = list(zip(first, second, strict=True))
    rate = max(sum(first), sum(second)) / max(1, len(pairs))
    if rate == 0:
        return None
    difference = rate / 2
    discordant = max(sum(a != b for a, b in pairs) / len(pairs), difference)
    spread = math.sqrt(max(discordant - difference**2, 1e-12))
    z = (difference * math.sqrt(len(pairs)) - Z_95 * math.sqrt(discordant)) / spread
    return NormalDist().cdf(z)


def paired_mean_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of `first` minus that of `second` over the same trials, and its 95 % interval (low, high).

    The interval is a percentile bootstrap over trials with a fixed seed (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). It is too narrow where most differences are 0, as those of cost are. No trials give
    (0, 0, 0). Raise ValueError for unequal numbers of trials.
    """
    differences = np.array([a - b for a, b in zip(first, second, strict=True)])
    if not len(differences):
        return 0.0, 0.0, 0.0
    means = np.concatenate([differences[drawn].mean(axis=1) for drawn in _resamples(len(differences))])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over trials and its 95 % interval (low, high) by the bootstrap of `paired_mean_difference`."""
    return paired_mean_difference(values, [0.0] * len(values))


def share_of_steps(counts: Sequence[int], steps: Sequence[int]) -> tuple[float, float, float]:
    """Return the counted steps as a share of all steps, both given per episode, and its 95 % interval (low, high).

    The steps of an episode are correlated, so the percentile bootstrap resamples whole episodes. A share of 0 cannot be
    resampled; it gets Wilson's interval as if each episode were one step. No steps give (0, 0, 1).
    """
    counted, total = np.array(counts, float), np.array(steps, float)
    if not counted.any():
        return 0.0, *wilson_interval(0, len(steps))
    drawn = [counted[i].sum(axis=1) / total[i].sum(axis=1) for i in _resamples(len(total))]
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return float(counted.sum() / total.sum()), float(low), float(high)


def _resamples(trials: int) -> Iterator[NDArray[np.int64]]:
    """Yield indices (_BLOCK, trials) drawn with replacement, _RESAMPLES rows in all and the same on every call."""
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(_RESAMPLES // _BLOCK):
        yield rng.integers(trials, size=(_BLOCK, trials))
