"""The algorithm from top to bottom: the phases of training in their order, their losses, and how these are descended.

    phase         networks                       learn from
    cloning       image encoder, actor           single frames of episodes that succeed
    full update   world model, critics, actor    sequences, on the latents of the moment
    refinement    critics, predicted embedding   latents of the finished world model
    extraction    actor and its image memory     the same latents, each action by the weight of the finished critics
    success       success critic                 the same latents, and how their episodes ended

    networks      losses                                                 named in
    world model   reconstruction, reward, cost, continue, embed, kl      WorldModel.loss
    critics       q_r, q_c, q_h, v_r, v_c, v_h                           Critics.loss
    success       q_s, v_s                                               SuccessCritic.loss
    actor         weighted regression and entropy                        regression_loss
                  or imagined returns and entropy (ablation)             backprop_loss

Pre-training (trainer.py) runs all five phases. Fine-tuning runs full updates, and ends each round by settling
(finetuning/settling.py): refinement and extraction again, on the latents of the world model as it is by then.

To add a loss, write it in model/losses.py, name it in `WorldModel.loss` or `Critics.loss`, and give a loss of the world
model its scale in `WorldModelConfig.loss_scales`. The log and losses.csv take up every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fosp_learner import distributed
from fosp_learner.data.batch import Batch
from fosp_learner.model.actor import regression_loss
from fosp_learner.model.critics import Trajectories
from fosp_learner.model.networks import scaled_gradient
from fosp_learner.model.success import SuccessCritic
from fosp_learner.model.world_model import Latents, WorldModel
from fosp_learner.training.backprop import backprop_loss
from fosp_learner.training.behaviour import Behaviour, behaviour_loss, data_trajectories, imagine


class TrainingDiverged(RuntimeError):
    """A loss or a gradient is not finite; the message names the update and the culprit."""


@dataclass(frozen=True)
class PhaseLoss:
    """The loss of one batch in one phase."""

    total: Tensor
    """() to descend."""
    trained: tuple[str, ...]
    """Names of the networks that descend it."""
    figures: dict[str, Tensor]
    """Figures () for the log; all must be finite."""


def cloning(model: WorldModel, behaviour: Behaviour, images: Tensor, action: Tensor) -> PhaseLoss:
    """Return -log pi of the actions to follow (n, A) on independent images (n, cameras, H, W, 3) uint8."""
    embed = model.embed(model.varied(model.pixels(images), len(images))).unsqueeze(1)
    memory = model.remembered(embed, torch.ones(embed.shape[:2], dtype=torch.bool, device=embed.device))
    policy = behaviour.actor.of_seen(torch.cat([memory, embed], -1).squeeze(1))
    loss = -policy.log_probability(action).mean() - behaviour.config.actor.entropy_scale * policy.entropy().mean()
    figures = {
        "behaviour/cloning": loss.detach(),
        "behaviour/clone_rmse": (policy.mode()[0].detach() - action).square().mean().sqrt(),
    }
    return PhaseLoss(loss, ("world_model", "actor"), figures)


def full_update(model: WorldModel, behaviour: Behaviour, batch: Batch, world_model_alone: bool) -> PhaseLoss:
    """Return the losses of world model, critics and actor on one batch of sequences.

    The critics learn from the data and, if configured, from imagination; the actor by regression on weighted actions of
    the data or, as an ablation, by backpropagation through the model.
    """
    config = behaviour.config
    losses, latents = model.loss(batch)
    figures = {f"world_model/{name}": loss.detach() for name, loss in losses.items()}
    total = sum(losses.values(), torch.zeros((), device=latents.recurrent.device))
    if world_model_alone:
        return PhaseLoss(total, ("world_model",), figures)
    data = data_trajectories(batch, scaled_gradient(latents.feature, config.world_model.critic_gradient_scale))
    if config.actor.objective == "backprop":
        loss = backprop_loss(behaviour, model, data, latents)
    else:
        size, imagined = config.imagination, None
        if size.weight > 0:
            imagined = imagine(model, behaviour.actor, latents, size.starts, size.horizon)
        shaping = scaled_gradient(latents.feature, config.world_model.actor_gradient_scale)
        loss = behaviour_loss(behaviour, data, imagined, shaping)
    figures |= _behaviour(loss.figures)
    return PhaseLoss(total + loss.critics + loss.actor, ("world_model", "critics", "actor"), figures)


def refinement(
    model: WorldModel, behaviour: Behaviour, batch: Batch, latents: Latents, actor: bool = False
) -> PhaseLoss:
    """Return the losses of the critics, of predicted embeddings, and with `actor` of the actor, on fixed `latents`."""
    loss = behaviour_loss(behaviour, data_trajectories(batch, latents.feature))
    predicted = model.prediction_error(latents, batch.action_prev, batch.is_first).mean()
    figures = {"world_model/embed": predicted.detach(), **_behaviour(loss.figures)}
    total = loss.critics + predicted
    if actor:
        return PhaseLoss(total + loss.actor, ("critics", "world_model", "actor"), figures)
    return PhaseLoss(total, ("critics", "world_model"), figures)


def extraction(behaviour: Behaviour, data: Trajectories, noisy: Tensor, weight: Tensor | None = None) -> PhaseLoss:
    """Return the actor's regression on the actions of `data`, weighted by critics that no longer learn.

    The critics see the feature of `data`, the actor sees `noisy` (B, N + 1, F). `weight` (B, N) are the weights, where
    they are known already.
    """
    if weight is None:
        weight = behaviour.weighting.weight(behaviour.critics.values(data.feature[:, :-1], data.action))
    loss, figures = regression_loss(behaviour.actor, data, weight, noisy)
    return PhaseLoss(loss, ("actor",), _behaviour(figures))


def success(critic: SuccessCritic, data: Trajectories, reached: Tensor, last: Tensor) -> PhaseLoss:
    """Return the losses of the success critic on the transitions of `data`, see `SuccessCritic.loss`."""
    losses = critic.loss(data, reached, last)
    figures = _behaviour({name: loss.detach() for name, loss in losses.items()})
    return PhaseLoss(sum(losses.values(), torch.zeros(())), ("success",), figures)


def descend(
    loss: PhaseLoss,
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    clips: Mapping[str, float],
    where: str,
) -> dict[str, float]:
    """Take one optimiser step of each trained network; return the figures and the norms of the gradients.

    Gradients are averaged over the processes of the run, and clipped to `clips`. Raises TrainingDiverged, before any
    network is touched, when a loss or a gradient is not finite; `where` begins its message.
    """
    for name, value in (*loss.figures.items(), ("the loss", loss.total.detach())):
        if not torch.isfinite(value).all():
            raise TrainingDiverged(f"{where}: {name} is {float(value)}")
    for name in loss.trained:
        optimisers[name].zero_grad(set_to_none=True)
    loss.total.backward()  # type: ignore[no-untyped-call]
    trained = {name: networks[name] for name in loss.trained}
    distributed.average_gradients(p for net in trained.values() for p in net.parameters() if p.requires_grad)
    figures = dict(loss.figures)
    for name, net in trained.items():
        norm = nn.utils.clip_grad_norm_(net.parameters(), clips[name])
        if not torch.isfinite(norm):
            raise TrainingDiverged(f"{where}: the gradient of {name} is not finite")
        figures[f"gradient/{name}"] = norm
    for name in trained:
        optimisers[name].step()
    return {name: float(value) for name, value in figures.items()}


def rate_share(update: int, updates: int, warmup: int, final: float) -> float:
    """Return the share of the learning rate at `update` of `updates`.

    It grows over `warmup` updates, and falls to `final` over the second half.
    """
    growth = min(1.0, (update + 1) / max(1, warmup))
    late = max(0.0, 2.0 * update / updates - 1.0)
    return growth * (1.0 - late * (1.0 - final))


def make_optimiser(net: nn.Module, rate: float) -> torch.optim.Adam:
    """Return Adam over the parameters of `net` that require a gradient."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr=rate, eps=1e-8, fused=True)


def _behaviour(figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"behaviour/{name}": value for name, value in figures.items()}
