"""The distance from the nearest obstacle, read off what the encoder of a bundle sees: how well can critics know it?

A probe is fitted to the image embeddings of demonstrations and the true distances, and held against scenes that it was
not fitted to. What no probe finds in the embedding, no critic does.

python -m fosp_cli.experiments.clearance_probe --bundle DIR [--fit SCENARIO] [--scenario NAME ...] [--episodes N]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_bringup.paths import robot_path, scenario_path
from fosp_core.bundle.bundle import Bundle, load_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_perception.encoder import Encoder
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.env import Env
from fosp_sim.task.scenario import Scenario, read_scenario

NEAR_M = 0.10
"""Only frames in which the robot is at most so far, m, from an obstacle count: further away nothing depends on it."""
FEATURES = 1200
"""Random features of the probe."""
_RIDGE = 3.0
_STRIDE = 3
"""Every third frame is taken, since neighbours look alike."""


@dataclass(frozen=True)
class Seen:
    """Frames of some episodes."""

    latent: NDArray[np.float32]
    """(N, D) what the encoder makes of them, without the categorical state."""
    clearance: NDArray[np.float64]
    """(N,) m, distance of the commanded point from the nearest obstacle."""


@dataclass(frozen=True)
class ProbeError:
    """Errors of a probe on the frames near an obstacle, in m."""

    frames: int
    median: float
    mean: float
    bias: float
    """Mean of what was read minus what is true: positive reads too much room."""


class Probe:
    """Ridge regression on random features of latents: its capacity is fixed, and it has no local optima."""

    def __init__(self, seen: Seen, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._mean, self._std = seen.latent.mean(0), seen.latent.std(0) + 1e-3
        size = seen.latent.shape[1]
        self._directions = rng.standard_normal((size, FEATURES)) / np.sqrt(size)
        self._offsets = rng.uniform(-1.0, 1.0, FEATURES)
        features = self._features(seen.latent)
        target = np.minimum(seen.clearance, 2 * NEAR_M)
        self._bias = float(target.mean())
        gram = features.T @ features + _RIDGE * np.eye(features.shape[1])
        self._weights = np.linalg.solve(gram, features.T @ (target - self._bias))

    def _features(self, latent: NDArray[np.float32]) -> NDArray[np.float64]:
        plain = (latent - self._mean) / self._std
        return np.hstack([plain, np.maximum(plain @ self._directions + self._offsets, 0.0)])

    def read(self, latent: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the clearance (N,), m, that is read off latents (N, D)."""
        return np.asarray(self._features(latent) @ self._weights + self._bias)

    def error(self, seen: Seen) -> ProbeError:
        """Return the errors on the frames near an obstacle."""
        near = seen.clearance <= NEAR_M
        if not near.any():
            return ProbeError(0, *(float("nan"),) * 3)
        off = self.read(seen.latent[near]) - seen.clearance[near]
        return ProbeError(int(near.sum()), float(np.median(np.abs(off))), float(np.abs(off).mean()), float(off.mean()))


def frames(bundle: Bundle, scenario: Scenario, episodes: int) -> Seen:
    """Return frames of mixed demonstrations, seen by the encoder of `bundle`."""
    if bundle.manifest.task != scenario.task:
        raise UserError(f"the bundle is for task '{bundle.manifest.task}', the scenario is '{scenario.task}'")
    robot = read_robot(robot_path(scenario.robot))
    env, encoder = Env(scenario, robot, observation=bundle.manifest.observation), Encoder(bundle)
    latents: list[NDArray[np.float32]] = []
    room: list[float] = []
    for episode in range(episodes):
        observation = env.reset(episode)
        encoder.reset()
        driver = make_demonstrator("mixed", env.scene, robot, scenario.seed + episode)
        images, executed, time_s, step, last = observation.images, np.zeros(env.action_size, np.float32), 0.0, 0, False
        while True:
            state = encoder.step(images, executed, step == 0)
            if step % _STRIDE == 0:
                latents.append(state.deter.copy())
                point = np.array([env.world.state().position[:2]])
                room.append(float(env.scene.clearance(point, time_s)[0]))
            if last:
                break
            result = env.step(driver.act(env.world.state(), time_s))
            images, executed, time_s, last = result.images, result.executed, result.time, result.last
            step += 1
    return Seen(np.stack(latents), np.array(room))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--fit", help="scenario that the probe is fitted to; default: the task's demonstrations")
    parser.add_argument("--scenario", action="append", help="scenario to read in; repeat the option for more")
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each; four times as many to fit")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle, provider="cpu")
    task = bundle.manifest.task
    fitted = read_scenario(scenario_path(arguments.fit or f"{task}_train"))
    probe = Probe(frames(bundle, fitted, 4 * arguments.episodes))
    for name in arguments.scenario or [task, f"{task}_transfer_obstacle_shape"]:
        found = probe.error(frames(bundle, read_scenario(scenario_path(name)), arguments.episodes))
        print(
            f"{name}: median {100 * found.median:.2f}, mean {100 * found.mean:.2f}, bias {100 * found.bias:+.2f} cm "
            f"over {found.frames} frames within {100 * NEAR_M:.0f} cm of an obstacle",
            flush=True,
        )


if __name__ == "__main__":
    main()
