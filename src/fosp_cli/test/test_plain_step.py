"""The plain step of the bench does the same work: same weights, same losses, another way to compute them."""

import pytest
import torch
from random_episodes import random_episode
from tiny_networks import TINY

from fosp_cli.bench.training import make_plain
from fosp_learner import config as learner_config
from fosp_learner.config import ImaginationConfig, LearnerConfig
from fosp_learner.data.dataset import from_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, Trainer]:
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    data = from_episodes([random_episode(9, seed) for seed in range(3)])
    every = ImaginationConfig(weight=1.0, starts=None, horizon=3)
    config = LearnerConfig.model_validate(
        {"bf16": False, "batch_size": 2, "sequence_length": 5, "cloning": {"share": 0.0}, "imagination": every}
    )
    optimised, plain = Trainer(config, data), Trainer(config, data)
    make_plain(plain)
    return optimised, plain


def test_the_plain_step_filters_alike(trainers: tuple[Trainer, Trainer]):
    batch = trainers[0].sampler.batch(2)
    found = []
    for trainer in trainers:
        latents = trainer.world_model.observe(batch.images, batch.action_prev, batch.is_first, sample=False)
        loss = latents.feature.square().sum() + latents.prior.sum()
        gradient = torch.autograd.grad(loss, trainer.world_model.encoder.patch.weight)[0]
        found.append((latents.recurrent, latents.posterior, latents.prior, latents.embed, gradient))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_the_plain_step_trains_the_same_weights(trainers: tuple[Trainer, Trainer]):
    optimised, plain = trainers
    names = [name for name, _ in plain.world_model.named_parameters()]
    assert names == [name for name, _ in optimised.world_model.named_parameters()]
    figures = plain.train_step()
    assert figures.keys() == optimised.train_step().keys()
    moved = [p for group in plain.optimisers["world_model"].param_groups for p in group["params"] if p.grad is not None]
    assert {id(p) for p in moved} <= {id(p) for p in plain.world_model.parameters()}
    assert any(p.grad is not None for p in plain.world_model.rssm.parameters())
