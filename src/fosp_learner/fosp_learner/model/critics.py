"""Q and V of return, cost and reachability on latents, fitted in-sample."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.config import CriticConfig, NetworkConfig
from fosp_learner.model.losses import (
    binary_nll,
    expectile_weight,
    lambda_return,
    masked_mean,
    reachability_target,
    two_hot_mean,
    two_hot_nll,
)
from fosp_learner.model.networks import ScalarHead, TwoHotHead


@dataclass(frozen=True)
class Trajectories:
    """Sequences of N transitions between N + 1 latents, from the data or imagined."""

    feature: Tensor
    """(B, N + 1, F)."""
    action: Tensor
    """(B, N, A) taken at row t."""
    followed: Tensor
    """(B, N, A) what an actor learns to do at row t."""
    reward: Tensor
    """(B, N) arriving with row t + 1, as do cost and violation."""
    cost: Tensor
    """(B, N) >= 0."""
    violation: Tensor
    """(B, N) 1[cost > 0], or its probability in imagination."""
    continues: Tensor
    """(B, N) 0 where row t + 1 is terminal, else 1; in imagination the probability of the latter."""
    cut: Tensor
    """(B, N) bool: row t + 1 ends its episode or the sequence, so returns bootstrap there."""
    valid: Tensor
    """(B, N) bool: rows t and t + 1 belong to one episode."""


@dataclass(frozen=True)
class Values:
    """Values of states and of actions taken there, all of one shape."""

    q_r: Tensor
    q_c: Tensor
    q_h: Tensor
    v_r: Tensor
    v_c: Tensor
    v_h: Tensor


class QHeads(nn.Module):
    """One head each for Q_r, Q_c and Q_h of (feature, action) in one tensor."""

    def __init__(self, size: int, units: int, layers: int) -> None:
        super().__init__()
        self.q_r = TwoHotHead(size, units, layers)
        self.q_c = TwoHotHead(size, units, layers)
        self.q_h = ScalarHead(size, units, layers)


class ActionValues(QHeads):
    """Q_r, Q_c and Q_h of (feature, action). They have moving-average targets.

    With several heads of each, which differ by their first weights, the values are those of the most pessimistic head:
    the least return, the greatest cost and the greatest risk. Where the data say little the heads differ.
    """

    def __init__(self, net: NetworkConfig, action: int, layers: int, heads: int = 1) -> None:
        size = net.feature - net.memory + action
        super().__init__(size, net.units, layers)
        self.seen = slice(net.memory, net.feature)
        self.further = nn.ModuleList(QHeads(size, net.units, layers) for _ in range(heads - 1))

    @property
    def _every(self) -> list[QHeads]:
        return [self, *self.further]  # type: ignore[list-item]

    @property
    def return_heads(self) -> nn.ModuleList:
        """The heads of Q_r, to be trained alone."""
        return nn.ModuleList(heads.q_r for heads in self._every)

    def forward(self, feature: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of q_r, q_c and q_h of all N heads: (..., F), (..., A) -> (N, ..., 255) twice, (N, ...)."""
        x = torch.cat([feature[..., self.seen], action], -1)
        q_r, q_c, q_h = zip(*((heads.q_r(x), heads.q_c(x), heads.q_h(x)) for heads in self._every), strict=True)
        return torch.stack(q_r), torch.stack(q_c), torch.stack(q_h)

    def values(self, feature: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q_r, q_c >= 0 and q_h in [0, 1]: (..., F), (..., A) -> (...) each."""
        x = torch.cat([feature[..., self.seen], action], -1)
        q_r = reduce(torch.minimum, [two_hot_mean(heads.q_r(x)) for heads in self._every])
        q_c = reduce(torch.maximum, [two_hot_mean(heads.q_c(x)) for heads in self._every])
        return q_r, q_c.clamp_min(0), self._reachability(x)

    def reachability(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return q_h alone, in [0, 1]: (..., F), (..., A) -> (...)."""
        return self._reachability(torch.cat([feature[..., self.seen], action], -1))

    def _reachability(self, x: Tensor) -> Tensor:
        return reduce(torch.maximum, [torch.sigmoid(heads.q_h(x)) for heads in self._every])

    @property
    def tells_spread(self) -> bool:
        """True if there are several heads, which can disagree."""
        return len(self.further) > 0

    def spread(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return how far the heads of q_h disagree, the greatest minus the least: (..., F), (..., A) -> (...)."""
        x = torch.cat([feature[..., self.seen], action], -1)
        every = [torch.sigmoid(heads.q_h(x)) for heads in self._every]
        return reduce(torch.maximum, every) - reduce(torch.minimum, every)

    def risk(self, feature: Tensor, action: Tensor, spread_weight: float | None) -> Tensor:
        """Return the risk that eps is a threshold of, as fosp_core.bundle.risk has it: (..., F), (..., A) -> (...)."""
        risk = self.reachability(feature, action)
        return risk if spread_weight is None else (risk + spread_weight * self.spread(feature, action)).clamp_max(1)


class StateValues(nn.Module):
    """V_r, V_c and V_h of a feature."""

    def __init__(self, net: NetworkConfig, layers: int) -> None:
        super().__init__()
        self.seen = slice(net.memory, net.feature)
        size = net.feature - net.memory
        self.v_r = TwoHotHead(size, net.units, layers)
        self.v_c = TwoHotHead(size, net.units, layers)
        self.v_h = ScalarHead(size, net.units, layers)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of v_r, v_c and v_h: (..., F) -> (..., 255), (..., 255), (...)."""
        seen = feature[..., self.seen]
        return self.v_r(seen), self.v_c(seen), self.v_h(seen)

    def values(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return v_r, v_c >= 0 and v_h in [0, 1]: (..., F) -> (...) each."""
        v_r, v_c, v_h = self(feature)
        return two_hot_mean(v_r), two_hot_mean(v_c).clamp_min(0), torch.sigmoid(v_h)

    def returns(self, feature: Tensor) -> Tensor:
        """Return v_r alone: (..., F) -> (...)."""
        return two_hot_mean(self.v_r(feature[..., self.seen]))

    def reachability(self, feature: Tensor) -> Tensor:
        """Return v_h alone, in [0, 1]: (..., F) -> (...)."""
        return torch.sigmoid(self.v_h(feature[..., self.seen]))


def over_heads(nll: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over all heads of their losses against one target (...); `logits` are (N, ...) or more."""
    return torch.stack([nll(head, target) for head in logits]).mean(0)


class Critics(nn.Module):
    """The six networks, and the moving-average targets of the Q."""

    def __init__(self, net: NetworkConfig, config: CriticConfig, action: int) -> None:
        super().__init__()
        self.config = config
        self.q = ActionValues(net, action, config.layers, config.heads)
        self.v = StateValues(net, config.layers)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target networks towards the trained ones."""
        for target, source in zip(self.q_target.parameters(), self.q.parameters(), strict=True):
            target.lerp_(source, self.config.target_rate)

    @torch.no_grad()
    def values(self, feature: Tensor, action: Tensor) -> Values:
        """Return the values that weigh actions, Q from the targets: (..., F), (..., A) -> (...) each."""
        return Values(*self.q_target.values(feature, action), *self.v.values(feature))

    def loss(self, data: Trajectories) -> tuple[dict[str, Tensor], Values]:
        """Return the named losses () over the valid transitions, and the values of all transitions (B, N)."""
        config, feature = self.config, data.feature[:, :-1]
        q_logits = self.q(feature, data.action)
        v_logits = self.v(data.feature)
        with torch.no_grad():
            v_all = (
                two_hot_mean(v_logits[0]),
                two_hot_mean(v_logits[1]).clamp_min(0),
                torch.sigmoid(v_logits[2]),
            )
            q = self.q_target.values(feature, data.action)
            target_r, target_c = lambda_return(
                torch.cat([data.reward, data.cost]),
                data.continues.repeat(2, 1),
                torch.cat(v_all[:2])[:, 1:],
                data.cut.repeat(2, 1),
                config.discount,
                config.lambda_,
            ).chunk(2)
            target_h = reachability_target(
                data.violation, data.continues, v_all[2][:, 1:], config.reachability_discount
            )
            v_r, v_c, v_h = (v[:, :-1] for v in v_all)
            weight_r = expectile_weight(q[0], v_r, config.reward_expectile, upper=True)
            weight_c = expectile_weight(q[1], v_c, config.cost_expectile, upper=False)
            weight_h = expectile_weight(q[2], v_h, config.reachability_expectile, upper=False)
        losses = {
            "q_r": over_heads(two_hot_nll, q_logits[0], target_r),
            "q_c": over_heads(two_hot_nll, q_logits[1], target_c),
            "q_h": over_heads(binary_nll, q_logits[2], target_h),
            "v_r": weight_r * two_hot_nll(v_logits[0][:, :-1], q[0]),
            "v_c": weight_c * two_hot_nll(v_logits[1][:, :-1], q[1]),
            "v_h": weight_h * binary_nll(v_logits[2][:, :-1], q[2]),
        }
        number = distributed.share_of_total(data.valid.sum())
        return {n: masked_mean(loss, data.valid, number) for n, loss in losses.items()}, Values(*q, v_r, v_c, v_h)
