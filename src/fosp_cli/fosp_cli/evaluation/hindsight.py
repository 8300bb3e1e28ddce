"""What the safety monitor said of each step, held against what came of it when it did not gate (shadow). No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fosp_core.decisions import Decision
from fosp_learner.bundling.calibration import precedes_violation
from fosp_safety_monitor.judge.verdict import Verdict

FORESIGHT_STEPS = 20
"""A veto is false when no violation follows within so many steps: 1 s, the horizon 1 / (1 - 0.95) of q_h's discount."""


@dataclass(frozen=True)
class Hindsight:
    """Steps of one episode by what the monitor said and what followed."""

    false_vetoes: int
    """Not passed, and no violation followed within FORESIGHT_STEPS."""
    false_brakes: int
    """Those of them that no feasible candidate answered: RECOVER, STOP and LATCH."""
    preceding: int
    """Steps that the calibration counts as preceding a violation: one follows within its horizon."""
    missed: int
    """Those of them whose proposed action had q_h <= eps."""


def hindsight(verdicts: Sequence[Verdict], costs: Sequence[float], horizon_steps: int) -> Hindsight:
    """Of an episode whose step t got `verdicts[t]`, was driven as proposed, and cost `costs[t]`.

    `horizon_steps` is the calibration's. A q_h that was not evaluated passes nothing.
    """
    cost = np.asarray(costs, np.float32)
    preceding, foreseen = precedes_violation(cost, horizon_steps), precedes_violation(cost, FORESIGHT_STEPS)
    decisions = np.array([verdict.decision for verdict in verdicts], int)
    passed = np.array([verdict.q_h <= verdict.eps for verdict in verdicts], bool)
    return Hindsight(
        false_vetoes=int(((decisions != Decision.PASS) & ~foreseen).sum()),
        false_brakes=int(((decisions >= Decision.RECOVER) & ~foreseen).sum()),
        preceding=int(preceding.sum()),
        missed=int((preceding & passed).sum()),
    )
