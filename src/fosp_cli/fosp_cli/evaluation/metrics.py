"""What an evaluation says: rates with Wilson intervals, means, latencies, and which of two bundles is better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_cli.evaluation.hindsight import FORESIGHT_STEPS, Hindsight

Z_95 = 1.959963984540054
_RESAMPLES = 10_000
_BLOCK = 500
"""Resamples drawn at a time: memory does not grow with their number."""


@dataclass(frozen=True)
class EpisodeResult:
    """One episode, as it was run."""

    episode: int
    """Index into the scenario: its scene is that of seed + episode."""
    reached: bool
    """The goal was reached, with or without a violation."""
    cost: float
    """Sum over the decision steps of the worst cost in each."""
    episode_return: float
    steps: int
    vetoes: int
    """Verdicts other than PASS."""
    stops: int
    """Verdicts STOP and LATCH."""
    substitutions: int = 0
    """Verdicts SUBSTITUTE: a feasible candidate took the place of the proposed one, and the robot went on."""
    violated_under: str = ""
    """The monitor's decision on the first step in violation; empty without one."""
    vetoed_for: int = 0
    """Steps in a row that it did not pass, up to that one."""
    hindsight: Hindsight | None = None
    """Of an episode that was judged and not gated."""

    @property
    def violated(self) -> bool:
        return self.cost > 0

    @property
    def brakes(self) -> int:
        """Verdicts RECOVER, STOP and LATCH: slowed down or stopped for want of a feasible candidate."""
        return self.vetoes - self.substitutions

    @property
    def success(self) -> bool:
        return self.reached and not self.violated

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "success": self.success, "violated": self.violated}


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a rate; (0, 1) for no trials (Wilson 1927).

    Of a sum of shares in [0, 1] in place of successes it is an interval of their mean, too wide rather than too narrow:
    a share varies no more than a success does.
    """
    if trials == 0:
        return 0.0, 1.0
    p, n, z2 = successes / trials, trials, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_rate_difference(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float, float]:
    """Rate of `first` minus rate of `second` over the same trials, and its 95 % interval (low, high).

    Method 10 of Newcombe, Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17 (1998): the Wilson intervals of both rates, joined by the square-and-add
    rule with the continuity-corrected correlation of the pairs. Unlike McNemar's test it says how large the difference
    may be, also when every trial has the same outcome. (0, -1, 1) for no trials; ValueError for unequal numbers.
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


def paired_mean_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of `first` minus mean of `second` over the same trials, and its 95 % interval (low, high).

    Percentile bootstrap over trials, 10000 resamples of fixed seed (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). Where most differences are 0, as those of cost are, it is too narrow: of 50 or 100
    simulated episodes of equal bundles that violate in one of ten, 9 % of the intervals exclude 0 and not 5 %.
    (0, 0, 0) for no trials; ValueError for unequal numbers.
    """
    differences = np.array([a - b for a, b in zip(first, second, strict=True)])
    if not len(differences):
        return 0.0, 0.0, 0.0
    means = np.concatenate([differences[drawn].mean(axis=1) for drawn in _resamples(len(differences))])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def share_of_steps(counts: Sequence[int], steps: Sequence[int]) -> tuple[float, float, float]:
    """Counted steps of all `steps`, both per episode, as a share, and its 95 % interval (low, high).

    The steps of an episode are alike, so whole episodes are resampled (percentile bootstrap, as above). A share of 0
    has nothing to resample: then Wilson's interval as if each episode were one step. (0, 0, 1) for no steps.
    """
    counted, total = np.array(counts, float), np.array(steps, float)
    if not counted.any():
        return 0.0, *wilson_interval(0, len(steps))
    drawn = [counted[i].sum(axis=1) / total[i].sum(axis=1) for i in _resamples(len(total))]
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return float(counted.sum() / total.sum()), float(low), float(high)


def _resamples(trials: int) -> Iterator[NDArray[np.int64]]:
    """Indices (_BLOCK, trials) of trials drawn with replacement, _RESAMPLES rows in all; the same every time."""
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(_RESAMPLES // _BLOCK):
        yield rng.integers(trials, size=(_BLOCK, trials))


def compare(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> dict[str, Any]:
    """`first` minus `second` on the same episodes: each difference with its 95 % interval.

    ValueError when they are not results of the same episodes in the same order.
    """
    if [r.episode for r in first] != [r.episode for r in second]:
        raise ValueError("only results of the same episodes can be compared")
    differences = {
        "success": paired_rate_difference([r.success for r in first], [r.success for r in second]),
        "violation": paired_rate_difference([r.violated for r in first], [r.violated for r in second]),
        "cost": paired_mean_difference([r.cost for r in first], [r.cost for r in second]),
        "return": paired_mean_difference([r.episode_return for r in first], [r.episode_return for r in second]),
    }
    figures: dict[str, Any] = {"episodes": len(first)}
    for name, (difference, low, high) in differences.items():
        figures[f"{name}_difference"] = round(difference, 4)
        figures[f"{name}_difference_ci95"] = [round(low, 4), round(high, 4)]
    return figures


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max in milliseconds; zeros when nothing was measured."""
    if not len(latencies_s):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99, worst = np.percentile(np.asarray(latencies_s) * 1e3, [50, 99, 100])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(worst), 3)}


def summarise(
    scenario: dict[str, Any], bundle_id: str, results: Sequence[EpisodeResult], latencies_s: Sequence[float] = ()
) -> dict[str, Any]:
    """The JSON of `fosp eval` (CONTRACTS: scenario files). Rates per episode, veto and stop rate per step."""
    episodes = len(results)
    successes = sum(r.success for r in results)
    violations = sum(r.violated for r in results)
    steps = sum(r.steps for r in results)
    latency = percentiles_ms(latencies_s)

    def interval(count: int) -> list[float]:
        return [round(x, 4) for x in wilson_interval(count, episodes)]

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 4) if len(values) else 0.0

    judged = [(r, r.hindsight) for r in results if r.hindsight is not None]
    return {
        "scenario": scenario,
        "bundle_id": bundle_id,
        "episodes": episodes,
        "success_rate": successes / max(1, episodes),
        "success_ci95": interval(successes),
        "violation_rate": violations / max(1, episodes),
        "violation_ci95": interval(violations),
        "cost_per_episode": mean([r.cost for r in results]),
        "return_mean": mean([r.episode_return for r in results]),
        "steps_mean": mean([r.steps for r in results]),
        "veto_rate": round(sum(r.vetoes for r in results) / max(1, steps), 4),
        "stop_rate": round(sum(r.stops for r in results) / max(1, steps), 4),
        "brake_rate": round(sum(r.brakes for r in results) / max(1, steps), 4),
        "violations_under": dict(Counter(r.violated_under for r in results if r.violated_under)),
        "hindsight": _hindsight([r.steps for r, _ in judged], [h for _, h in judged]) if judged else None,
        "latency_ms": {"image_to_command_p50": latency["p50"], "p99": latency["p99"]},
        "per_episode": [r.as_json() for r in results],
    }


def _hindsight(steps: Sequence[int], episodes: Sequence[Hindsight]) -> dict[str, Any]:
    """False vetoes as shares of all steps, and the miss rate as the calibration counts it: per violating episode."""
    figures: dict[str, Any] = {"foresight_steps": FORESIGHT_STEPS}
    false = {"false_veto": [e.false_vetoes for e in episodes], "false_brake": [e.false_brakes for e in episodes]}
    for name, counts in false.items():
        share, low, high = share_of_steps(counts, steps)
        figures |= {f"{name}_rate": round(share, 4), f"{name}_ci95": [round(low, 4), round(high, 4)]}
    misses = [e.missed / e.preceding for e in episodes if e.preceding]
    figures["violating_episodes"] = len(misses)
    figures["miss_rate"] = round(float(np.mean(misses)), 4) if misses else None
    figures["miss_ci95"] = [round(x, 4) for x in wilson_interval(sum(misses), len(misses))]
    return figures
