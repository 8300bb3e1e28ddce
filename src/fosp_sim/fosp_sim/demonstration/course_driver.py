"""Scripted demonstrators of the paper's five tasks: careful, noisy, greedy and random."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fosp_core.robot.config import RobotConfig
from fosp_sim.demonstration.course_planner import CoursePlanner
from fosp_sim.demonstration.push_planner import PushPlanner
from fosp_sim.task.safety_gym.scenes import CourseScene
from fosp_sim.task.safety_gym.world import CourseState

Array = NDArray[np.float64]


class CourseDemonstrator:
    """Drives one episode: careful, noisy, greedy or random."""

    def __init__(
        self, kind: str, scene: CourseScene, robot: RobotConfig, rng: np.random.Generator, noise: bool = True
    ) -> None:
        assert scene.course is not None
        self.kind, self._rng = kind, rng
        planner = PushPlanner if scene.course.rule == "push" else CoursePlanner
        self._planner = planner(scene.course, heedless=kind in ("greedy", "random"))
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
        return self._planner.command(state, self._last)
