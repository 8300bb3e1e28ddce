"""Episodes in which the robot hangs: it stays where it is, or goes to and fro, and gets no further."""

from __future__ import annotations

import math
from collections.abc import Sequence

HANGING_S = 2.0
"""Time over which the motion of the robot is measured, s."""
HANGING_M = 0.025
"""A robot hangs whose commanded point is less than this from where it was HANGING_S before, m."""
HANGING_RAD = math.radians(10.0)
"""A base that turns by more than this in HANGING_S does not hang, rad."""

Pose = tuple[float, float, float, float]
"""Position x, y, z in m and heading in rad (0 for an arm)."""


def hangs_from(poses: Sequence[tuple[int, Pose]], window: int) -> int | None:
    """Return the first period at which the robot has hung for `window` decision periods, or None.

    `poses` holds (decision period, pose) in order of the periods. A pose counts with the last one that is at least
    `window` periods older, so a lost pose makes an episode no more hanging than it is.
    """
    oldest = 0
    for period, pose in poses:
        while oldest + 1 < len(poses) and poses[oldest + 1][0] <= period - window:
            oldest += 1
        before, earlier = poses[oldest]
        if before <= period - window and _is_near(pose, earlier):
            return period
    return None


def _is_near(pose: Pose, earlier: Pose) -> bool:
    turned = math.remainder(pose[3] - earlier[3], 2.0 * math.pi)
    return math.dist(pose[:3], earlier[:3]) < HANGING_M and abs(turned) < HANGING_RAD
