"""Findings of the checks, and the verdict that is published on a proposal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan

from fosp_core.decisions import Decision, Reason, WhoDrives

GATES_IN_SHADOW = frozenset(
    {
        Reason.NOT_READY,
        Reason.DEADLINE,
        Reason.NOT_FINITE,
        Reason.WRONG_SHAPE,
        Reason.STALE_ROBOT_STATE,
        Reason.ESTOP,
        Reason.FOREIGN_COMMAND,
        Reason.FOREIGN_INPUT,
        Reason.HELD_UP,
        Reason.NOT_FOLLOWING,
        Reason.MOTION,
        Reason.OUTSIDE_WORKSPACE,
        Reason.NOT_ENGAGED,
        Reason.NO_EPISODE,
        Reason.ROBOT_NOT_READY,
        Reason.FORCE,
        Reason.SELF_TEST,
        Reason.PROTECTIVE_ZONE,
        Reason.TAKEN_OVER,
        Reason.OPERATOR_SILENT,
        Reason.JOINT_LIMIT,
        Reason.SINGULARITY,
        Reason.COLLISION,
        Reason.ORIENTATION_LIMIT,
        Reason.JOINT_STATES,
    }
)
"""Reasons that stop the robot in shadow mode, too: there is no action to send, no pose to hold the workspace by, a
person wants a stop, has not consented or has the robot, another node sends commands or inputs, the robot does not obey
or touches something, something is near it, an arm is near a limit of its own, or this computer errs. Judgements of
models and ages do not."""


@dataclass(frozen=True)
class Finding:
    """The outcome of a check that did not pass: the decision it asks for, and the cause in words with the numbers."""

    decision: Decision
    reason: Reason
    text: str


PASSED = Finding(Decision.PASS, Reason.OK, "every check holds")


def most_restrictive(findings: Iterable[Finding | None]) -> Finding:
    """Return the finding with the most restrictive decision, the first of equals; PASSED when there is none."""
    return max((finding for finding in findings if finding is not None), key=lambda f: f.decision, default=PASSED)


@dataclass(frozen=True)
class FrameStamp:
    """Stamp and frame id of the camera frame that an input descends from."""

    stamp_ns: int
    """Header stamp, ROS clock, in whole nanoseconds because it identifies the frame along the chain."""
    frame_id: str = ""

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns * 1e-9


@dataclass(frozen=True)
class Verdict:
    """The answer to a proposal or to its absence, field by field a fosp_msgs/SafetyVerdict; NaN: not evaluated."""

    decision: Decision
    reason: Reason
    reason_text: str
    frame: FrameStamp
    step: int
    model_id: str
    action_in: tuple[float, ...]
    """Proposed action, normalised; empty when there was none."""
    action_out: tuple[float, ...]
    """Target sent towards the robot, normalised; zero for STOP and LATCH."""
    candidate: int
    """Index of the candidate that is executed (PASS, SUBSTITUTE, RECOVER)."""
    decided_s: float
    """Time of the decision, ROS clock."""
    eps: float
    surprise_limit: float
    image_age_limit_s: float
    robot_state_age_limit_s: float
    source: WhoDrives = WhoDrives.UNKNOWN
    """Who drives."""
    shadow: bool = False
    """Shadow mode: nothing is gated, `action_out` is the proposed action."""
    speed_scale: float = 0.0
    """Factor of the candidate's speed; 0 when none is executed."""
    limited: bool = False
    """The hard limits changed the command since the last verdict."""
    q_h: float = nan
    """Risk of the proposed action, by the monitor's own critic."""
    q_h_out: float = nan
    """Risk of the executed candidate."""
    v_h: float = nan
    surprise: float = nan
    image_age_s: float = nan
    robot_state_age_s: float = nan
    decision_s: float = nan
    """Time from receipt of the proposal to the verdict."""
