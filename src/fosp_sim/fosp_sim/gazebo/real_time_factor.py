"""How fast Gazebo's clock runs: simulated seconds per second of the machine's monotonic clock."""

from __future__ import annotations

from collections import deque

from fosp_core.errors import UserError

LEAST_FACTOR = 0.5
"""Below this the safety monitor stops the robot again and again: its inputs may be 100 ms old on the monotonic clock,
and decisions come every 50 ms of simulated time."""
WINDOW_S = 3.0
"""Time over which the factor is measured, s of the monotonic clock."""
FIRST_S = 1.0
"""The factor is known once the clock has been heard for this long, s of the monotonic clock."""


class RealTimeFactor:
    """The factor over the last WINDOW_S. Monotonic times are given by the caller, in s."""

    def __init__(self) -> None:
        self._heard: deque[tuple[float, float]] = deque()

    def clock(self, simulated_s: float, now_s: float) -> None:
        """Take a message of the clock. A clock that goes back begins anew."""
        if self._heard and simulated_s < self._heard[-1][1]:
            self._heard.clear()
        self._heard.append((now_s, simulated_s))
        self._forget(now_s)

    def value(self, now_s: float) -> float | None:
        """Return the factor, or None while it is not known. It falls towards 0 while the clock is silent."""
        self._forget(now_s)
        if not self._heard or now_s - self._heard[0][0] < FIRST_S:
            return None
        return (self._heard[-1][1] - self._heard[0][1]) / (now_s - self._heard[0][0])

    def _forget(self, now_s: float) -> None:
        while len(self._heard) > 1 and self._heard[1][0] <= now_s - WINDOW_S:
            self._heard.popleft()


def too_slow_because(factor: float | None) -> str:
    """Return why no robot may move at this factor, in one line; empty when it may."""
    if factor is None:
        return f"Gazebo's clock has not yet run for {FIRST_S:g} s, so its speed is not known"
    if factor >= LEAST_FACTOR:
        return ""
    return (
        f"Gazebo runs at {factor:.2f} of real time, and the safety monitor needs at least {LEAST_FACTOR:g}: "
        "take a machine with faster cores or with a GPU, and close Gazebo's window"
    )


def require_fast_enough(factor: float | None) -> None:
    """Raise UserError, with the factor, when Gazebo is too slow or its speed is not known."""
    because = too_slow_because(factor)
    if because:
        raise UserError(because)
