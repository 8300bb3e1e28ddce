"""Batches drawn from a data set: sequences without padding, whole episodes, and single frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fosp_learner.data.batch import Batch
from fosp_learner.data.dataset import Dataset, EpisodeIndex


class Sampler(Protocol):
    """Source of a trainer's batches."""

    state: dict[str, object]
    """State of the random generators, ready for JSON."""

    def batch(self, size: int, part: slice = slice(None)) -> Batch:
        """Draw `size` sequences and return those of `part`."""


class SequenceSampler:
    """Draws sequences of fixed length without padding.

    A sequence runs from a random row of a random episode to the end of that episode, then through further episodes from
    their beginning. Every seam is an `is_first` row, at which state and returns start anew.
    """

    def __init__(self, dataset: Dataset, length: int, seed: int | np.random.Generator, image_shift: int = 0) -> None:
        self._data, self._length, self._shift = dataset, length, image_shift
        self._rng = np.random.default_rng(seed)
        lengths = np.array([e.length for e in dataset.episodes], np.float64)
        # What Generator.choice does with probabilities, without adding them up anew for each draw.
        below = (lengths / lengths.sum()).cumsum()
        self._below = below / below[-1]
        self._onsets: list[tuple[EpisodeIndex, int]] | None = None

    def another(self, dataset: Dataset, length: int) -> SequenceSampler:
        """Return a sampler of other episodes or lengths that shares this random generator and shifts no images."""
        sampler = SequenceSampler(dataset, length, 0)
        sampler._rng = self._rng
        return sampler

    @property
    def episodes(self) -> tuple[EpisodeIndex, ...]:
        """The episodes that sequences are drawn from."""
        return self._data.episodes

    @property
    def state(self) -> dict[str, object]:
        """State of the random generator, ready for JSON."""
        return dict(self._rng.bit_generator.state)

    @state.setter
    def state(self, value: dict[str, object]) -> None:
        self._rng.bit_generator.state = value

    def rows(self, size: int, part: slice = slice(None), onset_share: float = 0.0) -> tuple[NDArray[np.int64], Batch]:
        """Draw `size` sequences; return the rows (n, length) of those of `part`, and their batch without images.

        About `onset_share` of them hold the first row of a violation, if there is any.
        """
        rows = np.empty((size, self._length), np.int64)
        first = np.zeros((size, self._length), np.bool_)
        last = np.zeros((size, self._length), np.bool_)
        onsets = self._known_onsets() if onset_share else []
        for b in range(size):
            begun = None
            if onsets and self._rng.random() < onset_share:
                begun = self._before_onset(*onsets[int(self._rng.integers(len(onsets)))])
            self._fill(rows[b], first[b], last[b], begun)
        return rows[part], _batch(self._data, rows[part], first[part], last[part])

    def batch(self, size: int, part: slice = slice(None)) -> Batch:
        """Draw `size` sequences and return those of `part`."""
        rows, batch = self.rows(size, part)
        images = self._data.take_images(rows)
        if self._shift:
            images = shift_images(images, self._rng.integers(-self._shift, self._shift + 1, (size, 2))[part])
        return replace(batch, images=torch.from_numpy(np.ascontiguousarray(images)))

    def _known_onsets(self) -> list[tuple[EpisodeIndex, int]]:
        """Return the episode and the place in it of each row that a violation begins with."""
        if self._onsets is None:
            self._onsets = []
            for episode in self._data.episodes:
                violates = self._data.cost[episode.start : episode.start + episode.length] > 0
                begins = np.flatnonzero(violates[1:] & ~violates[:-1]) + 1
                self._onsets += [(episode, int(place)) for place in begins]
        return self._onsets

    def _before_onset(self, episode: EpisodeIndex, place: int) -> tuple[EpisodeIndex, int]:
        """Return the episode, and a row of it from which a sequence reaches the row `place`."""
        earliest = max(0, place - self._length + 1)
        return episode, int(self._rng.integers(earliest, place))

    def _fill(
        self,
        rows: NDArray[np.int64],
        first: NDArray[np.bool_],
        last: NDArray[np.bool_],
        begun: tuple[EpisodeIndex, int] | None = None,
    ) -> None:
        filled = 0
        while filled < self._length:
            if begun is not None and filled == 0:
                episode, offset = begun
            else:
                episode = self._data.episodes[int(self._below.searchsorted(self._rng.random(), side="right"))]
                offset = int(self._rng.integers(0, episode.length - 1)) if filled == 0 else 0
            count = min(episode.length - offset, self._length - filled)
            rows[filled : filled + count] = episode.start + offset + np.arange(count)
            first[filled] = True
            last[filled + count - 1] = offset + count == episode.length
            filled += count


def whole_episode(dataset: Dataset, episode: EpisodeIndex) -> Batch:
    """Return one episode from its first to its last row, as a batch of one."""
    rows = episode.start + np.arange(episode.length)[None]
    first, last = np.zeros(rows.shape, np.bool_), np.zeros(rows.shape, np.bool_)
    first[:, 0], last[:, -1] = True, True
    return replace(_batch(dataset, rows, first, last), images=torch.from_numpy(dataset.take_images(rows)))


def shift_images(images: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Shift all images of a sequence by one offset and repeat the edges.

    `images` (B, T, cameras, H, W, 3), `offsets` (B, 2) in rows and columns.
    """
    height, width = images.shape[3:5]
    shifted = np.empty_like(images)
    for b, (down, right) in enumerate(offsets):
        rows = np.clip(np.arange(height) - down, 0, height - 1)
        columns = np.clip(np.arange(width) - right, 0, width - 1)
        shifted[b] = images[b][:, :, rows][:, :, :, columns]
    return shifted


def cloned_episodes(episodes: tuple[EpisodeIndex, ...], every: bool) -> tuple[EpisodeIndex, ...]:
    """Return the episodes that succeed without violation; all if none does, or if `every`."""
    good = tuple(e for e in episodes if e.success)
    return episodes if every or not good else good


class FrameSampler:
    """Draws independent frames of the cloned episodes, by torch's global generator, which a checkpoint holds."""

    def __init__(self, dataset: Dataset, image_shift: int = 0, all_episodes: bool = False) -> None:
        cloned = cloned_episodes(dataset.episodes, all_episodes)
        self._rows = np.concatenate([e.start + np.arange(e.length - 1) for e in cloned])
        self._data, self._shift = dataset, image_shift

    def batch(self, size: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Draw `size` frames and return those of `part`.

        Returns images (n, cameras, H, W, 3) uint8, each shifted by itself, and the actions to follow (n, A).
        """
        rows = self._rows[torch.randint(len(self._rows), (size,)).numpy()][part]
        images = self._data.take_images(rows)
        if self._shift:
            offsets = torch.randint(-self._shift, self._shift + 1, (size, 2)).numpy()[part]
            images = shift_images(images[:, None], offsets)[:, 0]
        return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(self._data.followed[rows])


def _batch(data: Dataset, rows: NDArray[np.int64], first: NDArray[np.bool_], last: NDArray[np.bool_]) -> Batch:
    """Return the batch without its images."""
    arrives = ~first
    before = rows - arrives
    executed, followed = (x[before] * arrives[..., None] for x in (data.action, data.followed))
    return Batch(
        images=torch.empty(0, dtype=torch.uint8),
        action_prev=torch.from_numpy(executed.astype(np.float32)),
        followed_prev=torch.from_numpy(followed.astype(np.float32)),
        reward=torch.from_numpy((data.reward[rows] * arrives).astype(np.float32)),
        cost=torch.from_numpy((data.cost[rows] * arrives).astype(np.float32)),
        is_first=torch.from_numpy(first),
        is_terminal=torch.from_numpy(data.is_terminal[rows] & arrives),
        is_last=torch.from_numpy(last),
    )
