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


@dataclass(frozen=True)
class Assessment:
    """Values of the networks on held-out episodes, and metrics of their quality."""

    values: list[EpisodeValues]
    returns: list[NDArray[np.float32]]
    """Discounted sum of the recorded rewards from each transition on, (L - 1,) per episode."""
    metrics: dict[str, float]
    """Metrics as `validation_metrics` returns them."""
    predicted: PredictionErrors


@torch.no_grad()
def episode_values(behaviour: Behaviour, episode: FilteredEpisode) -> EpisodeValues:
    """Return the values along an episode by the critics that a bundle holds."""
    action, feature = episode.batch.action_prev[0, 1:], episode.latents.feature
    q_r, q_c, q_h = behaviour.critics.q_target.values(feature[:-1], action)
    v_h = behaviour.critics.v.reachability(feature)
    return EpisodeValues(*(x.numpy() for x in (q_r, q_c, q_h, v_h, episode.batch.cost[0, 1:], episode.surprise[1:])))


def validation_metrics(trainer: Trainer, episodes: Iterable[FilteredEpisode], horizon: int) -> dict[str, float]:
    """Return the metrics of the manifest on held-out episodes.

    They are pixel_rmse (of 255), surprise_mean (nats), reward_rmse, cloning_nll and action_rmse on episodes that
    succeed without violation, q_h_auc and q_h_auc_next (`q_h_auc` within `horizon` steps, and of the next step alone),
    q_r_correlation (with the discounted return to the end of the episode), and prediction_share_N, the error of
    embeddings predicted N steps ahead as a share of that of the guess that nothing moves.
    """
    return assess(trainer, episodes, horizon).metrics


@torch.no_grad()
def assess(trainer: Trainer, episodes: Iterable[FilteredEpisode], horizon: int) -> Assessment:
    """Return values and metrics of `episodes`, which are read once and not kept, since their images take memory."""
    model, discount = trainer.world_model, trainer.config.critic.discount
    every: list[EpisodeValues] = []
    returned: list[NDArray[np.float32]] = []
    pixel, reward, nll, square = [], [], [], []
    predicted = []
    for episode in episodes:
        values = episode_values(trainer.behaviour, episode)
        every.append(values)
        predicted.append(episode_errors(model, episode))
        pixels = model.pixels(episode.batch.images)
        pixel.append((model.reconstruct(episode.latents.state) - pixels).square().mean())
        reward.append(
            (two_hot_mean(model.reward(episode.latents.state[1:])) - episode.batch.reward[0, 1:]).square().mean()
        )
        if episode.index.success and not episode.index.violates:
            policy = trainer.behaviour.actor.distribution(episode.latents.feature[:-1])
            action = episode.batch.action_prev[0, 1:]
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
        **errors.metrics,
    }
    finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
    return Assessment(every, returned, finite, errors)


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
