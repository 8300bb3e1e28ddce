"""Critics and actor together: their losses on latents of the data, and on imagined ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.config import LearnerConfig
from fosp_learner.data.batch import Batch
from fosp_learner.model.actor import Actor, Weighting, regression_loss
from fosp_learner.model.critics import Critics, Trajectories
from fosp_learner.model.losses import two_hot_mean, two_hot_positive
from fosp_learner.model.success import SuccessCritic
from fosp_learner.model.world_model import Latents, WorldModel


class Behaviour(nn.Module):
    """Critics, actor, and the weighting of actions: everything that is trained on latents."""

    def __init__(self, config: LearnerConfig, action: int) -> None:
        super().__init__()
        self.config = config
        self.critics = Critics(config.network, config.critic, action)
        self.actor = Actor(config.network, config.actor, action)
        self.weighting = Weighting(config.actor)
        self.success: SuccessCritic | None = None
        """None: `success.enabled` is off."""
        if config.success.enabled:
            self.success = SuccessCritic(config.network, config.success, action)


@dataclass(frozen=True)
class BehaviourLoss:
    """Losses () of critics and actor to descend, and figures for the log."""

    critics: Tensor
    actor: Tensor
    figures: dict[str, Tensor]


def data_trajectories(batch: Batch, feature: Tensor) -> Trajectories:
    """Return the N = T - 1 transitions of real sequences with `feature` (B, T, F), cut where episodes end."""
    assert feature.shape[:2] == batch.is_first.shape, feature.shape
    cost = batch.cost[:, 1:]
    cut = batch.is_last[:, 1:].clone()
    cut[:, -1] = True
    return Trajectories(
        feature=feature,
        action=batch.action_prev[:, 1:],
        followed=batch.followed_prev[:, 1:],
        reward=batch.reward[:, 1:],
        cost=cost,
        violation=(cost > 0).float(),
        continues=1 - batch.is_terminal[:, 1:].float(),
        cut=cut,
        valid=~batch.is_first[:, 1:],
    )


@torch.no_grad()
def imagine(model: WorldModel, actor: Actor, latents: Latents, starts: int | None, horizon: int) -> Trajectories:
    """Return `rollout` without gradients."""
    return rollout(model, actor, latents, starts, horizon)


def rollout(model: WorldModel, actor: Actor, latents: Latents, starts: int | None, horizon: int) -> Trajectories:
    """Return rollouts of the model under the actor, `horizon` steps from each of `starts` random latents (None: all).

    Gradients reach model and actor, but not the latents that the rollouts start from.
    """
    every = latents.rows
    own = len(every.recurrent) if starts is None else max(1, starts // distributed.count())
    state = every.of(distributed.uniform(len(every.recurrent)).argsort()[:own].to(every.recurrent.device))
    features, actions, states = [state.feature], [], []
    for _ in range(horizon):
        actions.append(actor.sample(features[-1]))
        state = model.imagine_step(state, actions[-1])
        states.append(state.state)
        features.append(state.feature)
    feature, arrived, taken = torch.stack(features, 1), torch.stack(states, 1), torch.stack(actions, 1)
    cost_logits = model.cost(arrived)
    shape = arrived.shape[:2]
    cut = torch.zeros(shape, dtype=torch.bool, device=feature.device)
    cut[:, -1] = True
    return Trajectories(
        feature=feature,
        action=taken,
        followed=taken,
        reward=two_hot_mean(model.reward(arrived)),
        cost=two_hot_mean(cost_logits).clamp_min(0),
        violation=two_hot_positive(cost_logits),
        continues=torch.sigmoid(model.continues(arrived)),
        cut=cut,
        valid=torch.ones(shape, dtype=torch.bool, device=feature.device),
    )


def behaviour_loss(
    behaviour: Behaviour, data: Trajectories, imagined: Trajectories | None = None, actor_feature: Tensor | None = None
) -> BehaviourLoss:
    """Return the losses of critics and actor, and step the advantage ranges and the cost multiplier.

    `actor_feature` is the feature of `data` with a gradient, for an actor that shapes the world model.
    """
    losses, values = behaviour.critics.loss(data)
    behaviour.weighting.update(values, data.valid)
    actor, figures = regression_loss(behaviour.actor, data, behaviour.weighting.weight(values), actor_feature)
    figures |= {name: loss.detach() for name, loss in losses.items()}
    figures["multiplier"] = behaviour.weighting.state[2].float()
    critics = sum(losses.values(), torch.zeros(()))
    if imagined is not None:
        scale = behaviour.config.imagination.weight
        more, dreamt = behaviour.critics.loss(imagined)
        more_actor, _ = regression_loss(behaviour.actor, imagined, behaviour.weighting.weight(dreamt))
        critics = critics + scale * sum(more.values(), torch.zeros(()))
        actor = actor + scale * more_actor
        figures["imagined_return"] = dreamt.v_r.mean()
    return BehaviourLoss(critics, actor, figures)
