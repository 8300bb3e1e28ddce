"""Pictures: contact sheets and strips of recorded episodes, and learning curves of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fosp_core import topics
from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage
from fosp_core.decisions import Decision, WhoDrives
from fosp_core.errors import BrokenMessage, UserError
from fosp_core.image import observation_image
from fosp_core.ros.image_message import rgb_view

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FRAMES = 8
"""Frames of an episode in a contact sheet."""
ROWS = 50
"""Episodes in a contact sheet; more could not be told apart."""
_STRIP_FRAMES = 6
_HEIGHT, _WIDTH = 96, 128

WINDOW = 10
"""Episodes that a running mean of a learning curve covers."""
_COST, _MARK, _RISK = "tab:red", "tab:blue", "#1f5fa8"
_LANE = 0.14
"""Height of the lane of decisions, as a share of the chart that it lies under."""
_DECISIONS = {
    Decision.PASS: "#7fbf7b",
    Decision.SUBSTITUTE: "#e6c229",
    Decision.RECOVER: "#f17105",
    Decision.STOP: "#d11149",
    Decision.LATCH: "#6610f2",
}
_COLOURS = {
    "fosp": "#1f5fa8",
    "no_expansion": "#c0392b",
    "offline": "#8a8f98",
    "fosp_corrected": "#2e8b57",
    "fosp_hazards": "#6a3d9a",
    "fosp_paper": "#e08214",
    "filtered_cloning": "#b8860b",
    "recalibrated": "#444444",
    "careful": "#b0b0b0",
}


@dataclass(frozen=True)
class Row:
    """One episode of a contact sheet. Times are in s from its first frame."""

    name: str
    times: list[float]
    frames: list[NDArray[np.uint8]]
    """At most FRAMES frames (96, 128, 3), evenly spread over the episode."""
    outcome: str
    cost_times: list[float]
    mark_times: list[float]
    seconds: float
    verdicts: list[tuple[float, int]] = field(default_factory=list)
    """Time and decision of each verdict of the safety monitor."""
    operated: list[float] = field(default_factory=list)
    """Times of the verdicts on a person who drives."""


def read_row(bag: Path) -> Row:
    """Return the row of an episode. Raise UserError with the bag's name if it is damaged or has no colour image."""
    try:
        return _read_row(bag)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(f"{bag}: ") else f"{bag}: {text}") from None


def draw_contact_sheet(rows: Sequence[Row], out: Path) -> None:
    """Draw a row per episode: its frames, and a time line with costs, marks, and the decisions as a lane of colours."""
    figure, axes = plt.subplots(
        len(rows),
        FRAMES + 1,
        figsize=(1.45 * FRAMES + 2.6, 1.35 * len(rows)),
        width_ratios=[1.0] * FRAMES + [1.5],
        squeeze=False,
        layout="constrained",
    )
    for line, row in zip(axes, rows, strict=True):
        for axis in line[:FRAMES]:
            axis.axis("off")
        for axis, when, frame in zip(line, row.times, row.frames, strict=False):
            axis.imshow(frame)
            axis.set_title(f"{when:.1f} s", fontsize=7, pad=2)
        line[0].text(
            -0.05, 0.5, row.name, fontsize=7, rotation=90, ha="right", va="center", transform=line[0].transAxes
        )
        chart = line[FRAMES]
        chart.set_title(row.outcome, fontsize=8, pad=2, color="tab:red" if row.cost_times else "black")
        chart.vlines(row.cost_times, 0, 1, color=_COST, linewidth=1)
        chart.vlines(row.mark_times, 0, 1, color=_MARK, linewidth=2)
        _draw_lane(chart, row.verdicts, row.seconds)
        chart.plot(row.operated, [0.0] * len(row.operated), "|", color=_MARK, markersize=4)
        chart.set_xlim(0, max(row.seconds, 1e-3))
        chart.set_ylim(-_LANE, 1)
        chart.set_yticks([])
        chart.tick_params(labelsize=6)
    axes[-1][FRAMES].set_xlabel("s", fontsize=7)
    operated = any(row.operated for row in rows)
    _explain(
        figure,
        [
            Line2D([], [], color=_COST, label="cost"),
            Line2D([], [], color=_MARK, linewidth=2, label="mark"),
            *([Line2D([], [], color=_MARK, marker="|", linewidth=0, label="a person drives")] if operated else []),
        ],
        {decision for row in rows for _, decision in row.verdicts},
    )
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _draw_lane(chart: Axes, verdicts: Sequence[tuple[float, int]], end: float) -> None:
    """Draw the decisions below 0 of a chart whose values are in [0, 1]: each lasts until the next one."""
    ends = [*(when for when, _ in verdicts[1:]), max(end, verdicts[-1][0])] if verdicts else []
    for (when, decision), until in zip(verdicts, ends, strict=True):
        bar = [(when, max(0.0, until - when))]
        chart.broken_barh(bar, (-_LANE, 0.8 * _LANE), color=_DECISIONS[Decision(decision)], linewidth=0)


def _explain(figure: Figure, lines: list[Any], decisions: set[int]) -> None:
    """Write the legend below a figure: its lines, and the decisions that occur in its lanes."""
    patches = [Patch(color=_DECISIONS[one], label=one.name) for one in Decision if int(one) in decisions]
    handles = [*lines, *patches]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)


def draw_strip(bags: Sequence[Path], out: Path) -> None:
    """Draw a row per bag of the demo: frames from first to last, the risk of each action, and what was decided."""
    figure, axes = plt.subplots(
        len(bags),
        _STRIP_FRAMES + 1,
        figsize=(2.0 * _STRIP_FRAMES + 3.2, 1.65 * len(bags) + 0.3),
        width_ratios=[1.0] * _STRIP_FRAMES + [1.6],
        squeeze=False,
        layout="constrained",
    )
    seen: set[int] = set()
    for row, bag in zip(axes, bags, strict=True):
        strip = _read_strip(bag)
        picked = np.linspace(0, len(strip.frames) - 1, _STRIP_FRAMES).astype(int)
        for axis, index in zip(row, picked, strict=False):
            axis.imshow(strip.frames[index])
            axis.set_title(f"{strip.times[index]:.1f} s", fontsize=8, pad=2)
            axis.axis("off")
        chart = row[_STRIP_FRAMES]
        times, decisions = [when for when, *_ in strip.verdicts], [decision for *_, decision in strip.verdicts]
        chart.plot(times, [q_h for _, q_h, _, _ in strip.verdicts], linewidth=1, color=_RISK)
        chart.plot(times, [eps for _, _, eps, _ in strip.verdicts], linewidth=1, linestyle="--", color=_COST)
        _draw_lane(chart, list(zip(times, decisions, strict=True)), strip.times[-1])
        chart.set_title(_outcome(decisions), fontsize=8, pad=2)
        chart.set_ylim(-_LANE, 1)
        chart.tick_params(labelsize=7)
        seen |= set(decisions)
    axes[-1][_STRIP_FRAMES].set_xlabel("s", fontsize=8)
    lines = [
        Line2D([], [], color=_RISK, label="risk of the action"),
        Line2D([], [], color=_COST, linestyle="--", label="threshold"),
    ]
    _explain(figure, lines, seen)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _outcome(decisions: Sequence[int]) -> str:
    """Return in words how often the monitor did not pass an action, and whether it latched."""
    count = {one: sum(decision == int(one) for decision in decisions) for one in Decision}
    parts = [f"{sum(count.values()) - count[Decision.PASS]} vetoes"]
    parts += [f"{count[Decision.SUBSTITUTE]} replaced"] if count[Decision.SUBSTITUTE] else []
    parts += [f"{count[Decision.STOP]} stops"] if count[Decision.STOP] else []
    parts += ["LATCHED"] if count[Decision.LATCH] else []
    return ", ".join(parts)


def running_rates(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the mean (n,) of the last WINDOW episodes of all seeds, for each episode; of outcomes it is their share.

    n is the length of the shortest curve.
    """
    outcomes = np.array([curve[: min(map(len, curves))] for curve in curves], np.float64)
    sums = np.cumsum(np.concatenate([[0.0], outcomes.mean(0)]))
    end = np.arange(1, outcomes.shape[1] + 1)
    begin = np.maximum(end - WINDOW, 0)
    rates: NDArray[np.float64] = (sums[end] - sums[begin]) / (end - begin)
    return rates


def curves_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return a figure with a column per scenario, successes above and violations below, and a line per arm.

    Where a person took over, their take-overs per episode are below.

    `rows` is the table of an experiment (experiments.transfer_table.table).
    """
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    curves = ["curves", "violation_curves"]
    curves += ["intervention_curves"] if any(row.get("intervention_curves") for row in rows) else []
    figure = Figure(figsize=(3.4 * len(scenarios), 2.3 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), len(scenarios), squeeze=False, sharex=True)
    for column, scenario in enumerate(scenarios):
        for row in (row for row in rows if row["scenario"] == scenario):
            style = "-" if row["monitor"] == "on" else "--"
            seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
            name = row["arm"] if row["monitor"] == "on" else f"{row['arm']}, monitor {row['monitor']}"
            for panel, curve in zip(panels[:, column], curves, strict=True):
                if not row.get(curve):
                    continue
                rates = running_rates(row[curve])
                label, episodes = f"{name} ({seeds})", np.arange(1, len(rates) + 1)
                panel.plot(episodes, rates, style, color=_COLOURS[row["arm"]], linewidth=1.5, label=label)
        success, violations = panels[:2, column]
        success.set_title(scenario.replace("_", " "), fontsize=9)
        success.set_ylim(0.0, 1.02)
        violations.set_ylim(0.0, 0.5)
        panels[-1, column].set_xlabel("episode", fontsize=8)
        success.legend(fontsize=7, frameon=False, loc="lower right")
    panels[0, 0].set_ylabel(f"success, last {WINDOW} episodes", fontsize=8)
    panels[1, 0].set_ylabel(f"violations, last {WINDOW} episodes", fontsize=8)
    if len(curves) > 2:
        panels[2, 0].set_ylabel(f"take-overs per episode, last {WINDOW}", fontsize=8)
        for panel in panels[2]:
            panel.set_ylim(bottom=0.0)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure


def _read_row(bag: Path) -> Row:
    storage = BagStorage(bag)
    by_topic = {name: topic.type for name, topic in storage.topics().items()}
    feedback = {name for name in by_topic if name.endswith(topics.FEEDBACK)}
    verdicts = {name for name in by_topic if name.endswith(topics.VERDICT)}
    marks = {name for name in by_topic if name.endswith(topics.MARK)}
    stamps, frames = _frames(storage, _image_topic(by_topic))
    begin = stamps[0]
    told: list[tuple[float, str, Any]] = [
        (stored.logged_ns * 1e-9, stored.topic, deserialise(stored))
        for stored in storage.messages((feedback | marks | verdicts).__contains__)
    ]
    steps = [(_seconds(message) - begin, message) for _, topic, message in told if topic in feedback]
    success = any(message.success for _, message in steps)
    costs = [when for when, message in steps if message.cost > 0]
    outcome = ("success" if success else "no success") + (", violation" if costs else "")
    judged = [message for _, topic, message in told if topic in verdicts]
    return Row(
        name=bag.name,
        times=[stamp - begin for stamp in stamps],
        frames=frames,
        outcome=outcome if steps else "no feedback",
        cost_times=costs,
        mark_times=[when - begin for when, topic, _ in told if topic in marks],
        seconds=stamps[-1] - begin,
        verdicts=sorted((_seconds(message) - begin, int(message.decision)) for message in judged),
        operated=sorted(_seconds(m) - begin for m in judged if getattr(m, "source", 0) == WhoDrives.OPERATOR),
    )


def _image_topic(by_topic: Mapping[str, str]) -> str:
    """Return the stack's colour topic, raw or compressed, else the only topic of an image type."""
    for form in (topics.COLOR_IMAGE, f"{topics.COLOR_IMAGE}/compressed"):
        fitting = sorted(name for name in by_topic if name.endswith(form))
        if fitting:
            return fitting[0]
    kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    others = sorted(n for n, kind in by_topic.items() if kind in kinds and "depth" not in n)
    if not others:
        raise UserError("holds no colour images")
    return others[0]


def _frames(storage: BagStorage, topic: str) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """Return the stamps, s, and small pictures of FRAMES frames. Two passes over the bag decode only these."""
    count = sum(1 for _ in storage.messages(topic.__eq__))
    if not count:
        raise UserError("holds no message on its image topic")
    wanted = set(np.linspace(0, count - 1, min(FRAMES, count)).astype(int).tolist())
    found: list[tuple[float, int, NDArray[np.uint8]]] = []
    broken = ""
    for i, stored in enumerate(storage.messages(topic.__eq__)):
        if i not in wanted:
            continue
        try:
            message = deserialise(stored)
            pixels = observation_image(np.ascontiguousarray(rgb_view(message)), _HEIGHT, _WIDTH)
        except BrokenMessage as error:
            broken = broken or str(error)
            continue
        found.append((_seconds(message), len(found), pixels))
    if not found:
        raise UserError(broken)
    found.sort()
    return [stamp for stamp, _, _ in found], [pixels for _, _, pixels in found]


@dataclass(frozen=True)
class _Strip:
    """An episode of the demo. Times are in s from its first frame."""

    times: list[float]
    frames: list[NDArray[np.uint8]]
    verdicts: list[tuple[float, float, float, int]]
    """Time, risk, threshold and decision of each verdict."""


def _read_strip(bag: Path) -> _Strip:
    stamps: list[float] = []
    frames: list[NDArray[np.uint8]] = []
    verdicts: list[tuple[float, float, float, int]] = []
    for stored in BagStorage(bag).messages(lambda topic: topic.lstrip("/") in (topics.COLOR_IMAGE, topics.VERDICT)):
        message = deserialise(stored)
        if stored.topic.endswith(topics.COLOR_IMAGE):
            stamps.append(_seconds(message))
            frames.append(rgb_view(message))
        else:
            verdicts.append((_seconds(message), message.q_h, message.eps, int(message.decision)))
    begin = stamps[0]
    return _Strip(
        [stamp - begin for stamp in stamps],
        frames,
        [(when - begin, *rest) for when, *rest in verdicts if when >= begin],  # type: ignore[misc]
    )


def _seconds(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec * 1e-9)
