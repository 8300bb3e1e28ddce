"""A plugged environment behind the interface of simulated worlds.

A tick is one step of the environment, and a decision is as many ticks as the scenario says. The normalised action -1
is the lower bound of the environment's action, 1 the upper one, and a stop is the middle of each.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.plugged.checked import CheckedEnvironment
from fosp_sim.task.plugged.environment import CameraEnvironment, name_of
from fosp_sim.task.scene import Goal, Scene
from fosp_sim.task.world import IntervalOutcome, Picture, RobotState, SimulatedWorld, Vector, WorldTiming


@dataclass(frozen=True)
class PluggedScene(Scene):
    """The scene of one episode, which is the environment's seed."""

    seed: int = 0
    driver: str = ""
    """Import path of the driver that the scenario names, or empty."""


@dataclass(frozen=True)
class PluggedState(RobotState):
    """A state without measurements: it holds the environment itself, for drivers that know it."""

    environment: CameraEnvironment | None = None


def plugged_scene(task: str, seed: int, episode: int, driver: str) -> PluggedScene:
    """Return the scene of an episode."""
    goal = Goal(0.0, 0.0, 0.0, 0.1, "sphere", (0.1, 0.8, 0.1))
    return PluggedScene(task, episode, (0.0, 0.0, 0.0), 0.0, goal, (), seed=seed % 2**32, driver=driver)


class _StoredPictures:
    """Gives the pictures that a snapshot holds."""

    def __init__(self, world: PluggedWorld) -> None:
        self._world = world

    def paint(self, snapshot: dict[str, Picture] | None, height: int, width: int) -> list[Picture]:
        """Return the picture of each camera at its own size."""
        return list((self._world.snapshot() if snapshot is None else snapshot).values())


class PluggedWorld(SimulatedWorld):
    """A plugged environment as a simulated world. Its robot has an axis for each value of the environment's action."""

    def __init__(self, robot: RobotConfig, environment: CameraEnvironment, repeat: int) -> None:
        """Raise UserError when robot, pictures and environment do not fit each other."""
        self.environment, self._checked = environment, CheckedEnvironment(environment)
        if not self._checked.repeats:
            print(
                f"fosp: {name_of(environment)}: reset(seed=0) looks different the second time, so a seed gives no "
                "episode again: bundles that are compared meet different scenes",
                file=sys.stderr,
            )
        size, step_s = len(self._checked.low), self._checked.step_s
        if robot.gripper is not None:
            raise UserError(f"robot {robot.name} has a gripper; each value of an environment's action needs an axis")
        if robot.action.size != size:
            raise UserError(f"the environment's action has {size} values, robot {robot.name} has {robot.action.size}")
        self.timing = WorldTiming(step_s, 1, repeat, repeat)
        rate_hz = 1.0 / self.timing.frame_s
        if abs(robot.camera_frame_rate_hz / rate_hz - 1.0) > 1e-3:
            raise UserError(
                f"robot {robot.name}: camera_frame_rate_hz must be {rate_hz:g}, a frame for each decision of "
                f"{repeat} x {step_s:g} s; it is {robot.camera_frame_rate_hz:g}"
            )
        if abs(robot.command_rate_hz * step_s - 1.0) > 1e-3:
            raise UserError(
                f"robot {robot.name}: command_rate_hz must be {1.0 / step_s:g}, a command for each step of "
                f"{step_s:g} s; it is {robot.command_rate_hz:g}"
            )
        self._scale = np.array(robot.action.scale)
        seen = self._checked.images()
        self.cameras = tuple(seen)
        self.picture = next(iter(seen.values())).shape[:2]
        self._reward, self._cost, self._success = 0.0, 0.0, False
        self._ticks, self._terminal, self._stuck = 0, False, False

    @property
    def time(self) -> float:
        return self._ticks * self.timing.tick_s

    def reset(self, scene: Scene) -> None:
        assert isinstance(scene, PluggedScene)
        self._checked.reset(scene.seed)
        self._clear()
        self._ticks, self._terminal, self._stuck = 0, False, False

    def advance(self, twist: Vector) -> None:
        if self._terminal or self._stuck:
            return
        share = 0.5 + 0.5 * np.clip(twist / self._scale, -1.0, 1.0)
        low, high = self._checked.low, self._checked.high
        outcome = self._checked.step(low + share * (high - low))
        self._ticks += 1
        self._reward += outcome.reward
        self._cost += outcome.cost
        self._success = self._success or outcome.success
        self._terminal, self._stuck = outcome.terminated, outcome.truncated

    def take_outcome(self) -> IntervalOutcome:
        outcome = IntervalOutcome(self._reward, self._cost, self._success, self._terminal, float("nan"), self._stuck)
        self._clear()
        return outcome

    def snapshot(self) -> dict[str, Picture]:
        return dict(self._checked.images())

    def painter(self) -> Any:
        return _StoredPictures(self)

    def state(self) -> PluggedState:
        return PluggedState((0.0, 0.0, 0.0), 0.0, (), (), (0.0, 0.0, 0.0, 0.0), environment=self.environment)

    def position(self) -> Vector:
        return np.zeros(3)

    def distance(self) -> float:
        return float("nan")

    def _clear(self) -> None:
        self._reward, self._cost, self._success = 0.0, 0.0, False
