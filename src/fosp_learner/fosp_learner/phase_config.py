"""Hyperparameters of the phases that learn on stored latents: refinement, extraction and success."""

from __future__ import annotations

from pydantic import Field

from fosp_core.specs import Spec


class RefinementConfig(Spec):
    """Third phase: the critics alone, on latents of the finished world model.

    These latents no longer move while the critics learn, and they are the ones that the runtime will see, since each
    episode is filtered from its first row. An update is far cheaper than a full one.
    """

    actor: bool = False
    """Train the actor as well. These latents are of images that were not shifted, which it soon learns by heart."""
    share: float = Field(1.2, ge=0)
    """Updates of this phase per full update."""
    batch_size: int = Field(32, gt=0)
    """Sequences of a batch."""
    sample: bool = True
    """Draw z from the posterior anew for each batch, as noise against overfitting, instead of its mode."""
    embed_noise: float = Field(0.05, ge=0)
    """Standard deviation of the noise on the embeddings that the critics see, whose values lie in [-1, 1]."""
    onset_share: float = Field(0.25, ge=0, lt=1)
    """Share of the sequences of a batch that are drawn to hold the onset of a violation, wherever there is one. Onsets
    are a few steps in a hundred, and what leads to them is what the risk has to be told by."""


class ExtractionConfig(Spec):
    """Last phase: the actor alone, by the weights of the finished critics, on long sequences of image embeddings.

    In full updates the actor sees few scenes per batch, and weights that still move. The embeddings are those of
    refinement, and the episodes are those that `cloning.episodes` chooses. `actor.objective: backprop` skips the phase.
    """

    share: float = Field(1.2, ge=0)
    """Updates of this phase per full update."""
    memory: int = Field(0, ge=0)
    """Units of a memory of earlier images, m_t = GRU(m_{t-1}, e_t), that the actor sees beside the current one; 0 is
    none. It sees no actions, which the actor would copy. A camera beside the robot needs none; one on the robot loses
    sight of goal and obstacles."""
    sequence_length: int = Field(64, gt=2)
    """Rows of a sequence."""
    batch_size: int = Field(32, gt=0)
    """Sequences of a batch."""
    embed_noise: float = Field(0.05, ge=0)
    """Standard deviation of the noise on the embeddings, whose values lie in [-1, 1]. It keeps the actor from learning
    scenes by heart."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the actor in this phase."""


class SuccessConfig(Spec):
    """Fifth phase: the success critic (model/success.py), on the latents of refinement. Nothing else depends on it."""

    enabled: bool = True
    """Train a success critic and put it into the bundle, so that the policy can choose by it. It is left out where all
    episodes succeed, or none does."""
    share: float = Field(0.6, ge=0)
    """Updates of this phase per full update."""
    discount: float = Field(0.97, gt=0, lt=1)
    """Discount of a success per step."""
    lambda_: float = Field(1.0, ge=0, le=1)
    """Lambda of the lambda-returns. At 1 outcomes alone tell, as far as a sequence reaches; 0 is one-step targets."""
    sequence_length: int = Field(64, gt=2)
    """Rows of a sequence."""
    batch_size: int = Field(8, gt=0)
    """Sequences of a batch."""
    expectile: float = Field(0.5, gt=0, lt=1)
    """Expectile of V_s: the weight on Q > V. At 0.5 it is what comes of the recorded behaviour, above of its best."""
    target_rate: float = Field(0.02, gt=0, le=1)
    """Share of Q_s that its moving-average target takes over per update."""
    layers: int = Field(2, ge=1)
    """Hidden layers."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate."""
    gradient_clip: float = Field(100.0, gt=0)
    """Norm that the gradient is clipped to."""
