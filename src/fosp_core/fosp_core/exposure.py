"""When a camera's exposure has settled: an automatic one starts far off, with frames that no model was trained on."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

FRAMES = 8
"""So many frames in a row must look alike."""
SPREAD = 4.0
"""Largest difference of their mean brightness, of 255."""
_STRIDE = 8
"""Every eighth pixel of every eighth row shows the brightness as well as all of them."""


class ExposureSettling:
    """Told of frames one after the other; `settled` once the brightness of the last FRAMES stayed within SPREAD."""

    def __init__(self) -> None:
        self._brightness: deque[float] = deque(maxlen=FRAMES)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """`frame` (H, W, 3) uint8."""
        self._brightness.append(float(frame[::_STRIDE, ::_STRIDE].mean()))

    @property
    def settled(self) -> bool:
        return len(self._brightness) == FRAMES and max(self._brightness) - min(self._brightness) <= SPREAD
