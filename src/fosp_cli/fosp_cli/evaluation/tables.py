"""The tables that `fosp eval` prints."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_HINDSIGHT = {"false vetoes": "false_veto", "false brakes": "false_brake", "missed": "miss"}
"""Figures of an outcome that was judged without gating: in the table, and in the JSON before _rate and _ci95."""


def print_one(summary: dict[str, Any], how: str, through_ros: bool) -> None:
    table = Table(
        "figure", "value", "95 % interval", title=f"{summary['episodes']} episodes {how}, monitor {summary['monitor']}"
    )
    for name in ("success", "violation"):
        low, high = summary[f"{name}_ci95"]
        table.add_row(f"{name} rate", f"{summary[f'{name}_rate']:.1%}", f"{low:.1%} - {high:.1%}")
    for name in ("cost_per_episode", "return_mean", "steps_mean"):
        table.add_row(name.replace("_", " "), f"{summary[name]:.2f}", "")
    for name in ("veto_rate", "brake_rate", "stop_rate"):
        table.add_row(f"{name.replace('_', ' ')} per step", f"{summary[name]:.1%}", "")
    for name in _HINDSIGHT if summary["hindsight"] else ():
        table.add_row(name, *_in_hindsight(summary, name))
    if summary["violations_under"] and summary["monitor"] != "off":
        under = ", ".join(f"{decision} {count}" for decision, count in summary["violations_under"].items())
        table.add_row("violations under", under, "")
    if through_ros:
        latency = summary["latency_ms"]
        table.add_row("image to command", f"p50 {latency['image_to_command_p50']} ms, p99 {latency['p99']} ms", "")
    Console().print(table)


def print_all(figures: dict[str, Any], how: str) -> None:
    # A file or a pipe has no width that cells would have to be broken for.
    console = Console(width=None if sys.stdout.isatty() else 200)
    columns = ["bundle", "scenario", "monitor", "episodes", "success", "violations", "cost", "return"]
    columns += ["vetoed", "braked"]
    judged = any(row["hindsight"] for row in figures["evaluations"])
    columns += _HINDSIGHT if judged else []
    table = Table(*columns, title=f"{how}; rates with 95 % interval")
    for row in figures["evaluations"]:
        rates = [
            f"{row[f'{name}_rate']:.1%} ({100 * row[f'{name}_ci95'][0]:.1f} - {100 * row[f'{name}_ci95'][1]:.1f})"
            for name in ("success", "violation")
        ]
        cells = [f"{row['cost_per_episode']:.2f}", f"{row['return_mean']:.2f}"]
        cells += [f"{row['veto_rate']:.1%}", f"{row['brake_rate']:.1%}"]
        cells += [" ".join(_in_hindsight(row, name)) for name in _HINDSIGHT if judged]
        table.add_row(row["bundle"], row["scenario_name"], row["monitor"], str(row["episodes"]), *rates, *cells)
    console.print(table)
    if not figures["comparisons"]:
        return
    table = Table(
        *("difference", "scenario", "success, %", "violations, %", "cost", "return"),
        title="on the same episodes, with 95 % interval",
        caption="* the interval excludes 0",
    )
    for row in figures["comparisons"]:
        cells = [difference(row, "success", 100), difference(row, "violation", 100)]
        cells += [difference(row, "cost", 1), difference(row, "return", 1)]
        table.add_row(f"{row['first']} - {row['second']}", row["scenario_name"], *cells)
    console.print(table)


def _in_hindsight(figures: dict[str, Any], name: str) -> tuple[str, str]:
    """A figure of `_HINDSIGHT` and its interval, in words; nothing for what was not judged without gating."""
    found, key = figures["hindsight"], _HINDSIGHT[name]
    if found is None:
        return "", ""
    if found[f"{key}_rate"] is None:
        return "no violation", ""
    low, high = found[f"{key}_ci95"]
    promise = f", promised {figures['promised_miss_rate']:.1%}" if key == "miss" else ""
    return f"{found[f'{key}_rate']:.1%}", f"({100 * low:.1f} - {100 * high:.1f}{promise})"


def difference(row: dict[str, Any], name: str, scale: float) -> str:
    """`+12.0 (+3.1 to +20.5) *`: a difference, its interval, and a mark when that excludes 0.

    No mark for costs: their intervals rest on the few episodes with a violation and are too narrow.
    """
    low, high = row[f"{name}_difference_ci95"]
    digits = 1 if scale == 100 else 2
    text = f"{scale * row[f'{name}_difference']:+.{digits}f} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"
    return f"{text} *" if name != "cost" and (low > 0 or high < 0) else text
