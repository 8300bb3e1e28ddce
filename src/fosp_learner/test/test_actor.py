"""The policy and its weighted regression."""

import pytest
import torch
from torch import tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from fosp_learner.config import ActorConfig, NetworkConfig
from fosp_learner.model.actor import Actor, Mixture, Weighting, entropy, log_probability, regression_loss
from fosp_learner.model.critics import Trajectories, Values

SIZE = NetworkConfig(recurrent=1, variables=0, classes=0, cnn_depth=0, units=8, keypoints=0)


def test_log_probability_and_entropy_are_those_of_a_normal_summed_over_axes():
    mean, std, action = torch.randn(3, 2), torch.rand(3, 2) + 0.1, torch.randn(3, 2)
    normal = Normal(mean, std)
    torch.testing.assert_close(log_probability(mean, std, action), normal.log_prob(action).sum(-1))
    torch.testing.assert_close(entropy(std), normal.entropy().sum(-1))


def test_mean_and_spread_stay_within_their_bounds_whatever_the_feature():
    actor = Actor(SIZE, ActorConfig(sees="all"), action=2)
    mean, std = actor(1e3 * torch.randn(100, 1))
    assert mean.abs().max() <= 1
    assert std.min() >= 0.1
    assert std.max() <= 1
    assert actor.sample(torch.randn(100, 1)).abs().max() <= 1


def transitions(action: torch.Tensor, valid: torch.Tensor) -> Trajectories:
    """N transitions that all start in the same state: action (N, A), valid (N,)."""
    number = len(action)
    zeros, flags = torch.zeros(number, 1), torch.zeros(number, 1, dtype=torch.bool)
    feature, taken = torch.zeros(number, 2, 1), action[:, None]
    return Trajectories(feature, taken, taken, zeros, zeros, zeros, zeros, flags, valid[:, None])


def test_the_regression_ends_at_the_weighted_mean_of_the_valid_actions():
    torch.manual_seed(0)
    actor = Actor(SIZE, ActorConfig(sees="all", layers=1, entropy_scale=0.0, components=1), action=1)
    data = transitions(tensor([[-0.8], [0.2], [0.7], [0.9]]), tensor([True, True, True, False]))
    weight = tensor([[1.0], [0.0], [3.0], [50.0]])
    optimiser = torch.optim.Adam(actor.parameters(), lr=0.02)
    for _ in range(200):
        loss, _ = regression_loss(actor, data, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mean, _ = actor(torch.zeros(1, 1))
    assert float(mean.detach()) == pytest.approx((1 * -0.8 + 3 * 0.7) / 4, abs=0.02)


def test_between_two_ways_the_policy_takes_the_more_frequent_one_and_not_the_middle():
    torch.manual_seed(0)
    actor = Actor(SIZE, ActorConfig(sees="all", layers=1, components=4), action=1)
    data = transitions(tensor([[-0.8], [-0.8], [0.8], [0.8], [0.8]]), torch.ones(5, dtype=torch.bool))
    optimiser = torch.optim.Adam(actor.parameters(), lr=0.02)
    for _ in range(300):
        loss, _ = regression_loss(actor, data, torch.ones(5, 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    state = torch.zeros(1, 1)
    assert float(actor(state)[0].detach()) == pytest.approx(0.8, abs=0.05)
    drawn = actor.sample(state.expand(4000, 1))
    assert float((drawn < 0).float().mean()) == pytest.approx(0.4, abs=0.05)


def test_a_mixture_has_the_density_of_torchs_mixture():
    weight, mean, std = torch.randn(5, 3), torch.randn(5, 3, 2), torch.rand(5, 3, 2) + 0.1
    theirs = MixtureSameFamily(Categorical(logits=weight), Independent(Normal(mean, std), 1))
    action = torch.randn(5, 2)
    ours = Mixture(torch.log_softmax(weight, -1), mean, std)
    torch.testing.assert_close(ours.log_probability(action), theirs.log_prob(action))
    best = weight.argmax(-1)
    torch.testing.assert_close(ours.mode()[0], mean[torch.arange(5), best])


def test_normalised_weights_make_the_loss_independent_of_their_scale():
    actor = Actor(SIZE, ActorConfig(sees="all", normalise_weights=True), action=1)
    data = transitions(tensor([[-0.8], [0.7]]), tensor([True, True]))
    weight = tensor([[1.0], [3.0]])
    torch.testing.assert_close(regression_loss(actor, data, weight)[0], regression_loss(actor, data, 7 * weight)[0])


def values(a_r: torch.Tensor, a_c: torch.Tensor, v_c: float = 0.0) -> Values:
    """Advantages of reward and cost (N, 1), in states without risk."""
    zero = torch.zeros_like(a_r)
    return Values(q_r=a_r, q_c=a_c + v_c, q_h=zero, v_r=zero, v_c=zero + v_c, v_h=zero)


def test_advantages_are_divided_by_their_5_to_95_percent_range():
    weighting = Weighting(ActorConfig(beta=1.0, multiplier_initial=0.0, cost_limit=1.0))
    spread = torch.linspace(-10, 10, 101)[:, None]
    valid = torch.ones_like(spread, dtype=torch.bool)
    weighting.update(values(spread, 0 * spread), valid)
    weight = weighting.weight(values(tensor([[9.0]]), tensor([[0.0]])))
    torch.testing.assert_close(weight, torch.exp(tensor([[9.0 / 18.0]])))


def test_the_range_moves_slowly_and_small_advantages_are_not_blown_up():
    weighting = Weighting(ActorConfig(range_rate=0.01, advantage_floor=1.0))
    spread = torch.linspace(-10, 10, 101)[:, None]
    valid = torch.ones_like(spread, dtype=torch.bool)
    weighting.update(values(spread, 0 * spread), valid)
    weighting.update(values(2 * spread, 0 * spread), valid)
    assert float(weighting.state[0]) == pytest.approx(18 + 0.01 * 18)
    small = Weighting(ActorConfig(beta=1.0, advantage_floor=1.0))
    small.update(values(0.01 * spread, 0 * spread), valid)
    torch.testing.assert_close(small.weight(values(tensor([[0.1]]), tensor([[0.0]]))), torch.exp(tensor([[0.1]])))


def test_the_multiplier_follows_the_excess_of_cost_on_valid_steps():
    weighting = Weighting(ActorConfig(multiplier_initial=1.0, multiplier_step=0.5, cost_limit=0.25))
    some = torch.randn(4, 1)
    weighting.update(values(some, some, v_c=0.75), torch.ones(4, 1, dtype=torch.bool))
    assert weighting.multiplier == pytest.approx(1.0 + 0.5 * 0.5)
    weighting.update(values(some, some, v_c=9.0), torch.zeros(4, 1, dtype=torch.bool))
    assert weighting.multiplier == pytest.approx(1.25)


def test_without_reachability_risk_has_no_say():
    risky = Values(*(tensor([x]) for x in (1.0, 0.0, 0.9, 0.0, 0.0, 0.1)))
    assert Weighting(ActorConfig(reachability=True)).weight(risky) == 0
    harmless = Values(*(tensor([x]) for x in (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    off = Weighting(ActorConfig(reachability=False))
    assert off.weight(risky) == off.weight(harmless) > 0


def test_the_mask_takes_the_calibrated_threshold_once_it_is_known():
    zeros = torch.zeros(1)
    values = Values(zeros, zeros, torch.tensor([0.2]), zeros, zeros, torch.tensor([0.05]))
    weighting = Weighting(ActorConfig(eps="calibrated"))
    assert float(weighting.weight(values)) > 0, "0.25 until then"
    weighting.eps = 0.1
    assert float(weighting.weight(values)) == 0
    assert Weighting(ActorConfig(eps=0.1)).eps == 0.1
    for eps in (0, 1, "unknown"):
        with pytest.raises(ValueError, match="eps"):
            ActorConfig(eps=eps)  # type: ignore[arg-type]
