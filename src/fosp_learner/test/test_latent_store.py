import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fosp_core.errors import UserError
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.training.filtering import LatentStore, filter_episodes
from fosp_learner.training.trainer import Trainer


def resident_mib() -> float:
    """Memory of this process, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_latents_come_back_at_the_rows_of_their_episodes(make_episode: Callable[..., Episode], tmp_path: Path):
    data = from_episodes([make_episode(length, length) for length in (4, 7, 5)])
    trainer = Trainer(LearnerConfig(), data)
    episodes = list(filter_episodes(trainer.world_model, data))
    store = LatentStore.of(episodes[1:], len(data.reward), tmp_path)
    assert list(tmp_path.iterdir()) == [], "the file has no name: it is gone with the process"
    rows = np.array([[4, 5], [15, 11]])
    deter, posterior, embed = store.take(rows)
    first, second = episodes[1].latents, episodes[2].latents
    for found, one, other in (
        (deter, first.recurrent, second.recurrent),
        (posterior, first.posterior, second.posterior),
        (embed, first.embed, second.embed),
    ):
        torch.testing.assert_close(found[0], one[:2], rtol=0, atol=0)
        torch.testing.assert_close(found[1], torch.stack([other[4], other[0]]), rtol=0, atol=0)


def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path):
    """6 MiB and 60 MiB of latents: written, and then drawn from."""
    taken, rng = [], np.random.default_rng(0)
    part = np.ones((100, 700), np.float32)
    for rows in (2_000, 20_000):
        before = resident_mib()
        store = LatentStore(rows, ((200,), (10, 10), (400,)), tmp_path)
        largest = 0.0
        for begin in range(0, rows, 100):
            store.put(begin, part)
            largest = max(largest, resident_mib())
        for _ in range(rows // 100):
            assert float(store.take(rng.integers(0, rows, (16, 8)))[1].mean()) == 1.0
            largest = max(largest, resident_mib())
        taken.append(largest - before)
    assert taken[1] < taken[0] + 8, taken


def test_no_room_for_the_latents_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"no room for .* GiB of latents"):
        LatentStore(2**50, ((1024,),), tmp_path)
