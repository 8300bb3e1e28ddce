"""Faults of a camera as functions of a frame, with which a reference learns to name them, and variations of healthy
frames, with which it learns what may change: the colour of things, and things in other places.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.reference import CAUSES

Image = NDArray[np.uint8]
Fault = Callable[[Image, np.random.Generator], Image]

SATURATED = 90
"""Saturation, of 255, above which a pixel belongs to a thing with a colour of its own."""
_HUE_DEGREES = 60.0
_ANOTHER_PLACE = 0.3
"""Share of varied frames with a thing in another place."""


def _gain(low: float, high: float) -> Fault:
    return lambda image, rng: np.clip(image * rng.uniform(low, high), 0, 255).astype(np.uint8)


def _half(rows: slice, columns: slice) -> Fault:
    """Cover about the half of the frame that the slices, in tenths, name."""

    def fault(image: Image, rng: np.random.Generator) -> Image:
        covered, size = image.copy(), image.shape
        rows_here = slice(*(None if end is None else end * size[0] // 10 for end in (rows.start, rows.stop)))
        columns_here = slice(*(None if end is None else end * size[1] // 10 for end in (columns.start, columns.stop)))
        covered[rows_here, columns_here] = int(rng.integers(0, 30))
        return covered

    return fault


def _covered(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(image * 0.1 + rng.uniform(0, 25), 0, 255).astype(np.uint8)


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.03, 0.15)) * len(image))
    skin = rng.uniform(0.0, 0.6)
    return np.asarray((1 - skin) * soft + skin * rng.uniform(50, 200, 3), np.uint8)


def _moved(rows: int, columns: int) -> Fault:
    """Move the picture by 3 to 6 hundredths of its size; the edge is repeated."""

    def fault(image: Image, rng: np.random.Generator) -> Image:
        by = rng.uniform(0.03, 0.06) * len(image)
        matrix = np.array([[1, 0, columns * by], [0, 1, rows * by]], np.float32)
        size = image.shape[1], image.shape[0]
        return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return fault


FAULTS: dict[str, Fault] = dict(
    zip(
        CAUSES,
        (
            lambda image, rng: np.ascontiguousarray(image[..., ::-1]),
            lambda image, rng: np.ascontiguousarray(image[:, ::-1]),
            lambda image, rng: np.ascontiguousarray(image[::-1, ::-1]),
            lambda image, rng: np.ascontiguousarray(image[::-1]),
            _gain(0.25, 0.6),
            _gain(1.6, 2.4),
            _covered,
            _half(slice(None), slice(None, 5)),
            _half(slice(None), slice(5, None)),
            _half(slice(None, 5), slice(None)),
            _half(slice(5, None), slice(None)),
            _blurred,
            _moved(0, 1),
            _moved(0, -1),
            _moved(1, 0),
            _moved(-1, 0),
        ),
        strict=True,
    )
)
"""One function per cause that a reference knows."""


def varied(image: Image, rng: np.random.Generator) -> Image:
    """Return a healthy frame with the hue of its coloured things turned, and now and then a thing in another place."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    coloured = hsv[..., 1] > SATURATED
    turn = int(rng.uniform(-_HUE_DEGREES, _HUE_DEGREES) / 2)
    np.copyto(hsv[..., 0], ((np.arange(256) + turn) % 180).astype(np.uint8)[hsv[..., 0]], where=coloured)
    turned = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    height, width = image.shape[:2]
    if rng.random() < _ANOTHER_PLACE:
        rows, columns = (max(1, int(rng.uniform(0.03, 0.15) * size)) for size in (height, width))
        source = np.flatnonzero(coloured)
        colour = turned.reshape(-1, 3)[source[rng.integers(len(source))]] if len(source) else rng.integers(0, 256, 3)
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        turned[top : top + rows, left : left + columns] = colour
    return turned
