"""The share of a velocity by which an arm stays within all its limits: pure mathematics, without robots and messages.

A limit is a room h(q), rad, m or a plain number, that must not become negative. Its change per unit of each axis of the
action is a row. So positions of joints, distances and angles are all judged alike: the share is scaled down so that the
arm comes to rest where the room ends, and a motion that takes no room is always allowed, though slowly where there is
none. The share scales the whole velocity, so that its direction stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
LEAST_SHARE = 0.05
"""A share of the speed below this is a stop: the arm would only creep up to its limit."""
LEAVING_SHARE = 0.25
"""Share of the speed at which an arm may move away from a limit that it has reached."""
_TINY = 1e-6
_MEASURED_STILL = 0.03
"""Measured rate of a room, per second, below which it is noise."""


@dataclass(frozen=True, eq=False)
class Travel:
    """A velocity of the action's axes, and how far each of them moves until rest, bounded from above."""

    velocity: Vector
    """(A,) m/s and rad/s."""
    way: Vector
    """(A,) m and rad, with the sign of the velocity: while it brakes, each axis in its own time."""
    reaction_s: float = 0.0
    """Time, s, before it brakes, in which all axes move on together."""
    time_s: float = 0.0
    """Time until rest, s."""


@dataclass(frozen=True, eq=False)
class Rooms:
    """Limits of one kind (m,) at one moment, and how each axis of the action changes them."""

    values: Vector
    """(m,) room that is left; negative beyond the limit."""
    rows: Vector
    """(m, A) change of each room per unit of each axis."""
    slack: Vector
    """(m,) what lies behind the limit before harm is done: a braking robot may use it, a wanted motion may not."""
    drift: Vector
    """(m,) measured change of each room, per second; zero where nothing is measured."""
    tell: Callable[[int], str] = str
    """Returns a limit, by its index, and how much of it is left, in words."""
    only_back: bool = False
    """Beyond the slack only a motion that gives room back is allowed, and not one that leaves the room as it is."""

    @classmethod
    def none(cls, axes: int) -> Rooms:
        """Return no limit at all, for an action of `axes` axes."""
        empty = np.zeros(0)
        return cls(empty, np.zeros((0, axes)), empty, empty)


@dataclass(frozen=True)
class Share:
    """The share of the speed that one kind of limit leaves, and which of them decides."""

    value: float = 1.0
    index: int = -1
    """Index of the limit that decides; -1: none."""
    why: str = ""


def share_of_rooms(rooms: Rooms, wanted: Travel, told: Travel) -> Share:
    """Return the share of the velocity `wanted` that keeps every room, while `told` is the command in force.

    A room shrinks by what the axes take of it together while they react, and at most by what each of them takes while
    it brakes in its own time. Where
    the command in force, or the measured motion, leads beyond the slack, nothing is left: only braking helps.
    """
    if not len(rooms.values):
        return Share()
    left, loss = np.maximum(rooms.values, 0.0), _loss(rooms.rows, wanted)
    shares = np.where(loss > left, left / np.maximum(loss, _TINY), 1.0)
    approaching = rooms.rows @ wanted.velocity < -_TINY
    away = np.where(rooms.values > 0.0, np.maximum(shares, LEAVING_SHARE), LEAVING_SHARE)
    shares = np.where(approaching, shares, away) if wanted.velocity.any() else np.ones(len(rooms.values))

    behind = rooms.values + rooms.slack
    carried = (rooms.rows @ told.velocity < -_TINY) & (behind < _loss(rooms.rows, told))
    drifting = (rooms.drift < -_MEASURED_STILL) & (behind + rooms.drift * told.time_s < 0.0)
    shares[carried | drifting] = 0.0
    if rooms.only_back and wanted.velocity.any():
        shares[(behind < 0.0) & (rooms.rows @ wanted.velocity <= _TINY)] = 0.0

    index = int(shares.argmin())
    value = float(shares[index])
    if value >= 1.0:
        return Share()
    why = " and the arm is moving on" if drifting[index] or carried[index] else ""
    return Share(value if value >= LEAST_SHARE else 0.0, index, why)


def _loss(rows: Vector, travel: Travel) -> Vector:
    """Return how much of each room (m,) a travel can take, whatever axis comes to rest first."""
    braking: Vector = np.minimum(rows * travel.way, 0.0).sum(axis=1)
    return -travel.reaction_s * np.minimum(rows @ travel.velocity, 0.0) - braking


def share_of_speeds(motion: Vector, limits: Vector) -> Share:
    """Return the share at which no joint exceeds its limit: `motion` and `limits` (n,) rad/s or m/s, all limits > 0."""
    with np.errstate(divide="ignore"):
        shares = limits / np.maximum(np.abs(motion), 1e-12)
    index = int(shares.argmin()) if len(shares) else -1
    if index < 0 or shares[index] >= 1.0:
        return Share()
    return Share(float(shares[index]), index)


def singularity_share(number: float, rate: float, lower: float, hard_stop: float, leaving_multiplier: float) -> float:
    """Return the share near a singularity, by the Jacobian's condition `number` and its relative `rate` per second.

    This is MoveIt Servo's: 1 up to `lower`, in a line to 0 at `hard_stop` for a motion towards the singularity, and
    less steep by `leaving_multiplier` for one away from it. Beyond `hard_stop`, where Servo stands whatever is wanted,
    the arm may leave.
    """
    if number <= lower:
        return 1.0
    beyond = (number - lower) / (hard_stop - lower)
    if rate < 0.0:
        return max(1.0 - beyond / leaving_multiplier, LEAVING_SHARE)
    share = max(1.0 - beyond, 0.0)
    return share if share >= LEAST_SHARE else 0.0
