"""One drawn scene: where the robot starts, the goal and the obstacles. Plain geometry, no physics, no rendering.

Positions are in the world frame, m; for the arm that is base_link. Obstacles stand on the ground.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_sim.task.scenario import Color, Shape, Task

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
    """Half-width of a box, radius of a cylinder or sphere, m."""
    height: float
    color: Color
    motion: str = "static"
    speed: float = 0.0
    """m/s."""
    direction: float = 0.0
    """Of a linear motion, rad; phase of a circular one."""
    travel: float = 0.0
    """Half the length of a linear path, or the radius of a circular one, m."""

    @property
    def reach(self) -> float:
        """Radius of the circle around the footprint, m."""
        return self.half * math.sqrt(2) if self.shape == "box" else self.half

    def position(self, time: float) -> tuple[float, float]:
        """Centre of the footprint `time` s into the episode; (x, y) at 0 s."""
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
        """Distance (N,) m of points (N, 2) from the footprint at `time`; negative inside."""
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
    """Reached when the commanded point is within `radius` plus the task's tolerance of (x, y, z)."""

    x: float
    y: float
    z: float
    radius: float
    shape: Shape
    color: Color


@dataclass(frozen=True)
class Scene:
    """What one episode starts from."""

    task: Task
    episode: int
    start: tuple[float, float, float]
    """Tool tip of the arm, or centre of the base on the ground, m."""
    heading: float
    """Of the base, rad; 0 for the arm."""
    goal: Goal
    obstacles: tuple[Obstacle, ...]

    def clearance(self, points: Points, time: float = 0.0) -> NDArray[np.float64]:
        """Distance (N,) m of points (N, 2) from the nearest footprint; infinite without obstacles."""
        return clearance(self.obstacles, points, time)

    def digest(self) -> str:
        """sha256 over every number rounded to 1e-6: equal on every machine for the same seed."""
        return hashlib.sha256(repr(_rounded(astuple(self))).encode()).hexdigest()


def clearance(obstacles: Sequence[Obstacle], points: Points, time: float = 0.0) -> NDArray[np.float64]:
    """Distance (N,) m of points (N, 2) from the nearest footprint; infinite without obstacles."""
    nearest = np.full(len(points), np.inf)
    for obstacle in obstacles:
        nearest = np.minimum(nearest, obstacle.clearance(points, time))
    return nearest


def _rounded(value: object) -> object:
    if isinstance(value, tuple | list):
        return tuple(_rounded(v) for v in value)
    return round(value, 6) + 0.0 if isinstance(value, float) else value
