"""Way to the goal around the obstacles, on the ground plane, with everything known: for demonstrators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

Point = NDArray[np.float64]
"""(2,) m."""
Clearance = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Distance (N,) m of points (N, 2) from the nearest obstacle."""


@dataclass(frozen=True)
class Terrain:
    """What the planner may use; m."""

    lower: tuple[float, float]
    upper: tuple[float, float]
    cell: float
    hard: float
    """Nearer to an obstacle than this is a violation, or nearly one."""
    soft: float
    """Room that a careful path prefers to have."""
    caution: float = 6.0
    """A metre of way without any room to spare counts as so many more."""


class Route:
    """Cheapest way to one goal from everywhere in the terrain; cost of a metre grows towards obstacles."""

    def __init__(self, terrain: Terrain, clearance: Clearance, goal: Point) -> None:
        self._terrain, self._clearance = terrain, clearance
        self._xs = np.arange(terrain.lower[0], terrain.upper[0] + terrain.cell / 2, terrain.cell)
        self._ys = np.arange(terrain.lower[1], terrain.upper[1] + terrain.cell / 2, terrain.cell)
        self._points = np.stack(np.meshgrid(self._xs, self._ys, indexing="ij"), axis=-1).reshape(-1, 2)
        self._goal = goal
        shape = (len(self._xs), len(self._ys))
        price = self._price(clearance(self._points)).reshape(shape)
        graph = _grid_graph(price, terrain.cell)
        goal_cell = int(np.argmin(np.hypot(*(self._points - goal).T)))
        _, self._next = dijkstra(graph, directed=False, indices=goal_cell, return_predecessors=True)

    def ahead(self, position: Point, lookahead: float) -> tuple[Point, float]:
        """Point to head for, and the length of the way, m: the farthest on the way seen without cutting a corner."""
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
        """Least clearance on the next stretch of the way: a shortcut need not be better than that."""
        return float(self._clearance(way[:10]).min()) - 0.25 * self._terrain.cell

    def _price(self, clearance: NDArray[np.float64]) -> NDArray[np.float64]:
        lack = np.clip((self._terrain.soft - clearance) / (self._terrain.soft - self._terrain.hard), 0.0, 1.0)
        return np.asarray(1.0 + self._terrain.caution * lack**2 + np.where(clearance < self._terrain.hard, 200.0, 0.0))

    def _way(self, position: Point) -> NDArray[np.float64]:
        """(N, 2) m from `position` to the goal."""
        index = np.clip(np.rint((position - self._terrain.lower) / self._terrain.cell), 0, None).astype(int)
        cell = min(index[0], len(self._xs) - 1) * len(self._ys) + min(index[1], len(self._ys) - 1)
        cells = []
        while cell >= 0:
            cells.append(cell)
            cell = self._next[cell]
        return np.concatenate([position[None], self._points[cells[1:]], self._goal[None]])


def _grid_graph(price: NDArray[np.float64], cell: float) -> sparse.csr_matrix:
    """Undirected graph over cells (X, Y) with moves in 16 directions, each at the mean price of its ends."""
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
