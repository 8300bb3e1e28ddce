"""The moving picture of the report: open-loop predictions next to the truth, as an animated WebP, for any browser."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fosp_learner.report.figure_data import Prediction

SHOWN = 4
"""Episodes in the picture, each a row."""
SLOWER = 2
"""The picture plays this many times slower than the robot was."""
_TILE = 160
"""Height and width of a frame in the picture, pixels, at most."""
_GAP = 6
_LINE = 16
_PAUSE_MS = 1200
"""Time for which the last frame stays."""
_COLUMNS = ("truth", "predicted", "difference")
_INK, _PAPER = (28, 33, 38), (255, 255, 255)


def open_loop_video(predictions: Sequence[Prediction], period_s: float) -> bytes:
    """Return an animated WebP of the first SHOWN predictions: truth, prediction and their difference, frame by frame.

    A shorter prediction keeps its last frame until the longest one ends. Raise ValueError without any prediction.
    """
    shown = predictions[:SHOWN]
    if not shown:
        raise ValueError("there is no prediction to show")
    longest = max(len(one.truth) for one in shown)
    frames = [_frame(shown, step, period_s) for step in range(longest)]
    buffer = io.BytesIO()
    each_ms = max(1, round(SLOWER * period_s * 1e3))
    frames[0].save(
        buffer, format="WEBP", save_all=True, append_images=frames[1:], loop=0, quality=80, method=4,
        duration=[each_ms] * (longest - 1) + [_PAUSE_MS],
    )  # fmt: skip
    return buffer.getvalue()


def _frame(shown: Sequence[Prediction], step: int, period_s: float) -> Image.Image:
    """Return the picture at one step: a row per episode."""
    rows, columns = shown[0].truth.shape[1:3]
    scale = max(1, _TILE // max(rows, columns))
    height, width = rows * scale, columns * scale
    size = (len(_COLUMNS) * (width + _GAP) + _GAP, _LINE + len(shown) * (height + _LINE + _GAP))
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(_COLUMNS):
        draw.text((_GAP + column * (width + _GAP), 2), name, fill=_INK)
    for row, one in enumerate(shown):
        at = min(step, len(one.truth) - 1)
        top = _LINE + row * (height + _LINE + _GAP)
        truth, predicted = one.truth[at], one.predicted[at]
        for column, pixels in enumerate((truth, predicted, np.abs(truth - predicted))):
            picture.paste(_tile(pixels, (width, height)), (_GAP + column * (width + _GAP), top))
        told = f"{one.episode}, +{(at + 1) * period_s:.2f} s, error {one.rmse[at]:.1f} of 255"
        draw.text((_GAP, top + height + 2), told, fill=_INK)
    return picture


def _tile(pixels: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """Return a frame (H, W, 3), in [0, 1], enlarged without smoothing."""
    whole = np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(whole).resize(size, Image.Resampling.NEAREST)
