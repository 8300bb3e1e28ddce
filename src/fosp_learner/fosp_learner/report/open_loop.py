"""Open-loop prediction: the model sees the first frames of an episode, then only the actions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import FilteredEpisode

CONTEXT = 5
"""Frames that are seen."""


@dataclass(frozen=True)
class Prediction:
    """H frames ahead; pixels in [0, 1]."""

    episode: str
    truth: NDArray[np.float32]
    """(H, rows, columns, 3) of the first camera."""
    predicted: NDArray[np.float32]
    rmse: NDArray[np.float32]
    """(H,) of all cameras, of 255."""
    rmse_still: NDArray[np.float32]
    """(H,) of the guess that nothing moves any more, of 255."""


@torch.no_grad()
def predict(model: WorldModel, episode: FilteredEpisode, horizon: int) -> Prediction | None:
    """Most likely course after CONTEXT frames, up to `horizon` further ones; None for a shorter episode."""
    ahead = min(horizon, episode.index.length - CONTEXT)
    if ahead < 1:
        return None
    rssm, action = model.rssm, episode.batch.action_prev[0]
    deter, stoch = episode.latents.deter[CONTEXT - 1 : CONTEXT], episode.latents.stoch[CONTEXT - 1 : CONTEXT]
    states = []
    for t in range(CONTEXT, CONTEXT + ahead):
        deter = rssm.advance(deter, stoch, rssm.from_action(action[t : t + 1]))
        stoch = rssm.mode(rssm.prior(deter))
        states.append(torch.cat([deter, stoch], -1))
    predicted = model.reconstruct(torch.cat(states)) + 0.5
    seen = model.pixels(episode.batch.images[:, CONTEXT - 1 : CONTEXT + ahead]) + 0.5
    truth, last = seen[1:], seen[:1]
    return Prediction(
        episode.index.name,
        truth[..., :3].numpy(),
        predicted[..., :3].clamp(0, 1).numpy(),
        _rmse(predicted, truth),
        _rmse(last, truth),
    )


def mean_error(predictions: Iterable[Prediction], horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root mean square over the episodes, of 255, `horizon` steps ahead: of the model, and if nothing moved. (H,) each,
    NaN where no episode is so long."""
    squares: list[list[float]] = [[] for _ in range(horizon)]
    still: list[list[float]] = [[] for _ in range(horizon)]
    for prediction in predictions:
        for t, (error, other) in enumerate(zip(prediction.rmse, prediction.rmse_still, strict=True)):
            squares[t].append(float(error) ** 2)
            still[t].append(float(other) ** 2)
    ours, theirs = (
        np.array([np.sqrt(np.mean(part)) if part else np.nan for part in parts]) for parts in (squares, still)
    )
    return ours, theirs


def _rmse(predicted: torch.Tensor, truth: torch.Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (255 * (predicted - truth).square().mean((1, 2, 3)).sqrt()).numpy()
    return result
