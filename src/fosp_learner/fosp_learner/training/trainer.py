"""Updates of world model, critics and actor in three phases: learning rates, seeds, and a stop at the first NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fosp_core.errors import UserError
from fosp_learner import distributed
from fosp_learner.config import LearnerConfig
from fosp_learner.data.batch import Batch, to_device
from fosp_learner.data.dataset import Dataset, mean_image
from fosp_learner.data.samplers import FrameSampler, Sampler, SequenceSampler, cloned_episodes
from fosp_learner.model.actor import regression_loss
from fosp_learner.model.networks import scaled_gradient
from fosp_learner.model.world_model import Latents, WorldModel
from fosp_learner.training.backprop import backprop_loss
from fosp_learner.training.behaviour import Behaviour, BehaviourLoss, behaviour_loss, data_trajectories, imagine
from fosp_learner.training.filtering import LatentStore, filter_episodes


class TrainingDiverged(RuntimeError):
    """A loss is not finite; the message names step and culprit."""


class Trainer:
    """Everything that a checkpoint must hold to go on exactly: networks, optimisers, generators, step."""

    def __init__(self, config: LearnerConfig, data: Dataset, device: torch.device | None = None) -> None:
        """Raises UserError when the batches cannot be divided among the processes of the run."""
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.device = device or torch.device("cpu")
        for part in (config, config.cloning, config.refinement, config.extraction):
            batch_size = part.batch_size  # type: ignore[attr-defined]
            distributed.share(batch_size)
        self.seconds = 0.0
        """Wall time spent on updates, resumed runs included."""
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
        self._data = data
        self._latents: LatentStore | None = None
        self.world_model.to(self.device)
        self.behaviour.to(self.device)
        self.optimisers = {
            "world_model": make_optimiser(self.world_model, config.world_model.learning_rate),
            "critics": make_optimiser(self.behaviour.critics, config.critic.learning_rate),
            "actor": make_optimiser(self.behaviour.actor, config.actor.learning_rate),
        }

    def to_cpu(self) -> None:
        """Bring the networks there, where they are judged and exported; training ends with it."""
        self.device = torch.device("cpu")
        self.world_model.to(self.device)
        self.behaviour.to(self.device)

    @property
    def warming_up(self) -> bool:
        """Of the full updates, those that train the world model alone."""
        return self.step - self.config.phases[0] < self.config.world_model_warmup * self.config.steps

    def train_step(self) -> dict[str, float]:
        """One update; figures for the log. Raises TrainingDiverged before any network is touched by a NaN."""
        rate = self._rate()
        for name, base in self._base_rates().items():
            for group in self.optimisers[name].param_groups:
                group["lr"] = base * rate
        cloning, full, refinement, _ = self.config.phases
        if self.step < cloning:
            figures = self._clone()
        elif self.step < cloning + full:
            size = self.config.batch_size
            figures = self._update(self.sampler.batch(size, distributed.share(size)).to(self.device))
        elif self.step < cloning + full + refinement:
            figures = self._refine()
        else:
            figures = self._extract()
        self.step += 1
        return {name: float(value) for name, value in figures.items()}

    def _clone(self) -> dict[str, Tensor]:
        """Image encoder and actor on independent frames."""
        size = self.config.cloning.batch_size
        images, action = (to_device(x, self.device) for x in self._frames.batch(size, distributed.share(size)))
        actor, model = self.behaviour.actor, self.world_model
        with autocast(self.config.bf16, self.device):
            embed = model.embed(model.varied(model.pixels(images), len(images))).unsqueeze(1)
            memory = model.remembered(embed, torch.ones(embed.shape[:2], dtype=torch.bool, device=self.device))
            policy = actor.of_seen(torch.cat([memory, embed], -1).squeeze(1))
            loss = -policy.log_probability(action).mean() - self.config.actor.entropy_scale * policy.entropy().mean()
        figures = {
            "behaviour/cloning": loss.detach(),
            "behaviour/clone_rmse": (policy.mode()[0].detach() - action).square().mean().sqrt(),
        }
        self._require_finite(figures)
        self._descend(loss, {"world_model": model, "actor": actor}, figures)
        return figures

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        with autocast(self.config.bf16, self.device):
            losses, latents = self.world_model.loss(batch)
            figures = {f"world_model/{name}": loss.detach() for name, loss in losses.items()}
            total = sum(losses.values(), torch.zeros((), device=self.device))
            trained: dict[str, nn.Module] = {"world_model": self.world_model}
            if not self.warming_up:
                loss = self._behaviour_loss(batch, latents)
                figures |= {f"behaviour/{name}": value for name, value in loss.figures.items()}
                total = total + loss.critics + loss.actor
                trained |= {"critics": self.behaviour.critics, "actor": self.behaviour.actor}
        self._require_finite(figures)
        self._descend(total, trained, figures)
        if "critics" in trained:
            self.behaviour.critics.update_target()
        return figures

    def _stored(self, rows: NDArray[np.int64], sample: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Deter, stoch and embeddings of the finished world model on `rows` of the data."""
        if self._latents is None:
            colours = torch.Generator().manual_seed(self.config.seed)  # a resumed run draws the same
            filtered = filter_episodes(self.world_model, self._data, colours=colours)
            self._latents = LatentStore.of(filtered, len(self._data.reward), self._data.folder)
        deter, logits, embed = (to_device(x, self.device) for x in self._latents.take(rows))
        rssm = self.world_model.rssm
        if not sample:
            return deter, rssm.mode(logits), embed
        return deter, rssm.sample(logits, distributed.uniform(*logits.shape[:-1], 1, device=self.device)), embed

    def _extract(self) -> dict[str, Tensor]:
        """The actor, and its memory, by the weights of the finished critics."""
        config, model = self.config.extraction, self.world_model
        rows, batch = self._extracted.rows(config.batch_size, distributed.share(config.batch_size))
        deter, stoch, embed = self._stored(rows, sample=False)
        batch = batch.to(self.device)
        noise = config.embed_noise * distributed.normal(*embed.shape, device=self.device)
        with autocast(self.config.bf16, self.device):
            memory = model.remembered(embed + noise, batch.is_first)
            data = data_trajectories(batch, torch.cat([memory, deter, embed, stoch], -1))
            weight = self.behaviour.weighting.weight(self.behaviour.critics.values(data.feature[:, :-1], data.action))
            noisy = torch.cat([memory, deter, embed + noise, stoch], -1)
            loss, figures = regression_loss(self.behaviour.actor, data, weight, noisy)
        figures = {f"behaviour/{name}": value for name, value in figures.items()}
        self._require_finite(figures)
        self._descend(loss, {"world_model": model, "actor": self.behaviour.actor}, figures)
        return figures

    def _refine(self) -> dict[str, Tensor]:
        """Critics, and the actor if asked for, on latents of the finished world model."""
        config = self.config.refinement
        rows, batch = self._sequences.rows(config.batch_size, distributed.share(config.batch_size))
        deter, stoch, embed = self._stored(rows, config.sample)
        batch = batch.to(self.device)
        with autocast(self.config.bf16, self.device):
            unseen = deter.new_zeros(*rows.shape, self.config.extraction.memory)
            feature = torch.cat([unseen, deter, embed, stoch], -1)
            loss = behaviour_loss(self.behaviour, data_trajectories(batch, feature))
        figures = {f"behaviour/{name}": value for name, value in loss.figures.items()}
        self._require_finite(figures)
        trained: dict[str, nn.Module] = {"critics": self.behaviour.critics}
        total = loss.critics
        if config.actor:
            trained["actor"] = self.behaviour.actor
            total = total + loss.actor
        self._descend(total, trained, figures)
        self.behaviour.critics.update_target()
        return figures

    def _behaviour_loss(self, batch: Batch, latents: Latents) -> BehaviourLoss:
        config, imagined = self.config, None
        size = config.imagination
        data = data_trajectories(batch, scaled_gradient(latents.feature, config.world_model.critic_gradient_scale))
        if config.actor.objective == "backprop":
            return backprop_loss(self.behaviour, self.world_model, data, latents)
        if size.weight > 0:
            imagined = imagine(self.world_model, self.behaviour.actor, latents, size.starts, size.horizon)
        shaping = scaled_gradient(latents.feature, config.world_model.actor_gradient_scale)
        return behaviour_loss(self.behaviour, data, imagined, shaping)

    def _descend(self, loss: Tensor, trained: dict[str, nn.Module], figures: dict[str, Tensor]) -> None:
        """One optimiser step of each trained network; none is touched when any gradient is not finite."""
        for name in trained:
            self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clips = {
            "world_model": self.config.world_model.gradient_clip,
            "critics": self.config.critic.gradient_clip,
            "actor": self.config.actor.gradient_clip,
        }
        distributed.average_gradients(p for net in trained.values() for p in net.parameters() if p.requires_grad)
        for name, net in trained.items():
            norm = nn.utils.clip_grad_norm_(net.parameters(), clips[name])
            if not torch.isfinite(norm):
                raise TrainingDiverged(f"step {self.step}: the gradient of {name} is not finite")
            figures[f"gradient/{name}"] = norm
        for name in trained:
            self.optimisers[name].step()

    def _require_finite(self, figures: dict[str, Tensor]) -> None:
        for name, value in figures.items():
            if not torch.isfinite(value).all():
                raise TrainingDiverged(f"step {self.step}: {name} is {float(value)}")

    def _base_rates(self) -> dict[str, float]:
        config = self.config
        if self.step < config.phases[0]:
            return dict.fromkeys(("world_model", "actor"), config.cloning.learning_rate)
        if self.step >= sum(config.phases[:3]):
            return dict.fromkeys(("world_model", "actor"), config.extraction.learning_rate)
        return {
            "world_model": config.world_model.learning_rate,
            "critics": config.critic.learning_rate,
            "actor": config.actor.learning_rate,
        }

    def _rate(self) -> float:
        """Share of the base learning rates at this step: linear growth, decay over the second half, in each phase."""
        config, step = self.config, self.step
        for steps in config.phases:
            if step < steps:
                break
            step -= steps
        growth = min(1.0, (step + 1) / max(1, config.learning_rate_warmup))
        late = max(0.0, 2.0 * step / steps - 1.0)
        return growth * (1.0 - late * (1.0 - config.learning_rate_final))


@contextmanager
def autocast(enabled: bool, device: torch.device) -> Iterator[None]:
    """bfloat16 for matrix products and convolutions."""
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        yield


def make_optimiser(net: nn.Module, rate: float) -> torch.optim.Adam:
    """Adam over the parameters that are to be trained."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr=rate, eps=1e-8, fused=True)


def steps_left(config: LearnerConfig, step: int) -> int:
    """Updates still to do; UserError when a resumed run is already past its end."""
    left = config.total_steps - step
    if left < 0 or math.isnan(left):
        raise UserError(
            f"the checkpoint is at step {step}, beyond the {config.total_steps} asked for; ask for more steps"
        )
    return left
