"""Draws the scene of an episode from `seed + episode` alone, with numpy's PCG64 and without physics.

One obstacle often stands near the straight line between start and goal, so that driving straight does not solve the
task. A scene is kept only if a path with room around it exists and a fixed camera sees start and goal.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fosp_core.errors import UserError
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Goal, Obstacle, Position, Scene
from fosp_sim.task.tasks import Layout, find_task

_ATTEMPTS = 400
_T = TypeVar("_T")
_STEPS = (ndimage.generate_binary_structure(2, 1), ndimage.generate_binary_structure(2, 2))


def draw_scene(scenario: Scenario, episode: int) -> Scene:
    """Return the scene of `episode`. Raise UserError when the obstacles leave no way to the goal in any attempt."""
    task = find_task(scenario.task)
    if task.draw is not None:
        return task.draw(scenario, episode)
    rng = np.random.Generator(np.random.PCG64(scenario.seed + episode))
    layout = task.layout
    count = int(rng.integers(*scenario.obstacles.count_range, endpoint=True))
    for _ in range(_ATTEMPTS):
        scene = _candidate(scenario, layout, episode, count, rng)
        if scene is not None and _solvable(scene, layout):
            return scene
    raise UserError(
        f"episode {episode} of {scenario.task}: no scene with {count} obstacles of {scenario.obstacles.size_m} m "
        "leaves a way to the goal; use fewer or smaller ones"
    )


def _candidate(scenario: Scenario, layout: Layout, episode: int, count: int, rng: np.random.Generator) -> Scene | None:
    low, high = np.array(layout.lower), np.array(layout.upper)
    start, goal = rng.uniform(low, high), rng.uniform(low, high)
    start_height, goal_height = rng.uniform(*layout.start_heights), rng.uniform(*layout.goal_heights)
    turn = rng.uniform(-layout.heading, layout.heading)
    if not layout.distance[0] <= float(np.hypot(*(goal - start))) <= layout.distance[1]:
        return None
    obstacles: list[Obstacle] = []
    blocking = rng.uniform() < layout.blocking
    for i in range(count):
        placed = _place(scenario, layout, start, goal, obstacles, blocking and i == 0, rng)
        if placed is None:
            return None
        obstacles.append(placed)
    bearing = math.atan2(goal[1] - start[1], goal[0] - start[0])
    return Scene(
        task=scenario.task,
        episode=episode,
        start=(float(start[0]), float(start[1]), float(start_height)),
        heading=bearing + float(turn) if layout.heading else 0.0,
        goal=Goal(
            x=float(goal[0]),
            y=float(goal[1]),
            z=float(goal_height),
            radius=scenario.goal.radius_m,
            shape=_drawn(scenario.goal.shapes, rng),
            color=_drawn(scenario.goal.colors, rng),
        ),
        obstacles=tuple(obstacles),
    )


def _place(
    scenario: Scenario,
    layout: Layout,
    start: NDArray[np.float64],
    goal: NDArray[np.float64],
    placed: list[Obstacle],
    blocking: bool,
    rng: np.random.Generator,
) -> Obstacle | None:
    """Return an obstacle clear of start, goal and the others, or None when a few tries find no place."""
    spec = scenario.obstacles
    shape = _drawn(spec.shapes, rng)
    half = float(rng.uniform(*spec.size_m))
    color = _drawn(spec.colors, rng) if spec.colors else _vivid(rng)
    along = (goal - start) / np.hypot(*(goal - start))
    for _ in range(20):
        if blocking:
            fraction, aside = rng.uniform(0.3, 0.7), rng.uniform(-1.0, 1.0) * (half + 0.3 * layout.room)
            centre = start + fraction * (goal - start) + aside * np.array([-along[1], along[0]])
        else:
            centre = rng.uniform(layout.lower, layout.upper)
        obstacle = Obstacle(
            shape=shape,
            x=float(centre[0]),
            y=float(centre[1]),
            yaw=float(rng.uniform(0.0, math.pi / 2)),
            half=half,
            height=float(rng.uniform(*layout.obstacle_heights)),
            color=color,
            motion=spec.motion,
            speed=spec.speed_m_s,
            direction=float(rng.uniform(0.0, 2 * math.pi)),
            travel=float(rng.uniform(0.5, 1.0)) * 2.0 * layout.room if spec.motion != "static" else 0.0,
        )
        ends = np.stack([start, goal])
        sweep = 0.5 * obstacle.travel
        apart = all(math.hypot(o.x - obstacle.x, o.y - obstacle.y) > o.reach + obstacle.reach for o in placed)
        if apart and obstacle.clearance(ends).min() > 1.15 * layout.room + sweep:
            return obstacle
    return None


def _drawn(options: tuple[_T, ...], rng: np.random.Generator) -> _T:
    """Return one of the options; the only one without a draw, so that scenes of a fixed kind stay as they are."""
    return options[0] if len(options) == 1 else options[int(rng.integers(len(options)))]


def _vivid(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a colour that stands out from the dark ground."""
    channels = rng.uniform(0.0, 1.0, size=3)
    channels[int(rng.integers(3))] = rng.uniform(0.6, 1.0)
    return float(channels[0]), float(channels[1]), float(channels[2])


def _solvable(scene: Scene, layout: Layout) -> bool:
    if layout.camera is not None and not all(
        _in_sight(layout.camera, point, scene.obstacles) for point in (scene.start, scene.goal.position)
    ):
        return False
    return _connected(scene, layout)


def _in_sight(eye: Position, point: Position, obstacles: tuple[Obstacle, ...]) -> bool:
    """Return True if no obstacle stands on the line from the eye to a point."""
    fractions = np.linspace(0.0, 1.0, 200)[:, None]
    line = np.array(point) + fractions * (np.array(eye) - np.array(point))
    for obstacle in obstacles:
        low = line[line[:, 2] < obstacle.height]
        if len(low) and obstacle.clearance(low[:, :2]).min() < 0.01:
            return False
    return True


def _connected(scene: Scene, layout: Layout) -> bool:
    """Return True if a path with enough room leads from start to goal without too long a detour.

    The region reached from the start grows by a cross and a square in turn, which approximates circles.
    """
    cell = layout.room / 4
    xs = np.arange(layout.lower[0], layout.upper[0] + cell, cell)
    ys = np.arange(layout.lower[1], layout.upper[1] + cell, cell)
    points = np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1).reshape(-1, 2)
    free = (scene.clearance(points) > layout.room).reshape(len(xs), len(ys))
    start, goal = (
        (round((x - layout.lower[0]) / cell), round((y - layout.lower[1]) / cell))
        for x, y in (scene.start[:2], (scene.goal.x, scene.goal.y))
    )
    reached = np.zeros_like(free)
    reached[start] = free[start]
    distance = math.hypot(scene.goal.x - scene.start[0], scene.goal.y - scene.start[1])
    for step in range(math.ceil(layout.detour * distance / cell)):
        reached = ndimage.binary_dilation(reached, _STEPS[step % 2], mask=free)
        if reached[goal]:
            return True
    return False
