"""The picture of `fosp eval --plot`: success and violation rates with their 95 % intervals, a row per evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fosp_core.errors import UserError

SUFFIXES = (".png", ".svg", ".pdf")
_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#8a8f98"
_LONGEST_NAME = 46
"""Characters of a row's name that are shown; a longer one is cut in the middle."""


@dataclass(frozen=True)
class RateRow:
    """One evaluation as a row of the picture. A rate is (value, low, high), each in [0, 1]."""

    scenario: str
    name: str
    episodes: int
    success: tuple[float, float, float]
    violation: tuple[float, float, float]


def check_picture_file(path: Path) -> None:
    """Raise UserError for a file whose suffix names no format that can be drawn."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a plot is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")


def rows_of(figures: Mapping[str, Any], bundle: str, scenario: str) -> list[RateRow]:
    """Return the rows of a JSON of `fosp eval`, of one evaluation or of several.

    `bundle` and `scenario` name the only evaluation of a JSON that holds one, because that does not name them. A row is
    named by its bundle, and by its way of monitoring and its policy where these are not the usual ones.
    """
    several = figures.get("evaluations")
    evaluations = [{"bundle": bundle, "scenario_name": scenario, **figures}] if several is None else several
    monitors = {one["monitor"] for one in evaluations}
    return [_row(one, monitors) for one in evaluations]


def earlier_rows(path: Path) -> list[RateRow]:
    """Return the rows of a file that `fosp eval --json` wrote, each with the file's name in front.

    Raise UserError for a file that cannot be read, or is none of `fosp eval`.
    """
    try:
        figures = json.loads(path.read_text())
        rows = rows_of(figures, "", str(figures.get("scenario", {}).get("task", "")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: is no JSON of fosp eval") from None
    return [
        RateRow(row.scenario, f"{path.stem}: {row.name}".removesuffix(": "), row.episodes, row.success, row.violation)
        for row in rows
    ]


def _row(evaluation: Mapping[str, Any], monitors: set[str]) -> RateRow:
    said = [] if monitors == {"on"} else [f"monitor {evaluation['monitor']}"]
    said += [] if evaluation["policy"] == "bundle" else [f"{evaluation['policy']} script"]
    name = ", ".join([part for part in (str(evaluation["bundle"]),) if part] + said)
    return RateRow(
        scenario=str(evaluation["scenario_name"]),
        name=name,
        episodes=int(evaluation["episodes"]),
        success=_rate(evaluation, "success"),
        violation=_rate(evaluation, "violation"),
    )


def _rate(evaluation: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    value, (low, high) = evaluation[f"{name}_rate"], evaluation[f"{name}_ci95"]
    rate = (float(value), float(low), float(high))
    if not 0.0 <= rate[1] <= rate[2] <= 1.0 or not 0.0 <= rate[0] <= 1.0:
        raise ValueError(rate)
    return rate


def rates_figure(rows: Sequence[RateRow], title: str) -> Figure:
    """Return a figure with a row per evaluation, grouped by scenario, and a panel each for success and violations."""
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    places: list[tuple[float, RateRow]] = []
    headings: list[tuple[float, str]] = []
    y = 0.0
    for scenario in scenarios:
        headings.append((y, scenario))
        for row in (row for row in rows if row.scenario == scenario):
            y += 1.0
            places.append((y, row))
        y += 1.4
    figure = Figure(figsize=(9.0, 1.5 + 0.3 * y), layout="constrained")
    success, violation = figure.subplots(1, 2, sharey=True)
    _panel(success, [(at, row.success) for at, row in places], _BLUE, "success, without a violation")
    _panel(violation, [(at, row.violation) for at, row in places], _RED, "violations")
    success.set_xlim(0.0, 1.0)
    violation.set_xlim(0.0, min(1.0, max(0.1, 1.25 * max(row.violation[2] for row in rows))))
    success.set_ylim(y - 0.7, -0.7)
    success.set_yticks([at for at, _ in places], [_shortened(row) for _, row in places], fontsize=8)
    for at, scenario in headings:
        success.text(0.0, at, scenario.replace("_", " "), fontsize=9, weight="bold", va="center", clip_on=False)
    figure.suptitle(f"{title}; bars: 95 % intervals", fontsize=9)
    return figure


def _panel(panel: Axes, rates: Sequence[tuple[float, tuple[float, float, float]]], colour: str, title: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.grid(axis="x", color=_GREY, alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", length=0)
    for at, (value, low, high) in rates:
        panel.plot([low, high], [at, at], color=colour, linewidth=2.0, alpha=0.55, solid_capstyle="butt")
        panel.plot([value], [at], "o", color=colour, markersize=5, clip_on=False)
        panel.annotate(
            f"{value:.1%}",
            (value, at),
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=7,
            ha="center",
            color=colour,
        )


def _shortened(row: RateRow) -> str:
    name, half = row.name, _LONGEST_NAME // 2
    name = name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
    return f"{name} ({row.episodes})"
