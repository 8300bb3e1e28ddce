"""Recorded episodes through the world model as the encoder runs it: from the first row on, at the posterior's mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fosp_learner.data.dataset import Dataset, EpisodeIndex, whole_episode
from fosp_learner.model.world_model import Batch, Latents, WorldModel, to_device


@dataclass(frozen=True)
class FilteredEpisode:
    """One episode of L rows with its latents."""

    index: EpisodeIndex
    batch: Batch
    """(1, L)."""
    latents: Latents
    """(L, ...)."""
    surprise: Tensor
    """(L,) KL[posterior || prior], nats."""


@torch.no_grad()
def filter_episodes(
    model: WorldModel, data: Dataset, group: int = 32, colours: torch.Generator | None = None
) -> Iterator[FilteredEpisode]:
    """Filter every episode from its first to its last row, in float32; with `colours` each in other ones.

    Computed where the model is; what comes back is on the CPU.
    """
    device = next(model.parameters()).device
    for begin in range(0, len(data.episodes), group):
        indices = data.episodes[begin : begin + group]
        batches = [whole_episode(data, index) for index in indices]
        pictures = (model.pixels(to_device(batch.images, device)) for batch in batches)
        embeds = [
            model.embed(picture if colours is None else model.varied(picture, 1, colours)) for picture in pictures
        ]
        actions = [batch.action_prev[0].to(device) for batch in batches]
        first = torch.zeros(len(batches), max(len(e) for e in embeds), dtype=torch.bool, device=device)
        first[:, 0] = True
        every = model.filtered(
            pad_sequence(embeds, batch_first=True), pad_sequence(actions, batch_first=True), first, sample=False
        )
        surprise = model.surprise(every)
        for row, (index, batch) in enumerate(zip(indices, batches, strict=True)):
            end = index.length
            one = Latents(**{name: x[row, :end].cpu() for name, x in vars(every).items()})
            yield FilteredEpisode(index, batch, one, surprise[row, :end].cpu())
