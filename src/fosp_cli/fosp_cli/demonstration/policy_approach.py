"""The policy of a bundle as the first driver of a recorded episode, from which a demonstrator takes over."""

from __future__ import annotations

import math
from collections import deque
from functools import cached_property
from pathlib import Path

import numpy as np

from fosp_cli.evaluation.agent import Agent, require_pace
from fosp_core.bundle.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.env import Env, Observation

LONGEST_S = 3.0
"""The demonstrator takes over at a moment drawn evenly from this time, s."""
HANG_S, HANG_M = 1.0, 0.025
"""The demonstrator takes over at once where the robot has moved less than so many m in so many s."""
_TRIES = 4
_NOISE = 0.15
"""Standard deviation that is added to the policy's normalised actions, so that it comes to more places."""


class PolicyApproach:
    """The policy of one bundle alone, with a little noise; it is loaded where it first drives, in every process."""

    def __init__(self, bundle: Path, robot: RobotConfig, task: str) -> None:
        """UserError when the bundle cannot be loaded, or is for another robot or task."""
        self._path, self._robot = bundle, robot
        manifest = load_bundle(bundle, robot, provider="cpu").manifest
        if manifest.task != task:
            raise UserError(f"{bundle}: bundle is for task '{manifest.task}', the scenario is '{task}'")
        self.name, self.observation = manifest.id, manifest.observation
        self._manifest = manifest

    def require_pace(self, decision_s: float) -> None:
        """Raise UserError when the bundle decides at another pace than once in `decision_s` s."""
        require_pace(self._path, self._manifest, decision_s)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_agent"}

    @cached_property
    def _agent(self) -> Agent:
        return Agent(load_bundle(self._path, self._robot, provider="cpu"), self._robot, "off")

    def drive(self, env: Env, observation: Observation, seed: int) -> bool:
        """Drive to a moment drawn by `seed`, or until the robot hangs; return False when nothing is left of an episode.

        Where the policy ends the episode before that moment, the episode is driven again, to an earlier one.
        """
        rng = np.random.Generator(np.random.PCG64([seed, 5]))
        until_s = float(rng.uniform(0.0, LONGEST_S))
        for _ in range(_TRIES):
            if self._drive(env, observation, until_s, rng):
                return True
            until_s /= 2.0
            observation = env.reset(observation.episode)
        return False

    def _drive(self, env: Env, observation: Observation, until_s: float, rng: np.random.Generator) -> bool:
        self._agent.reset(observation.episode)
        images, executed, time_s = observation.images, np.zeros(env.action_size, np.float32), 0.0
        trail: deque[tuple[float, float, float]] = deque(maxlen=1 + round(HANG_S / env.timing.decision_s))
        while time_s < until_s:
            state = env.world.state()
            trail.append(state.position)
            if len(trail) == trail.maxlen and math.dist(trail[0], trail[-1]) < HANG_M:
                return True
            wish = self._agent.act(images, executed, time_s == 0.0, state, time_s).action
            noise = _NOISE * rng.standard_normal(env.action_size)
            result = env.step(np.clip(wish + noise, -1.0, 1.0))
            self._agent.watch(result.ticks)
            if result.last:
                return False
            images, executed, time_s = result.images, result.executed, result.time
        return True
