"""A small convolutional network that tells a picture with a local fault from a whole one. Pure numpy and OpenCV.

Local faults are dirt, water or a smear on the lens, a thing before it, and what a driver does to a picture. They change
a part of it, in a place that no training showed, so the statistics of whole pictures do not see them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LENS_SIZE = 64
"""Height and width, in pixels, to which the network sees a picture resized."""
LENS_WIDTHS = (24, 48, 64)
"""Number of outputs of each convolution; each has 3 x 3 pixels and a stride of 2."""
LENS_LAYERS = ("lens_1", "lens_2", "lens_3", "lens_out")
"""Names of the layers in a reference, the last one of which weighs the maxima and means of the third."""
SPAN = 128.0
"""A pixel x goes into the network as x / SPAN - 1, so that a middle grey becomes 0, which also surrounds a picture."""

Array = NDArray[np.float32]


def lens_view(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) uint8 RGB in the size that the network sees, (LENS_SIZE, LENS_SIZE, 3)."""
    if image.shape[:2] == (LENS_SIZE, LENS_SIZE):
        return image
    import cv2

    return np.asarray(cv2.resize(image, (LENS_SIZE, LENS_SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def lens_input(image: NDArray[np.uint8]) -> Array:
    """Return a frame (H, W, 3) uint8 RGB as the network takes it, (LENS_SIZE, LENS_SIZE, 3)."""
    return lens_view(image).astype(np.float32) / np.float32(SPAN) - np.float32(1.0)


def lens_shapes() -> dict[str, tuple[int, int]]:
    """Return name and shape of each layer, in order: a row per input and one for the bias, a column per output."""
    inputs = [3, *LENS_WIDTHS]
    layers = [(9 * inputs[i] + 1, width) for i, width in enumerate(LENS_WIDTHS)]
    return dict(zip(LENS_LAYERS, (*layers, (2 * LENS_WIDTHS[-1] + 1, 1)), strict=True))


def lens_score(layers: Sequence[Array], image: NDArray[np.uint8]) -> float:
    """Return the log-odds that the frame (H, W, 3) uint8 RGB has a local fault, by layers of `lens_shapes`."""
    values = lens_input(image)
    for layer in layers[:-1]:
        size, channels = values.shape[0], values.shape[2]
        padded = np.zeros((size + 2, size + 2, channels), np.float32)
        padded[1:-1, 1:-1] = values
        shifted = [padded[row : row + size : 2, column : column + size : 2] for row in range(3) for column in range(3)]
        patches = np.concatenate(shifted, axis=2).reshape(-1, 9 * channels)
        values = np.maximum(patches @ layer[:-1] + layer[-1], 0.0).reshape(size // 2, size // 2, -1)
    pooled = np.concatenate([values.max((0, 1)), values.mean((0, 1))])
    return float(pooled @ layers[-1][:-1, 0] + layers[-1][-1, 0])
