"""Accuracy of predicted image embeddings, beside the guess that nothing moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import FilteredEpisode

STEPS = 12
"""Steps that are predicted."""
TOLD = (1, 4, 8, 12)
"""Steps ahead that the metrics of a bundle name."""
_STRIDE = 4
"""Predictions begin at every fourth row of an episode."""


@dataclass(frozen=True)
class PredictionErrors:
    """Mean Euclidean distances from the embeddings that were seen 1 ... STEPS steps later; NaN without episodes."""

    model: NDArray[np.float64]
    """(STEPS,) distance of what the model predicts with the executed actions."""
    still: NDArray[np.float64]
    """(STEPS,) distance of the embedding that the prediction began with."""

    @property
    def share(self) -> NDArray[np.float64]:
        """(STEPS,) error as a share of that of the guess that nothing moves: 1 is no better, 0 is exact."""
        return self.model / self.still

    @property
    def metrics(self) -> dict[str, float]:
        """Shares by the names that a manifest has them under."""
        return {f"prediction_share_{step}": float(self.share[step - 1]) for step in TOLD}


@torch.no_grad()
def episode_errors(model: WorldModel, episode: FilteredEpisode) -> NDArray[np.float64]:
    """Return the distances (n, 2, STEPS), of the model and of standing still, of n predictions in one episode."""
    rows, action = episode.latents.rows, episode.batch.action_prev[0]
    starts = torch.arange(0, max(0, len(action) - STEPS), _STRIDE)
    state = begun = rows.of(starts)
    found = []
    for ahead in range(1, STEPS + 1):
        state = model.imagine_step(state, action[starts + ahead], sample=False)
        seen = rows.embed[starts + ahead]
        found.append(torch.stack([(state.embed - seen).norm(dim=-1), (begun.embed - seen).norm(dim=-1)], 1))
    result: NDArray[np.float64] = torch.stack(found, 2).double().numpy()
    return result


def mean_errors(parts: Iterable[NDArray[np.float64]]) -> PredictionErrors:
    """Return the means over the predictions of all episodes, as `episode_errors` returns them."""
    kept = [part for part in parts if len(part)]
    mean = np.concatenate(kept).mean(0) if kept else np.full((2, STEPS), np.nan)
    return PredictionErrors(mean[0], mean[1])
