"""Settling, the end of a round of fine-tuning: critics, then the online actor, on latents of a world model that stands.

It repeats refinement and extraction of pre-training (training/phases.py). Critics that follow a moving world model from
batch to batch miss more violations. In between, reward_slope.py fits the slope of the next reward, which the actor
climbs.

    phase     learns                      from
    critics   critics                     all episodes, as in refinement; the risk only sources with a violation
    success   success critic              all episodes, those that ran out of time included; sources with both outcomes
    slope     slope of the next reward    all episodes
    q_r       Q_r near executed actions   all episodes and the slope
    actor     online actor                followed episodes, as in extraction, and the slope

With `objective: critic_gradient` (training/critic_gradient.py) one phase takes the place of the last three:

    ensemble  Q_r and online actor        all episodes, one step ahead, with the actor's own actions
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fosp_learner.data.dataset import Dataset, EpisodeIndex, draw_episodes
from fosp_learner.data.samplers import SequenceSampler, cloned_episodes
from fosp_learner.finetuning.config import SettlingConfig
from fosp_learner.finetuning.held_risk import RISK, hold_risk, tells_risk
from fosp_learner.finetuning.reward_slope import RewardScale, RewardSlope, climbed, nearby_return_loss, open_way
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.behaviour import Behaviour, data_trajectories
from fosp_learner.training.critic_gradient import ascent_loss, one_step_return_loss
from fosp_learner.training.filtering import KnownEmbeddings, filter_episodes
from fosp_learner.training.phases import PhaseLoss, descend, extraction, make_optimiser, rate_share, success

WARMUP = 50
"""Updates over which a learning rate grows to its full size."""
FINAL_RATE = 0.1
"""Share of a learning rate that is left at the last update."""
Progress = Callable[[str, int, int], None]
GRADIENT_CLIP = 100.0
"""Largest norm of a gradient."""
_ROWS = 4096
"""Rows that what is known of them is computed for at a time."""


@dataclass(frozen=True)
class Drawn:
    """A batch of sequences, and what is known of their rows."""

    data: Trajectories
    known: Tensor
    """(B, N + 1, K): columns of `StoredFeatures.note`."""
    ended: Tensor
    """(B, N, 2) bool: row t + 1 is the last one of an episode that succeeded; of any."""

    @classmethod
    def joined(cls, batches: Sequence[Drawn]) -> Drawn:
        """Return one batch of all sequences."""
        parts = [batch.data for batch in batches]
        data = Trajectories(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})
        known, ended = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("known", "ended"))
        return cls(data, known, ended)


class StoredFeatures:
    """Features (m, h, e, z) of some episodes under one world model, and sequences drawn from them."""

    def __init__(
        self,
        model: WorldModel,
        data: Dataset,
        length: int,
        rng: np.random.Generator,
        embeddings: KnownEmbeddings | None = None,
    ) -> None:
        self._data, self._length, self._rng = data, length, rng
        self._place = np.full(len(data.reward), -1, np.int64)
        features: list[Tensor] = []
        actions: list[Tensor] = []
        count = 0
        for episode in filter_episodes(model, data, known=embeddings):
            begin, rows = episode.index.start, episode.index.length
            self._place[begin : begin + rows] = count + np.arange(rows)
            features.append(episode.latents.feature)
            actions.append(torch.nn.functional.pad(episode.batch.action_prev[0, 1:], (0, 0, 0, 1)))
            count += rows
        self._features, self._actions = torch.cat(features), torch.cat(actions)
        self._known = self._features[:, :0]
        corrected = data.corrected if data.corrected is not None else np.zeros(len(data.reward), np.bool_)
        self._corrected = torch.zeros(count, dtype=torch.bool)
        self._corrected[torch.from_numpy(self._place[self._place >= 0])] = torch.from_numpy(corrected[self._place >= 0])
        self._hung = torch.zeros_like(self._corrected)
        for index in data.episodes:
            span = slice(index.start, index.start + index.length)
            if not (index.success or index.violates) and corrected[span].any():
                self._hung[torch.from_numpy(self._place[span])] = True
        self._hung &= ~self._corrected

    @torch.no_grad()
    def note(self, known: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Compute what does not change from batch to batch once for every row, to be drawn with the row.

        `known` makes K columns (n, K) of features (n, F) and the actions (n, A) taken there, which are 0 in the last
        row of an episode.
        """
        parts = zip(self._features.split(_ROWS), self._actions.split(_ROWS), strict=True)  # type: ignore[no-untyped-call]
        self._known = torch.cat([known(feature, action) for feature, action in parts])

    def weigh_corrections(self, weight: float) -> None:
        """Put `weight` in the place of what is known first, the actor's weight, of the steps that an operator drove.

        The policy's own steps of an episode that ran out of time all the same are not followed: their weight is 0.
        """
        self._known[self._corrected, 0] = weight
        self._known[self._hung, 0] = 0.0

    def of(self, episodes: Sequence[EpisodeIndex]) -> Callable[[int], Drawn]:
        """Return a function that draws a number of sequences of these episodes."""
        sampler = SequenceSampler(self._data.of(episodes), self._length, self._rng)

        def draw(size: int) -> Drawn:
            rows, batch = sampler.rows(size)
            place = torch.from_numpy(self._place[rows])
            ended = torch.stack([torch.from_numpy(self._data.reached[rows]), batch.is_last], -1)[:, 1:]
            return Drawn(data_trajectories(batch, self._features[place]), self._known[place], ended)

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
    outcomes: Dataset
    """Data whose episodes the success critic learns from."""


def sources(
    offline: Dataset | None,
    experience: Dataset | None,
    offline_share: float,
    config: SettlingConfig,
    rng: np.random.Generator,
    successes_only: bool = False,
    ended: Dataset | None = None,
) -> list[Source]:
    """Return the sources of a batch; `ended` is all of the experience, where `experience` holds outcomes alone.

    The actor follows offline episodes that succeed without violation, as in pre-training, and all of the experience
    but for the episodes that show hazards; with `successes_only` for all that do not succeed.
    """
    if offline is None or experience is None:
        offline_share = float(experience is None)
    size = round(offline_share * config.batch_size)
    found = []
    if offline is not None and size:
        # The critics need violations: a quarter of the episodes, if there are so many.
        drawn = offline.of(draw_episodes(offline, config.episodes, 0.25, rng))
        found.append(Source(drawn, cloned_episodes(drawn.episodes, every=False), size, drawn))
    if experience is not None and size < config.batch_size:
        newest = experience.of(experience.episodes[-config.episodes :])
        followed = tuple(e for e in newest.episodes if e.success or not (successes_only or e.shows_hazards))
        outcomes = newest if ended is None else ended.of(ended.episodes[-config.episodes :])
        found.append(Source(newest, followed, config.batch_size - size, outcomes))
    return found


def settle(
    world_model: WorldModel,
    behaviour: Behaviour,
    eps: float,
    sources: Sequence[Source],
    config: SettlingConfig,
    rng: np.random.Generator,
    stop: Callable[[], bool] = lambda: False,
    embeddings: KnownEmbeddings | None = None,
    progress: Progress = lambda phase, done, total: None,
    correction_weight: float = 1.0,
    by_gradient: bool = False,
) -> Behaviour | None:
    """Return a settled copy of `behaviour`, or None when `stop` returned true. TrainingDiverged as for `descend`.

    `progress` is called before each update with the phase, the updates made in all phases, and all that there will be.

    Images are not embedded again that are among `embeddings`. The actor follows the steps that an operator drove with
    `correction_weight`, whatever the critics make of them.

    `by_gradient` improves the actor by the gradient of the critics, in place of regression and slope.

    `eps` is the threshold of Q_h that the robot runs with; at 0 nothing is climbed. An actor that is trained by
    backpropagation through the model stays as it is, since pre-training has no extraction for it either.
    """
    settled, widths = copy.deepcopy(behaviour), behaviour.config.network
    stores, draws, outcomes = [], [], []
    for source in sources:
        stored = StoredFeatures(world_model, source.data, config.sequence_length, rng, embeddings)
        stores.append(stored)
        followed = stored.of(source.followed) if source.followed else None
        draws.append((stored.of(source.data.episodes), followed, source.size))
        if settled.success is not None and source.outcomes.tells_success:
            if source.outcomes is not source.data:
                stored = StoredFeatures(world_model, source.outcomes, config.sequence_length, rng, embeddings)
            outcomes.append((stored.of(source.outcomes.episodes), source.size))
    slope = RewardSlope(settled.actor.seen, widths.units, sources[0].data.action.shape[1])
    arriving = [s.data.reward[e.start + 1 : e.start + e.length] for s in sources for e in s.data.episodes]
    scale = RewardScale.of(np.concatenate(arriving))

    def every() -> Drawn:
        return Drawn.joined([draw(size) for draw, _, size in draws])

    def noisy(feature: Tensor) -> Tensor:
        """Add noise to image embeddings, in place."""
        embed = feature[..., widths.carried - widths.embed : widths.carried]
        embed += config.embed_noise * torch.randn_like(embed)
        return feature

    positive = [tells_risk(source.data.episodes) for source in sources]
    hold_risk(settled.critics, held=not any(positive))

    def critics() -> PhaseLoss:
        parts = [draw(size) for draw, _, size in draws]
        data = Drawn.joined(parts).data
        losses, values = settled.critics.loss(data)
        if any(positive) and not all(positive):
            telling = Drawn.joined([part for part, told in zip(parts, positive, strict=True) if told]).data
            risk, _ = settled.critics.loss(telling)
            losses = {name: risk[name] if name in RISK else loss for name, loss in losses.items()}
        settled.weighting.update(values, data.valid)
        return PhaseLoss(
            sum(losses.values(), torch.zeros(())), ("critics",), {n: x.detach() for n, x in losses.items()}
        )

    def succeeding() -> PhaseLoss:
        assert settled.success is not None
        drawn = Drawn.joined([draw(size) for draw, size in outcomes])
        return success(settled.success, drawn.data, drawn.ended[..., 0], drawn.ended[..., 1])

    def rewards() -> PhaseLoss:
        data = every().data
        return _alone("slope", slope.loss(data, noisy(data.feature), scale))

    def known_of_returns(feature: Tensor, _: Tensor) -> Tensor:
        return torch.cat([settled.critics.v.returns(feature)[:, None], slope(feature)[0]], -1)

    def returns() -> PhaseLoss:
        drawn = every()
        v_r, g = drawn.known[..., 0], drawn.known[:, :-1, 1:]
        return _alone("q_r", nearby_return_loss(settled.critics, drawn.data, v_r, g, scale.deviation))

    def known_of_actor(feature: Tensor, action: Tensor) -> Tensor:
        weight = settled.weighting.weight(settled.critics.values(feature, action))
        if config.ascent == 0:
            return weight[:, None]
        g = slope(feature)[0]
        way = open_way(settled.critics, g, feature, eps, behaviour.config.spread_weight)
        return torch.cat([weight[:, None], way[:, None], g], -1)

    def actor() -> PhaseLoss:
        drawn = Drawn.joined([draw(size) for _, draw, size in draws if draw is not None])
        loss = extraction(settled, drawn.data, noisy(drawn.data.feature), drawn.known[:, :-1, 0])
        if config.ascent == 0:
            return loss
        drawn = every()
        way, g = drawn.known[:, :-1, 1], drawn.known[:, :-1, 2:]
        climb = climbed(settled, drawn.data, noisy(drawn.data.feature.clone()), way, g)
        return replace(loss, total=loss.total - config.ascent * climb)

    def ensemble() -> PhaseLoss:
        data = every().data
        seen = noisy(data.feature.clone())
        total = one_step_return_loss(settled, data, seen) + ascent_loss(settled, data, seen)
        return PhaseLoss(total, ("q_r", "actor"), {})

    updates, rate = config.updates, config.actor_learning_rate
    networks: dict[str, nn.Module] = {
        "critics": settled.critics,
        "slope": slope,
        "q_r": settled.critics.q.return_heads,
        "actor": settled.actor,
    }
    if settled.success is not None:
        networks["success"] = settled.success
    phases = [_Phase("critics", critics, updates, config.critic_learning_rate)]
    if outcomes:
        phases.append(_Phase("success", succeeding, updates, config.critic_learning_rate))
    if by_gradient:
        phases.append(_Phase("ensemble", ensemble, updates, rate, trains=("q_r", "actor")))
    elif behaviour.config.actor.objective == "regression" and any(source.followed for source in sources):
        if config.ascent > 0:
            phases += [_Phase("slope", rewards, 2 * updates, config.slope_learning_rate)]
            phases += [_Phase("q_r", returns, updates, rate, known_of_returns)]
        phases += [_Phase("actor", actor, updates, rate, known_of_actor)]
    done, total = 0, sum(phase.updates for phase in phases)
    for phase in phases:
        optimisers = {name: make_optimiser(networks[name], phase.rate) for name in phase.trains or (phase.name,)}
        if phase.known is not None:
            for stored in stores:
                stored.note(phase.known)
                if phase.name == "actor":
                    stored.weigh_corrections(correction_weight)
        for update in range(phase.updates):
            if stop():
                return None
            progress(phase.name, done, total)
            done += 1
            for group in (group for optimiser in optimisers.values() for group in optimiser.param_groups):
                group["lr"] = phase.rate * rate_share(update, phase.updates, WARMUP, FINAL_RATE)
            where = f"settling the {phase.name}, update {update}"
            descend(phase.loss(), networks, optimisers, dict.fromkeys(optimisers, GRADIENT_CLIP), where)
            if phase.name in ("critics", "q_r", "ensemble"):
                settled.critics.update_target()
            if phase.name == "success" and settled.success is not None:
                settled.success.update_target()
    return settled


@dataclass(frozen=True)
class _Phase:
    name: str
    loss: Callable[[], PhaseLoss]
    updates: int
    rate: float
    known: Callable[[Tensor, Tensor], Tensor] | None = None
    """Columns that are noted of every row before the phase; what they are computed by stands still in it."""
    trains: tuple[str, ...] = ()
    """Networks that learn; empty: the one of the phase's name."""


def _alone(name: str, loss: Tensor) -> PhaseLoss:
    return PhaseLoss(loss, (name,), {})
