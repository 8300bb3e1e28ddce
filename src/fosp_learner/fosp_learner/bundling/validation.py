"""Assessment on held-out episodes, filtered as the encoder does and valued by the deployed critics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fosp_learner.bundling.calibration import EpisodeValues, separation
from fosp_learner.bundling.onsets import precedes_onset
from fosp_learner.bundling.prediction import PredictionErrors, episode_errors, mean_errors
from fosp_learner.model.losses import two_hot_mean
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.filtering import FilteredEpisode
from fosp_learner.training.trainer import Trainer

LEAST_ENDED = 3
"""Least number of episodes of each kind by which a step is told."""


@dataclass(frozen=True)
class EndedEpisode:
    """Values along an episode that arrived or hung."""

    arrived: bool
    q_s: NDArray[np.float32]
    """(N,) values of the success critic at each transition; none without one."""
    q_r: NDArray[np.float32]
    """(N,) returns by Q_r."""


@dataclass(frozen=True)
class Assessment:
    """Values of the networks on held-out episodes, and metrics of their quality."""

    values: list[EpisodeValues]
    returns: list[NDArray[np.float32]]
    """Discounted sum of the recorded rewards from each transition on, (L - 1,) per episode."""
    metrics: dict[str, float]
    """Metrics as `validation_metrics` returns them."""
    predicted: PredictionErrors
    ended: list[EndedEpisode]
    """Episodes that arrived or hung, which the success critic tells apart."""


@torch.no_grad()
def episode_values(behaviour: Behaviour, episode: FilteredEpisode) -> EpisodeValues:
    """Return the values along an episode by the critics that a bundle holds; q_h is the risk as the runtime has it."""
    action, feature = episode.batch.action_prev[0, 1:], episode.latents.feature
    q_r, q_c, _ = behaviour.critics.q_target.values(feature[:-1], action)
    q_h = behaviour.critics.q_target.risk(feature[:-1], action, behaviour.config.spread_weight)
    v_h = behaviour.critics.v.reachability(feature)
    return EpisodeValues(*(x.numpy() for x in (q_r, q_c, q_h, v_h, episode.batch.cost[0, 1:], episode.surprise[1:])))


@torch.no_grad()
def success_values(behaviour: Behaviour, episode: FilteredEpisode) -> NDArray[np.float32]:
    """Return q_s (L - 1,) of the executed actions along an episode; empty without a success critic."""
    if behaviour.success is None:
        return np.zeros(0, np.float32)
    given = behaviour.success.probability(episode.latents.feature[:-1], episode.batch.action_prev[0, 1:])
    values: NDArray[np.float32] = given.numpy()
    return values


def validation_metrics(trainer: Trainer, episodes: Iterable[FilteredEpisode], horizon: int) -> dict[str, float]:
    """Return the metrics of the manifest on held-out episodes.

    They are pixel_rmse (of 255), surprise_mean (nats), reward_rmse, cloning_nll and action_rmse on episodes that
    succeed without violation, q_h_auc and q_h_auc_next (`q_h_auc` within `horizon` steps, and of the next step alone),
    q_r_correlation (with the discounted return to the end of the episode), q_s_auc and q_r_success_auc (how well Q_s
    and Q_r tell episodes that arrive from those that hang), and prediction_share_N, the error of embeddings predicted
    N steps ahead as a share of that of the guess that nothing moves.
    """
    return assess(trainer, episodes, horizon).metrics


@torch.no_grad()
def assess(trainer: Trainer, episodes: Iterable[FilteredEpisode], horizon: int) -> Assessment:
    """Return values and metrics of `episodes`, which are read once and not kept, since their images take memory."""
    model, discount = trainer.world_model, trainer.config.critic.discount
    every: list[EpisodeValues] = []
    returned: list[NDArray[np.float32]] = []
    pixel, reward, nll, square = [], [], [], []
    predicted, ended = [], []
    for episode in episodes:
        values = episode_values(trainer.behaviour, episode)
        every.append(values)
        predicted.append(episode_errors(model, episode))
        if not episode.index.violates:
            ended.append(EndedEpisode(episode.index.success, success_values(trainer.behaviour, episode), values.q_r))
        pixels = model.pixels(episode.batch.images)
        pixel.append((model.reconstruct(episode.latents.state) - pixels).square().mean())
        reward.append(
            (two_hot_mean(model.reward(episode.latents.state[1:])) - episode.batch.reward[0, 1:]).square().mean()
        )
        if episode.index.success and not episode.index.violates:
            policy = trainer.behaviour.actor.distribution(episode.latents.feature[:-1])
            action = episode.batch.followed_prev[0, 1:]
            nll.append(-policy.log_probability(action).mean())
            square.append((policy.mode()[0] - action).square().mean())
        returned.append(discounted_return(episode.batch.reward[0, 1:].numpy(), discount))
    errors = mean_errors(predicted)
    metrics = {
        "pixel_rmse": 255 * _root_mean(pixel),
        "surprise_mean": float(np.concatenate([e.surprise for e in every]).mean()),
        "reward_rmse": _root_mean(reward),
        "cloning_nll": float(torch.stack(nll).mean()) if nll else float("nan"),
        "action_rmse": _root_mean(square),
        "q_h_auc": q_h_auc(every, horizon),
        "q_h_auc_next": q_h_auc(every, 1),
        "q_r_correlation": _correlation(np.concatenate([e.q_r for e in every]), np.concatenate(returned)),
        **success_metrics(ended),
        **errors.metrics,
    }
    finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
    return Assessment(every, returned, finite, errors, ended)


def q_h_auc(episodes: Sequence[EpisodeValues], horizon: int) -> float:
    """Return how well Q_h tells steps within `horizon` of an onset from those of episodes without a violation.

    It is the area under the ROC curve; NaN without both kinds of steps. Far ahead it depends on what the robot does
    later, so that no critic reaches 1.
    """
    scores, positive = [], []
    for values in episodes:
        before = precedes_onset(values.cost, horizon)
        counted = before if values.violates else np.ones_like(before)
        scores.append(values.q_h[counted])
        positive.append(before[counted])
    return separation(np.concatenate(scores), np.concatenate(positive))


def success_metrics(episodes: Sequence[EndedEpisode]) -> dict[str, float]:
    """Return q_s_auc and q_r_success_auc, how well the values of both critics tell the steps of the two kinds apart.

    Both are areas under the ROC curve: 0.5 tells nothing, 1 everything; NaN without steps of both kinds.
    """
    return {"q_s_auc": _pooled_auc(episodes, "q_s"), "q_r_success_auc": _pooled_auc(episodes, "q_r")}


def auc_by_step(episodes: Sequence[EndedEpisode], of: str) -> NDArray[np.float64]:
    """Return the area under the ROC curve at each step (T,), among the episodes that last so long.

    `of` is q_s or q_r. It is NaN where fewer than LEAST_ENDED episodes of a kind are left, and ends where that stays.
    """
    longest = max((len(getattr(episode, of)) for episode in episodes), default=0)
    found = np.full(longest, np.nan)
    for step in range(longest):
        left = [episode for episode in episodes if len(getattr(episode, of)) > step]
        arrived = np.array([episode.arrived for episode in left], np.bool_)
        if min(arrived.sum(), (~arrived).sum()) >= LEAST_ENDED:
            found[step] = separation(np.array([getattr(e, of)[step] for e in left], np.float32), arrived)
    told = np.flatnonzero(np.isfinite(found))
    return found[: told[-1] + 1] if len(told) else found[:0]


def _pooled_auc(episodes: Sequence[EndedEpisode], of: str) -> float:
    parts = [(getattr(episode, of), episode.arrived) for episode in episodes]
    if not any(len(values) for values, _ in parts):
        return float("nan")
    scores = np.concatenate([values for values, _ in parts])
    return separation(scores, np.concatenate([np.full(len(values), arrived) for values, arrived in parts]))


def discounted_return(reward: NDArray[np.float32], discount: float) -> NDArray[np.float32]:
    """Return the sum of discounted rewards from each transition on: (N,) -> (N,)."""
    result = np.zeros(len(reward), np.float32)
    following = 0.0
    for t in reversed(range(len(reward))):
        following = float(reward[t]) + discount * following
        result[t] = following
    return result


def _root_mean(squares: list[Tensor]) -> float:
    return float(torch.stack(squares).mean().sqrt()) if squares else float("nan")


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
