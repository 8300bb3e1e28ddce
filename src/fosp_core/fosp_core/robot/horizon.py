"""How far ahead the reachability critic must see a risk: the time from a picture until a stopped robot stands still."""

from __future__ import annotations

import math

from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Calibration

LATENCY_S = 0.02
"""Time from the stamp of a picture to the command that follows from it, s, as granted here.

`fosp bench` measures less at the 99th percentile.
"""
SETTLED = 3.0
"""Number of time constants after which a first-order lag has come to 95 % of its end."""
BRAKED = math.log(2.0)
"""Number of time constants after which a first-order lag at full speed stands under the full opposite action."""


def stopping_s(robot: RobotConfig) -> float:
    """Return the time in s from a stop command, at the speed of the normalised action 1, until the robot stands still.

    It is the dead time, the settling of the first-order lag, and the braking time of the slowest axis. A simulated
    robot that coasts is not brought to rest by a stop, but by the action against its motion, which the critic knows and
    the policy proposes: for it the time until it stands under that action counts. What lies further ahead depends on
    how the robot is driven later, and no critic tells it (docs/results/simulation.md).
    """
    settled = BRAKED if robot.coasts else SETTLED
    braking_s = max(robot.limits[axis.name].stopping_time(axis.scale) for axis in robot.action.axes)
    return robot.dead_time_s + settled * robot.response_s + braking_s


def needed_horizon_s(robot: RobotConfig, decision_period_s: float) -> float:
    """Return the least time in s before a violation at which a veto still prevents it.

    A risk that appears just after a picture was taken shows in the next one, a decision period later.
    """
    return LATENCY_S + decision_period_s + stopping_s(robot)


def needed_horizon_steps(robot: RobotConfig, decision_period_s: float) -> int:
    """Return `needed_horizon_s` in whole decisions, rounded up."""
    return math.ceil(needed_horizon_s(robot, decision_period_s) / decision_period_s - 1e-9)


def short_horizon(calibration: Calibration, robot: RobotConfig, decision_period_s: float) -> str:
    """Return a warning when the calibration looks less far ahead than the robot needs to stop, else an empty string."""
    needed, calibrated = needed_horizon_steps(robot, decision_period_s), calibration.horizon_steps
    if calibrated >= needed:
        return ""
    return (
        f"the bundle's miss rate is calibrated for risks within {calibrated} steps "
        f"({calibrated * decision_period_s:g} s), but '{robot.name}' takes {needed} steps "
        f"({needed_horizon_s(robot, decision_period_s):.2f} s) from a picture to its rest: calibrate it anew "
        "(docs/hazards.md)"
    )
