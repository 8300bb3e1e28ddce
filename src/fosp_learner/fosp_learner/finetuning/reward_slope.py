"""The slope of the next reward, which an actor climbs where regression does not move it.

A reward for coming closer to the goal sums up to the same on every way there, so Q_r hardly tells one action from
another, and the actions that a stuck robot executed show no way on. The reward of a single decision does tell actions
apart. So the actor also climbs its slope, a horizon of one decision (with little data a short horizon plans better;
Jiang et al. 2015), but only where the critics allow it:

    L = L_pi - ascent * E_s[ o(s) (1 - V_h(s)) g(s) . mu(s) - eta * Q_h(s, mu(s)) ]
    r(s, a) ~ b(s) + g(s) . a        o(s) = max(0, 1 - Q_h(s, g / max |g|) / eps)

mu is the actor's mean, g is fitted to rewards in units of their deviation d, and o(s) says how open the way ahead is.
The choice between the actors must know the slope, too, so Q_r learns the returns of actions near the executed ones:
Q_r(s, a + x) is fitted to the lambda-return of (s, a) plus d g(s) . x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fosp_learner.model.critics import Critics, Trajectories, over_heads
from fosp_learner.model.losses import lambda_return, masked_mean, two_hot_nll
from fosp_learner.model.networks import Perceptron
from fosp_learner.training.behaviour import Behaviour

NEARBY = 0.5
"""Standard deviation of the noise on an action within which the slope is taken for the truth."""


class RewardSlope(nn.Module):
    """Linear model r(s, a) ~ b(s) + g(s) . a of the reward of one decision."""

    def __init__(self, seen: Sequence[slice], units: int, action: int) -> None:
        super().__init__()
        self._seen = seen
        self.net = Perceptron(sum(part.stop - part.start for part in seen), units, 2, action + 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return slope g and offset b: (..., F) -> (..., A), (...), float32."""
        given: Tensor = self.net(torch.cat([feature[..., part] for part in self._seen], -1)).float()
        return given[..., :-1], given[..., -1]

    def loss(self, data: Trajectories, feature: Tensor, scale: RewardScale) -> Tensor:
        """Return the loss () on rewards in units of `scale`; `feature` replaces that of `data`."""
        g, b = self(feature[:, :-1])
        error = F.smooth_l1_loss((g * data.action).sum(-1) + b, scale.units(data.reward), reduction="none")
        return masked_mean(error, data.valid)


@dataclass(frozen=True)
class RewardScale:
    """Scale of the rewards that a slope is fitted to, clipped to their 5 and 95 % quantiles.

    Rewards beyond, such as that for arriving, are no slope.
    """

    low: float
    high: float
    mean: float
    deviation: float
    """Deviation of the clipped rewards; 1 when they are all the same."""

    @classmethod
    def of(cls, rewards: NDArray[np.float32]) -> RewardScale:
        """Return the scale of `rewards` (n,)."""
        low, high = (float(q) for q in np.quantile(rewards, [0.05, 0.95]))
        within = rewards.clip(low, high)
        deviation = float(within.std())
        return cls(low, high, float(within.mean()), deviation if deviation > 1e-6 else 1.0)

    def units(self, reward: Tensor) -> Tensor:
        """Clip rewards (...) and convert them to units of their deviation."""
        return (reward.clamp(self.low, self.high) - self.mean) / self.deviation


def nearby_return_loss(critics: Critics, data: Trajectories, v_r: Tensor, g: Tensor, deviation: float) -> Tensor:
    """Return the loss () of Q_r at random actions near the executed ones, averaged over the valid transitions.

    `v_r` (B, N + 1) and the slope `g` (B, N, A) are those of the states of `data`.
    """
    config, feature = critics.config, data.feature[:, :-1]
    with torch.no_grad():
        target = lambda_return(data.reward, data.continues, v_r[:, 1:], data.cut, config.discount, config.lambda_)
        nearby = (data.action + NEARBY * torch.randn_like(data.action)).clamp(-1, 1)
        target = target + deviation * (g * (nearby - data.action)).sum(-1)
    x = torch.cat([feature[..., critics.q.seen], nearby], -1)
    logits = torch.stack([head(x) for head in critics.q.return_heads])
    return masked_mean(over_heads(two_hot_nll, logits, target), data.valid)


@torch.no_grad()
def open_way(critics: Critics, g: Tensor, feature: Tensor, eps: float, spread_weight: float | None = None) -> Tensor:
    """Return o(s) (1 - V_h(s)), how far the slope `g` (..., A) may be climbed in states (..., F): (...).

    `spread_weight` is that of the risk that `eps` is a threshold of.
    """
    ahead = g / g.abs().amax(-1, keepdim=True).clamp_min(1e-6)
    risk = critics.q_target.risk(feature, ahead, spread_weight)
    way = (1 - risk / eps).clamp(0, 1) if eps > 0 else torch.zeros_like(risk)
    return way * (1 - critics.v.reachability(feature))


def climbed(behaviour: Behaviour, data: Trajectories, noisy: Tensor, way: Tensor, g: Tensor) -> Tensor:
    """Return E_s[ way g(s) . mu(s) - eta * Q_h(s, mu(s)) ] over the valid transitions, ().

    The actor sees `noisy` (B, N + 1, F), the critic the feature of `data`; `way` (B, N) is that of `open_way` and
    `g` (B, N, A) the slope there.
    """
    mean, _ = behaviour.actor(noisy[:, :-1])
    risk = behaviour.critics.q_target.reachability(data.feature[:, :-1], mean)
    return masked_mean(way * (g * mean).sum(-1) - behaviour.config.actor.eta * risk, data.valid)
