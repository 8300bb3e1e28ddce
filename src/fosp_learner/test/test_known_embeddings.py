"""Images that an encoder has seen are not embedded again, and never by another encoder's embeddings."""

from collections.abc import Callable

import pytest
import torch

from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import KnownEmbeddings, filter_episodes
from fosp_learner.training.trainer import Trainer


@pytest.fixture
def data(make_episode: Callable[..., Episode]) -> Dataset:
    return from_episodes([make_episode(length, length) for length in (4, 7, 5)], "key")


@pytest.fixture
def model(data: Dataset) -> WorldModel:
    return Trainer(LearnerConfig(), data).world_model


def embedded(model: WorldModel, data: Dataset, known: KnownEmbeddings | None) -> int:
    """Filter all episodes, compare with filtering anew, and return how many episodes were embedded."""
    calls: list[int] = []
    handle = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    found = list(filter_episodes(model, data, known=known))
    handle.remove()
    for one, other in zip(found, filter_episodes(model, data), strict=True):
        for name, tensor in vars(one.latents).items():
            assert torch.equal(tensor, vars(other.latents)[name]), name
        assert torch.equal(one.surprise, other.surprise)
    return len(calls)


def test_what_is_known_is_not_embedded_again_while_the_rest_of_the_model_learns(model: WorldModel, data: Dataset):
    known = KnownEmbeddings()
    assert embedded(model, data, known) == 3
    with torch.no_grad():
        for parameter in model.rssm.parameters():
            parameter += 0.01
    assert embedded(model, data, known) == 0


def test_another_encoder_embeds_for_itself(model: WorldModel, data: Dataset):
    known = KnownEmbeddings()
    embedded(model, data, known)
    with torch.no_grad():
        next(model.encoder.parameters()).flatten()[0] += 1e-6
    assert embedded(model, data, known) == 3


def test_episodes_of_other_data_are_others(model: WorldModel, data: Dataset, make_episode: Callable[..., Episode]):
    known = KnownEmbeddings()
    embedded(model, data, known)
    same_names = from_episodes([make_episode(length, length + 9) for length in (4, 7, 5)], "another")
    assert embedded(model, same_names, known) == 3


def test_the_same_episodes_in_grown_data_are_known(
    model: WorldModel, data: Dataset, make_episode: Callable[..., Episode]
):
    known = KnownEmbeddings()
    embedded(model, data, known)
    grown = from_episodes([make_episode(length, length) for length in (6, 4, 7, 5)], "grown")
    assert embedded(model, grown, known) == 1


def test_an_episode_of_which_one_pixel_changed_is_another(model: WorldModel, data: Dataset):
    known = KnownEmbeddings()
    embedded(model, data, known)
    data.images[2, 0, 3, 3, 0] ^= 1
    assert embedded(model, data, known) == 1


def test_no_more_rows_are_kept_than_told(model: WorldModel, data: Dataset):
    known = KnownEmbeddings(rows=12)
    assert embedded(model, data, known) == 3
    assert embedded(model, data.of(data.episodes[1:]), known) == 0
    assert embedded(model, data.of(data.episodes[:1]), known) == 1
