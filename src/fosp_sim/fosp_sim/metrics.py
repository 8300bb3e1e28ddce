"""What an evaluation says: rates with Wilson intervals, means, latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Z_95 = 1.959963984540054


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

    @property
    def violated(self) -> bool:
        return self.cost > 0

    @property
    def success(self) -> bool:
        return self.reached and not self.violated

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "success": self.success, "violated": self.violated}


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a rate; (0, 1) for no trials (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    p, n, z2 = successes / trials, trials, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


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
        "latency_ms": {"image_to_command_p50": latency["p50"], "p99": latency["p99"]},
        "per_episode": [r.as_json() for r in results],
    }
