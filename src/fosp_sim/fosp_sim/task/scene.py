"""One drawn scene: the robot's start, the goal and the obstacles, as plain geometry without physics or rendering.

Positions are in the world frame, m; for the arm that is base_link. Obstacles stand on the ground.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MAX_OBSTACLES = 8
"""Number of obstacle slots in the compiled MuJoCo models."""

Shape = Literal["box", "cylinder", "sphere"]
SHAPES: tuple[Shape, ...] = ("box", "cylinder", "sphere")
Color = tuple[float, float, float]
"""RGB, each from 0 to 1."""
Position = tuple[float, float, float]
"""m."""
Points = NDArray[np.float64]
"""(N, 2) m on the ground."""


@dataclass(frozen=True)
class Obstacle:
    """A column: a box or cylinder from the ground to `height`, or a sphere on a post with its top at `height`."""

    shape: Shape
    x: float
    y: float
    yaw: float
    half: float
    """Half-width of a box, or radius of a cylinder or sphere, m."""
    height: float
    color: Color
    motion: str = "static"
    speed: float = 0.0
    """m/s."""
    direction: float = 0.0
    """Direction of a linear motion, or initial phase of a circular one, rad."""
    travel: float = 0.0
    """Half the length of a linear path, or radius of a circular one, m."""

    @property
    def reach(self) -> float:
        """Return the radius of the circle around the footprint, m."""
        return self.half * math.sqrt(2) if self.shape == "box" else self.half

    def position(self, time: float) -> tuple[float, float]:
        """Return the centre (x, y) m of the footprint `time` s into the episode."""
        if self.motion == "linear" and self.travel > 0:
            phase = (self.speed * time / self.travel + 1.0) % 4.0
            offset = self.travel * (phase - 1.0 if phase < 2.0 else 3.0 - phase)
            return self.x + offset * math.cos(self.direction), self.y + offset * math.sin(self.direction)
        if self.motion == "circular" and self.travel > 0:
            angle = self.direction + self.speed * time / self.travel
            return (
                self.x + self.travel * (math.cos(angle) - math.cos(self.direction)),
                self.y + self.travel * (math.sin(angle) - math.sin(self.direction)),
            )
        return self.x, self.y

    def clearance(self, points: Points, time: float = 0.0) -> NDArray[np.float64]:
        """Return the distances (N,) m of points (N, 2) from the footprint at `time` s; they are negative inside."""
        x, y = self.position(time)
        dx, dy = points[:, 0] - x, points[:, 1] - y
        if self.shape != "box":
            return np.asarray(np.hypot(dx, dy) - self.half)
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        outside_x = np.abs(c * dx + s * dy) - self.half
        outside_y = np.abs(c * dy - s * dx) - self.half
        outside = np.hypot(np.maximum(outside_x, 0), np.maximum(outside_y, 0))
        return np.asarray(outside + np.minimum(np.maximum(outside_x, outside_y), 0))


@dataclass(frozen=True)
class Goal:
    """The goal, reached when the commanded point is within `radius` plus the task's tolerance of (x, y, z) m."""

    x: float
    y: float
    z: float
    radius: float
    shape: Shape
    color: Color

    @property
    def position(self) -> Position:
        """Return the centre (x, y, z) m."""
        return self.x, self.y, self.z


@dataclass(frozen=True)
class Scene:
    """The initial state of one episode."""

    task: str
    """Name in the registry of tasks."""
    episode: int
    start: Position
    """Tool tip of the arm, or centre of the base on the ground, m."""
    heading: float
    """Heading of the base, rad; 0 for the arm."""
    goal: Goal
    obstacles: tuple[Obstacle, ...]

    def clearance(self, points: Points, time: float = 0.0) -> NDArray[np.float64]:
        """Return the distances (N,) m of points (N, 2) from the nearest footprint; infinite without obstacles."""
        nearest = np.full(len(points), np.inf)
        for obstacle in self.obstacles:
            nearest = np.minimum(nearest, obstacle.clearance(points, time))
        return nearest

    def digest(self) -> str:
        """Return the sha256 over all numbers rounded to 1e-6, which is the same on every machine for the same seed."""
        return hashlib.sha256(repr(_rounded(astuple(self))).encode()).hexdigest()


def _rounded(value: object) -> object:
    if isinstance(value, tuple | list):
        return tuple(_rounded(v) for v in value)
    return round(value, 6) + 0.0 if isinstance(value, float) else value
