"""Single frames with the action executed on them: what image encoder and actor clone first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fosp_learner.data.dataset import Dataset, EpisodeIndex, shift_images


def cloned_episodes(episodes: tuple[EpisodeIndex, ...], every: bool) -> tuple[EpisodeIndex, ...]:
    """Those that succeed without violation; all, if none does, or if `every`."""
    good = tuple(e for e in episodes if e.success)
    return episodes if every or not good else good


class FrameSampler:
    """Independent frames of the episodes that are cloned.

    Draws from torch's global generator, which a checkpoint holds.
    """

    def __init__(self, dataset: Dataset, image_shift: int = 0, all_episodes: bool = False) -> None:
        cloned = cloned_episodes(dataset.episodes, all_episodes)
        self._rows = np.concatenate([e.start + np.arange(e.length - 1) for e in cloned])
        self._data, self._shift = dataset, image_shift

    def batch(self, size: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Images (size, cameras, H, W, 3) uint8, each shifted by itself, and executed actions (size, A).

        All are drawn; those of `part` are returned.
        """
        rows = self._rows[torch.randint(len(self._rows), (size,)).numpy()][part]
        images = self._data.take_images(rows)
        if self._shift:
            offsets = torch.randint(-self._shift, self._shift + 1, (size, 2)).numpy()[part]
            images = shift_images(images[:, None], offsets)[:, 0]
        return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(self._data.action[rows])
