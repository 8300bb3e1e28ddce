"""The actor by the gradient of an ensemble of critics, for comparison with advantage-weighted regression (RLPD-style).

RLPD (Ball et al. 2023) trains an off-policy actor-critic on batches that are half offline data, half experience. Here:

    Q_r     one-step targets, r + g * continue * min over heads of Q'_r(s', a'),  a' ~ pi
    actor   ascends E[ (1 - p) * (mean over heads of Q_r(s, a) / range_r - multiplier * Q_c(s, a) / range_c)
                       - p * eta * Q_h(s, a) ] + entropy_scale * H,   a ~ pi,  p = V_h(s)

The actor's actions need not be near recorded ones, so that Q_r learns on actions that nobody took; the least of several
heads keeps it from believing what the data do not say. Cost and risk are told by the in-sample critics, as everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fosp_learner.model.critics import Critics, Trajectories, over_heads
from fosp_learner.model.losses import masked_mean, two_hot_mean, two_hot_nll
from fosp_learner.training.behaviour import Behaviour

LEAST_HEADS = 2
"""One critic alone would be believed on actions that nobody took."""


def one_step_return_loss(behaviour: Behaviour, data: Trajectories, noisy: Tensor) -> Tensor:
    """Return the loss () of all heads of Q_r over the valid transitions; the actor sees `noisy` (B, N + 1, F)."""
    critics, feature = behaviour.critics, data.feature
    with torch.no_grad():
        following = behaviour.actor.sample(noisy[:, 1:])
        worst, _, _ = critics.q_target.values(feature[:, 1:], following)
        target = data.reward + critics.config.discount * data.continues * worst
    logits, _, _ = critics.q(feature[:, :-1], data.action)
    return masked_mean(over_heads(two_hot_nll, logits, target), data.valid)


def ascent_loss(behaviour: Behaviour, data: Trajectories, noisy: Tensor) -> Tensor:
    """Return the loss () of the actor, whose gradient passes through the targets of the critics, which stand still."""
    config, weighting, critics = behaviour.config.actor, behaviour.weighting, behaviour.critics
    feature = data.feature[:, :-1]
    action = behaviour.actor.sample(noisy[:, :-1])
    _, cost, risk = critics.q_target.values(feature, action)
    range_r, range_c = weighting.ranges
    gain = mean_return(critics, feature, action) / range_r - weighting.multiplier * cost / range_c
    if config.reachability:
        with torch.no_grad():
            p = critics.v.reachability(feature)
        gain = (1 - p) * gain - p * config.eta * risk
    entropy = behaviour.actor.distribution(noisy[:, :-1]).entropy()
    return -masked_mean(gain + config.entropy_scale * entropy, data.valid)


def mean_return(critics: Critics, feature: Tensor, action: Tensor) -> Tensor:
    """Return the mean over the heads of Q'_r: (..., F), (..., A) -> (...)."""
    logits, _, _ = critics.q_target(feature, action)
    return torch.stack([two_hot_mean(head) for head in logits]).mean(0)
