"""Statistics of features as lerobot keeps them: least, greatest, mean, deviation, count and quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


def number_statistics(column: NDArray[Any]) -> dict[str, list[Any]]:
    """Return the statistics of the columns of an (n, width) array, n at least 1."""
    values = column.astype(np.float64)
    least, greatest = values.min(0), values.max(0)
    if column.dtype == np.bool_:
        least, greatest = least > 0, greatest > 0
    return {
        "min": least.tolist(),
        "max": greatest.tolist(),
        "mean": values.mean(0).tolist(),
        "std": values.std(0).tolist(),
        "count": [len(values)],
        **{_name(q): np.quantile(values, q, axis=0).tolist() for q in QUANTILES},
    }


class ImageStatistics:
    """Statistics of the channels of images, of 1, from their histograms; they are exact, and need little memory."""

    def __init__(self) -> None:
        self._histogram = np.zeros((3, 256), np.int64)
        self._images = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take in an image (H, W, 3); of a large one every second or fourth pixel."""
        step = max(1, max(image.shape[:2]) // 160)
        thin = image[::step, ::step]
        for channel in range(3):
            self._histogram[channel] += np.bincount(thin[:, :, channel].reshape(-1), minlength=256)
        self._images += 1

    def merge(self, other: ImageStatistics) -> None:
        """Take in the images of another one."""
        self._histogram += other._histogram
        self._images += other._images

    def summary(self) -> dict[str, list[Any]]:
        """Return the statistics with a shape of (3, 1, 1); `count` is the number of images."""
        levels = np.arange(256) / 255.0
        share = self._histogram / self._histogram.sum(1, keepdims=True)
        mean = share @ levels
        cumulated = share.cumsum(1)
        found = {
            "min": levels[(share > 0).argmax(1)],
            "max": levels[255 - (share[:, ::-1] > 0).argmax(1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0)),
            **{_name(q): levels[(cumulated >= q - 1e-12).argmax(1)] for q in QUANTILES},
        }
        return {
            **{name: value.reshape(3, 1, 1).tolist() for name, value in found.items()},
            "count": [self._images],
        }


def _name(quantile: float) -> str:
    return f"q{round(quantile * 100):02d}"
