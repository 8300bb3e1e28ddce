"""Age of messages, by their stamp and by their receipt, and when they are stale."""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT_GAP_S = 0.5
"""Default of the parameter `heartbeat_gap_s`: a silence of a node's heartbeats from which on it counts as gone."""
HEARTBEAT_GAP_BOUNDS_S = (0.2, 5.0)
"""Smallest and largest value of `heartbeat_gap_s`."""
FUTURE_TOLERANCE_S = 0.01
"""A message whose stamp is further ahead of the clock is stale: the clocks of one machine do not differ by more."""


@dataclass(frozen=True)
class Received:
    """The times at which a message was stamped by its source and received here, in s."""

    stamp_s: float
    """Stamp of the header, on the ROS clock."""
    receipt_s: float
    """Time of the receipt, on the monotonic clock."""


@dataclass(frozen=True)
class Now:
    """One instant on the ROS clock and on the monotonic clock, in s."""

    ros_s: float
    monotonic_s: float


@dataclass(frozen=True)
class Age:
    """Verdict on the age of a message."""

    stale_because: str
    """Reason why the message is stale, with the numbers; empty when it is fresh."""


def age(received: Received | None, now: Now, limit_s: float, receipt_limit_s: float | None = None) -> Age:
    """Judge the age at `now` by both clocks, each against its limit in s; `receipt_limit_s` defaults to `limit_s`.

    A missing message is stale, and so are future and NaN stamps. A zero stamp is as old as the clock says.
    """
    if received is None:
        return Age("never received")
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
    return Age(because)
