"""Targets and losses as pure functions of tensors, with asserted shapes.

A transition t of a sequence goes from row t to row t+1 under the action executed in between; `reward`, `cost` and
`terminal` of a transition arrive with row t+1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 255
LIMIT = 20.0
"""Two-hot heads have 255 bins, evenly spaced in symlog space over [-20, 20]."""


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) * ln(1 + |x|) (DreamerV3, eq. 9)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Return the inverse of symlog."""
    return torch.sign(x) * torch.expm1(x.abs())


def bin_centres(device: torch.device | None = None) -> Tensor:
    """Return the centres (255,) of the two-hot bins in symlog space."""
    return torch.linspace(-LIMIT, LIMIT, BINS, device=device)


def two_hot(value: Tensor) -> Tensor:
    """Return the two-hot encoding of symlog(value), whose two bins are weighted by closeness: (...) -> (..., 255).

    NaN stays NaN.
    """
    bins, shares = _two_bins(value)
    return torch.zeros(*value.shape, BINS, device=value.device).scatter_(-1, bins, shares)


def _two_bins(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the two bins, and their weights: (...) -> (..., 2) each."""
    position = (symlog(value).clamp(-LIMIT, LIMIT) + LIMIT) * (BINS - 1) / (2 * LIMIT)
    lower = position.floor().clamp(0, BINS - 2).nan_to_num(0)
    upper_share, index = position - lower, lower.long()
    return torch.stack([index, index + 1], -1), torch.stack([1 - upper_share, upper_share], -1)


def two_hot_mean(logits: Tensor) -> Tensor:
    """Return the value of a two-hot head, the symexp of its mean bin: (..., 255) -> (...)."""
    assert logits.shape[-1] == BINS, logits.shape
    return symexp((torch.softmax(logits.float(), -1) * bin_centres(logits.device)).sum(-1))


def two_hot_nll(logits: Tensor, value: Tensor) -> Tensor:
    """Return the negative log-likelihood of `value` (...) under a two-hot head (..., 255): (...)."""
    assert logits.shape == (*value.shape, BINS), (logits.shape, value.shape)
    bins, shares = _two_bins(value)
    return -(shares * torch.log_softmax(logits.float(), -1).gather(-1, bins)).sum(-1)


def two_hot_positive(logits: Tensor) -> Tensor:
    """Return the probability of a value above 0, the mass of the bins beyond the middle one: (..., 255) -> (...)."""
    assert logits.shape[-1] == BINS, logits.shape
    return torch.softmax(logits.float(), -1)[..., BINS // 2 + 1 :].sum(-1)


def categorical_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Return KL[p || q] in nats, summed over the variables: log-probabilities (..., V, K) -> (...)."""
    assert p_logits.shape == q_logits.shape, (p_logits.shape, q_logits.shape)
    return (p_logits.exp() * (p_logits - q_logits)).sum((-2, -1))


def balanced_kl(
    posterior: Tensor, prior: Tensor, free_nats: float, dynamics_scale: float, representation_scale: float
) -> Tensor:
    """Return the balanced KL of DreamerV3: log-probabilities (..., V, K) -> (...).

    dynamics_scale * max(free, KL[sg(posterior) || prior])
    + representation_scale * max(free, KL[posterior || sg(prior)]).
    """
    dynamics = categorical_kl(posterior.detach(), prior).clamp_min(free_nats)
    representation = categorical_kl(posterior, prior.detach()).clamp_min(free_nats)
    return dynamics_scale * dynamics + representation_scale * representation


def lambda_return(
    reward: Tensor, continues: Tensor, value_next: Tensor, cut: Tensor, discount: float, lambda_: float
) -> Tensor:
    """Return the lambda-returns of transitions, all (B, N) -> (B, N).

    R_t = r_t + g * continues_t * ((1 - lambda) V_{t+1} + lambda R_{t+1}), where `continues` is 0 at a terminal, which
    has no value beyond it. Where `cut` is true, row t+1 ends its episode or the sequence, and R_{t+1} is V_{t+1}: a
    time limit bootstraps, and nothing flows over from the episode that follows.
    """
    assert reward.ndim == 2, reward.shape
    assert reward.shape == continues.shape == value_next.shape == cut.shape, (reward.shape, value_next.shape)
    following = value_next[:, -1]
    returns = []
    for t in reversed(range(reward.shape[1])):
        blended = (1 - lambda_) * value_next[:, t] + lambda_ * following
        beyond = torch.where(cut[:, t], value_next[:, t], blended)
        following = reward[:, t] + discount * continues[:, t] * beyond
        returns.append(following)
    return torch.stack(returns[::-1], 1)


def reachability_target(violation: Tensor, continues: Tensor, v_h_next: Tensor, discount: float) -> Tensor:
    """Return max(1[c > 0], g_h * (1 - terminal) * V_h(s')), all (...) -> (...) in [0, 1].

    `violation` is 1[c > 0] of real steps, or its probability in imagination.
    """
    assert violation.shape == continues.shape == v_h_next.shape, (violation.shape, v_h_next.shape)
    return torch.maximum(violation, discount * continues * v_h_next)


def expectile_weight(target: Tensor, value: Tensor, tau: float, upper: bool) -> Tensor:
    """Return the weight of each sample that makes the weighted mean of `target` its expectile: (...) -> (...).

    With `upper`, tau weighs target > value and draws `value` to high targets (IQL, eq. 5); without, it weighs
    target < value (FISOR).
    """
    assert target.shape == value.shape, (target.shape, value.shape)
    favoured = target > value if upper else target < value
    return torch.where(favoured, tau, 1 - tau).detach()


def policy_weight(
    a_r: Tensor,
    a_c: Tensor,
    q_h: Tensor,
    v_h: Tensor,
    *,
    multiplier: float,
    beta: float,
    eta: float,
    eps: float,
    limit: float,
) -> Tensor:
    """Return the closed-form weight of an action in regression, all (...) -> (...) in [0, limit].

    log w = beta * [(1 - p) * (A_r - multiplier * A_c) - p * eta * A_h] with p = V_h, A_h = Q_h - V_h; w = 0 where the
    state is feasible and the action is not (V_h <= eps < Q_h).
    """
    assert a_r.shape == a_c.shape == q_h.shape == v_h.shape, (a_r.shape, q_h.shape)
    p = v_h.clamp(0, 1)
    log_weight = beta * ((1 - p) * (a_r - multiplier * a_c) - p * eta * (q_h - v_h))
    weight = torch.exp(log_weight.clamp_max(torch.log(torch.tensor(limit)).item()))
    leaves_feasible = (v_h <= eps) & (q_h > eps)
    return torch.where(leaves_feasible, 0.0, weight).detach()


def multiplier_update(multiplier: float, penalty: float, violation: float, growth: float = 1e-5) -> tuple[float, float]:
    """Take a step of the augmented Lagrangian.

    Returns (max(0, multiplier + penalty * violation), min(1, penalty * (1 + growth))).
    """
    return max(0.0, multiplier + penalty * violation), min(1.0, penalty * (1 + growth))


def masked_mean(loss: Tensor, mask: Tensor, number: Tensor | None = None) -> Tensor:
    """Return the mean of `loss` over the true entries of `mask` (same shape), (); 0 when there are none.

    `number` () replaces the count of true entries for a mean over several processes.
    """
    assert loss.shape == mask.shape, (loss.shape, mask.shape)
    weight = mask.to(loss.dtype)
    return (loss * weight).sum() / (weight.sum().clamp_min(1) if number is None else number)


def scaled_means(losses: Mapping[str, Tensor], scales: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the mean of each loss (...) times its scale: ().

    Raises ValueError when a loss has no scale, or a scale no loss.
    """
    if losses.keys() != scales.keys():
        raise ValueError(f"losses and scales differ in {', '.join(sorted(losses.keys() ^ scales.keys()))}")
    return {name: (scales[name] * loss).mean() for name, loss in losses.items()}


def binary_nll(logit: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of a Bernoulli head with soft targets in [0, 1]: (...) -> (...)."""
    assert logit.shape == target.shape, (logit.shape, target.shape)
    return F.binary_cross_entropy_with_logits(logit.float(), target, reduction="none")
