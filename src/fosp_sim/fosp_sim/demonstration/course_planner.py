"""Plans for the scripted demonstrators of the paper's five tasks, which know the whole state.

A decision is made by trying commands in a simple model of the robot: each keeps one command for a while, then a second
one, then lets the robot coast. The best one leads nearest to the goal, measured along the ground around what is
forbidden, and touches nothing on its way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse.csgraph import dijkstra

from fosp_sim.task.drivers import grid_graph
from fosp_sim.task.safety_gym.layout import Course, Place
from fosp_sim.task.safety_gym.world import CourseState

Array = NDArray[np.float64]

GREMLIN_CIRCLE = 0.35
_CELL = 0.08
_BEYOND = 1.0
"""The map reaches this far beyond the square of the objects, m."""
_CORNER = 0.13
"""Radius, m, that stands for a cube of 0.2 m side."""


@dataclass(frozen=True)
class RobotModel:
    """A robot as the roll-outs have it; commands are normalised."""

    speed: float
    """m/s at command 1."""
    turn: float
    """rad/s at command 1."""
    lag_s: float
    """Time constant of the speed, s."""
    turn_lag_s: float
    slides: bool
    """It keeps its momentum when it turns."""
    decision_s: float
    body: tuple[tuple[float, float], ...]
    """Circles that stand for the robot: how far ahead of its centre, and radius, m."""
    stages: tuple[int, int, int]
    """Decisions of the first command, of the second, and of coasting."""


POINT = RobotModel(1.5, 2.992, 0.52, 0.01, True, 0.08, ((0.0, 0.10), (0.10, 0.07)), (2, 6, 3))
CAR = RobotModel(0.8, 1.35, 0.22, 0.08, False, 0.16, ((0.0, 0.13), (0.13, 0.09), (-0.12, 0.12)), (2, 4, 1))
_SUBSTEPS = 2
_LAG = 0.09
"""Room, m, for a gremlin that is not quite where the pull on it is."""
MARGIN, _WIDE_MARGIN = 0.05, 0.15
"""Room, m, that a path keeps around a hazard for nothing; a policy that learns the wide one errs by about as much."""
_CROSSED, _WIDE_CROSSED = 0.05, 0.12
"""Room, m, that the map of the ground adds to a hazard."""
_CROWDED = 15
"""Number of objects from which on there is no room for the wide ones."""
_LINGERING = 1.0
"""Price of touching something for the whole of a plan: who touches it already can only let go of it sooner."""


class GroundMap:
    """Distances to one goal along the ground, around discs."""

    def __init__(self, half_width: float, goal: Place, discs: Array, soft: float) -> None:
        """Take the `discs` (N, 3), x, y and radius, m, that a path keeps out of, and if it can `soft` m away from."""
        reach = half_width + _BEYOND
        self._low, axis = -reach, np.arange(-reach, reach + _CELL / 2, _CELL)
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
        room = np.full(points.shape[:2], np.inf)
        for x, y, radius in discs:
            room = np.minimum(room, np.hypot(points[..., 0] - x, points[..., 1] - y) - radius)
        price = 1.0 + np.where(room < 0, 12.0, 0.0) + 2.0 * np.clip(1.0 - room / max(soft, 1e-6), 0.0, 1.0) ** 2
        cell = int(np.argmin(np.hypot(*(points - goal).reshape(-1, 2).T)))
        self._distance = dijkstra(grid_graph(price, _CELL), directed=False, indices=cell).reshape(room.shape)

    def distance(self, x: Array, y: Array) -> Array:
        """Return the distances, m, from places that arrays of one shape hold."""
        at = np.stack([(x - self._low) / _CELL, (y - self._low) / _CELL])
        return np.asarray(map_coordinates(self._distance, at.reshape(2, -1), order=1, mode="nearest")).reshape(x.shape)


class CoursePlanner:
    """Chooses the command of each decision in one episode."""

    def __init__(self, course: Course, heedless: bool = False) -> None:
        """With `heedless` nothing is forbidden."""
        self.course, self.model, self._heedless = course, CAR if course.robot == "car" else POINT, heedless
        first = product((1.0, 0.0, -1.0), (-1.0, -0.5, -0.25, -0.12, 0.0, 0.12, 0.25, 0.5, 1.0))
        second = product((1.0, 0.0, -1.0), (-0.8, -0.3, 0.0, 0.3, 0.8))
        self._plans = np.array(list(product(first, second)))  # (K, 2, 2)
        self._map: GroundMap | None = None
        self._mapped: tuple[object, ...] = ()

    def command(self, state: CourseState, last: Array) -> Array:
        """Return the best command (2,) in [-1, 1]: forward and turn. `last` (2,) is the one in force."""
        discs = self._discs(state)
        x, y, heading = self._rolled(state, last)
        left, reached = self._left(state, discs, x, y, heading)
        driven = sum(self.model.stages[:2]) * _SUBSTEPS
        value = (left * reached)[:driven].mean(axis=0) + (left * reached)[driven - 1]
        if not self._heedless:
            value = value + self._price(state, discs, x, y, heading, reached)
        return np.asarray(self._plans[int(np.argmin(value)), 0])

    def _left(self, state: CourseState, discs: Array, x: Array, y: Array, heading: Array) -> tuple[Array, Array]:
        """Return how far the goal is along plans (T, K), m, and 0 from where it is reached on, else 1."""
        ahead = self._ground(state, discs).distance(x, y)
        return ahead, np.minimum.accumulate(np.where(ahead < self._reach(), 0.0, 1.0), axis=0)

    # -- what lies around ------------------------------------------------------------------------------
    def _discs(self, state: CourseState) -> Array:
        """Return the discs (N, 6) in the way, the box not among them: x, y and radius, m.

        Then follow 1 where only the robot's centre counts, 1 for what moves, and 1 for what costs.
        """
        places = state.objects or {}
        rows = []
        for group in self.course.groups:
            for name in group.members:
                if name in ("goal", "box", f"button{state.button}"):
                    continue
                radius = {"vase": _CORNER, "gremlin": _CORNER + _LAG}.get(group.name, group.half)
                kind = (group.name == "hazard", group.name == "gremlin", group.name != "pillar")
                rows.append((*places[name], radius, *map(float, kind)))
        return np.array(rows).reshape(-1, 6)

    def _ground(self, state: CourseState, discs: Array) -> GroundMap:
        still = discs[discs[:, 4] == 0]
        key = (state.goal, tuple(np.round(still[:, :2], 1).ravel().tolist()))
        if self._map is None or key != self._mapped:
            crossed, solid = self._rooms
            grown = np.column_stack([still[:, :2], still[:, 2] + np.where(still[:, 3] > 0, crossed, solid)])
            grown = grown[:0] if self._heedless else grown
            self._map, self._mapped = GroundMap(self.course.half_width, state.goal, grown, 0.15), key
        return self._map

    @property
    def _crowded(self) -> bool:
        return sum(len(group.members) for group in self.course.groups) >= _CROWDED

    @property
    def _margin(self) -> float:
        """Room, m, that a plan keeps around a hazard for nothing."""
        return MARGIN if self._crowded else _WIDE_MARGIN

    @property
    def _rooms(self) -> tuple[float, float]:
        """Room, m, that a path keeps from what only the centre must keep out of, and from what is solid."""
        return _CROSSED if self._crowded else _WIDE_CROSSED, self.model.body[0][1] + 0.04

    def _reach(self) -> float:
        """Return the distance, m, within which the goal is reached."""
        goal = self.course.group("goal")
        assert goal is not None
        return 0.12 if self.course.rule == "button" else goal.half - 0.02

    # -- roll-outs ---------------------------------------------------------------------------------------
    def _rolled(self, state: CourseState, last: Array) -> tuple[Array, Array, Array]:
        """Return x, y and heading (T, K) along all plans."""
        model, plans = self.model, self._plans
        count = len(plans)
        step_s = model.decision_s / _SUBSTEPS
        keep, keep_turn = math.exp(-step_s / model.lag_s), math.exp(-step_s / model.turn_lag_s)
        x, y = np.full(count, state.position[0]), np.full(count, state.position[1])
        vx, vy = np.full(count, state.velocity[0]), np.full(count, state.velocity[1])
        heading, rate = np.full(count, state.heading), np.full(count, last[1] * model.turn)
        speed = np.full(count, state.twist[0])
        xs, ys, headings = [], [], []
        for step in range(sum(model.stages) * _SUBSTEPS):
            decision = step // _SUBSTEPS
            if step == 0:  # the last command holds a while longer, for half of this step
                forward, turn = (0.5 * (last[i] + plans[:, 0, i]) for i in (0, 1))
            elif decision < model.stages[0]:
                forward, turn = plans[:, 0, 0], plans[:, 0, 1]
            elif decision < model.stages[0] + model.stages[1]:
                forward, turn = plans[:, 1, 0], plans[:, 1, 1]
            else:
                forward, turn = np.zeros(count), np.zeros(count)
            rate = keep_turn * rate + (1 - keep_turn) * turn * model.turn
            heading = heading + rate * step_s
            c, s = np.cos(heading), np.sin(heading)
            if model.slides:
                vx = keep * vx + (1 - keep) * forward * model.speed * c
                vy = keep * vy + (1 - keep) * forward * model.speed * s
            else:
                speed = keep * speed + (1 - keep) * forward * model.speed
                vx, vy = speed * c, speed * s
            x, y = x + vx * step_s, y + vy * step_s
            xs.append(x)
            ys.append(y)
            headings.append(heading)
        return np.array(xs), np.array(ys), np.array(headings)

    def _price(self, state: CourseState, discs: Array, x: Array, y: Array, heading: Array, reached: Array) -> Array:
        """Return the price (K,) of what the plans come too near to: nothing counts after the goal is reached."""
        total = np.zeros(x.shape[1])
        step_s = self.model.decision_s / _SUBSTEPS
        times = state.time + step_s * np.arange(1, len(x) + 1)
        swing = GREMLIN_CIRCLE * np.stack(
            [np.sin(times) - math.sin(state.time), np.cos(times) - math.cos(state.time)], axis=1
        )
        near = self._within_reach(discs, x, y)
        sooner = np.linspace(1.0, 0.4, len(x))[:, None]
        bodies = [(x + a * np.cos(heading), y + a * np.sin(heading), r) for a, r in self.model.body]
        for disc_x, disc_y, radius, centre_only, moves, costs in discs[near]:
            at_x = disc_x + moves * swing[:, :1]
            at_y = disc_y + moves * swing[:, 1:]
            for body_x, body_y, body in bodies[:1] if centre_only else bodies:
                room = np.hypot(body_x - at_x, body_y - at_y) - radius - (0.0 if centre_only else body)
                margin = self._margin if centre_only else 0.04
                inside = np.clip((margin - room) / margin, 0.0, 1.0)
                hit = np.where(room < 0.012, 3.0 - np.minimum(room, 0.0) * 10.0, 0.0)
                total += (((0.3 * inside + hit) * sooner) * reached).max(axis=0)
                total += ((0.02 * inside + _LINGERING * costs * (room < 0.012)) * reached).mean(axis=0)
        return total

    def _within_reach(self, discs: Array, x: Array, y: Array) -> NDArray[np.bool_]:
        """Return which discs (N,) a plan along `x` and `y` (T, K) may come near enough to for a price."""
        reach = max(abs(ahead) + radius for ahead, radius in self.model.body) + self._margin
        apart = [
            np.maximum(np.maximum(along.min() - discs[:, axis], discs[:, axis] - along.max()), 0.0)
            for axis, along in enumerate((x, y))
        ]
        return np.asarray(np.hypot(*apart) <= discs[:, 2] + reach + 2.0 * GREMLIN_CIRCLE * discs[:, 4])
