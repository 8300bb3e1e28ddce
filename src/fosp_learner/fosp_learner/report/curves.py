"""Numbers behind the figures: loss curves, calibration over the threshold, and reliability. numpy alone."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_learner.bundling.calibration import EpisodeValues, precedes_violation

Floats = NDArray[np.float64]


def read_losses(path: Path) -> dict[str, tuple[Floats, Floats]]:
    """Figure -> steps and values of a losses.csv; UserError when it is missing or damaged."""
    series: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(newline="") as stream:
            for row in csv.DictReader(stream):
                series.setdefault(row["figure"], []).append((float(row["step"]), float(row["value"])))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder of a run, runs/pretrain/NAME") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a table of step, figure and value; the file is damaged") from None
    return {name: _columns(points) for name, points in series.items()}


@dataclass(frozen=True)
class CalibrationCurve:
    """What every threshold would have meant on the validation episodes, (n,) each."""

    eps: Floats
    miss_rate: Floats
    """Mean over violating episodes of the share of steps before a violation that pass; NaN without such episodes."""
    bound: Floats
    """Finite-sample bound on the miss rate of a new episode."""
    false_veto_rate: Floats
    """Share of the steps of episodes without violation that do not pass."""


def calibration_curve(episodes: Sequence[EpisodeValues], horizon: int, points: int = 201) -> CalibrationCurve:
    """Rates over thresholds that lie dense where the scores do."""
    before = [e.q_h[precedes_violation(e.cost, horizon)] for e in episodes if e.violates]
    safe = [e.q_h for e in episodes if not e.violates]
    every = np.concatenate([*before, *safe]).astype(np.float64)
    eps = np.unique(np.quantile(every, np.linspace(0, 1, points), method="inverted_cdf"))  # scores that occur
    miss = np.mean([[(s <= e).mean() for e in eps] for s in before], 0) if before else np.full(len(eps), np.nan)
    n = len(before)
    passed = np.concatenate(safe) if safe else np.zeros(0)
    veto = np.array([(passed > e).mean() if len(passed) else np.nan for e in eps])
    return CalibrationCurve(eps, miss, (n * np.nan_to_num(miss) + 1) / (n + 1), veto)


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins against what came of them, (n,) each; empty bins are left out."""

    predicted: Floats
    """Mean of the bin."""
    observed: Floats
    error: Floats
    """Standard error of `observed`, over the steps of the bin as if they were independent: a lower bound."""
    count: Floats


def reliability(predicted: Floats, observed: Floats, edges: Floats) -> Reliability:
    """Compare (n,) with (n,) in the bins between `edges`, the last one closed."""
    index = np.clip(np.searchsorted(edges, predicted, "right") - 1, 0, len(edges) - 2)
    kept = [i for i in range(len(edges) - 1) if (index == i).any()]
    parts = [(predicted[index == i], observed[index == i]) for i in kept]
    return Reliability(
        np.array([p.mean() for p, _ in parts]),
        np.array([o.mean() for _, o in parts]),
        np.array([o.std() / np.sqrt(len(o)) for _, o in parts]),
        np.array([float(len(o)) for _, o in parts]),
    )


def realised_reach(cost: NDArray[np.float32], discount: float) -> Floats:
    """What Q_h stands for, as it came: discount^k, k steps before the next violation, 0 without one: (N,) -> (N,)."""
    result = np.zeros(len(cost), np.float64)
    following = 0.0
    for t in reversed(range(len(cost))):
        following = 1.0 if cost[t] > 0 else discount * following
        result[t] = following
    return result


def _columns(points: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    steps, values = np.array(points, np.float64).T
    return steps, values
