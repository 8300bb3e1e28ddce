"""A picture of recorded episodes, a row for each: frames from first to last, what came of it, where it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.image import observation_image
from fosp_core.ros.image_message import rgb_view

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FRAMES = 8
ROWS = 50
"""Of one picture: more could not be told apart."""
_HEIGHT, _WIDTH = 96, 128


@dataclass(frozen=True)
class Row:
    """One episode: times in s from its first frame."""

    name: str
    times: list[float]
    frames: list[NDArray[np.uint8]]
    """FRAMES at most, small."""
    outcome: str
    cost_times: list[float]
    mark_times: list[float]
    seconds: float


def read_row(bag: Path) -> Row:
    """UserError, with the bag's name, when it cannot be read or holds no colour image."""
    try:
        return _read(bag)
    except UserError as error:
        raise UserError(f"{bag}: {error}") from None
    except Exception as error:  # a damaged file surfaces as any of a dozen types from rosbags, zstd and struct
        raise UserError(f"{bag}: damaged bag ({' '.join(str(error).split()) or type(error).__name__})") from None


def _read(bag: Path) -> Row:
    with AnyReader([bag], default_typestore=typestore()) as reader:
        by_topic = {connection.topic: connection for connection in reader.connections}
        images = _images(by_topic)
        feedback = [name for name in by_topic if name.endswith(topics.FEEDBACK)]
        marks = [name for name in by_topic if name.endswith(topics.MARK)]
        stamps, frames = _frames(reader, by_topic[images])
        begin = stamps[0]
        told: list[tuple[float, str, Any]] = [
            (logged * 1e-9, connection.topic, reader.deserialize(data, connection.msgtype))
            for connection, logged, data in reader.messages([by_topic[name] for name in (*feedback, *marks)])
        ]
    steps = [(_seconds(message) - begin, message) for _, topic, message in told if topic in feedback]
    success = any(message.success for _, message in steps)
    costs = [when for when, message in steps if message.cost > 0]
    outcome = ("success" if success else "no success") + (", violation" if costs else "")
    return Row(
        name=bag.name,
        times=[stamp - begin for stamp in stamps],
        frames=frames,
        outcome=outcome if steps else "no feedback",
        cost_times=costs,
        mark_times=[when - begin for when, topic, _ in told if topic in marks],
        seconds=stamps[-1] - begin,
    )


def _images(by_topic: Mapping[str, Connection]) -> str:
    """The colour topic: ours, raw or compressed, else the only one of an image type."""
    for form in (topics.COLOR_IMAGE, f"{topics.COLOR_IMAGE}/compressed"):
        fitting = sorted(name for name in by_topic if name.endswith(form))
        if fitting:
            return fitting[0]
    kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    others = sorted(n for n, c in by_topic.items() if c.msgtype in kinds and "depth" not in n)
    if not others:
        raise UserError("holds no colour images")
    return others[0]


def _frames(reader: AnyReader, connection: Connection) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """Stamps, s, and small pictures of FRAMES frames from the first to the last; two passes, to decode but these."""
    count = sum(1 for _ in reader.messages([connection]))
    if not count:
        raise UserError("holds no message on its image topic")
    wanted = set(np.linspace(0, count - 1, min(FRAMES, count)).astype(int).tolist())
    stamps, frames = [], []
    for i, (found, _, data) in enumerate(reader.messages([connection])):
        if i in wanted:
            message = reader.deserialize(data, found.msgtype)
            stamps.append(_seconds(message))
            frames.append(observation_image(np.ascontiguousarray(rgb_view(message)), _HEIGHT, _WIDTH))
    return stamps, frames


def _seconds(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec * 1e-9)


def draw_contact_sheet(rows: Sequence[Row], out: Path) -> None:
    """One row per episode, as a PNG: frames, and a time line with costs in red and marks in blue."""
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
        chart.vlines(row.cost_times, 0, 1, color="tab:red", linewidth=1)
        chart.vlines(row.mark_times, 0, 1, color="tab:blue", linewidth=2)
        chart.set_xlim(0, max(row.seconds, 1e-3))
        chart.set_ylim(0, 1)
        chart.set_yticks([])
        chart.tick_params(labelsize=6)
    figure.savefig(out, dpi=110)
    plt.close(figure)
