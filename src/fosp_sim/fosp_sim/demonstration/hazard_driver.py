"""Shows hazards: a slow, guarded approach to one obstacle until it counts as a violation, and back on the own trail.

It is what a person does on a robot in `fosp record --hazards` (docs/show_hazards.md): the onsets of such episodes teach
the risk critic what a new thing looks like. Each episode is one approach.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.scene import Scene
from fosp_sim.task.tasks import find_task
from fosp_sim.task.world import RobotState

NEAR_M = 0.15
"""Clearance within which the approach is slow, m."""
SLOW = 0.25
"""Share of the greatest action within NEAR_M, in the approach and back: the speed guard of a robot does the same."""
TRAVEL = 0.6
"""Share outside of it."""
BACK_M = 0.10
"""Way back along the own trail after the contact, m."""
BACK_STEPS = 40
"""Most decisions of the way back: a robot that is stuck ends its episode where it is."""


class HazardDriver:
    """Drives one episode to an obstacle and back; `tell` it the cost after each decision, and end when `finished`."""

    kind: Literal["hazards"] = "hazards"

    def __init__(self, scene: Scene, robot: RobotConfig, rng: np.random.Generator) -> None:
        """Draw obstacle and point of contact. Raise UserError for a scene without obstacles."""
        if not scene.obstacles:
            raise UserError("--hazards needs obstacles to approach: the scenario has none")
        self._scene, self._robot, self._rng = scene, robot, rng
        self._driver = find_task(scene.task).driver(scene, robot.action.scale)
        self._obstacle = scene.obstacles[int(rng.integers(len(scene.obstacles)))]
        self._aside = rng.uniform(-0.7, 0.7, 2) * self._obstacle.half
        self._trail: list[tuple[float, float]] = []
        self._touched = False
        self._back = 0
        self.finished = False

    def act(self, state: RobotState, time: float) -> NDArray[np.float32]:
        """Return the normalised action (n,) float32 for the decision period that begins `time` s into the episode."""
        here = np.array(state.position[:2])
        if self._touched:
            return self._return(state, here)
        self._trail.append((float(here[0]), float(here[1])))
        target = np.array(self._obstacle.position(time)) + self._aside
        near = self._driver.terrain.hard + NEAR_M > float(self._scene.clearance(here[None], time)[0])
        wish = self._driver.towards(state, target, 1.0)
        return self._limited(wish, SLOW if near else TRAVEL)

    def tell(self, cost: float) -> None:
        """Take in the cost that arrived after the last action: the first one ends the approach."""
        self._touched |= cost > 0
        if not self._touched:
            return
        self._back += 1
        gone = math.dist(self._trail[-1], self._there) if self._there else 0.0
        self.finished = (cost == 0 and gone >= BACK_M) or self._back >= BACK_STEPS

    _there: tuple[float, float] | None = None
    """Position on the way back."""

    def _return(self, state: RobotState, here: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the action that retraces the trail; a base drives backwards without turning."""
        self._there = (float(here[0]), float(here[1]))
        if self._robot.kind == "base":
            return np.array([-SLOW if axis.name == "linear.x" else 0.0 for axis in self._robot.action.axes], np.float32)
        older = [point for point in self._trail if math.dist(point, self._trail[-1]) >= 1.5 * BACK_M]
        return self._limited(self._driver.towards(state, np.array(older[-1] if older else self._trail[0]), 1.0), SLOW)

    def _limited(self, wish: NDArray[np.float64], share: float) -> NDArray[np.float32]:
        """Return the action in its direction with no axis above `share`."""
        return np.asarray(wish * min(1.0, share / max(float(np.abs(wish).max()), 1e-9)), np.float32)
