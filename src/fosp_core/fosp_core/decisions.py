"""Decisions of the safety monitor and their reasons, with the values of the constants of fosp_msgs/SafetyVerdict."""

from __future__ import annotations

from enum import IntEnum


class Decision(IntEnum):
    """Decision on a proposal, from least to most restrictive; the most restrictive that applies wins."""

    PASS = 0
    SUBSTITUTE = 1
    RECOVER = 2
    STOP = 3
    LATCH = 4


class Reason(IntEnum):
    """Reason for a decision (REASON_ constants)."""

    OK = 0
    INFEASIBLE = 1
    NO_FEASIBLE = 2
    STALE_IMAGE = 3
    STALE_LATENT = 4
    STALE_ROBOT_STATE = 5
    DEADLINE = 6
    NOT_FINITE = 7
    WRONG_SHAPE = 8
    MODEL_ID = 9
    CRITIC_RANGE = 10
    SURPRISE = 11
    VETOES = 12
    ESTOP = 13
    NOT_READY = 14
    STALE_TOO_LONG = 15
    ORDER = 16
    SLOW_DOWN = 17
    IMAGE = 18
    CLOCK = 19
    FOREIGN_COMMAND = 20
    NODE_RESTARTED = 21
    HELD_UP = 22
    NOT_FOLLOWING = 23
    MOTION = 24
    OUTSIDE_WORKSPACE = 25
    NOT_ENGAGED = 27
    NO_EPISODE = 28
    ROBOT_NOT_READY = 29
    FORCE = 30
    FOREIGN_INPUT = 31
    SELF_TEST = 32
    CAMERA = 26
    PROTECTIVE_ZONE = 33
    TAKEN_OVER = 34
    OPERATOR_SILENT = 35
    JOINT_LIMIT = 40
    SINGULARITY = 41
    COLLISION = 42
    ORIENTATION_LIMIT = 43
    JOINT_STATES = 44


class WhoDrives(IntEnum):
    """Who drives (SOURCE_ constants): whose action was judged."""

    UNKNOWN = 0
    NOBODY = 1
    POLICY = 2
    OPERATOR = 3


STALENESS = frozenset(
    {
        Reason.STALE_IMAGE,
        Reason.STALE_LATENT,
        Reason.STALE_ROBOT_STATE,
        Reason.DEADLINE,
        Reason.OPERATOR_SILENT,
    }
)
"""Reasons that latch when they last, because a source of data fell silent."""

RISK = frozenset({Reason.INFEASIBLE, Reason.NO_FEASIBLE, Reason.CRITIC_RANGE, Reason.SURPRISE, Reason.VETOES})
"""Reasons that veto a proposal for the risk of its action; too many of them in a row latch."""

MOVES_ANYWAY = frozenset({Reason.MOTION, Reason.OUTSIDE_WORKSPACE})
"""Reasons that tell of the robot's own motion, which a latch does not end: they are told beside its cause."""
