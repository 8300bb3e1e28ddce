"""Measurements that need torch: the training step, a policy step without ONNX, decoding of images.

The training step is compared with a plain one: float32 throughout, tensors as torch lays them out, the latent sampled
by torch.distributions, every projection and the prior inside the time loop, and the keypoints' softmax differentiated
by autograd. Mathematics, weights and amount of work are the same.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import OneHotCategorical
from torch.nn import functional as F

from fosp_core.bundle.bundle import write_bundle
from fosp_core.bundle.reference import REFERENCE
from fosp_core.image import observation_image
from fosp_core.processes import end_with_parent
from fosp_core.specs import (
    FORMAT_VERSION,
    ActionAxis,
    ActionSpec,
    Calibration,
    LatentSpec,
    Manifest,
    ObservationSpec,
)
from fosp_learner.bundling.export import export_networks
from fosp_learner.bundling.reference import calibrate_reference, fit_reference
from fosp_learner.config import CloningConfig, ImaginationConfig, LearnerConfig, Size
from fosp_learner.data.bag_messages import COMPRESSED, IMAGE, read_observation
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.model.networks import KeypointEncoder
from fosp_learner.model.world_model import Latents, RecurrentStateSpaceModel
from fosp_learner.process import limit_resources
from fosp_learner.training.precision import BF16, TRIAL_UPDATES
from fosp_learner.training.trainer import Trainer

_ROWS = 64


@dataclass(frozen=True)
class StepTimes:
    """Wall times of a full update (16 x 32 rows of 64 x 64 pixels), s: medians in each precision, by turns."""

    bf16_s: float
    fp32_s: float
    chosen: str
    """Precision that the trainer takes on this machine, bf16 or fp32."""

    @property
    def chosen_s(self) -> float:
        """Time in the precision that the trainer takes."""
        return self.bf16_s if self.chosen == BF16 else self.fp32_s


def training_step(size: Size, steps: int = 5, imagination: ImaginationConfig | None = None) -> StepTimes:
    """Time `steps` updates in each precision, after those in which a trainer makes its choice.

    An update trains world model, critics and actor, and with `imagination` its rollouts.
    """
    rollouts = imagination or ImaginationConfig()
    free, in_bf16, in_fp32 = (_trainer(step_config(size, bf16, rollouts)) for bf16 in (None, True, False))
    for _ in range(TRIAL_UPDATES):
        free.train_step()
    pairs = [(_update_s(in_bf16), _update_s(in_fp32)) for _ in range(steps + 2)][2:]
    bf16_s, fp32_s = (median(times) for times in zip(*pairs, strict=True))
    return StepTimes(bf16_s, fp32_s, free.precision.chosen("full updates"))


def plain_over_optimised(size: Size, steps: int = 3) -> dict[str, float]:
    """Return the time of a full update with imagination from all 512 latents, s: as trained, and written plainly.

    `ratio` is the median over `steps` of the plain update's time divided by that of the optimised update right before
    it, so that a busy machine slows both down alike.
    """
    every = ImaginationConfig(weight=1.0, starts=None)
    fast, plain = (_trainer(step_config(size, bf16, every)) for bf16 in (True, False))
    make_plain(plain)
    pairs = [(_update_s(fast), _update_s(plain)) for _ in range(steps + 1)][1:]
    return {
        "optimised_s": median(a for a, _ in pairs),
        "plain_s": median(b for _, b in pairs),
        "ratio": median(b / a for a, b in pairs),
    }


def step_config(size: Size, bf16: bool | None, imagination: ImaginationConfig) -> LearnerConfig:
    return LearnerConfig(
        size=size,
        bf16=bf16,
        batch_size=16,
        sequence_length=32,
        cloning=CloningConfig(share=0.0),
        imagination=imagination,
    )


def _update_s(trainer: Trainer) -> float:
    started = time.perf_counter()
    trainer.train_step()
    return time.perf_counter() - started


class PlainStateSpaceModel(RecurrentStateSpaceModel):
    """A plainly written RSSM that shares the weights of another one."""

    def __init__(self, other: RecurrentStateSpaceModel) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(other.__dict__)

    def sample(self, log_probabilities: Tensor, noise: Tensor) -> Tensor:
        """Sample by torch.distributions; `noise` is ignored."""
        probabilities = log_probabilities.exp()
        one_hot = OneHotCategorical(logits=log_probabilities).sample()  # type: ignore[no-untyped-call]
        return (one_hot + probabilities - probabilities.detach()).flatten(-2)

    def observe(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter one step after the other."""
        batch, length = is_first.shape
        deter0, stoch0 = self.initial_state()
        deter, stoch = deter0.expand(batch, -1), stoch0.expand(batch, -1)
        steps = []
        for t in range(length):
            first = is_first[:, t : t + 1].float()
            deter, stoch = deter + first * (deter0 - deter), stoch + first * (stoch0 - stoch)
            x = self.from_stoch(stoch) + self.from_action(action_prev[:, t] * (1 - first))
            deter = self.cell(F.silu(self.input_norm(x)), deter)
            posterior = self.posterior(deter, self.from_embed(embed[:, t]))
            prior = self.prior(deter)
            stoch = self.sample(posterior, posterior) if sample else self.mode(posterior)
            steps.append((deter, stoch, posterior, prior))
        deters, stochs, posteriors, priors = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
        return Latents(deters, stochs, embed, embed[..., :0], posteriors, priors)


def make_plain(trainer: Trainer) -> None:
    """Make `trainer`, whose bf16 must be off, do its updates plainly from now on."""
    model = trainer.world_model
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.rssm = PlainStateSpaceModel(model.rssm)
    for module in model.modules():
        if isinstance(module, KeypointEncoder):
            module.closed_form = False


def torch_policy_step_ms(size: Size, steps: int = 200) -> dict[str, float]:
    """Return p50 and p99 of encoder, posterior, two actors and critics in eager torch, ms (batch 1, one thread)."""
    trainer = _trainer(LearnerConfig(size=size))
    model, behaviour = trainer.world_model.eval(), trainer.behaviour.eval()
    deter, stoch = torch.zeros(1, model.carried), torch.zeros(1, model.rssm.from_stoch.in_features)
    image = torch.randint(0, 256, (1, 1, 64, 64, 3), dtype=torch.uint8)
    action, first = torch.zeros(1, 3), torch.zeros(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    milliseconds = []
    try:
        with torch.inference_mode():
            for _ in range(steps + 20):
                started = time.perf_counter()
                deter, stoch, _ = model.filter_step(image, deter, stoch, action, first)
                feature = torch.cat([deter, stoch], -1)
                candidates = torch.stack([behaviour.actor(feature)[0], behaviour.actor(feature)[0]], 1)
                repeated = feature.unsqueeze(1).expand(-1, 2, -1)
                behaviour.critics.q_target.values(repeated, candidates)
                behaviour.critics.v.reachability(feature)
                action = candidates[:, 0]
                milliseconds.append(1e3 * (time.perf_counter() - started))
    finally:
        torch.set_num_threads(threads)
    p50, p99 = np.percentile(milliseconds[20:], [50, 99])
    return {"p50": float(p50), "p99": float(p99)}


def export_s(size: Size) -> float:
    """Return the wall time of an export of all networks as ONNX with its check against torch, s, the first one apart.

    The first export of a process loads the exporter, too.
    """
    trainer = _trainer(LearnerConfig(size=size))
    actor = trainer.behaviour.actor
    times = []
    for _ in range(2):
        started = time.perf_counter()
        export_networks(trainer.world_model, actor, copy.deepcopy(actor), trainer.behaviour.critics)
        times.append(time.perf_counter() - started)
    return times[-1]


def vga_frames_per_s(seconds: float = 0.5) -> dict[str, float]:
    """Return the 640 x 480 frames that one core turns from messages into observations per second: raw, JPEG and PNG.

    `jpeg_opencv` and `png_opencv` are OpenCV's decoding in full size, measured in the same run.
    """
    rng = np.random.default_rng(0)
    down, across = np.mgrid[0:480, 0:640]
    scene = np.stack([across / 3, down / 2, (across + down) / 5], -1)
    for _ in range(12):
        top, left = rng.integers(0, 400, 2)
        scene[top : top + 80, left : left + 120] = rng.integers(0, 256, 3)
    frame = np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
    raw = SimpleNamespace(width=640, height=480, step=1920, encoding="rgb8", data=frame.reshape(-1))
    messages: dict[str, tuple[SimpleNamespace, str]] = {"raw": (raw, IMAGE)}
    for name, extension in (("jpeg", ".jpg"), ("png", ".png")):
        _, encoded = cv2.imencode(extension, frame)
        messages[name] = (SimpleNamespace(format=name, data=np.asarray(encoded)), COMPRESSED)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rates = {
            name: _per_s(partial(read_observation, message, kind, 64, 64), seconds)
            for name, (message, kind) in messages.items()
        }
        for name in ("jpeg", "png"):
            rates[f"{name}_opencv"] = _per_s(partial(_by_opencv, messages[name][0]), seconds)
        return rates
    finally:
        cv2.setNumThreads(threads)


def _by_opencv(message: SimpleNamespace) -> None:
    """Make an observation of a compressed image by OpenCV alone."""
    pixels = cv2.cvtColor(np.asarray(cv2.imdecode(message.data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    observation_image(np.asarray(pixels, np.uint8), 64, 64)


def _per_s(work: Callable[[], object], seconds: float) -> float:
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work()
        done += 1
    return done / (time.perf_counter() - started)


def train_until_killed() -> None:
    """Train without end as learner_node does: at idle priority, on one core."""
    end_with_parent()
    settings = FinetuneConfig()
    limit_resources(settings)
    trainer = _trainer(LearnerConfig(batch_size=settings.batch_size, cloning=CloningConfig(share=0.0)))
    while True:
        trainer.train_step()


def write_noise_bundle(directory: Path, size: Size) -> Manifest:
    """Write a bundle of untrained networks, which is as large and as fast as a trained one."""
    noise = random_data()
    trainer = Trainer(LearnerConfig(size=size), noise)
    reference, camera = calibrate_reference(fit_reference([noise]), [noise])
    actor, config = trainer.behaviour.actor, trainer.config
    files: dict[str, Path | bytes] = dict(
        export_networks(trainer.world_model, actor, copy.deepcopy(actor), trainer.behaviour.critics)
    )
    files[REFERENCE] = reference.to_bytes()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        id="",
        task="noise",
        robot="none",
        size=size,
        observation=ObservationSpec(),
        action=ActionSpec(
            axes=tuple(ActionAxis(name=f"linear.{axis}", scale=0.25) for axis in "xyz"),  # type: ignore[arg-type]
            frame_id="base_link",
        ),
        latent=LatentSpec(deter=config.network.carried, stoch=config.network.stoch),
        decision_period_s=config.decision_period_s,
        calibration=Calibration(
            eps=0.5,
            alpha=0.05,
            horizon_steps=1,
            episodes=0,
            violating_episodes=0,
            miss_rate_bound=1.0,
            false_veto_rate=0.0,
            supported=False,
            surprise_limit=10.0,
            ranges={"q_r": (-1e6, 1e6), "q_c": (0.0, 1e6), "q_h": (0.0, 1.0), "v_h": (0.0, 1.0)},
            camera=camera,
        ),
    )
    return write_bundle(directory, manifest, files)


def _trainer(config: LearnerConfig) -> Trainer:
    """Return a trainer on random episodes."""
    return Trainer(config, random_data())


def random_data() -> Dataset:
    """Return random episodes."""
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            name=f"noise_{number}",
            images=rng.integers(0, 256, (_ROWS, 1, 64, 64, 3), np.uint8),
            action=rng.uniform(-1, 1, (_ROWS, 3)).astype(np.float32),
            reward=rng.normal(0, 0.1, _ROWS).astype(np.float32),
            cost=(rng.uniform(size=_ROWS) < 0.05).astype(np.float32),
            is_terminal=np.zeros(_ROWS, np.bool_),
            success=False,
        )
        for number in range(4)
    ]
    return from_episodes(episodes)
