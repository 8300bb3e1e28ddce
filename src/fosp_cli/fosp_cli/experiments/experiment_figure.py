"""Curves of `fosp experiment transfer`: successes and violations while the robot learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

WINDOW = 10
"""Episodes of a running mean."""
_COLOURS = {"fosp": "#1f5fa8", "no_expansion": "#c0392b", "offline": "#8a8f98"}


def running_rates(curves: Sequence[Sequence[bool]]) -> NDArray[np.float64]:
    """Share (n,) of true outcomes among the last WINDOW episodes of all seeds, up to each episode of the shortest."""
    outcomes = np.array([curve[: min(map(len, curves))] for curve in curves], np.float64)
    sums = np.cumsum(np.concatenate([[0.0], outcomes.mean(0)]))
    end = np.arange(1, outcomes.shape[1] + 1)
    begin = np.maximum(end - WINDOW, 0)
    rates: NDArray[np.float64] = (sums[end] - sums[begin]) / (end - begin)
    return rates


def curves_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """A column per scenario: success above, violations below, a line per arm; `rows` of transfer_experiment.table."""
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    figure = Figure(figsize=(3.4 * len(scenarios), 4.6), layout="constrained")
    panels = figure.subplots(2, len(scenarios), squeeze=False, sharex=True)
    for column, scenario in enumerate(scenarios):
        for row in (row for row in rows if row["scenario"] == scenario):
            style = "-" if row["monitor"] == "on" else "--"
            seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
            name = row["arm"] if row["monitor"] == "on" else f"{row['arm']}, monitor {row['monitor']}"
            for panel, what in zip(panels[:, column], ("curves", "violation_curves"), strict=True):
                rates = running_rates(row[what])
                label, episodes = f"{name} ({seeds})", np.arange(1, len(rates) + 1)
                panel.plot(episodes, rates, style, color=_COLOURS[row["arm"]], linewidth=1.5, label=label)
        success, violations = panels[:, column]
        success.set_title(scenario.replace("_", " "), fontsize=9)
        success.set_ylim(0.0, 1.02)
        violations.set_ylim(0.0, 0.5)
        violations.set_xlabel("episode", fontsize=8)
        success.legend(fontsize=7, frameon=False, loc="lower right")
    panels[0, 0].set_ylabel(f"success, last {WINDOW} episodes", fontsize=8)
    panels[1, 0].set_ylabel(f"violations, last {WINDOW} episodes", fontsize=8)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure
