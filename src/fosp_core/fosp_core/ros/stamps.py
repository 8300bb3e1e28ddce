"""Conversion between builtin_interfaces/Time and seconds or nanoseconds."""

from __future__ import annotations

from builtin_interfaces.msg import Time


def seconds(stamp: Time) -> float:
    """Return a stamp in s, which float64 holds to about 0.2 us at today's epoch."""
    return stamp.sec + stamp.nanosec * 1e-9


def nanoseconds(stamp: Time) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def time_message(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
