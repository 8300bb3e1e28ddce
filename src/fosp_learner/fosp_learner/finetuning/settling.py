"""Settling, the end of a round of fine-tuning: critics, then the online actor, on latents of a world model that stands.

It repeats refinement and extraction of pre-training (training/phases.py). Critics that follow a moving world model from
batch to batch miss more violations. In between, reward_slope.py fits the slope of the next reward, which the actor
climbs.

    phase     learns                      from
    critics   critics                     all episodes, as in refinement
    slope     slope of the next reward    all episodes
    q_r       Q_r near executed actions   all episodes and the slope
    actor     online actor                followed episodes, as in extraction, and the slope
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fosp_learner.data.dataset import Dataset, EpisodeIndex, draw_episodes
from fosp_learner.data.samplers import SequenceSampler, cloned_episodes
from fosp_learner.finetuning.config import SettlingConfig
from fosp_learner.finetuning.reward_slope import RewardScale, RewardSlope, climbed, nearby_return_loss
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.behaviour import Behaviour, data_trajectories
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.phases import PhaseLoss, descend, extraction, make_optimiser, rate_share, refinement

WARMUP = 50
"""Updates over which a learning rate grows to its full size."""
FINAL_RATE = 0.1
"""Share of a learning rate that is left at the last update."""
GRADIENT_CLIP = 100.0
"""Largest norm of a gradient."""


class StoredFeatures:
    """Features (m, h, e, z) of some episodes under one world model, and sequences drawn from them."""

    def __init__(self, model: WorldModel, data: Dataset, length: int, rng: np.random.Generator) -> None:
        self._data, self._length, self._rng = data, length, rng
        self._place = np.full(len(data.reward), -1, np.int64)
        features: list[Tensor] = []
        count = 0
        for episode in filter_episodes(model, data):
            begin, rows = episode.index.start, episode.index.length
            self._place[begin : begin + rows] = count + np.arange(rows)
            features.append(episode.latents.feature)
            count += rows
        self._features = torch.cat(features)

    def of(self, episodes: Sequence[EpisodeIndex]) -> Callable[[int], Trajectories]:
        """Return a function that draws a number of sequences of these episodes."""
        sampler = SequenceSampler(self._data.of(episodes), self._length, self._rng)

        def draw(size: int) -> Trajectories:
            rows, batch = sampler.rows(size)
            return data_trajectories(batch, self._features[torch.from_numpy(self._place[rows])])

        return draw


@dataclass(frozen=True)
class Source:
    """Source of a part of each batch."""

    data: Dataset
    """Data whose episodes the critics learn from."""
    followed: tuple[EpisodeIndex, ...]
    """Episodes whose actions the actor follows, each by its weight."""
    size: int
    """Sequences of each batch that come from here."""


def sources(
    offline: Dataset | None,
    experience: Dataset | None,
    offline_share: float,
    config: SettlingConfig,
    rng: np.random.Generator,
) -> list[Source]:
    """Return the sources of a batch.

    The actor follows offline episodes that succeed without violation, as in pre-training, and all of the experience.
    """
    if offline is None or experience is None:
        offline_share = float(experience is None)
    size = round(offline_share * config.batch_size)
    found = []
    if offline is not None and size:
        # The critics need violations: a quarter of the episodes, if there are so many.
        drawn = offline.of(draw_episodes(offline, config.episodes, 0.25, rng))
        found.append(Source(drawn, cloned_episodes(drawn.episodes, every=False), size))
    if experience is not None and size < config.batch_size:
        newest = experience.of(experience.episodes[-config.episodes :])
        found.append(Source(newest, newest.episodes, config.batch_size - size))
    return found


def settle(
    world_model: WorldModel,
    behaviour: Behaviour,
    eps: float,
    sources: Sequence[Source],
    config: SettlingConfig,
    rng: np.random.Generator,
    stop: Callable[[], bool] = lambda: False,
) -> Behaviour | None:
    """Return a settled copy of `behaviour`, or None when `stop` returned true. TrainingDiverged as for `descend`.

    `eps` is the threshold of Q_h that the robot runs with; at 0 nothing is climbed. An actor that is trained by
    backpropagation through the model stays as it is, since pre-training has no extraction for it either.
    """
    settled, widths = copy.deepcopy(behaviour), behaviour.config.network
    draws = []
    for source in sources:
        stored = StoredFeatures(world_model, source.data, config.sequence_length, rng)
        draws.append((stored.of(source.data.episodes), stored.of(source.followed), source.size))
    slope = RewardSlope(settled.actor.seen, widths.units, sources[0].data.action.shape[1])
    arriving = [s.data.reward[e.start + 1 : e.start + e.length] for s in sources for e in s.data.episodes]
    scale = RewardScale.of(np.concatenate(arriving))

    def every() -> Trajectories:
        return _joined([draw(size) for draw, _, size in draws])

    def noisy(data: Trajectories) -> Tensor:
        feature, embed = data.feature.clone(), slice(widths.carried - widths.embed, widths.carried)
        feature[..., embed] += config.embed_noise * torch.randn_like(feature[..., embed])
        return feature

    def critics() -> PhaseLoss:
        return refinement(settled, every())

    def rewards() -> PhaseLoss:
        data = every()
        return _alone("slope", slope.loss(data, noisy(data), scale))

    def returns() -> PhaseLoss:
        return _alone("q_r", nearby_return_loss(settled.critics, slope, every(), scale.deviation))

    def actor() -> PhaseLoss:
        data = _joined([draw(size) for _, draw, size in draws])
        loss = extraction(settled, data, noisy(data))
        if config.ascent == 0:
            return loss
        data = every()
        climb = climbed(settled, slope, data, noisy(data), eps)
        return replace(loss, total=loss.total - config.ascent * climb)

    updates, rate = config.updates, config.actor_learning_rate
    networks = {"critics": settled.critics, "slope": slope, "q_r": settled.critics.q.q_r, "actor": settled.actor}
    phases = [("critics", critics, updates, config.critic_learning_rate)]
    if behaviour.config.actor.objective == "regression":
        if config.ascent > 0:
            phases += [("slope", rewards, 2 * updates, config.slope_learning_rate), ("q_r", returns, updates, rate)]
        phases += [("actor", actor, updates, rate)]
    for name, loss_of_batch, count, base in phases:
        optimiser = make_optimiser(networks[name], base)
        for update in range(count):
            if stop():
                return None
            for group in optimiser.param_groups:
                group["lr"] = base * rate_share(update, count, WARMUP, FINAL_RATE)
            where = f"settling the {name}, update {update}"
            descend(loss_of_batch(), networks, {name: optimiser}, {name: GRADIENT_CLIP}, where)
            if name in ("critics", "q_r"):
                settled.critics.update_target()
    return settled


def _alone(name: str, loss: Tensor) -> PhaseLoss:
    return PhaseLoss(loss, (name,), {})


def _joined(batches: Sequence[Trajectories]) -> Trajectories:
    return Trajectories(**{name: torch.cat([getattr(b, name) for b in batches]) for name in vars(batches[0])})
