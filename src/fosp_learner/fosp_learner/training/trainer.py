"""The trainer of pre-training: it draws the batches of each phase, sets learning rates, and can be resumed exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fosp_core.errors import UserError
from fosp_learner import distributed
from fosp_learner.config import LearnerConfig
from fosp_learner.data.batch import to_device
from fosp_learner.data.dataset import Dataset, mean_image
from fosp_learner.data.samplers import FrameSampler, Sampler, SequenceSampler, cloned_episodes
from fosp_learner.model.world_model import Latents, WorldModel
from fosp_learner.training.behaviour import Behaviour, data_trajectories
from fosp_learner.training.filtering import LatentStore, filter_episodes
from fosp_learner.training.phases import (
    PhaseLoss,
    cloning,
    descend,
    extraction,
    full_update,
    make_optimiser,
    rate_share,
    refinement,
    success,
)
from fosp_learner.training.precision import Precision


class Trainer:
    """Networks, optimisers, samplers and step of a run: the state that a checkpoint holds to go on exactly."""

    def __init__(
        self,
        config: LearnerConfig,
        data: Dataset,
        device: torch.device | None = None,
        calibrated_eps: Callable[[WorldModel, Behaviour], float] | None = None,
    ) -> None:
        """Build networks and samplers; UserError when batches cannot be divided among the processes of the run.

        `calibrated_eps` gives the threshold of the finished critics, on the CPU, for `actor.eps: calibrated`.
        """
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.device = device or torch.device("cpu")
        for part in (config, config.cloning, config.refinement, config.extraction, config.success):
            batch_size = part.batch_size  # type: ignore[attr-defined]
            distributed.share(batch_size)
        self.seconds = 0.0
        """Wall time spent on updates, resumed runs included."""
        self.precision = Precision(config.bf16, self.device)
        action = data.action.shape[1]
        observation = data.images.shape[1:]
        self.world_model = WorldModel(config.network, config.world_model, observation, action)  # type: ignore[arg-type]
        self.behaviour = Behaviour(config, action)
        mean = torch.from_numpy(mean_image(data)).permute(1, 2, 0, 3).flatten(2) - 0.5
        self.world_model.mean_image.copy_(mean)
        self._sequences = SequenceSampler(data, config.sequence_length, config.seed, config.world_model.image_shift)
        self.sampler: Sampler = self._sequences
        every = config.cloning.episodes == "all"
        self._frames = FrameSampler(data, config.world_model.image_shift, every)
        cloned = replace(data, episodes=cloned_episodes(data.episodes, every))
        self._extracted = self._sequences.another(cloned, config.extraction.sequence_length)
        self._outcomes = self._sequences.another(data, config.success.sequence_length)
        self._data = data
        self._calibrated_eps = calibrated_eps if config.actor.eps == "calibrated" else None
        self._latents: LatentStore | None = None
        self.world_model.to(self.device)
        self.behaviour.to(self.device)
        self._networks: dict[str, nn.Module] = {
            "world_model": self.world_model,
            "critics": self.behaviour.critics,
            "actor": self.behaviour.actor,
        }
        if self.behaviour.success is not None:
            self._networks["success"] = self.behaviour.success
        every_part = {
            "world_model": config.world_model,
            "critics": config.critic,
            "actor": config.actor,
            "success": config.success,
        }
        parts = {name: every_part[name] for name in self._networks}
        self._rates = {name: part.learning_rate for name, part in parts.items()}  # type: ignore[attr-defined]
        self._clips = {name: part.gradient_clip for name, part in parts.items()}  # type: ignore[attr-defined]
        self.optimisers = {name: make_optimiser(net, self._rates[name]) for name, net in self._networks.items()}
        self._losses = {
            "cloning": self._cloning,
            "full updates": self._full_update,
            "refinement": self._refinement,
            "extraction": self._extraction,
            "success": self._success,
        }

    def to_cpu(self) -> None:
        """Move the networks to the CPU to be judged and exported, which ends training."""
        self.device = torch.device("cpu")
        self.world_model.to(self.device)
        self.behaviour.to(self.device)

    @property
    def warming_up(self) -> bool:
        """True while full updates train the world model alone."""
        return self.step - self.config.phases[0] < self.config.world_model_warmup * self.config.steps

    def train_step(self) -> dict[str, float]:
        """Make one update and return its figures for the log; TrainingDiverged before any network has seen a NaN."""
        phase, update, updates = self._place()
        share = rate_share(update, updates, self.config.learning_rate_warmup, self.config.learning_rate_final)
        for name, base in self._base_rates(phase).items():
            for group in self.optimisers[name].param_groups:
                group["lr"] = base * share
        with self.precision.update(phase):
            loss = self._losses[phase]()
            figures = descend(loss, self._networks, self.optimisers, self._clips, f"step {self.step}")
        if "critics" in loss.trained:
            self.behaviour.critics.update_target()
        if "success" in loss.trained and self.behaviour.success is not None:
            self.behaviour.success.update_target()
        self.step += 1
        return figures

    def _place(self) -> tuple[str, int, int]:
        """Return the name of the present phase, the updates made in it, and the updates that it has in all."""
        name, update, updates = "", self.step, 0
        for name, updates in self.config.named_phases:  # noqa: B007
            if update < updates:
                break
            update -= updates
        return name, update, updates

    def _base_rates(self, phase: str) -> dict[str, float]:
        if phase not in ("cloning", "extraction"):
            return self._rates
        part = self.config.cloning if phase == "cloning" else self.config.extraction
        return dict.fromkeys(("world_model", "actor"), part.learning_rate)

    def _cloning(self) -> PhaseLoss:
        size = self.config.cloning.batch_size
        images, action = (to_device(x, self.device) for x in self._frames.batch(size, distributed.share(size)))
        with self.precision.autocast():
            return cloning(self.world_model, self.behaviour, images, action)

    def _full_update(self) -> PhaseLoss:
        size = self.config.batch_size
        batch = self.sampler.batch(size, distributed.share(size)).to(self.device)
        with self.precision.autocast():
            return full_update(self.world_model, self.behaviour, batch, self.warming_up)

    def _refinement(self) -> PhaseLoss:
        config = self.config.refinement
        share = distributed.share(config.batch_size)
        rows, batch = self._sequences.rows(config.batch_size, share, config.onset_share)
        latents = self._noisy_latents(rows)
        with self.precision.autocast():
            return refinement(self.world_model, self.behaviour, batch.to(self.device), latents, config.actor)

    def _success(self) -> PhaseLoss:
        critic, size = self.behaviour.success, self.config.success.batch_size
        assert critic is not None
        rows, batch = self._outcomes.rows(size, distributed.share(size))
        batch, latents = batch.to(self.device), self._noisy_latents(rows)
        reached = to_device(torch.from_numpy(self._data.reached[rows]), self.device)
        with self.precision.autocast():
            data = data_trajectories(batch, latents.feature)
            return success(critic, data, reached[:, 1:], batch.is_last[:, 1:])

    def _noisy_latents(self, rows: NDArray[np.int64]) -> Latents:
        """Return the stored latents of `rows` (...) as critics learn from them, with the noise of refinement."""
        config = self.config.refinement
        recurrent, stoch, embed = self._stored(rows, config.sample)
        # No critic sees the memory, and nobody asks for the distributions of z.
        memory = recurrent.new_zeros(*rows.shape, self.config.extraction.memory)
        if config.embed_noise:
            embed = embed + config.embed_noise * distributed.normal(*embed.shape, device=self.device)
        return Latents(recurrent, stoch, embed, memory, memory[..., :0], memory[..., :0])

    def _calibrate_eps(self) -> None:
        """Take the calibrated threshold, once: the critics no longer learn, so that a resumed run finds the same."""
        if self._calibrated_eps is None:
            return
        networks = (copy.deepcopy(net).to("cpu").requires_grad_(False) for net in (self.world_model, self.behaviour))
        self.behaviour.weighting.eps = self._calibrated_eps(*networks)  # type: ignore[arg-type]
        self._calibrated_eps = None

    def _extraction(self) -> PhaseLoss:
        self._calibrate_eps()
        config = self.config.extraction
        rows, batch = self._extracted.rows(config.batch_size, distributed.share(config.batch_size))
        recurrent, stoch, embed = self._stored(rows, sample=False)
        batch = batch.to(self.device)
        noise = config.embed_noise * distributed.normal(*embed.shape, device=self.device)
        with self.precision.autocast():
            memory = self.world_model.remembered(embed + noise, batch.is_first)
            data = data_trajectories(batch, torch.cat([memory, recurrent, embed, stoch], -1))
            loss = extraction(self.behaviour, data, torch.cat([memory, recurrent, embed + noise, stoch], -1))
        return replace(loss, trained=("world_model", *loss.trained))  # the image memory is a part of the world model

    def _stored(self, rows: NDArray[np.int64], sample: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return h, z and image embedding (..., D), (..., S), (..., E) of `rows` (...), by the finished world model.

        z is drawn from the posterior with `sample`, else its mode.
        """
        if self._latents is None:
            colours = torch.Generator().manual_seed(self.config.seed)  # a resumed run draws the same
            filtered = filter_episodes(self.world_model, self._data, colours=colours)
            self._latents = LatentStore.of(filtered, len(self._data.reward), self._data.folder)
        recurrent, logits, embed = (to_device(x, self.device) for x in self._latents.take(rows))
        rssm = self.world_model.rssm
        if not sample:
            return recurrent, rssm.mode(logits), embed
        return recurrent, rssm.sample(logits, distributed.uniform(*logits.shape[:-1], 1, device=self.device)), embed


def steps_left(config: LearnerConfig, step: int) -> int:
    """Return the updates still to do; UserError when a resumed run is already past its end."""
    left = config.total_steps - step
    if left < 0 or math.isnan(left):
        raise UserError(
            f"the checkpoint is at step {step}, beyond the {config.total_steps} asked for; ask for more steps"
        )
    return left
