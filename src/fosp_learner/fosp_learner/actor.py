"""The policy: a normal distribution with a tanh mean, and its advantage-weighted regression."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fosp_learner.config import ActorConfig, NetworkConfig
from fosp_learner.critics import Trajectories, Values
from fosp_learner.losses import multiplier_update, policy_weight
from fosp_learner.networks import Perceptron


class Actor(nn.Module):
    """pi(a | s) = Normal(tanh(mean), std in [std_min, std_max]), axes independent."""

    def __init__(self, net: NetworkConfig, config: ActorConfig, action: int) -> None:
        super().__init__()
        self.config = config
        image = slice(net.deter, net.deter + net.embed)
        self.seen = image if config.sees == "image" else slice(0, net.feature)
        self.net = Perceptron(self.seen.stop - self.seen.start, config.units or net.units, config.layers, 2 * action)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(..., F) -> mean and std, each (..., A) float32."""
        return self.of_seen(feature[..., self.seen])

    def of_seen(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The same from the part of the feature that the actor looks at."""
        mean, spread = self.net(seen).float().chunk(2, -1)
        low, high = self.config.std_min, self.config.std_max
        return torch.tanh(mean), low + (high - low) * torch.sigmoid(spread)

    def sample(self, feature: Tensor) -> Tensor:
        """Action clipped to [-1, 1]: (..., F) -> (..., A). Gradients pass the limits straight through."""
        mean, std = self(feature)
        action: Tensor = mean + std * torch.randn_like(mean)
        return action + (action.clamp(-1, 1) - action).detach()


def log_probability(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """log pi(a) of a diagonal normal, summed over axes: (..., A) -> (...)."""
    assert mean.shape == std.shape == action.shape, (mean.shape, action.shape)
    z = (action - mean) / std
    return (-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def entropy(std: Tensor) -> Tensor:
    """Entropy of a diagonal normal, summed over axes: (..., A) -> (...)."""
    return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Weighting(nn.Module):
    """What the closed-form weights remember between updates: ranges of the advantages and the cost multiplier."""

    def __init__(self, config: ActorConfig) -> None:
        super().__init__()
        self.config = config
        self.state: Tensor
        self.register_buffer(
            "state", torch.tensor([0.0, 0.0, config.multiplier_initial, config.multiplier_step], dtype=torch.float64)
        )
        """(4,): range of A_r, range of A_c, multiplier, penalty."""

    @property
    def multiplier(self) -> float:
        return float(self.state[2])

    @torch.no_grad()
    def update(self, values: Values, valid: Tensor) -> None:
        """Follow the ranges of the advantages and step the multiplier on the valid transitions."""
        if valid.any():
            self.follow(
                (values.q_r - values.v_r)[valid], (values.q_c - values.v_c)[valid], float(values.v_c[valid].mean())
            )

    @torch.no_grad()
    def follow(self, gain_r: Tensor, gain_c: Tensor, expected_cost: float) -> None:
        """Follow the 5-95 % ranges of what the actor gains (n,) and step the multiplier on E[V_c] - cost_limit."""
        for i, gain in enumerate((gain_r, gain_c)):
            low, high = torch.quantile(gain.float(), torch.tensor([0.05, 0.95], device=gain.device))
            self.state[i].lerp_((high - low).double(), self.config.range_rate if self.state[i] > 0 else 1.0)
        violation = expected_cost - self.config.cost_limit
        multiplier, penalty = multiplier_update(
            float(self.state[2]), float(self.state[3]), violation, self.config.multiplier_growth
        )
        self.state[2], self.state[3] = multiplier, penalty

    @property
    def ranges(self) -> tuple[float, float]:
        """What gains of reward and cost are divided by."""
        range_r, range_c = (max(float(self.state[i]), self.config.advantage_floor) for i in (0, 1))
        return range_r, range_c

    def weight(self, values: Values) -> Tensor:
        """Weights of the actions that `values` belong to (...)."""
        config = self.config
        range_r, range_c = self.ranges
        off = torch.zeros_like(values.q_h)
        return policy_weight(
            (values.q_r - values.v_r) / range_r,
            (values.q_c - values.v_c) / range_c,
            values.q_h if config.reachability else off,
            values.v_h if config.reachability else off,
            multiplier=self.multiplier,
            beta=config.beta,
            eta=config.eta,
            eps=config.eps,
            limit=config.weight_limit,
        )


def regression_loss(
    actor: Actor, data: Trajectories, weight: Tensor, feature: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """- E[w log pi(a|s)] - entropy_scale * H over the valid transitions: loss () and figures for the log.

    `feature` (B, N + 1, F) stands in for that of `data`, when its gradient is wanted.
    """
    assert weight.shape == data.valid.shape, (weight.shape, data.valid.shape)
    config, valid = actor.config, data.valid.float()
    count = valid.sum().clamp_min(1)
    mean, std = actor((data.feature if feature is None else feature)[:, :-1])
    log_pi = log_probability(mean, std, data.action)
    raw_mean = (weight * valid).sum() / count
    if config.normalise_weights:
        weight = weight / raw_mean.clamp_min(1e-6)
    regression = -(weight * valid * log_pi).sum() / count
    spread = (entropy(std) * valid).sum() / count
    total = (weight * valid).sum()
    figures = {
        "actor": regression.detach(),
        "cloning": -(log_pi.detach() * valid).sum() / count,
        "entropy": spread.detach(),
        "weight_mean": raw_mean,
        "weight_zero_share": ((weight == 0) * valid).sum() / count,
        "weight_effective_share": total.square() / ((weight * valid).square().sum() * count).clamp_min(1e-6),
    }
    return regression - config.entropy_scale * spread, figures
