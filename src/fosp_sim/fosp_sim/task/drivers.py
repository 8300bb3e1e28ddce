"""Privileged controllers of the simulated robots, and the planner they use: they know the whole scene.

A controller is a function of the state alone (position, heading and obstacles), so that its actions can be inferred
from an image.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from fosp_sim.task.mjcf import ARENA, BASE_MARGIN, BASE_RADIUS, TIP_RADIUS, TOOL_MARGIN
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import RobotState

Point = NDArray[np.float64]
"""(2,) m on the ground."""
Clearance = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps points (N, 2) m to their distances (N,) m from the nearest obstacle."""
Action = NDArray[np.float64]
"""(n,) in [-1, 1]."""


@dataclass(frozen=True)
class Terrain:
    """The ground on which the planner plans, and the distances that it keeps, in m."""

    lower: tuple[float, float]
    upper: tuple[float, float]
    cell: float
    hard: float
    """Clearance below which the robot is, or nearly is, in violation."""
    soft: float
    """Clearance that a careful path prefers to keep."""
    caution: float = 6.0
    """Extra cost of a metre without any room to spare, as a multiple of the cost of a free metre."""


class Route:
    """The cheapest path to one goal from everywhere in the terrain; a metre costs more near obstacles."""

    def __init__(self, terrain: Terrain, clearance: Clearance, goal: Point) -> None:
        self._terrain, self._clearance = terrain, clearance
        self._xs = np.arange(terrain.lower[0], terrain.upper[0] + terrain.cell / 2, terrain.cell)
        self._ys = np.arange(terrain.lower[1], terrain.upper[1] + terrain.cell / 2, terrain.cell)
        self._points = np.stack(np.meshgrid(self._xs, self._ys, indexing="ij"), axis=-1).reshape(-1, 2)
        self._goal = goal
        shape = (len(self._xs), len(self._ys))
        price = self._price(clearance(self._points)).reshape(shape)
        graph = grid_graph(price, terrain.cell)
        goal_cell = int(np.argmin(np.hypot(*(self._points - goal).T)))
        _, self._next = dijkstra(graph, directed=False, indices=goal_cell, return_predecessors=True)

    def ahead(self, position: Point, lookahead: float) -> tuple[Point, float]:
        """Return the point (2,) m to head for from `position`, and the length of the path to the goal, m.

        The point is the farthest one within `lookahead` m that can be approached without cutting a corner.
        """
        way = self._way(position)
        lengths = np.cumsum(np.hypot(*np.diff(way, axis=0, prepend=way[:1]).T))
        wanted = max(float(self._clearance(position[None])[0]), self._terrain.hard)
        room = min(wanted, self._terrain.soft) - 0.25 * self._terrain.cell
        candidates = way[: max(2, int(np.searchsorted(lengths, lookahead)))]
        for target in candidates[::-1]:
            fractions = np.linspace(0.0, 1.0, 12)[:, None]
            if self._clearance(position + fractions * (target - position)).min() >= min(room, self._worst(way)):
                return target, float(lengths[-1])
        return candidates[min(2, len(candidates) - 1)], float(lengths[-1])

    def _worst(self, way: NDArray[np.float64]) -> float:
        """Return the least clearance on the next stretch of the path, which a shortcut need not exceed."""
        return float(self._clearance(way[:10]).min()) - 0.25 * self._terrain.cell

    def _price(self, clearance: NDArray[np.float64]) -> NDArray[np.float64]:
        lack = np.clip((self._terrain.soft - clearance) / (self._terrain.soft - self._terrain.hard), 0.0, 1.0)
        return np.asarray(1.0 + self._terrain.caution * lack**2 + np.where(clearance < self._terrain.hard, 200.0, 0.0))

    def _way(self, position: Point) -> NDArray[np.float64]:
        """Return the path (N, 2) m from `position` to the goal."""
        index = np.clip(np.rint((position - self._terrain.lower) / self._terrain.cell), 0, None).astype(int)
        cell = min(index[0], len(self._xs) - 1) * len(self._ys) + min(index[1], len(self._ys) - 1)
        cells = []
        while cell >= 0:
            cells.append(cell)
            cell = self._next[cell]
        return np.concatenate([position[None], self._points[cells[1:]], self._goal[None]])


def grid_graph(price: NDArray[np.float64], cell: float) -> sparse.csr_matrix:
    """Return the undirected graph over cells (X, Y) with moves in 16 directions, each at the mean price of its ends."""
    rows, columns = price.shape
    ids = np.arange(rows * columns).reshape(rows, columns)
    starts, ends, weights = [], [], []
    for dx, dy in ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)):
        lower, upper = max(0, -dy), columns - max(0, dy)
        here, there = ids[: rows - dx, lower:upper], ids[dx:, lower + dy : upper + dy]
        starts.append(here.ravel())
        ends.append(there.ravel())
        mean = (price.ravel()[here] + price.ravel()[there]).ravel() / 2
        weights.append(mean * cell * float(np.hypot(dx, dy)))
    size = rows * columns
    return sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(starts), np.concatenate(ends))), shape=(size, size)
    )


ARM_TERRAIN = Terrain(
    lower=(0.29, -0.37), upper=(0.75, 0.37), cell=0.01, hard=TIP_RADIUS + TOOL_MARGIN + 0.008, soft=0.12, caution=15.0
)
"""The distances leave a policy that imitates the driver room for an error of two or three centimetres."""
BASE_TERRAIN = Terrain(
    lower=(-1.28, -1.28), upper=(1.28, 1.28), cell=0.04, hard=BASE_RADIUS + BASE_MARGIN + 0.025, soft=0.34, caution=10.0
)
_REPLAN = 0.25
"""Period of planning anew while obstacles move, s."""


class Driver(ABC):
    """Drives one robot through one scene with normalised actions."""

    terrain: Terrain
    lookahead: float
    """Distance along the path at which the driver aims, m."""

    def __init__(self, scene: Scene, scale: tuple[float, ...]) -> None:
        self.scene = scene
        self.scale = np.array(scale)
        self._goal = np.array([scene.goal.x, scene.goal.y])
        self._planned = -math.inf
        self._moves = any(o.motion != "static" for o in scene.obstacles)

    def careful(self, state: RobotState, time: float) -> Action:
        """Return the action (n,) that follows the planned path, slower where room is short."""
        position = np.array(state.position[:2])
        if self._planned < 0 or (self._moves and time - self._planned >= _REPLAN):
            self._planned = time
            self._route = Route(self.terrain, self._clearance_at(time), self._goal)
        target, length = self._route.ahead(position, self.lookahead)
        room = float(self._clearance_at(time)(position[None])[0]) - self.terrain.hard
        return self._towards(state, target, length, self._pace(room))

    def greedy(self, state: RobotState) -> Action:
        """Return the action (n,) that goes straight to the goal at full speed."""
        way = self._goal - state.position[:2]
        return self._towards(state, self._goal, float(np.hypot(*way)), 1.0)

    def away(self, state: RobotState, time: float) -> Action:
        """Return the action (n,) that goes away from the nearest obstacle."""
        position = np.array(state.position[:2])
        clearance = self._clearance_at(time)
        step = 0.01
        nearby = position + step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        values = clearance(nearby)
        slope = np.nan_to_num(np.array([values[0] - values[1], values[2] - values[3]]))
        return self._towards(state, position + slope / max(float(np.hypot(*slope)), 1e-9) * 0.3, 0.3, 0.7)

    def towards(self, state: RobotState, target: Point, pace: float) -> Action:
        """Return the action (n,) straight to the ground point `target` (2,) m at the share `pace` of full speed."""
        return self._towards(state, target, float(np.hypot(*(target - state.position[:2]))), pace)

    def _clearance_at(self, time: float) -> Clearance:
        """Return the clearance from the obstacles at `time` s and, while they move, shortly after."""
        times = [time + ahead for ahead in (0.0, 0.25, 0.5)] if self._moves else [0.0]
        return lambda points: np.min([self.scene.clearance(points, t) for t in times], axis=0)

    def _pace(self, room: float) -> float:
        """Return the fraction of full speed that suits `room` m to spare."""
        return float(np.clip(0.35 + 0.65 * room / (self.terrain.soft - self.terrain.hard), 0.35, 1.0))

    @abstractmethod
    def _towards(self, state: RobotState, target: Action, length: float, pace: float) -> Action:
        """Return the action (n,) towards the ground point `target` (2,) m, `length` m of path before the goal."""


class ArmDriver(Driver):
    """Moves the tool tip straight to the target and brings its height to that of the goal along the path."""

    terrain = ARM_TERRAIN
    lookahead = 0.10

    def _towards(self, state: RobotState, target: Action, length: float, pace: float) -> Action:
        x, y, z = state.position
        ground = target - np.array([x, y])
        gap = float(np.hypot(*ground))
        climb = self.scene.goal.z - z
        # The height is reached after two thirds of the path, so that its end is level.
        slope = climb / max(0.67 * length, 0.04)
        direction = np.array([*(ground / max(gap, 1e-6)), slope])
        if length < 0.02:
            direction = np.array([*(ground / 0.02), climb / 0.02])
        speed = direction / max(1.0, float(np.linalg.norm(direction))) * pace
        return np.clip(speed * 0.25 / self.scale, -1.0, 1.0)


class BaseDriver(Driver):
    """Turns towards the target, and drives faster the better the base faces it."""

    terrain = BASE_TERRAIN
    lookahead = 0.35

    def _clearance_at(self, time: float) -> Clearance:
        obstacles = super()._clearance_at(time)
        return lambda points: np.minimum(obstacles(points), ARENA - 0.02 - np.abs(points).max(axis=1))

    def _towards(self, state: RobotState, target: Action, length: float, pace: float) -> Action:
        dx, dy = target[0] - state.position[0], target[1] - state.position[1]
        error = (math.atan2(dy, dx) - state.heading + math.pi) % (2 * math.pi) - math.pi
        forward = 0.5 * pace * max(0.0, math.cos(error)) ** 3
        return np.clip(np.array([forward, 3.0 * error]) / self.scale, -1.0, 1.0)
