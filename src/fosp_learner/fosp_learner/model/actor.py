"""The policy: a mixture of normal distributions with tanh means, and its advantage-weighted regression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.config import ActorConfig, NetworkConfig
from fosp_learner.model.critics import Trajectories, Values
from fosp_learner.model.losses import multiplier_update, policy_weight
from fosp_learner.model.networks import Perceptron

UNCALIBRATED_EPS = 0.25
"""Threshold of Q_h in the weights until it is calibrated, with `actor.eps: calibrated`."""


@dataclass(frozen=True)
class Mixture:
    """Mixture of M normal distributions with independent axes."""

    log_weight: Tensor
    """(..., M) log-probabilities of the components."""
    mean: Tensor
    """(..., M, A)."""
    std: Tensor
    """(..., M, A)."""

    def log_probability(self, action: Tensor) -> Tensor:
        """Return log pi(a): (..., A) -> (...)."""
        every = action.unsqueeze(-2).expand_as(self.mean)
        return torch.logsumexp(self.log_weight + log_probability(self.mean, self.std, every), -1)

    def entropy(self) -> Tensor:
        """Return the expected entropy of the drawn component: (...)."""
        return (self.log_weight.exp() * entropy(self.std)).sum(-1)

    def mode(self) -> tuple[Tensor, Tensor]:
        """Return mean and std of the most probable component, each (..., A)."""
        return self._component(self.log_weight.argmax(-1))

    def sample(self) -> Tensor:
        """Draw an action (..., A), with a gradient into mean and std of the drawn component."""
        uniform = distributed.uniform(*self.log_weight.shape[:-1], 1, device=self.mean.device)
        above = (self.log_weight.exp().cumsum(-1) < uniform).sum(-1)
        mean, std = self._component(above.clamp_max(self.mean.shape[-2] - 1))
        return mean + std * distributed.normal(*mean.shape, device=mean.device)

    def _component(self, which: Tensor) -> tuple[Tensor, Tensor]:
        place = which[..., None, None].expand(*which.shape, 1, self.mean.shape[-1])
        return self.mean.gather(-2, place).squeeze(-2), self.std.gather(-2, place).squeeze(-2)


class Actor(nn.Module):
    """The policy pi(a | s): a mixture of Normal(tanh(mean), std in [std_min, std_max]) with independent axes."""

    def __init__(self, net: NetworkConfig, config: ActorConfig, action: int) -> None:
        super().__init__()
        self.config = config
        image = slice(net.carried - net.embed, net.carried)
        self.seen = (slice(0, net.memory), image) if config.sees == "image" else (slice(0, net.feature),)
        outputs = config.components * (1 + 2 * action)
        inputs = sum(part.stop - part.start for part in self.seen)
        self.net = Perceptron(inputs, config.units or net.units, config.layers, outputs)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is deployed, mean and std of the most probable component: (..., F) -> (..., A) each, float32."""
        return self.distribution(feature).mode()

    def distribution(self, feature: Tensor) -> Mixture:
        """Return the whole mixture in float32: (..., F) -> parameters (..., M, A)."""
        return self.of_seen(torch.cat([feature[..., part] for part in self.seen], -1))

    def of_seen(self, seen: Tensor) -> Mixture:
        """Return the mixture from the part of the feature that the actor sees."""
        components = self.config.components
        outputs = self.net(seen).float()
        logits, rest = outputs[..., :components], outputs[..., components:]
        mean, spread = rest.unflatten(-1, (components, -1)).chunk(2, -1)
        low, high = self.config.std_min, self.config.std_max
        return Mixture(torch.log_softmax(logits, -1), torch.tanh(mean), low + (high - low) * torch.sigmoid(spread))

    def sample(self, feature: Tensor) -> Tensor:
        """Draw an action, clipped to [-1, 1] with straight-through gradients: (..., F) -> (..., A)."""
        action = self.distribution(feature).sample()
        return action + (action.clamp(-1, 1) - action).detach()


def log_probability(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """Return log pi(a) of a diagonal normal, summed over axes: (..., A) -> (...)."""
    assert mean.shape == std.shape == action.shape, (mean.shape, action.shape)
    z = (action - mean) / std
    return (-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def entropy(std: Tensor) -> Tensor:
    """Return the entropy of a diagonal normal, summed over axes: (..., A) -> (...)."""
    return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Weighting(nn.Module):
    """Weights of actions in regression, and their state between updates: advantage ranges and the cost multiplier."""

    def __init__(self, config: ActorConfig) -> None:
        super().__init__()
        self.config = config
        self.eps = UNCALIBRATED_EPS if config.eps == "calibrated" else config.eps
        """Threshold of Q_h beyond which an action has no weight in a state that is feasible."""
        self.state: Tensor
        self.register_buffer(
            "state", torch.tensor([0.0, 0.0, config.multiplier_initial, config.multiplier_step], dtype=torch.float64)
        )
        """(4,): range of A_r, range of A_c, cost multiplier, penalty."""

    @property
    def multiplier(self) -> float:
        return float(self.state[2])

    @torch.no_grad()
    def update(self, values: Values, valid: Tensor) -> None:
        """Follow the ranges of the advantages and step the multiplier on the valid transitions."""
        seen = torch.stack([values.q_r - values.v_r, values.q_c - values.v_c, values.v_c, valid.to(values.v_c)], -1)
        seen = distributed.everyones(seen.float())
        seen = seen[seen[..., 3] > 0]
        if len(seen):
            self.follow(seen[:, 0], seen[:, 1], float(seen[:, 2].mean()))

    @torch.no_grad()
    def follow(self, gain_r: Tensor, gain_c: Tensor, expected_cost: float) -> None:
        """Follow the 5-95 % ranges of the actor's gains (n,) and step the multiplier on E[V_c] - cost_limit."""
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
        """Ranges that the advantages of reward and cost are divided by."""
        range_r, range_c = (max(float(self.state[i]), self.config.advantage_floor) for i in (0, 1))
        return range_r, range_c

    def weight(self, values: Values) -> Tensor:
        """Return the weights (...) of the actions that `values` belong to."""
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
            eps=self.eps,
            limit=config.weight_limit,
        )


def regression_loss(
    actor: Actor, data: Trajectories, weight: Tensor, feature: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return - E[w log pi(a|s)] - entropy_scale * H over the valid transitions, (), and figures for the log.

    `feature` (B, N + 1, F) replaces that of `data` as the actor's input, for its gradient or its noise.
    """
    assert weight.shape == data.valid.shape, (weight.shape, data.valid.shape)
    config, valid = actor.config, data.valid.float()
    count = distributed.share_of_total(valid.sum())
    policy = actor.distribution((data.feature if feature is None else feature)[:, :-1])
    log_pi = policy.log_probability(data.followed)
    raw_mean = distributed.total((weight * valid).sum()) / (count * distributed.count())
    if config.normalise_weights:
        weight = weight / raw_mean.clamp_min(1e-6)
    regression = -(weight * valid * log_pi).sum() / count
    spread = (policy.entropy() * valid).sum() / count
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
