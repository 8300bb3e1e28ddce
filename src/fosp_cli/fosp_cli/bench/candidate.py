"""The time that a candidate of fine-tuning takes on one core: settling, gate and bundle, on random episodes.

Random pictures and actions take as long as recorded ones. The amounts are those of the defaults: as many episodes as
settling and gate draw at most.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from fosp_core.bundle.bundle import read_manifest
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Manifest
from fosp_learner.bundling.training_weights import read_weights
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.finetuning.candidate import CandidateMaker
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.fine_tuner import FineTuner
from fosp_learner.finetuning.online_buffer import OnlineBuffer
from fosp_learner.finetuning.parent_judge import ParentJudge

ROWS = 70
"""Rows of an episode."""
NEW = 40
"""Episodes of experience."""


def candidate_s(
    bundle: Path, robot: RobotConfig, out: Path, share: float = 1.0, rounds: int = 2
) -> dict[str, list[float]]:
    """Return the processor's time for settling, and for gate and bundle, in each round, s.

    They run in one thread, on `share` of the updates and episodes. `out` is a folder for experience and candidates.
    """
    base = FinetuneConfig()
    gate, settling = base.gate, base.settling
    settings = base.model_copy(
        update={
            "settling": settling.model_copy(
                update={"updates": _some(settling.updates, share), "episodes": _some(settling.episodes, share)}
            ),
            "gate": gate.model_copy(
                update={
                    "episodes": _some(gate.episodes, share),
                    "calibration_episodes": _some(gate.calibration_episodes, share),
                }
            ),
        }
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rounds(bundle, robot, out, settings, rounds)
    finally:
        torch.set_num_threads(threads)


def _rounds(
    bundle: Path, robot: RobotConfig, out: Path, settings: FinetuneConfig, rounds: int
) -> dict[str, list[float]]:
    manifest = read_manifest(bundle)
    rng = np.random.default_rng(0)
    offline = from_episodes([_random_episode(manifest, number, rng) for number in range(_offline(settings))], "random")
    tuner = FineTuner(manifest, read_weights(bundle), bundle, settings, offline, offline)
    action = manifest.action
    buffer = OnlineBuffer(out / "buffer", manifest.observation.shape, action.size, action.gripper is not None)
    judge = ParentJudge(bundle, manifest, robot)
    maker = CandidateMaker(
        tuner, manifest, buffer, offline, offline, out, command="bench", signing_key=None, judge=judge
    )
    settling, making = [], []
    for number in range(rounds):
        for new in range(number * NEW, (number + 1) * NEW):
            episode = _random_episode(manifest, new, rng)
            held_out = new % settings.hold_out_every == 0
            buffer.append(episode, np.zeros(ROWS, np.uint8), f"{new:012d}", tuner.step, held_out)
        experience = buffer.dataset(tuner.step, held_out=False)
        tuner.sampler.experience(experience)
        tuner.train_step()  # the critics are others, as they would be
        started = time.process_time()
        tuner.settle(experience)
        settled = time.process_time()
        maker.make(lambda line: None)
        settling.append(round(settled - started, 1))
        making.append(round(time.process_time() - settled, 1))
    return {"settling_s": settling, "gate_and_bundle_s": making}


def _some(count: int, share: float) -> int:
    return max(2, round(count * share))


def _offline(settings: FinetuneConfig) -> int:
    """Return how many offline episodes settling and gate have use for."""
    return max(settings.settling.episodes, settings.gate.calibration_episodes + settings.gate.episodes)


def _random_episode(manifest: Manifest, number: int, rng: np.random.Generator) -> Episode:
    """Return an episode of noise; every third one holds a violation."""
    cost = np.zeros(ROWS, np.float32)
    cost[ROWS // 2] = float(number % 3 == 0)
    return Episode(
        name=f"random_{number}",
        images=rng.integers(0, 256, (ROWS, *manifest.observation.shape), np.uint8),
        action=rng.uniform(-1, 1, (ROWS, manifest.action.size)).astype(np.float32),
        reward=rng.normal(0, 0.1, ROWS).astype(np.float32),
        cost=cost,
        is_terminal=np.zeros(ROWS, np.bool_),
        success=number % 3 > 0,
    )
