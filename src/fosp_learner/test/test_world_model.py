import math

import pytest
import torch
from torch import Tensor, tensor
from torch.nn import functional as F

from fosp_learner.config import ActorConfig, NetworkConfig, WorldModelConfig
from fosp_learner.data.batch import Batch
from fosp_learner.model.actor import Actor
from fosp_learner.model.losses import categorical_kl, two_hot_nll
from fosp_learner.model.networks import RecurrentCell
from fosp_learner.model.world_model import RecurrentStateSpaceModel, WorldModel, drawn_rows
from fosp_learner.training.behaviour import imagine

TINY = NetworkConfig(recurrent=6, variables=3, classes=4, cnn_depth=2, units=8, keypoints=4, keypoint_values=2)


@pytest.fixture
def rssm() -> RecurrentStateSpaceModel:
    torch.manual_seed(0)
    return RecurrentStateSpaceModel(TINY, action=2, unimix=0.01)


def world_model(**settings: object) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(TINY, WorldModelConfig.model_validate(settings), (1, 32, 32, 3), 2)


def batch(length: int = 4, cost_at: int = -1) -> Batch:
    generator = torch.Generator().manual_seed(1)
    cost = torch.zeros(2, length)
    if cost_at >= 0:
        cost[:, cost_at] = 1
    first = torch.zeros(2, length, dtype=torch.bool)
    first[:, 0] = True
    none = torch.zeros_like(first)
    return Batch(
        images=torch.randint(0, 256, (2, length, 1, 32, 32, 3), dtype=torch.uint8, generator=generator),
        action_prev=torch.rand(2, length, 2, generator=generator),
        followed_prev=torch.zeros(2, length, 2),
        reward=torch.rand(2, length, generator=generator),
        cost=cost,
        is_first=first,
        is_terminal=none,
        is_last=none,
    )


def test_one_percent_of_every_categorical_is_uniform(rssm: RecurrentStateSpaceModel):
    certain = torch.zeros(12)
    certain[[0, 5, 11]] = 100.0
    probability = rssm.log_probabilities(certain).exp()
    torch.testing.assert_close(probability[0], tensor([0.9925, 0.0025, 0.0025, 0.0025]))
    torch.testing.assert_close(probability.sum(-1), torch.ones(3))


def test_a_sample_is_the_class_whose_share_of_the_unit_interval_the_noise_hits(rssm: RecurrentStateSpaceModel):
    log_probability = tensor([[0.1, 0.2, 0.3, 0.4]] * 3).log()
    noise = tensor([[0.05], [0.29], [0.61]])
    drawn = rssm.sample(log_probability, noise).reshape(3, 4)
    assert drawn.argmax(-1).tolist() == [0, 1, 3]
    assert drawn.sum(-1).tolist() == pytest.approx([1, 1, 1])
    even = torch.linspace(0.0005, 0.9995, 1000).reshape(-1, 1, 1).expand(-1, 3, 1)
    share = rssm.sample(log_probability.expand(1000, 3, 4), even).reshape(1000, 3, 4).mean(0)
    torch.testing.assert_close(share, log_probability.exp(), atol=2e-3, rtol=0)


def test_the_gradient_of_a_sample_is_that_of_its_probabilities(rssm: RecurrentStateSpaceModel):
    logits = torch.randn(12, requires_grad=True)
    weight = torch.randn(12)
    (of_sample,) = torch.autograd.grad((rssm.sample(rssm.log_probabilities(logits), torch.rand(3, 1)) * weight).sum(),
                                       logits)  # fmt: skip
    (of_mean,) = torch.autograd.grad((rssm.log_probabilities(logits).exp().flatten() * weight).sum(), logits)
    torch.testing.assert_close(of_sample, of_mean)


def test_the_recurrent_cell_by_hand():
    cell = RecurrentCell(1, 1)
    x, state = tensor([[0.5]]), tensor([[-0.25]])
    gates = F.layer_norm(cell.gates(torch.cat([x, state], -1)), (3,), eps=1e-3)
    reset, candidate, update = gates[0].tolist()
    keep = 1 / (1 + math.exp(-(update - 1)))
    expected = keep * math.tanh(candidate / (1 + math.exp(-reset))) + (1 - keep) * -0.25
    assert float(cell(x, state).detach()) == pytest.approx(expected, abs=1e-6)


def test_hoisting_the_projections_out_of_the_loop_changes_nothing(rssm: RecurrentStateSpaceModel):
    """The scan against h_t = GRU(h, z, a), q(h_t, e_t), p(h_t), one step after the other."""
    embed, action = torch.randn(2, 3, TINY.embed), torch.rand(2, 3, 2)
    first = tensor([[True, False, False], [True, False, True]])
    found = rssm.observe(embed, action, first, sample=False)
    deter0, stoch0 = rssm.initial_state()
    for b in range(2):
        deter, stoch = deter0, stoch0
        for t in range(3):
            if first[b, t]:
                deter, stoch = deter0, stoch0
            taken = torch.zeros(2) if first[b, t] else action[b, t]
            x = F.silu(rssm.input_norm(rssm.from_stoch(stoch) + rssm.from_action(taken)))
            deter = rssm.cell(x[None], deter[None])[0]
            y = F.silu(rssm.posterior_norm(rssm.from_deter(deter) + rssm.from_embed(embed[b, t])))
            posterior = rssm.log_probabilities(rssm.posterior_logits(y))
            stoch = rssm.mode(posterior)
            torch.testing.assert_close(found.recurrent[b, t], deter)
            torch.testing.assert_close(found.posterior[b, t], posterior)
            torch.testing.assert_close(found.prior[b, t], rssm.prior(deter))


def test_nothing_of_an_episode_reaches_the_one_after_it(rssm: RecurrentStateSpaceModel):
    embed, action = torch.randn(1, 5, TINY.embed), torch.rand(1, 5, 2)
    first = tensor([[True, False, True, False, False]])
    before = rssm.observe(embed, action, first, sample=False)
    embed[:, :2], action[:, :3] = 9.0, -9.0
    after = rssm.observe(embed, action, first, sample=False)
    torch.testing.assert_close(before.feature[:, 2:, : TINY.recurrent], after.feature[:, 2:, : TINY.recurrent])
    torch.testing.assert_close(before.posterior[:, 2:], after.posterior[:, 2:])


def losses(model: WorldModel, data: Batch) -> dict[str, float]:
    torch.manual_seed(5)
    return {name: float(loss.detach()) for name, loss in model.loss(data)[0].items()}


def test_a_step_with_cost_weighs_ten_times_in_the_cost_loss_alone():
    data = batch(cost_at=2)
    once, tenfold = (losses(world_model(violation_weight=w), data) for w in (1.0, 10.0))
    zero = losses(world_model(), batch())["cost"]
    # An untrained head says ln 255 whatever the cost: 3 of 4 rows are arrived at, on one of them with cost.
    assert zero == pytest.approx(3 / 4 * math.log(255), rel=1e-4)
    assert once["cost"] == pytest.approx(zero, rel=1e-4)
    assert tenfold["cost"] == pytest.approx((2 + 10) / 4 * math.log(255), rel=1e-4)
    assert {name for name in once if abs(once[name] - tenfold[name]) > 1e-5} == {"cost"}


def test_what_arrives_with_a_first_row_is_not_learned():
    data = batch()
    other = Batch(**(vars(data) | {"reward": data.reward.clone(), "cost": data.cost.clone()}))
    other.reward[:, 0], other.cost[:, 0] = 100.0, 100.0
    assert losses(world_model(), data) == losses(world_model(), other)


def test_losses_have_the_weights_of_the_algorithm():
    """recon + reward + w_c cost + cont + 0.5 KL[sg(q) || p] + 0.1 KL[q || sg(p)], each KL at least one nat."""
    model, data = world_model(hue_shift=0, saturation_shift=0, brightness_shift=0), batch()
    torch.manual_seed(5)
    found, latents = model.loss(data)
    kl = categorical_kl(latents.posterior, latents.prior).clamp_min(1.0)
    assert float(found["kl"].detach()) == pytest.approx(float((0.6 * kl).mean().detach()), rel=1e-5)
    arrives = (~data.is_first).float()
    reward = arrives * two_hot_nll(model.reward(latents.state), data.reward)
    assert float(found["reward"].detach()) == pytest.approx(float(reward.mean().detach()), rel=1e-5)


@pytest.mark.parametrize(("length", "share", "each"), [(8, 0.25, 2), (8, 1.0, 8), (3, 0.1, 1)])
def test_the_rows_to_decode_are_drawn_from_every_sequence(length: int, share: float, each: int):
    rows = drawn_rows(5, length, share)
    assert len(set(rows.tolist())) == 5 * each
    assert torch.bincount(rows // length).tolist() == [each] * 5
    if each < length:
        assert any(not torch.equal(rows, drawn_rows(5, length, share)) for _ in range(20)), "anew each time"


def test_a_pixel_counts_more_the_further_it_is_from_the_mean_image():
    model = world_model(foreground_scale=3.0)
    flat = world_model(foreground_scale=0.0)
    flat.load_state_dict(model.state_dict())
    state, pixels = torch.randn(1, TINY.state), torch.zeros(1, 32, 32, 3)
    model.mean_image.fill_(-0.5)  # every pixel is 0.5 away from it
    flat.mean_image.fill_(-0.5)
    with torch.no_grad():
        assert float(model.reconstruction_error(state, pixels)) == pytest.approx(
            2.5 * float(flat.reconstruction_error(state, pixels)), rel=1e-5
        )


def dreamt(starts: int | None, horizon: int = 3) -> tuple[Tensor, Tensor]:
    """Features of rollouts (starts, horizon + 1, F), and those that they may start from."""
    model = world_model()
    actor = Actor(TINY, ActorConfig(), 2)
    data = batch()
    latents = model.observe(data.images, data.action_prev, data.is_first)
    imagined = imagine(model, actor, latents, starts, horizon)
    number = len(imagined.reward)
    assert imagined.feature.shape == (number, horizon + 1, TINY.feature)
    assert imagined.action.shape == (number, horizon, 2)
    assert float(imagined.action.abs().max()) <= 1
    assert float(imagined.cost.min()) >= 0
    assert 0 <= float(imagined.violation.min()) <= float(imagined.violation.max()) <= 1
    assert imagined.cut.tolist() == [[False] * (horizon - 1) + [True]] * number
    assert bool(imagined.valid.all())
    assert not imagined.feature.requires_grad
    return imagined.feature, latents.feature.flatten(0, 1)


def test_rollouts_start_from_different_real_latents_within_their_budget():
    feature, real = dreamt(starts=5)
    assert len(feature) == 5
    origin = torch.cdist(feature[:, 0], real).argmin(1)
    torch.testing.assert_close(feature[:, 0], real[origin])
    assert len(set(origin.tolist())) == 5
    assert len(dreamt(starts=None)[0]) == len(real), "without a budget from all of them"
    assert len(dreamt(starts=1000)[0]) == len(real)
