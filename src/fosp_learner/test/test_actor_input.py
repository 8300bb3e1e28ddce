"""Input of the actor. An actor that sees its past actions copies them instead of looking at the image."""

import pytest
import torch
from tiny_networks import TINY

from fosp_learner.config import ActorConfig, LearnerConfig, WorldModelConfig
from fosp_learner.model.actor import Actor
from fosp_learner.model.networks import KeypointEncoder, _AttentionPool, attention_pool, patches, unpatched
from fosp_learner.model.world_model import WorldModel


def features_of_two_pasts() -> torch.Tensor:
    """Latent features (2, F) after the same images and different executed actions."""
    torch.manual_seed(0)
    model = WorldModel(TINY, WorldModelConfig(), (1, 64, 64, 3), 3)
    images = torch.randint(0, 256, (1, 4, 1, 64, 64, 3), dtype=torch.uint8).expand(2, -1, -1, -1, -1, -1)
    action = torch.zeros(2, 4, 3)
    action[1] = 1.0
    first = torch.zeros(2, 4, dtype=torch.bool)
    first[:, 0] = True
    return model.observe(images, action, first, sample=False).feature[:, -1]


def test_an_actor_of_the_image_does_not_see_past_actions():
    feature = features_of_two_pasts()
    assert not torch.equal(feature[0], feature[1])
    mean, _ = Actor(TINY, ActorConfig(sees="image"), 3)(feature)
    assert torch.equal(mean[0], mean[1])


def test_an_actor_of_everything_does():
    mean, _ = Actor(TINY, ActorConfig(sees="all"), 3)(features_of_two_pasts())
    assert not torch.equal(mean[0], mean[1])


def test_keypoints_follow_a_thing_that_moves():
    torch.manual_seed(0)
    encoder = KeypointEncoder(3, 64, 16, keypoints=4, values=2)
    image = torch.zeros(2, 64, 64, 3)
    image[0, 24:28, 16:20] = 1.0
    image[1, 24:28, 40:44] = 1.0
    embed = encoder(image)
    place, peak = embed[:, :8].reshape(2, 4, 2), embed[:, 8:12]
    moved = (place[0] - place[1]).abs().amax(0)
    assert moved[0] > 10 * moved[1]
    assert torch.allclose(peak[0], peak[1], atol=1e-4)


@pytest.mark.parametrize("encoder", ["keypoints", "grid"])
def test_patches_of_eight_pixels_put_larger_images_on_the_same_grid(encoder: str):
    image = torch.rand(2, 128, 128, 6)
    cut = patches(image, 8)
    assert cut.shape == (2, 16, 16, 8 * 8 * 6)
    assert torch.equal(unpatched(cut, 8), image)
    small, large = KeypointEncoder(3, 64, 16, 4, 2), KeypointEncoder(3, 128, 16, 4, 2, patch=8)
    assert [p.shape for p in small.layers.parameters()] == [p.shape for p in large.layers.parameters()]
    config = WorldModelConfig.model_validate({"encoder": encoder, "patch": 8})
    model = WorldModel(TINY, config, (1, 128, 128, 3), 2)
    images = torch.randint(0, 256, (1, 2, 1, 128, 128, 3), dtype=torch.uint8)
    latents = model.observe(images, torch.zeros(1, 2, 2), torch.tensor([[True, False]]))
    assert model.reconstruct(latents.state[0]).shape == (2, 128, 128, 3)


def test_patches_of_eight_pixels_are_too_large_for_small_images():
    camera = {"height": 32, "width": 32}
    with pytest.raises(ValueError, match="needs images of 64 pixels or more"):
        LearnerConfig.model_validate({"world_model": {"patch": 8}, "observation": {"cameras": [camera]}})


def test_the_derivative_of_attention_pooling():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_AttentionPool.apply, (logits, values))
    assert torch.allclose(attention_pool(logits, values)[1], torch.logsumexp(logits, -1))
