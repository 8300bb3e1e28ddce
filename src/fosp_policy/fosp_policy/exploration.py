"""Exploration noise that is correlated in time. No ROS.

White noise at 20 Hz averages out over the time that a robot takes to follow a command: it hardly leaves the path of the
mean. A drift, which all candidates of a decision share, changes little from one decision to the next, so that the robot
tries a way for a while. It is a first-order autoregressive process, the Ornstein-Uhlenbeck process at the decisions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CORRELATION_S = 0.5
"""Time in which the correlation of the drift falls to 1 / e, s."""
COMMON_SHARE = 0.7
"""Share of the variance that the drift has; the rest is drawn anew for each candidate, so that there is a choice."""


def next_drift(
    before: NDArray[np.float32] | None, size: int, period_s: float, correlation_s: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the drift (size,) of the next decision, standard normal at every time; `before` is None at the beginning.

    Decisions are `period_s` apart.
    """
    fresh = rng.standard_normal(size, dtype=np.float32)
    if before is None:
        return fresh
    keep = math.exp(-period_s / correlation_s)
    return np.asarray(keep * before + math.sqrt(1.0 - keep * keep) * fresh, np.float32)


def mixed(noise: NDArray[np.float32], drift: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return white `noise` (..., A) of which COMMON_SHARE of the variance is the `drift` (A,): standard normal, too."""
    return np.asarray(math.sqrt(COMMON_SHARE) * drift + math.sqrt(1.0 - COMMON_SHARE) * noise, np.float32)
