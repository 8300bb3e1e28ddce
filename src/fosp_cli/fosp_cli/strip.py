"""A picture of recorded episodes: frames from first to last, and the risk of each step against its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from fosp_core import topics
from fosp_core.bag_types import typestore

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FRAMES = 6


def draw_strip(bags: Sequence[Path], out: Path) -> None:
    """One row per bag, as a PNG."""
    figure, axes = plt.subplots(
        len(bags),
        FRAMES + 1,
        figsize=(2.0 * FRAMES + 3.2, 1.55 * len(bags)),
        width_ratios=[1.0] * FRAMES + [1.6],
        squeeze=False,
        layout="constrained",
    )
    for row, bag in zip(axes, bags, strict=True):
        times, frames, verdict_times, risk, eps = _read(bag)
        for axis, index in zip(row, np.linspace(0, len(frames) - 1, FRAMES).astype(int), strict=False):
            axis.imshow(frames[index])
            axis.set_title(f"{times[index]:.1f} s", fontsize=8, pad=2)
            axis.axis("off")
        chart = row[FRAMES]
        chart.plot(verdict_times, risk, linewidth=1, label="risk of the action")
        chart.plot(verdict_times, eps, linewidth=1, linestyle="--", color="tab:red", label="threshold")
        chart.set_ylim(0, 1)
        chart.tick_params(labelsize=7)
    axes[0][FRAMES].legend(fontsize=7)
    axes[-1][FRAMES].set_xlabel("s", fontsize=8)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _read(
    bag: Path,
) -> tuple[list[float], list[NDArray[np.uint8]], list[float], list[float], list[float]]:
    """Frame times and frames, verdict times, risks and thresholds of one episode; times in s from its first frame."""
    stamps: list[float] = []
    frames: list[NDArray[np.uint8]] = []
    verdicts: list[tuple[float, float, float]] = []
    with AnyReader([bag], default_typestore=typestore()) as reader:
        wanted = [c for c in reader.connections if c.topic.lstrip("/") in (topics.COLOR_IMAGE, topics.VERDICT)]
        for connection, _, raw in reader.messages(wanted):
            message = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9  # type: ignore[attr-defined]
            if connection.topic.endswith(topics.COLOR_IMAGE):
                stamps.append(stamp)
                frames.append(message.data.reshape(message.height, message.width, 3))  # type: ignore[attr-defined]
            else:
                verdicts.append((stamp, message.q_h, message.eps))  # type: ignore[attr-defined]
    begin = stamps[0]
    verdicts = [verdict for verdict in verdicts if verdict[0] >= begin]
    return (
        [stamp - begin for stamp in stamps],
        frames,
        [stamp - begin for stamp, _, _ in verdicts],
        [q_h for _, q_h, _ in verdicts],
        [eps for _, _, eps in verdicts],
    )
