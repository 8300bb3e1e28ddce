"""The Cartesian velocity controller of the simulated arm: a reference that the tool tip follows."""

from __future__ import annotations

from collections.abc import Sequence

LEASH = 0.015
"""m that the reference may run ahead of the tip: how hard the tool presses when something blocks it."""
GUARD = 0.02
"""m beyond the workspace at which the robot itself refuses to go on."""


def advanced(
    reference: Sequence[float],
    tip: Sequence[float],
    velocity: Sequence[float],
    dt: float,
    lower: Sequence[float],
    upper: Sequence[float],
) -> list[float]:
    """The reference (3,) m after `dt` s of `velocity` (3,) m/s: within LEASH of the measured `tip`, and the box."""
    moved = []
    for at, there, speed, low, high in zip(reference, tip, velocity, lower, upper, strict=True):
        moved.append(min(max(at + speed * dt, low, there - LEASH), min(high, there + LEASH)))
    return moved
