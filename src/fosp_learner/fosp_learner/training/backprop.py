"""The actor without in-sample learning, an ablation: the gradient of imagined returns through the model (SafeDreamer).

It maximises the quantity by which the closed form weighs actions,

    E[ (1 - p) * (R_r - multiplier * R_c) - p * eta * R_h ] + entropy_scale * H

over its own actions. R_r and R_c are lambda-returns of imagined rewards and costs, each divided by its 5-95 % range,
R_h is the reachability target of the imagined step, and p is V_h of the state that the step is taken in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.losses import lambda_return, reachability_target
from fosp_learner.model.world_model import Latents, WorldModel
from fosp_learner.training.behaviour import Behaviour, BehaviourLoss, rollout


def backprop_loss(behaviour: Behaviour, model: WorldModel, data: Trajectories, latents: Latents) -> BehaviourLoss:
    """Return the losses of critics on data and imagination and of the actor on imagination; step the multiplier."""
    config = behaviour.config
    with frozen(model, behaviour.critics):
        imagined = rollout(model, behaviour.actor, latents, config.imagination.starts, config.imagination.horizon)
        actor, figures = imagined_gain(behaviour, imagined)
    losses, _ = behaviour.critics.loss(data)
    critics = sum(losses.values(), torch.zeros(()))
    figures |= {name: loss.detach() for name, loss in losses.items()}
    if config.imagination.weight > 0:
        more, dreamt = behaviour.critics.loss(detached(imagined))
        critics = critics + config.imagination.weight * sum(more.values(), torch.zeros(()))
        figures["imagined_return"] = dreamt.v_r.mean()
    return BehaviourLoss(critics, actor, figures)


def imagined_gain(behaviour: Behaviour, imagined: Trajectories) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss () of the actor, whose gradient passes through `imagined`, and figures for the log."""
    config, weighting = behaviour.config, behaviour.weighting
    v_r, v_c, v_h = behaviour.critics.v.values(imagined.feature)
    discount, lambda_ = config.critic.discount, config.critic.lambda_
    return_r, return_c = (
        lambda_return(signal, imagined.continues, v[:, 1:], imagined.cut, discount, lambda_)
        for signal, v in ((imagined.reward, v_r), (imagined.cost, v_c))
    )
    seen = distributed.everyones(torch.stack([return_r, return_c, v_c[:, :-1]], -1)).flatten(0, 1)
    weighting.follow(seen[:, 0], seen[:, 1], float(seen[:, 2].mean()))
    range_r, range_c = weighting.ranges
    gain = return_r / range_r - weighting.multiplier * return_c / range_c
    if config.actor.reachability:
        reach = reachability_target(
            imagined.violation, imagined.continues, v_h[:, 1:], config.critic.reachability_discount
        )
        p = v_h[:, :-1].detach()
        gain = (1 - p) * gain - p * config.actor.eta * reach
    arrived = torch.cumprod(discount * imagined.continues.detach(), 1)
    reached = torch.cat([torch.ones_like(arrived[:, :1]), arrived[:, :-1]], 1)
    assert gain.shape == reached.shape, (gain.shape, reached.shape)
    spread = (reached * behaviour.actor.distribution(imagined.feature[:, :-1].detach()).entropy()).mean()
    gained = (reached * gain).mean()
    figures = {
        "actor": -gained.detach(),
        "entropy": spread.detach(),
        "imagined_cost": return_c.detach().mean(),
        "multiplier": weighting.state[2].float(),
    }
    return -gained - config.actor.entropy_scale * spread, figures


def detached(trajectories: Trajectories) -> Trajectories:
    """Return the trajectories without gradients."""
    return Trajectories(**{f.name: getattr(trajectories, f.name).detach() for f in fields(Trajectories)})


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through `networks` to their inputs, but not into their weights, within the context."""
    weights = [p for network in networks for p in network.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
