"""The risk of an action, of which eps is the threshold: what the critic says, and how far its heads disagree.

Calibration, policy, safety monitor and the comparison of judges all take it from here, so that no threshold is ever
compared with another quantity than the one that it was calibrated for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def judged_risk(outputs: Mapping[str, NDArray[Any]], spread_weight: float | None) -> NDArray[np.float32]:
    """Return min(1, q_h + k * q_h_spread) of critic outputs, of their shape; q_h where k, `spread_weight`, is None.

    A q_h above 1 stays as it is, and a spread below 0 or one that is not a number gives NaN: both are faults of the
    critic, which no check may miss, and neither is feasible. Raise KeyError without the spread.
    """
    q_h: NDArray[np.float32] = np.asarray(outputs["q_h"], np.float32)
    if spread_weight is None:
        return q_h
    spread = np.asarray(outputs["q_h_spread"], np.float32)
    added = np.maximum(q_h, np.minimum(q_h + np.float32(spread_weight) * spread, np.float32(1)))
    return np.where(spread >= 0, added, np.float32(np.nan))
