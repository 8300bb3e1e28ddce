"""The slope of the reward, and when an actor climbs it; on functions that are written down here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from fosp_learner.config import CriticConfig, NetworkConfig
from fosp_learner.finetuning.reward_slope import RewardScale, RewardSlope, climbed, nearby_return_loss, open_way
from fosp_learner.model.critics import Critics, Trajectories
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.phases import make_optimiser

pytestmark = pytest.mark.slow

EPS, ETA = 0.2, 3.0
WHERE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
"""Which way the goal is, (3, 2): the feature of a state."""


def trajectories(feature: Tensor, action: Tensor, reward: Tensor) -> Trajectories:
    """(B, N + 1, F), (B, N, A), (B, N) without cost or end."""
    nothing = torch.zeros_like(reward)
    no, yes = nothing.bool(), ~nothing.bool()
    return Trajectories(feature, action, action, reward, nothing, nothing, 1 - nothing, no, yes)


class Slope(RewardSlope):
    """g(s) is what the feature begins with."""

    def __init__(self) -> None:
        super().__init__([slice(0, 2)], 4, 2)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return feature[..., :2], feature[..., 0] * 0


def behaviour(mean: Tensor, risk: Any, v_h: float = 0.0) -> Behaviour:
    """An actor of these means (3, 2), and a critic whose q_h is a function of the action (..., 2)."""
    critics = SimpleNamespace(
        q_target=SimpleNamespace(
            reachability=lambda feature, action: risk(action),
            risk=lambda feature, action, spread_weight: risk(action),
        ),
        v=SimpleNamespace(reachability=lambda feature: torch.full(feature.shape[:-1], v_h)),
    )
    actor = lambda feature: (mean.expand(*feature.shape[:-1], 2), None)  # noqa: E731
    config = SimpleNamespace(actor=SimpleNamespace(eta=ETA))
    return cast(Behaviour, SimpleNamespace(actor=actor, critics=critics, config=config))


def pull(risk: Any, v_h: float = 0.0, eps: float = EPS) -> Tensor:
    """Where the means (3, 2), all at (0.1, 0.1), are drawn to."""
    mean = torch.full((3, 2), 0.1, requires_grad=True)
    feature = WHERE.unsqueeze(1).expand(3, 2, 2)
    data = trajectories(feature, torch.zeros(3, 1, 2), torch.zeros(3, 1))
    acting, (g, _) = behaviour(mean.unsqueeze(1), risk, v_h), Slope()(feature[:, :-1])
    gain = climbed(acting, data, feature, open_way(acting.critics, g, feature[:, :-1], eps), g)
    (gradient,) = torch.autograd.grad(gain, mean, allow_unused=True)
    return gradient


def nowhere(action: Tensor) -> Tensor:
    return 0.0 * action.sum(-1)


def test_the_slope_is_found_in_noise_that_hides_it_from_the_state_alone() -> None:
    torch.manual_seed(0)
    toward = torch.nn.functional.normalize(torch.randn(64, 9, 2), dim=-1)
    action = 0.3 * torch.randn(64, 8, 2)
    reward = 0.05 * (toward[:, :-1] * action).sum(-1) - 0.01 + 0.005 * torch.randn(64, 8)
    reward[0] = 2.0  # arrived
    data = trajectories(torch.cat([toward, torch.randn(64, 9, 6)], -1), action, reward)
    slope = RewardSlope([slice(0, 8)], 32, 2)
    optimiser = make_optimiser(slope, 3e-3)
    for _ in range(300):
        loss = slope.loss(data, data.feature, RewardScale.of(reward.numpy()))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found, _ = slope(data.feature)
    assert torch.nn.functional.cosine_similarity(found, toward, dim=-1).mean() > 0.9


def test_rewards_are_taken_within_their_quantiles_and_a_constant_one_has_no_slope() -> None:
    reward = np.array([-0.01] * 10 + [0.03] * 10 + [2.0], np.float32)
    units = RewardScale.of(reward).units(torch.from_numpy(reward))
    assert units.max() == units[10] == units[-1]
    assert units.std(correction=0) == pytest.approx(1.0)
    assert (RewardScale.of(reward[:10]).units(torch.from_numpy(reward[:10])) == 0).all()


def test_the_return_of_a_nearby_action_follows_the_slope() -> None:
    torch.manual_seed(0)
    net = NetworkConfig(recurrent=2, variables=1, classes=2, cnn_depth=1, units=32, keypoints=0)
    critics = Critics(net, CriticConfig(), 2)
    feature = torch.cat([WHERE, torch.zeros(3, 2)], -1).unsqueeze(1).expand(3, 9, 4)
    data = trajectories(feature, 0.3 * torch.randn(3, 8, 2), torch.zeros(3, 8))
    optimiser = make_optimiser(critics.q.q_r, 3e-3)
    for _ in range(200):
        v_r, (g, _) = critics.v.returns(feature), Slope()(feature[:, :-1])
        loss = nearby_return_loss(critics, data, v_r.detach(), g, 0.2)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    action = torch.zeros(3, 9, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(critics.q.values(feature, action)[0].sum(), action)
    assert torch.nn.functional.cosine_similarity(gradient[:, 0], WHERE, dim=-1).min() > 0.7
    assert gradient[:, 0].norm(dim=-1) == pytest.approx([0.2] * 3, rel=0.5)


def test_where_nothing_is_in_the_way_the_actor_climbs() -> None:
    assert torch.allclose(pull(nowhere), WHERE / 3)


def test_it_does_not_climb_towards_what_is_infeasible_and_flees_risk() -> None:
    gradient = pull(lambda action: (action[..., 0] > 0.5).float() * EPS)
    assert torch.allclose(gradient, torch.stack([torch.zeros(2), *WHERE[1:]]) / 3)
    fled = pull(lambda action: 0.01 * action[..., 1])
    assert (fled[[0, 2], 1] < 0).all()


@pytest.mark.parametrize(("v_h", "eps"), [(1.0, EPS), (0.0, 0.0)])
def test_in_a_lost_state_or_without_a_threshold_nothing_is_climbed(v_h: float, eps: float) -> None:
    assert torch.allclose(pull(nowhere, v_h, eps), torch.zeros(3, 2))
