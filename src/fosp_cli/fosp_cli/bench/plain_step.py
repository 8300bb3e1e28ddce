"""The same training step written down plainly, as what the optimised one is measured against (`fosp bench`).

Float32 throughout, tensors as torch lays them out, the latent drawn by torch.distributions, every projection and the
prior inside of the time loop, and the keypoints' softmax differentiated by autograd. The mathematics, the weights and
the amount of work are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import OneHotCategorical
from torch.nn import functional as F

from fosp_learner.model.networks import KeypointEncoder
from fosp_learner.model.world_model import Latents, RecurrentStateSpaceModel
from fosp_learner.training.trainer import Trainer


class PlainStateSpaceModel(RecurrentStateSpaceModel):
    """Shares the weights of another one."""

    def __init__(self, other: RecurrentStateSpaceModel) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(other.__dict__)

    def sample(self, log_probabilities: Tensor, noise: Tensor) -> Tensor:
        """By torch.distributions; `noise` is not looked at."""
        probabilities = log_probabilities.exp()
        one_hot = OneHotCategorical(logits=log_probabilities).sample()  # type: ignore[no-untyped-call]
        return (one_hot + probabilities - probabilities.detach()).flatten(-2)

    def observe(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """One step after the other."""
        batch, length = is_first.shape
        deter0, stoch0 = self.initial_state()
        deter, stoch = deter0.expand(batch, -1), stoch0.expand(batch, -1)
        steps = []
        for t in range(length):
            first = is_first[:, t : t + 1].float()
            deter, stoch = deter + first * (deter0 - deter), stoch + first * (stoch0 - stoch)
            x = self.from_stoch(stoch) + self.from_action(action_prev[:, t] * (1 - first))
            deter = self.cell(F.silu(self.input_norm(x)), deter)
            posterior = self.posterior(deter, self.from_embed(embed[:, t]))
            prior = self.prior(deter)
            stoch = self.sample(posterior, posterior) if sample else self.mode(posterior)
            steps.append((deter, stoch, posterior, prior))
        deters, stochs, posteriors, priors = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
        return Latents(deters, stochs, posteriors, priors, embed, embed[..., :0])


def make_plain(trainer: Trainer) -> None:
    """Let `trainer`, whose bf16 is off, do its updates plainly from now on."""
    model = trainer.world_model
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.rssm = PlainStateSpaceModel(model.rssm)
    for module in model.modules():
        if isinstance(module, KeypointEncoder):
            module.closed_form = False
