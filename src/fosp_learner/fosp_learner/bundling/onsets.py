"""Onsets of violations: which steps lead to one, and at which of them a veto is still in time.

Calibration, gate, probes and evaluation share these definitions. A step t is the transition from row t to row t + 1 of
an episode, its cost is the one that arrives at its end, and a violation is a cost above 0. The onset is the first step
of an episode with a violation and none on the step before it. Steps after it tell nothing of foresight: a critic that
sees a contact sees it there. An episode that begins in a violation has no onset until it has come out of that one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float32] | Sequence[float]


def first_onset(cost: Costs) -> int | None:
    """Return the step at which the first violation begins, or None without one; `cost` is (N,)."""
    return next((step for step in range(1, len(cost)) if cost[step] > 0 and not cost[step - 1] > 0), None)


def last_chance(onset: int, horizon: int) -> int:
    """Return the last step at which a veto still prevents the violation that begins at step `onset`.

    `horizon` is the number of decisions that the robot needs from a picture to its rest
    (fosp_core.robot.horizon.needed_horizon_steps). An episode that begins later than that has its first step instead.
    """
    return max(onset - horizon + 1, 0)


def precedes_onset(cost: Costs, horizon: int) -> NDArray[np.bool_]:
    """Return the steps from the last chance to the onset, both included: (N,) -> (N,), all false without an onset."""
    result = np.zeros(len(cost), np.bool_)
    onset = first_onset(cost)
    if onset is not None:
        result[last_chance(onset, horizon) : onset + 1] = True
    return result


def precedes_violation(cost: Costs, horizon: int) -> NDArray[np.bool_]:
    """Return the steps that any violation follows within `horizon` steps, their own included: (N,) -> (N,)."""
    violation = np.asarray(cost) > 0
    result = np.zeros(len(violation), np.bool_)
    for ahead in range(min(horizon, len(violation))):
        result[: len(violation) - ahead] |= violation[ahead:]
    return result
