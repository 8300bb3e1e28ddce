"""Scripted demonstrators of the paper's five tasks, which know the whole state.

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

from fosp_core.robot.config import RobotConfig
from fosp_sim.task.drivers import grid_graph
from fosp_sim.task.safety_gym.layout import Course, Place
from fosp_sim.task.safety_gym.scenes import CourseScene
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
_MARGIN = 0.05
"""Room, m, that a path keeps around a hazard for nothing."""
_LINGERING = 1.0
"""Price of touching something for the whole of a plan: who touches it already can only let go of it sooner."""
_BESIDE, _WIDER = 0.16, 0.25
"""Distance from the line through box and goal within which a push begins, m, and how much it grows with the way."""
_BEHIND = 0.55
"""Distance behind the box, m, from which a push begins."""


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

    def command(self, state: CourseState, last: Array, target: Place | None = None, avoid_box: bool = True) -> Array:
        """Return the best command (2,) in [-1, 1]: forward and turn. `last` (2,) is the one in force."""
        goal = target or state.goal
        discs = self._discs(state, avoid_box)
        ground = self._ground(state, goal, discs)
        x, y, heading = self._rolled(state, last)
        ahead = ground.distance(x, y)
        radius = self._reach(target)
        reached = np.minimum.accumulate(np.where(ahead < radius, 0.0, 1.0), axis=0)
        driven = sum(self.model.stages[:2]) * _SUBSTEPS
        value = (ahead * reached)[:driven].mean(axis=0) + (ahead * reached)[driven - 1]
        if not self._heedless:
            value = value + self._price(state, discs, x, y, heading, reached)
        return np.asarray(self._plans[int(np.argmin(value)), 0])

    # -- what lies around ------------------------------------------------------------------------------
    def _discs(self, state: CourseState, avoid_box: bool) -> Array:
        """Return the discs (N, 6) in the way: x, y, radius, m, and 1 where only the robot's centre counts.

        Then follow 1 for what moves, and 1 for what costs.
        """
        places = state.objects or {}
        rows = []
        for group in self.course.groups:
            for name in group.members:
                if name == "goal" or (name == "box" and not avoid_box) or name == f"button{state.button}":
                    continue
                radius = {"vase": _CORNER, "gremlin": _CORNER + _LAG}.get(group.name, group.half)
                if group.name == "box":
                    radius = 0.38
                kind = (group.name == "hazard", group.name == "gremlin", group.name not in ("box", "pillar"))
                rows.append((*places[name], radius, *map(float, kind)))
        return np.array(rows).reshape(-1, 6)

    def _ground(self, state: CourseState, goal: Place, discs: Array) -> GroundMap:
        still = discs[discs[:, 4] == 0]
        key = (goal, tuple(np.round(still[:, :2], 1).ravel().tolist()))
        if self._map is None or key != self._mapped:
            room = self.model.body[0][1] + 0.04
            grown = np.column_stack([still[:, :2], still[:, 2] + np.where(still[:, 3] > 0, 0.05, room)])
            grown = grown[:0] if self._heedless else grown
            self._map, self._mapped = GroundMap(self.course.half_width, goal, grown, 0.15), key
        return self._map

    def _reach(self, target: Place | None) -> float:
        """Return the distance, m, within which the goal is reached."""
        goal = self.course.group("goal")
        assert goal is not None
        if target is not None:
            return 0.05
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
                margin = _MARGIN if centre_only else 0.04
                inside = np.clip((margin - room) / margin, 0.0, 1.0)
                hit = np.where(room < 0.012, 3.0 - np.minimum(room, 0.0) * 10.0, 0.0)
                total += (((0.3 * inside + hit) * sooner) * reached).max(axis=0)
                total += ((0.02 * inside + _LINGERING * costs * (room < 0.012)) * reached).mean(axis=0)
        return total

    def _within_reach(self, discs: Array, x: Array, y: Array) -> NDArray[np.bool_]:
        """Return which discs (N,) a plan along `x` and `y` (T, K) may come near enough to for a price."""
        reach = max(abs(ahead) + radius for ahead, radius in self.model.body) + _MARGIN
        apart = [
            np.maximum(np.maximum(along.min() - discs[:, axis], discs[:, axis] - along.max()), 0.0)
            for axis, along in enumerate((x, y))
        ]
        return np.asarray(np.hypot(*apart) <= discs[:, 2] + reach + 2.0 * GREMLIN_CIRCLE * discs[:, 4])


class CourseDemonstrator:
    """Drives one episode: careful, noisy, greedy or random."""

    def __init__(
        self, kind: str, scene: CourseScene, robot: RobotConfig, rng: np.random.Generator, noise: bool = True
    ) -> None:
        assert scene.course is not None
        self.kind, self._rng = kind, rng
        self._planner = CoursePlanner(scene.course, heedless=kind in ("greedy", "random"))
        self._names = [str(axis.name) for axis in robot.action.axes]
        self._last = np.zeros(2)
        self._noise = np.zeros(2)
        self._noisy = noise
        self._stray, self._stray_until = np.zeros(2), -1.0
        self._next_stray = float(rng.uniform(0.5, 3.0))

    def act(self, state: CourseState, time: float) -> NDArray[np.float32]:
        """Return the normalised action (2,) float32 for the decision that begins `time` s into the episode."""
        wish = self._wish(state)
        std, keep = {"careful": (0.0, 0.0), "greedy": (0.05, 0.5), "noisy": (0.25, 0.7), "random": (0.8, 0.85)}[
            self.kind
        ]
        self._noise = keep * self._noise + math.sqrt(1 - keep**2) * self._rng.standard_normal(2)
        if self._noisy:
            wish = wish + std * self._noise
        if self.kind == "noisy" and time >= self._next_stray:
            self._stray = self._rng.uniform(-1.0, 1.0, 2)
            self._stray_until = time + float(self._rng.uniform(0.2, 0.8))
            self._next_stray = self._stray_until + float(self._rng.uniform(1.0, 4.0))
        if time < self._stray_until:
            wish = self._stray
        self._last = np.clip(wish, -1.0, 1.0)
        return np.array([self._last[("linear.x", "angular.z").index(name)] for name in self._names], np.float32)

    def _wish(self, state: CourseState) -> Array:
        if self.kind == "random":
            return np.array([0.3, 0.0])
        if self._planner.course.rule != "push":
            return self._planner.command(state, self._last)
        target, pushing = push_target(state)
        return self._planner.command(state, self._last, target, avoid_box=not pushing)


def push_target(state: CourseState) -> tuple[Place, bool]:
    """Return where to head, and True while the way leads through the box: from behind it to the goal."""
    agent, box, goal = np.array(state.position[:2]), np.array((state.objects or {})["box"]), np.array(state.goal)
    away = (box - goal) / max(float(np.linalg.norm(box - goal)), 1e-6)
    across = np.array([-away[1], away[0]])
    along, aside = float((agent - box) @ away), float((agent - box) @ across)
    if along > 0.15 and abs(aside) < _BESIDE + _WIDER * max(0.0, along - 0.35):
        x, y = (goal if along < 0.5 else box) + 0.5 * aside * across - 0.2 * away
        return (float(x), float(y)), True
    x, y = box + _BEHIND * away
    return (float(x), float(y)), False
