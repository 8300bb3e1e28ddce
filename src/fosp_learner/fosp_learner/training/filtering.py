"""Latents of recorded episodes, filtered as the encoder does: from the first row on, at the posterior's mode."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fosp_core.errors import UserError
from fosp_learner.data.batch import Batch, to_device
from fosp_learner.data.dataset import Dataset, EpisodeIndex
from fosp_learner.data.samplers import whole_episode
from fosp_learner.model.world_model import Latents, WorldModel

_AT_A_TIME = 32
"""Images that a CPU embeds at once: what its layers pass on then stays in the cache of a core."""


@dataclass(frozen=True)
class FilteredEpisode:
    """One episode of L rows with its latents."""

    index: EpisodeIndex
    batch: Batch
    """Rows of the episode, (1, L)."""
    latents: Latents
    """Latents of the rows, (L, ...)."""
    surprise: Tensor
    """(L,) KL[posterior || prior] in nats."""


class KnownEmbeddings:
    """Image embeddings of episodes, kept for as long as they are asked for by models with one and the same encoder.

    Fine-tuning freezes the image encoder by default, so the same episodes look the same in every round. An episode is
    known by the sha256 of its images, whatever data set it comes in.
    """

    def __init__(self, rows: int = 50_000) -> None:
        """Keep the embeddings that were asked for last, of `rows` images at most."""
        self._limit, self._rows = rows, 0
        self._encoder: dict[str, Tensor] = {}
        self._known: dict[bytes, Tensor] = {}

    def of(self, images: Tensor, embed: Callable[[], Tensor]) -> Tensor:
        """Return the embeddings (L, E) of images (1, L, ...) by the model last seen; `embed` makes those not kept."""
        key = hashlib.sha256(np.ascontiguousarray(images.numpy()).data).digest()
        found = self._known.pop(key, None)
        if found is None:
            found = embed()
            self._rows += len(found)
        self._known[key] = found
        while self._rows > self._limit:
            self._rows -= len(self._known.pop(next(iter(self._known))))
        return found

    def see(self, model: WorldModel) -> None:
        """Forget everything unless the encoder of `model` is, number by number, the one before."""
        now = model.encoder.state_dict()
        if now.keys() != self._encoder.keys() or any(
            not torch.equal(x, self._encoder[name]) for name, x in now.items()
        ):
            self._encoder = {name: x.clone() for name, x in now.items()}
            self._known, self._rows = {}, 0


@torch.no_grad()
def filter_episodes(
    model: WorldModel,
    data: Dataset,
    group: int = 32,
    colours: torch.Generator | None = None,
    known: KnownEmbeddings | None = None,
) -> Iterator[FilteredEpisode]:
    """Filter every episode from its first to its last row, in float32.

    With `colours` each episode is seen in random colours. With `known` images are not embedded again that were before.
    It computes on the model's device and returns on the CPU.
    """
    device = next(model.parameters()).device

    def embedded(batch: Batch) -> Tensor:
        pixels = model.pixels(to_device(batch.images, device))
        seen = pixels if colours is None else model.varied(pixels, 1, colours)
        parts = torch.split(seen, _AT_A_TIME) if device.type == "cpu" else (seen,)
        return torch.cat([model.embed(part) for part in parts])

    if known is not None:
        known.see(model)
    for begin in range(0, len(data.episodes), group):
        indices = data.episodes[begin : begin + group]
        batches = [whole_episode(data, index) for index in indices]
        embeds = [
            embedded(batch) if known is None else known.of(batch.images, partial(embedded, batch)) for batch in batches
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


class LatentStore:
    """File of the latents of all rows of a data set, more than fit in memory; it is gone with the process.

    A row holds h (H,), the log-probabilities of the posterior (V, K) and the image embedding (E,), float32.
    """

    def __init__(self, rows: int, sizes: tuple[tuple[int, ...], ...], folder: Path | None) -> None:
        """Allocate the file in `folder`, by default that of temporary files; `sizes` are those of the parts of a row.

        UserError when there is no room for it.
        """
        self._sizes = sizes
        self._widths = [int(np.prod(size)) for size in sizes]
        length = 4 * rows * sum(self._widths)
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, length)  # else a full disk kills the process on a later write
            except OSError as error:
                raise UserError(
                    f"{folder or tempfile.gettempdir()}: no room for {length / 2**30:.1f} GiB of latents "
                    f"({error.strerror}); free some, then go on with --resume"
                ) from None
            self._map = mmap.mmap(file.fileno(), length)
        self._rows = np.frombuffer(self._map, np.float32).reshape(rows, -1)

    @classmethod
    def of(cls, episodes: Iterable[FilteredEpisode], rows: int, folder: Path | None) -> LatentStore:
        """Return the latents of `episodes`, each at its place in the data; rows of no episode stay 0."""
        store: LatentStore | None = None
        for episode in episodes:
            found = episode.latents.recurrent, episode.latents.posterior, episode.latents.embed
            if store is None:
                store = cls(rows, tuple(tuple(x.shape[1:]) for x in found), folder)
            begin = episode.index.start
            store.put(begin, torch.cat([x.flatten(1) for x in found], 1).numpy())
        if store is None:
            raise ValueError("no episodes")
        return store

    def put(self, begin: int, values: NDArray[np.float32]) -> None:
        """Write rows from `begin` on, (n, sum of the flat sizes)."""
        self._rows[begin : begin + len(values)] = values
        self._map.madvise(mmap.MADV_DONTNEED)

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return copies of `rows` (...), each part (..., *size), and unmap what was read."""
        taken = torch.from_numpy(self._rows[rows])
        self._map.madvise(mmap.MADV_DONTNEED)
        parts = taken.split(self._widths, -1)  # type: ignore[no-untyped-call]
        return tuple(part.unflatten(-1, size) for part, size in zip(parts, self._sizes, strict=True))
