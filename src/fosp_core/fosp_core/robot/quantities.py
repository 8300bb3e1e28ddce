"""Lengths and angles of the robot file: numbers that are plausible in m and rad, and not in mm or degrees.

A number in the wrong unit is else taken without a word: a box that is to be kept out of is then far away, a wall of
the workspace never reached, and a sensor looks elsewhere.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator

FARTHEST_M = 20.0
"""Distance within which everything is that an arm and its sensors have to do with."""
WHOLE_TURN = 2 * math.pi + 0.01
"""Largest roll, pitch or yaw, rad: one that is written in few digits may be a little more than a whole turn."""


def metres(value: float) -> float:
    """Return a length or coordinate, m; ValueError when it is none of an arm or of a sensor on a robot."""
    if abs(value) > FARTHEST_M:
        raise ValueError(f"{value:g} m is more than {FARTHEST_M:g} m: lengths are in m, not in mm")
    return value


def radians_of_turn(value: float) -> float:
    """Return a roll, pitch or yaw, rad; ValueError when it is more than a whole turn."""
    if abs(value) > WHOLE_TURN:
        raise ValueError(
            f"{value:g} rad is more than a whole turn: angles are in rad ({value:g} degrees are "
            f"{math.radians(value):.4g} rad)"
        )
    return value


Metres = Annotated[float, AfterValidator(metres)]
Radians = Annotated[float, AfterValidator(radians_of_turn)]
Place = tuple[Metres, Metres, Metres]
"""Coordinates or extents, m."""
RollPitchYaw = tuple[Radians, Radians, Radians]
"""Roll, pitch and yaw about fixed axes, rad."""
