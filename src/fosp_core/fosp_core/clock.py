"""Staleness arithmetic: how old a message is, by its stamp and by its receipt, and when that is too old."""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT_GAP_S = 0.5
"""Default of the parameter `heartbeat_gap_s`: a silence of a node's heartbeats from which on it counts as gone."""
HEARTBEAT_GAP_BOUNDS_S = (0.2, 5.0)
"""Smallest and largest value of `heartbeat_gap_s`."""
FUTURE_TOLERANCE_S = 0.01
"""A stamp further ahead of the clock than this counts as stale: clocks of one machine do not differ by more."""


@dataclass(frozen=True)
class Received:
    """When a message was stamped by its source and received here, both in seconds."""

    stamp_s: float
    """Header stamp, on the ROS clock."""
    receipt_s: float
    """Monotonic clock."""


@dataclass(frozen=True)
class Now:
    """One instant on both clocks, in seconds."""

    ros_s: float
    monotonic_s: float


@dataclass(frozen=True)
class Age:
    """Age of a message. `stale_because` is empty when it is fresh."""

    by_stamp_s: float
    by_receipt_s: float
    stale_because: str


def age(received: Received | None, now: Now, limit_s: float, receipt_limit_s: float | None = None) -> Age:
    """Age at `now`, and whether either clock says it is over its limit. Missing, future and NaN are stale.

    `receipt_limit_s` defaults to `limit_s`. A zero stamp is as old as the clock says.
    """
    if received is None:
        return Age(float("inf"), float("inf"), "never received")
    by_stamp = now.ros_s - received.stamp_s
    by_receipt = now.monotonic_s - received.receipt_s
    receipt_limit = limit_s if receipt_limit_s is None else receipt_limit_s
    because = ""
    if not by_stamp >= -FUTURE_TOLERANCE_S:
        because = f"stamped {-by_stamp * 1e3:.0f} ms in the future"
    elif not by_stamp <= limit_s:
        because = f"{by_stamp * 1e3:.0f} ms old by its stamp, limit {limit_s * 1e3:.0f} ms"
    elif not 0.0 <= by_receipt <= receipt_limit:
        because = f"received {by_receipt * 1e3:.0f} ms ago, limit {receipt_limit * 1e3:.0f} ms"
    return Age(by_stamp, by_receipt, because)
