"""The way of one robot to the home pose of its file: how far it is, whether an action can go it, how fast. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.robot.config import RobotConfig
from fosp_core.robot.home import HomeConfig, way_home
from fosp_core.specs import TWIST_COMPONENTS

HIGHEST_GAIN = 1.0
"""Speed for each unit of distance, 1/s, at which the robot comes to its home."""
GAIN_BY_LAG = 0.3
"""The same for each second by which the robot follows late: it must not swing about its home."""
_FIRST_ANGULAR = 3


@dataclass(frozen=True)
class HomeDrive:
    """The home pose of one robot, and what its action can do about the way there."""

    home: HomeConfig
    places: tuple[int, ...]
    """Component, 0 to 5, that each axis of the action moves."""
    scale: tuple[float, ...]
    """m/s and rad/s at the normalised action 1."""
    gain: float
    """1/s."""

    @classmethod
    def of(cls, robot: RobotConfig) -> HomeDrive | None:
        """Return the drive of a robot; None for one without a home."""
        if robot.home is None:
            return None
        places = tuple(TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes)
        gain = min(HIGHEST_GAIN, GAIN_BY_LAG / (robot.response_s + robot.dead_time_s))
        return cls(robot.home, places, robot.action.scale, gain)

    def left(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> tuple[float, float]:
        """Return the distance, m, and the angle, rad, to the home pose; ValueError as in `way_home`."""
        way, turn = way_home(self.home, position, orientation)
        return math.hypot(*way), math.hypot(*turn)

    def arrived(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> bool:
        """Return whether the robot is at home."""
        distance, angle = self.left(position, orientation)
        return distance <= self.home.tolerance_m and angle <= self.home.tolerance_rad

    def unreachable(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> str:
        """Return which part of the way no axis of the action can go; an empty text when there is none."""
        way, turn = way_home(self.home, position, orientation)
        allowed = (*[self.home.tolerance_m] * 3, *[self.home.tolerance_rad] * 3)
        for place, (left, most) in enumerate(zip((*way, *turn), allowed, strict=True)):
            if place not in self.places and abs(left) > most:
                unit = "m" if place < _FIRST_ANGULAR else "rad"
                return f"home is {abs(left):.3f} {unit} away along {TWIST_COMPONENTS[place]}, which the action lacks"
        return ""

    def wish(
        self, position: tuple[float, float, float], orientation: tuple[float, float, float, float] | None
    ) -> tuple[float, ...]:
        """Return the normalised action (n,) straight towards home: no faster than its `speed`, slower near the end."""
        way = [part for vector in way_home(self.home, position, orientation) for part in vector]
        wanted = [self.gain * way[place] / scale for place, scale in zip(self.places, self.scale, strict=True)]
        for group in (range(_FIRST_ANGULAR), range(_FIRST_ANGULAR, 6)):
            axes = [i for i, place in enumerate(self.places) if place in group]
            largest = max((abs(wanted[i]) for i in axes), default=0.0)
            if largest > self.home.speed:
                for i in axes:
                    wanted[i] *= self.home.speed / largest
        return tuple(wanted)
