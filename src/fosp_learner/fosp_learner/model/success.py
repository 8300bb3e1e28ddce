"""The success critic: how likely an episode succeeds after an action, told by outcomes alone.

A reward for coming closer sums up to about the same whether the robot arrives or hangs on the way, so Q_r hardly tells
the two apart. Outcomes do: an episode that reaches its goal without a violation has succeeded, one that violates or
runs out of time has failed, and nothing lies beyond.

    y_t  = 1 at the success,  0 at a violation or at the end of any other episode,  else g * V_s(s_{t+1})
    loss = cross-entropy of the lambda-returns of y under Q_s(s_t, a_t),  and of Q'_s under V_s by an expectile

With g = 0.97 a success in half a minute counts less than one in a second, and all values lie in [0, 1].
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.config import NetworkConfig
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.losses import binary_nll, expectile_weight, lambda_return, masked_mean
from fosp_learner.model.networks import ScalarHead
from fosp_learner.phase_config import SuccessConfig


class SuccessOfAction(nn.Module):
    """Q_s of (feature, action): the feature without the memory, as the other critics see it."""

    def __init__(self, net: NetworkConfig, layers: int, action: int) -> None:
        super().__init__()
        self.seen = slice(net.memory, net.feature)
        self.head = ScalarHead(net.feature - net.memory + action, net.units, layers)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return the logit of q_s: (..., F), (..., A) -> (...)."""
        logit: Tensor = self.head(torch.cat([feature[..., self.seen], action], -1))
        return logit


class SuccessCritic(nn.Module):
    """Q_s and V_s, and the moving-average target of Q_s, which a bundle holds."""

    def __init__(self, net: NetworkConfig, config: SuccessConfig, action: int) -> None:
        super().__init__()
        self.config = config
        self.seen = slice(net.memory, net.feature)
        self.q = SuccessOfAction(net, config.layers, action)
        self.v = ScalarHead(net.feature - net.memory, net.units, config.layers)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target network towards the trained one."""
        for target, source in zip(self.q_target.parameters(), self.q.parameters(), strict=True):
            target.lerp_(source, self.config.target_rate)

    def probability(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return q_s of the moving average, in [0, 1]: (..., F), (..., A) -> (...)."""
        return torch.sigmoid(self.q_target(feature, action))

    def of_state(self, feature: Tensor) -> Tensor:
        """Return v_s, in [0, 1]: (..., F) -> (...)."""
        return torch.sigmoid(self.v(feature[..., self.seen]))

    def loss(self, data: Trajectories, reached: Tensor, last: Tensor) -> dict[str, Tensor]:
        """Return the named losses () over the valid transitions.

        `reached` (B, N) bool says that row t + 1 ends an episode that succeeded without a violation, `last` (B, N) bool
        that it ends an episode in any way.
        """
        config, feature = self.config, data.feature[:, :-1]
        q_logit = self.q(feature, data.action)
        v_logit = self.v(data.feature[..., self.seen])
        with torch.no_grad():
            q = self.probability(feature, data.action)
            v = torch.sigmoid(v_logit)
            goes_on = ~(last | (data.violation > 0))
            target = lambda_return(
                reached.to(v), goes_on.to(v), v[:, 1:], data.cut, config.discount, config.lambda_
            ).clamp(0, 1)
            weight = expectile_weight(q, v[:, :-1], config.expectile, upper=True)
        losses = {"q_s": binary_nll(q_logit, target), "v_s": weight * binary_nll(v_logit[:, :-1], q)}
        number = distributed.share_of_total(data.valid.sum())
        return {name: masked_mean(loss, data.valid, number) for name, loss in losses.items()}
