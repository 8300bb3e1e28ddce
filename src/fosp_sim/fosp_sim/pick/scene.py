"""Draws the scenes of safe_pick: where the object lies, where the tray is, and the low obstacles between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fosp_core.errors import UserError
from fosp_sim.task.scene import Goal, Obstacle, Position, Scene, Shape

OBJECT_HALF = (0.025, 0.025, 0.03)
"""Half the size of the object, m: across the fingers' faces, between the fingers, and in height."""
TRAY_HEIGHT = 0.012
LOWER, UPPER = (0.36, -0.30), (0.70, 0.30)
"""Corners of the rectangle in which object, tray and obstacles lie, m."""
START_HEIGHTS = (0.18, 0.26)
OBSTACLE_HEIGHTS = (0.07, 0.12)
DISTANCE = (0.28, 0.60)
"""Range of the distance from the object to the tray, m."""
OBJECT_ROOM, TRAY_ROOM = 0.10, 0.06
"""Room that an obstacle leaves around the object, for the open hand, and around the rim of the tray, m."""
_ATTEMPTS = 400


@dataclass(frozen=True)
class PickScene(Scene):
    """A scene with an object: `start` is where the point between the finger tips begins, `goal` is the tray."""

    object: Position = (0.0, 0.0, 0.0)
    """Centre of the object at the beginning, m."""


def draw_pick_scene(scenario: Any, episode: int) -> PickScene:
    """Return the scene of `episode`, from `scenario.seed + episode` alone; UserError when nothing fits."""
    rng = np.random.Generator(np.random.PCG64(scenario.seed + episode))
    spec, radius = scenario.obstacles, scenario.goal.radius_m
    lowest, highest = spec.count_range
    count = int(rng.integers(lowest, highest, endpoint=True))
    for _ in range(_ATTEMPTS):
        start, place, tray = (rng.uniform(LOWER, UPPER) for _ in range(3))
        height = float(rng.uniform(*START_HEIGHTS))
        if not DISTANCE[0] <= math.dist(place, tray) <= DISTANCE[1]:
            continue
        obstacles: list[Obstacle] = []
        for number in range(count):
            obstacle = _obstacle(spec, radius, place, tray, obstacles, number == 0, rng)
            if obstacle is None:
                break
            obstacles.append(obstacle)
        if len(obstacles) == count:
            x, y = place.tolist()
            goal = Goal(float(tray[0]), float(tray[1]), TRAY_HEIGHT, radius, "cylinder", scenario.goal.color)
            begin = (float(start[0]), float(start[1]), height)
            return PickScene(scenario.task, episode, begin, 0.0, goal, tuple(obstacles), object=(x, y, OBJECT_HALF[2]))
    raise UserError(
        f"episode {episode} of {scenario.task}: {count} obstacles of {spec.size_m} m find no place; use fewer or "
        "smaller ones"
    )


def _obstacle(
    spec: Any, radius: float, place: Any, tray: Any, placed: list[Obstacle], between: bool, rng: np.random.Generator
) -> Obstacle | None:
    """Return an obstacle clear of object, tray and the others, the first one between the two; None without a place."""
    shapes: tuple[Shape, ...] = ("box", "cylinder", "sphere")
    shape = shapes[int(rng.integers(3))] if spec.shape == "mixed" else spec.shape
    half = float(rng.uniform(*spec.size_m))
    color = tuple(rng.uniform(0.3, 1.0, 3).tolist()) if spec.color == "random" else spec.color
    for _ in range(20):
        share = rng.uniform(0.35, 0.65)
        centre = place + share * (tray - place) if between else rng.uniform(LOWER, UPPER)
        obstacle = Obstacle(
            shape,
            float(centre[0]),
            float(centre[1]),
            float(rng.uniform(0.0, math.pi / 2)),
            half,
            float(rng.uniform(*OBSTACLE_HEIGHTS)),
            color,
        )
        free = obstacle.clearance(np.stack([place, tray]))
        apart = all(math.dist((o.x, o.y), centre) > o.reach + obstacle.reach for o in placed)
        if apart and free[0] > OBJECT_ROOM and free[1] > radius + TRAY_ROOM:
            return obstacle
    return None
