"""Drivers of plugged environments: random, or one that the environment's package brings along."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.plugged.checked import one_line
from fosp_sim.task.plugged.world import PluggedScene, PluggedState
from fosp_sim.task.tasks import load_attribute


class PluggedDriver:
    """Drives one episode by the scenario's `driver`, a function of the environment that returns an action in [-1, 1].

    `careful` and `greedy` drive exactly so, `noisy` with noise. `random` needs no driver.
    """

    def __init__(
        self, kind: str, scene: PluggedScene, robot: RobotConfig, rng: np.random.Generator, noise: bool = True
    ) -> None:
        """Raise UserError for another kind than `random` where the scenario names no driver."""
        if kind != "random" and not scene.driver:
            raise UserError("this environment is driven by --demonstrator random alone: its scenario names no driver")
        self.kind, self._rng, self._size = kind, rng, robot.action.size
        self._policy: Any = None
        if kind != "random":
            self._name, make = scene.driver, load_attribute(scene.driver)
            with one_line(f"driver {scene.driver}"):
                self._policy = make(rng)
        self._noise = rng.standard_normal(self._size)
        self._std = {"random": 0.7, "noisy": 0.3}.get(kind, 0.0) if noise or kind == "random" else 0.0

    def act(self, state: PluggedState, time: float) -> NDArray[np.float32]:
        """Return the normalised action (n,) float32. Raise UserError when the driver gives none."""
        keep = 0.8
        self._noise = keep * self._noise + math.sqrt(1 - keep**2) * self._rng.standard_normal(self._size)
        wish = np.zeros(self._size)
        if self._policy is not None:
            with one_line(f"driver {self._name}"):
                wish = np.asarray(self._policy(state.environment), float)
        if wish.shape != (self._size,) or not np.isfinite(wish).all():
            raise UserError(f"the driver must return {self._size} finite numbers in [-1, 1], got {wish}")
        return np.clip(wish + self._std * self._noise, -1.0, 1.0).astype(np.float32)
