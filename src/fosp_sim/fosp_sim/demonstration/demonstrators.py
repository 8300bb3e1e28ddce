"""Scripted demonstrators, which provide the mixture of outcomes that offline learning needs.

Everything is drawn from the episode's seed. Careful demonstrations carry a little noise, so that the data covers the
states around a good path and shows how to return to it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.notes import HAZARDS
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.demonstration.hazard_driver import HazardDriver
from fosp_sim.env import DECISION_PERIOD
from fosp_sim.task.scene import Scene
from fosp_sim.task.tasks import find_task, load_attribute
from fosp_sim.task.world import RobotState

Kind = Literal["careful", "greedy", "noisy", "random"]
DEMONSTRATORS = (*get_args(Kind), "mixed", HAZARDS)

MIXTURE: dict[Kind, float] = {"careful": 0.50, "noisy": 0.20, "greedy": 0.20, "random": 0.10}
"""Probabilities of the demonstrators in `mixed`: mostly good behaviour, and enough violations for the cost critics."""

_CAREFUL_NOISE = 0.12
_STUCK_STEPS = 8
_STUCK_DISTANCE = 0.015
"""A robot that moves less than this, m, in so many decision steps is stuck."""


def check_kind(kind: str) -> None:
    """Raise UserError for an unknown demonstrator."""
    if kind not in DEMONSTRATORS:
        raise UserError(f"unknown demonstrator '{kind}'; allowed: {', '.join(DEMONSTRATORS)}")


def _drawn(rng: np.random.Generator) -> Kind:
    kinds = list(MIXTURE)
    return kinds[int(rng.choice(len(kinds), p=list(MIXTURE.values())))]


class _Noise:
    """Ornstein-Uhlenbeck noise (n,) with standard deviation `std` of an action and correlation time `time` s."""

    def __init__(self, rng: np.random.Generator, size: int, std: float, time: float) -> None:
        self._rng, self._std = rng, std
        self._keep = math.exp(-DECISION_PERIOD / time)
        self._value = rng.standard_normal(size)

    def __call__(self) -> NDArray[np.float64]:
        fresh = self._rng.standard_normal(len(self._value))
        self._value = self._keep * self._value + math.sqrt(1 - self._keep**2) * fresh
        return np.asarray(self._std * self._value)


class ScriptedDriver(Protocol):
    """Drives one episode."""

    @property
    def kind(self) -> str:
        """Return the kind that was asked for, or that `mixed` drew."""

    def act(self, state: Any, time: float) -> NDArray[np.float32]:
        """Return the normalised action (n,) float32 for the decision period that begins `time` s into the episode."""


def make_demonstrator(kind: str, scene: Scene, robot: RobotConfig, seed: int, noise: bool = True) -> ScriptedDriver:
    """Return the driver of an episode, whose behaviour is drawn from `seed`; arguments as for Demonstrator.

    Raise UserError for an unknown kind or task.
    """
    path = find_task(scene.task).demonstrator
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    if kind == HAZARDS:
        if path:
            raise UserError(f"task '{scene.task}' has flat hazards to drive over, nothing to approach: choose another")
        if robot.gripper is not None:
            raise UserError(f"task '{scene.task}' is not driven to hazards by a hand that carries; choose another")
        return HazardDriver(scene, robot, rng)
    if not path:
        return Demonstrator(kind, scene, robot, seed, noise)
    check_kind(kind)
    drawn: Kind = _drawn(rng) if kind == "mixed" else kind  # type: ignore[assignment]
    return load_attribute(path)(drawn, scene, robot, rng, noise)


class Demonstrator:
    """Drives one episode of a task with a single goal; `kind` is the kind that was asked for, or that `mixed` drew."""

    def __init__(self, kind: str, scene: Scene, robot: RobotConfig, seed: int, noise: bool = True) -> None:
        """Draw the episode's behaviour from `seed`; without `noise`, careful and greedy drive exactly.

        Raise UserError for an unknown kind or task.
        """
        check_kind(kind)
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        self.kind: Kind = _drawn(rng) if kind == "mixed" else kind  # type: ignore[assignment]
        self._driver = find_task(scene.task).driver(scene, robot.action.scale)
        self._rng, self._size = rng, robot.action.size
        std = {"careful": _CAREFUL_NOISE, "greedy": 0.10, "noisy": 0.30, "random": 0.7}[self.kind]
        correlation = {"careful": 0.15, "greedy": 0.2, "noisy": 0.3, "random": 0.6}[self.kind]
        exact = not noise and self.kind in ("careful", "greedy")
        self._noise = _Noise(rng, self._size, 0.0 if exact else std, correlation)
        self._greedy = self.kind == "greedy" or (self.kind == "noisy" and rng.uniform() < 0.3)
        self._stray = np.zeros(self._size)
        self._stray_until = -1.0
        self._next_stray = float(rng.uniform(0.3, 1.5))
        self._trail: deque[tuple[float, float, float]] = deque(maxlen=_STUCK_STEPS)

    def act(self, state: RobotState, time: float) -> NDArray[np.float32]:
        """Return the normalised action (n,) float32 for the decision period that begins `time` s into the episode."""
        if self.kind == "random":
            wish = self._noise() + 0.25 * self._driver.greedy(state)
        elif self._greedy:
            wish = self._driver.greedy(state) + self._noise()
        else:
            wish = self._driver.careful(state, time) + self._noise()
        if self.kind == "noisy" and time >= self._next_stray:
            self._excursion(state, time)
        if self._greedy and self._stuck(state):
            self._begin_stray(self._driver.away(state, time), time)
        return np.clip(self._stray if time < self._stray_until else wish, -1.0, 1.0).astype(np.float32)

    def _excursion(self, state: RobotState, time: float) -> None:
        """Begin a longer excursion, which half of the times leads towards the nearest obstacle."""
        towards = self._rng.uniform() < 0.5
        self._begin_stray(-self._driver.away(state, time) if towards else np.zeros(self._size), time)
        self._next_stray = self._stray_until + float(self._rng.uniform(0.8, 2.0))

    def _begin_stray(self, direction: NDArray[np.float64], time: float) -> None:
        self._stray = direction + self._rng.uniform(-1.0, 1.0, self._size) * (0.4 if direction.any() else 1.0)
        self._stray_until = time + float(self._rng.uniform(0.2, 0.6))
        self._trail.clear()

    def _stuck(self, state: RobotState) -> bool:
        """Return True if an obstacle blocks the robot; to push on for the rest of the episode would teach nothing."""
        self._trail.append(state.position)
        moved = math.dist(self._trail[0], state.position)
        return len(self._trail) == _STUCK_STEPS and moved < _STUCK_DISTANCE
