"""The tables that `fosp eval` prints, with the figures of metrics.METRICS."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from fosp_cli.evaluation.metrics import CONTINUING_METRICS, METRICS, Metric
from fosp_cli.evaluation.onsets import FALSE_ALARMS

ONSETS = f"onsets missed at {FALSE_ALARMS:.0%} false alarms"
_HINDSIGHT = {"false vetoes": "false_veto", "false brakes": "false_brake", "missed": "miss"}
"""Figures of shadow mode: heading in the tables -> name in the JSON before _rate and _ci95."""


def print_one(summary: dict[str, Any], how: str, through_ros: bool) -> None:
    """Print one bundle on one scenario: a row per figure."""
    table = Table(
        "figure", "value", "95 % interval", title=f"{summary['episodes']} episodes {how}, monitor {_way(summary)}"
    )
    for metric in (*METRICS, *CONTINUING_METRICS):
        if metric.key not in summary:
            continue
        low, high = summary.get(metric.interval_key, (0.0, 0.0))
        interval = f"{low:.1%} - {high:.1%}" if metric.kind == "rate" else ""
        if metric.kind == "bootstrap":
            interval = f"{low:.2f} - {high:.2f}"
        table.add_row(metric.label, _value(summary, metric), interval)
    for name in _HINDSIGHT if summary["hindsight"] else ():
        table.add_row(name, *_in_hindsight(summary, name))
    if summary["onset_miss_rate"] is not None:
        low, high = summary["onset_miss_ci95"]
        table.add_row(ONSETS, f"{summary['onset_miss_rate']:.1%}", f"{low:.1%} - {high:.1%}")
    if summary["violations_under"] and summary["monitor"] not in ("off", "policy_filter"):
        under = ", ".join(f"{decision} {count}" for decision, count in summary["violations_under"].items())
        table.add_row("violations under", under, "")
    if through_ros:
        latency = summary["latency_ms"]
        table.add_row("image to command", f"p50 {latency['image_to_command_p50']} ms, p99 {latency['p99']} ms", "")
    Console().print(table)


def _way(summary: dict[str, Any]) -> str:
    """Return the way of monitoring, and whether the robot retreats where it hangs."""
    return f"{summary['monitor']}, retreat" if summary.get("retreat") else str(summary["monitor"])


def print_all(figures: dict[str, Any], how: str) -> None:
    """Print several evaluations, a row each, and below them their differences."""
    # A file or a pipe has no width, so cells need not be broken.
    console = Console(width=None if sys.stdout.isatty() else 200)
    rows = figures["evaluations"]
    continuing = [metric for metric in CONTINUING_METRICS if all(metric.key in row for row in rows)]
    shown = [metric for metric in (*METRICS, *continuing) if metric.column]
    columns = ["bundle", "scenario", "monitor", "episodes", *(metric.column for metric in shown)]
    judged = any(row["hindsight"] for row in figures["evaluations"])
    columns += _HINDSIGHT if judged else []
    onsets = any(row["onset_miss_rate"] is not None for row in figures["evaluations"])
    columns += [ONSETS] if onsets else []
    table = Table(*columns, title=f"{how}; rates with 95 % intervals")
    for row in figures["evaluations"]:
        cells = [_value(row, metric) + _interval(row, metric) for metric in shown]
        cells += [" ".join(_in_hindsight(row, name)) for name in _HINDSIGHT if judged]
        cells += [_onsets(row)] if onsets else []
        table.add_row(row["bundle"], row["scenario_name"], _way(row), str(row["episodes"]), *cells)
    console.print(table)
    if not figures["comparisons"]:
        return
    differences = [metric for metric in METRICS if metric.difference]
    table = Table(
        *("difference", "scenario", *(m.column + (", %" if m.kind == "rate" else "") for m in differences), "power"),
        title="differences on the same episodes, with 95 % intervals",
        caption="* the interval excludes 0. Power: the chance that so many episodes tell a halving of the violations",
    )
    for row in figures["comparisons"]:
        cells = [difference(row, m.difference, 100 if m.kind == "rate" else 1) for m in differences]
        power = row["violation_halving_power"]
        cells.append("" if power is None else f"{power:.0%}")
        table.add_row(f"{row['first']} - {row['second']}", row["scenario_name"], *cells)
    console.print(table)


def _value(figures: dict[str, Any], metric: Metric) -> str:
    return f"{figures[metric.key]:{'.2f' if metric.kind in ('mean', 'bootstrap') else '.1%'}}"


def _interval(figures: dict[str, Any], metric: Metric) -> str:
    if metric.kind == "bootstrap":
        low, high = figures[metric.interval_key]
        return f" ({low:.1f} - {high:.1f})"
    if metric.kind != "rate":
        return ""
    low, high = figures[metric.interval_key]
    return f" ({100 * low:.1f} - {100 * high:.1f})"


def _in_hindsight(figures: dict[str, Any], name: str) -> tuple[str, str]:
    """Return a figure of _HINDSIGHT and its interval in words, both empty for an evaluation that was not in shadow."""
    found, key = figures["hindsight"], _HINDSIGHT[name]
    if found is None:
        return "", ""
    if found[f"{key}_rate"] is None:
        return "no violation", ""
    low, high = found[f"{key}_ci95"]
    promise = f", promised {figures['promised_miss_rate']:.1%}" if key == "miss" else ""
    return f"{found[f'{key}_rate']:.1%}", f"({100 * low:.1f} - {100 * high:.1f}{promise})"


def _onsets(row: dict[str, Any]) -> str:
    if row["onset_miss_rate"] is None:
        return ""
    low, high = row["onset_miss_ci95"]
    return f"{row['onset_miss_rate']:.1%} ({100 * low:.1f} - {100 * high:.1f})"


def difference(row: dict[str, Any], name: str, scale: float) -> str:
    """Return a difference, its interval and a mark when that excludes 0, as in `+12.0 (+3.1 to +20.5) *`.

    Costs get no mark: their intervals rest on the few episodes with a violation and are too narrow.
    """
    low, high = row[f"{name}_difference_ci95"]
    digits = 1 if scale == 100 else 2
    text = f"{scale * row[f'{name}_difference']:+.{digits}f} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"
    return f"{text} *" if name != "cost" and (low > 0 or high < 0) else text
