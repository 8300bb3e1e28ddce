"""Predicted image embeddings: what is imagined fits together, and is better than the guess that nothing moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn, tensor

from fosp_learner.bundling.prediction import STEPS, episode_errors, mean_errors
from fosp_learner.config import NetworkConfig, WorldModelConfig
from fosp_learner.model.world_model import Latents, WorldModel
from fosp_learner.report.figures import predicted_embeddings
from fosp_learner.training.checkpoint import load_networks

TINY = NetworkConfig(recurrent=8, variables=3, classes=4, cnn_depth=2, units=32, keypoints=2, keypoint_values=1)
ROWS = STEPS + 8


def world_model(trained: bool = False) -> WorldModel:
    torch.manual_seed(0)
    model = WorldModel(TINY, WorldModelConfig(), (1, 32, 32, 3), 2)
    if trained:
        nn.init.normal_(model.embed_change.output.weight, std=0.1)
    return model


def filtered(model: WorldModel, embed: Tensor, action: Tensor, first: Tensor | None = None) -> tuple[Latents, Tensor]:
    """Latents of embeddings (B, T, E), and the rows that are the first of an episode (B, T)."""
    if first is None:
        first = torch.zeros(embed.shape[:2], dtype=torch.bool)
        first[:, 0] = True
    with torch.no_grad():
        return model.filtered(embed, action, first, sample=False), first


def drawn(count: int, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings (count, rows, E) that actions (count, rows, 2) move along fixed directions, each its own way."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.rand(count, rows, 2, generator=generator) * 2 - 1
    action[:, 0] = 0
    directions = torch.rand(2, TINY.embed, generator=torch.Generator().manual_seed(7)) * 2 - 1
    start = torch.rand(count, 1, TINY.embed, generator=generator) - 0.5
    return start + 0.1 * action.cumsum(1) @ directions, action


def test_an_untrained_model_expects_what_it_sees():
    model = world_model()
    embed, action = drawn(3)
    latents, _ = filtered(model, embed, action)
    state = latents.rows
    torch.testing.assert_close(model.imagine_step(state, torch.rand(len(state.embed), 2)).embed, state.embed)
    assert not model.predicts
    assert world_model(trained=True).predicts


def test_the_imagined_z_follows_from_the_predicted_embedding_as_from_a_seen_one():
    model = world_model(trained=True)
    embed, action = drawn(2)
    latents, first = filtered(model, embed, action)
    state = latents.rows.of(tensor([0, ROWS]))
    with torch.no_grad():
        imagined = model.imagine_step(state, action[:, 1], sample=False)
    embed[:, 1] = imagined.embed
    seen, _ = filtered(model, embed, action, first)
    torch.testing.assert_close(imagined.recurrent, seen.recurrent[:, 1])
    torch.testing.assert_close(imagined.stoch, seen.stoch[:, 1])
    torch.testing.assert_close(imagined.feature, seen.feature[:, 1])


def test_the_error_is_that_of_steps_imagined_one_after_the_other():
    model = world_model(trained=True)
    embed, action = drawn(2, 5)
    latents, first = filtered(model, embed, action)
    state = latents.rows.of(tensor([0, 5]))
    expected = [torch.zeros(2)]
    with torch.no_grad():
        for t in range(1, 5):
            state = model.imagine_step(state, action[:, t], sample=False)
            expected.append((state.embed - embed[:, t]).square().sum(-1))
        found = model.prediction_error(latents, action, first)
    torch.testing.assert_close(found, torch.stack(expected, 1))


def test_predictions_begin_anew_with_each_episode():
    model = world_model(trained=True)
    embed, action = drawn(1, 6)
    first = tensor([[True, False, False, True, False, False]])
    latents, _ = filtered(model, embed, action, first)
    with torch.no_grad():
        before = model.prediction_error(latents, action, first)
        embed[:, :3], action[:, :4] = 0.9, -0.9
        after = model.prediction_error(filtered(model, embed, action, first)[0], action, first)
    assert before[0, 3] == 0, "nothing is predicted across the border"
    torch.testing.assert_close(before[:, 4:], after[:, 4:])
    assert not torch.equal(before[:, :3], after[:, :3])


def test_the_gradient_reaches_what_predicts_and_the_first_embedding_alone():
    model = world_model(trained=True)
    embed, action = drawn(2, 5)
    latents, first = filtered(model, embed, action)
    seen = embed.clone().requires_grad_()
    model.prediction_error(replace(latents, embed=seen), action, first).sum().backward()
    assert all(p.grad is not None for p in model.embed_change.parameters())
    assert all(p.grad is None for p in model.rssm.parameters())
    assert seen.grad is not None
    assert bool(seen.grad[:, 0].any())
    assert not bool(seen.grad[:, 1:].any()), "the model does not move what it is to predict"


def test_the_errors_by_hand():
    parts = [np.full((2, 2, STEPS), 1.0), np.zeros((0, 2, STEPS)), np.full((1, 2, STEPS), 4.0)]
    parts[0][:, 0] = 0.25
    errors = mean_errors(parts)
    assert errors.model[0] == pytest.approx((0.25 + 0.25 + 4) / 3)
    assert errors.still[-1] == pytest.approx((1 + 1 + 4) / 3)
    assert errors.metrics["prediction_share_12"] == pytest.approx(0.75)
    assert np.isnan(mean_errors([]).model).all()


def test_a_trained_model_errs_by_less_than_half_of_standing_still_at_every_step():
    """On sequences that it was not trained on; before, imagination was worse than standing still."""
    model = world_model()
    embed, action = drawn(128)
    latents, first = filtered(model, embed, action)
    adam = torch.optim.Adam(model.embed_change.parameters(), 3e-3)
    for _ in range(150):
        loss = model.prediction_error(latents, action, first).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    held_out, actions = drawn(16, seed=1)
    parts = []
    for row in range(len(held_out)):
        found, _ = filtered(model, held_out[row : row + 1], actions[row : row + 1])
        one = Latents(**{name: part[0] for name, part in vars(found).items()})
        episode = SimpleNamespace(latents=one, batch=SimpleNamespace(action_prev=actions[row : row + 1]))
        parts.append(episode_errors(model, episode))  # type: ignore[arg-type]
    assert mean_errors(parts).share.max() < 0.5


def test_weights_of_an_older_release_are_taken_and_expect_no_motion():
    model = world_model(trained=True)
    older = {name: x for name, x in world_model().state_dict().items() if not name.startswith("embed_change.")}
    older["imagined_embed.output.weight"] = torch.ones(TINY.embed, TINY.units)
    empty = nn.Module()
    load_networks(
        SimpleNamespace(world_model=model, behaviour=empty),  # type: ignore[arg-type]
        {f"world_model.{name}": tensor for name, tensor in older.items()},
        Path("older"),
    )
    assert not model.predicts


def test_the_report_draws_both_errors_and_their_share():
    errors = mean_errors([np.stack([np.linspace(0.1, 0.4, STEPS), np.linspace(0.2, 1.0, STEPS)])[None]])
    figure = predicted_embeddings(errors, 0.05)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["predicted from the actions", "if nothing moved"]
    assert right.lines[0].get_ydata()[-1] == pytest.approx(0.4)
    assert left.lines[0].get_xdata()[-1] == pytest.approx(0.6)
