"""Every hyperparameter of the learner, once, with its meaning. Choices that can be argued about are switches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fosp_core.specs import ObservationSpec, Spec

Size = Literal["nano", "small", "paper"]


class NetworkConfig(Spec):
    """Widths of all networks."""

    deter: int
    """Units of the deterministic state h."""
    variables: int
    """Categorical variables of the stochastic state z ..."""
    classes: int
    """... and classes of each."""
    cnn_depth: int
    """Channels of the first convolution; doubled by each of the following ones."""
    units: int
    """Hidden units of every multilayer perceptron."""
    keypoints: int = 32
    """Feature maps whose positions make up the image embedding ..."""
    keypoint_values: int = 8
    """... and features read off at each of them."""
    memory: int = 0
    """Units of the recurrent memory of image embeddings m (`extraction.memory`)."""

    @property
    def stoch(self) -> int:
        """Flat size of z."""
        return self.variables * self.classes

    @property
    def embed(self) -> int:
        """Size of the image embedding e: position, peak and values of each keypoint."""
        return (3 + self.keypoint_values) * self.keypoints

    @property
    def state(self) -> int:
        """Size of the model state (h, flat z), which the model predicts and decodes from."""
        return self.deter + self.stoch

    @property
    def carried(self) -> int:
        """Size of (m, h, e), which encoder.onnx hands on from step to step beside z."""
        return self.memory + self.deter + self.embed

    @property
    def feature(self) -> int:
        """Size of the latent feature (m, h, e, flat z). Critics see all of it but m, actors m and e."""
        return self.carried + self.stoch


SIZES: dict[Size, NetworkConfig] = {
    "nano": NetworkConfig(deter=128, variables=16, classes=16, cnn_depth=16, units=128),
    "small": NetworkConfig(deter=256, variables=32, classes=32, cnn_depth=24, units=256),
    "paper": NetworkConfig(deter=512, variables=48, classes=48, cnn_depth=32, units=512),
}


class WorldModelConfig(Spec):
    """RSSM and its heads (DreamerV3)."""

    unimix: float = Field(0.01, ge=0, lt=1)
    """Share of the uniform distribution mixed into every categorical."""
    free_nats: float = Field(1.0, ge=0)
    """Each KL term is not pushed below this."""
    dynamics_scale: float = Field(0.5, ge=0)
    """Weight of KL[sg(posterior) || prior]."""
    representation_scale: float = Field(0.1, ge=0)
    """Weight of KL[posterior || sg(prior)]."""
    reconstruction_scale: float = Field(0.1, gt=0)
    """Weight of the squared pixel error (summed over an image with pixels in [0, 1])."""
    decoded_share: float = Field(0.25, gt=0, le=1)
    """Share of a batch's rows, drawn anew, that are decoded: neighbouring frames say much the same, and decoding takes
    half of the time."""
    foreground_scale: float = Field(3.0, ge=0)
    """Extra weight of a pixel per unit of distance from the mean training image: with a fixed camera the small things
    that move or are placed anew are what decides, and the squared error of all pixels hardly sees them. 0: off."""
    violation_weight: float = Field(10.0, ge=1)
    """Weight of the cost loss on steps with cost, which are rare."""
    image_shift: int = Field(4, ge=0, le=8)
    """Random shift of up to so many pixels, the same over a sequence (DrQ). 0: off."""
    hue_shift: float = Field(40.0, ge=0, le=180)
    """Random turn of the hue of up to so many degrees, the same over a sequence. What the policy looks at keeps its
    colour only in the same light; images are reconstructed as they were. 0: off."""
    saturation_shift: float = Field(0.2, ge=0, lt=1)
    brightness_shift: float = Field(0.15, ge=0, lt=1)
    """Random change of saturation and brightness by up to this share, likewise. 0: off."""
    learning_rate: float = Field(5e-4, gt=0)
    gradient_clip: float = Field(100.0, gt=0)
    reward_scale: float = Field(1.0, ge=0)
    cost_scale: float = Field(1.0, ge=0)
    """Weights of the reward and the cost loss."""
    actor_gradient_scale: float = Field(10.0, ge=0)
    """Times the actor's gradient that reaches the world model; 0 stops it (ALGORITHM.md)."""
    critic_gradient_scale: float = Field(1.0, ge=0)
    """Times the critics' gradient that reaches the world model; 0 stops it (ALGORITHM.md)."""
    embed_gradient_scale: float = Field(0.1, ge=0)
    """Times the gradient of the world model's own losses that reaches the image encoder. Below 1 actor and critics say
    what is worth seeing; the pixels say it less and less clearly the smaller the things are that matter."""

    encoder: Literal["keypoints", "grid"] = "keypoints"
    """Positions and peaks of feature maps, or the flattened grid (DreamerV3)."""


class CriticConfig(Spec):
    """Q and V of return, cost and reachability."""

    discount: float = Field(1 - 1 / 333, gt=0, lt=1)
    lambda_: float = Field(0.95, ge=0, le=1)
    reward_expectile: float = Field(0.8, gt=0, lt=1)
    """Weight on Q > V (IQL)."""
    cost_expectile: float = Field(0.8, gt=0, lt=1)
    """Weight on Q < V (FISOR)."""
    reachability_expectile: float = Field(0.9, gt=0, lt=1)
    """Weight on Q < V (FISOR)."""
    reachability_discount: float = Field(0.95, gt=0, lt=1)
    target_rate: float = Field(0.02, gt=0, le=1)
    """Share of the network taken over by its moving-average target per update."""
    layers: int = Field(2, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    gradient_clip: float = Field(100.0, gt=0)


class ActorConfig(Spec):
    """The policy, and how it is improved."""

    objective: Literal["regression", "backprop"] = "regression"
    """Closed form by advantage-weighted regression on executed actions; or the ablation without in-sample learning:
    actions of the actor in the model's imagination, improved by the gradient of their returns through the model
    (SafeDreamer-style). Critics then need `imagination.weight` > 0 to know those actions."""

    components: int = Field(4, ge=1)
    """Normal distributions in the mixture that the policy is; it acts by the most probable one. Where there are two
    ways round an obstacle, the mean of both leads into it."""
    beta: float = Field(4.0, ge=0)
    """Inverse temperature of the weights; 0 is behaviour cloning of what the feasibility filter leaves."""
    eta: float = Field(3.0, ge=0)
    """Weight of the reachability advantage."""
    weight_limit: float = Field(100.0, gt=1)
    normalise_weights: bool = True
    """Divide the weights by their mean over the batch, so that the step size does not depend on beta."""
    advantage_floor: float = Field(0.1, gt=0)
    """Least range that reward and cost advantages are divided by. With rewards of about 0.1 a step the range is 0.4,
    and a floor of 1 leaves all weights alike: cloning."""
    range_rate: float = Field(0.01, gt=0, le=1)
    """Rate of the moving average of the 5-95 % range."""
    reachability: bool = True
    """Off: the ablation without Q_h (no filter, p = 0)."""
    eps: float = Field(0.25, gt=0, lt=1)
    """Feasibility threshold while training; the deployed one is calibrated afterwards."""
    cost_limit: float = Field(0.0, ge=0)
    multiplier_initial: float = Field(0.1, ge=0)
    multiplier_step: float = Field(5e-5, ge=0)
    """Initial penalty c of the augmented Lagrangian."""
    multiplier_growth: float = Field(1e-5, ge=0)
    entropy_scale: float = Field(3e-4, ge=0)
    std_min: float = Field(0.1, gt=0)
    std_max: float = Field(1.0, gt=0)
    sees: Literal["image", "all"] = "image"
    """The image embedding e_t (and m_t, see `extraction.memory`), or all of it. h_t holds the past actions, and an
    actor that may look at them copies the last one instead of looking at the image: it clones the data almost perfectly
    and does not move the robot (the copycat problem; Wen et al. 2020)."""
    layers: int = Field(2, ge=1)
    units: int | None = Field(256, gt=0)
    """Hidden units; None: those of the size."""
    learning_rate: float = Field(5e-4, gt=0)
    gradient_clip: float = Field(100.0, gt=0)


class ImaginationConfig(Spec):
    """Model rollouts under the current actor, beside the real sequences."""

    weight: float = Field(0.0, ge=0)
    """Weight of the losses on imagined steps; 0 is purely in-sample."""
    starts: int | None = Field(128, gt=0)
    """Real latents of a batch that rollouts start from, drawn anew; null: all of them."""
    horizon: int = Field(15, gt=1)


class CloningConfig(Spec):
    """First phase: image encoder and actor alone clone demonstrations.

    On independent frames, shifted at random. Sequences of a world model's batch hold few scenes and each many times
    over: keypoints form several times later on them, if at all. Only for an actor that sees the image alone.
    """

    share: float = Field(1.8, ge=0)
    """So many updates per full update."""
    episodes: Literal["good", "all"] = "good"
    """Those that succeed without violation, or all there are: behaviour cloning as it is commonly meant."""
    batch_size: int = Field(256, gt=0)
    learning_rate: float = Field(1e-3, gt=0)


class RefinementConfig(Spec):
    """Last phase: the critics (and the actor) alone, on latents of the finished world model.

    Latents no longer move under the critics' feet, are those that the runtime will see (each episode filtered from its
    first row), and an update costs a tenth.
    """

    actor: bool = False
    """The actor as well. These latents are of images that were not shifted, and it begins to learn them by heart."""

    share: float = Field(1.2, ge=0)
    """So many updates per full update."""
    batch_size: int = Field(32, gt=0)
    sample: bool = True
    """Draw z from the posterior anew for each batch (noise against overfitting), not its mode."""


class ExtractionConfig(Spec):
    """Last phase: the actor alone, by the weights of the finished critics, on long sequences of image embeddings.

    Joint training leaves it worse than cloning did: its batches hold few scenes, and weights that move. The embeddings
    are those of refinement; the episodes those that `cloning.episodes` chooses. Not for `actor.objective` backprop.
    """

    share: float = Field(1.2, ge=0)
    """So many updates per full update."""
    memory: int = Field(0, ge=0)
    """Units of a memory of earlier images that the actor sees beside the current one; 0: none. It is a recurrent
    network, m_t = GRU(m_{t-1}, e_t), from the episode's first image on, and sees no actions: with those an actor copies
    the last one. A camera beside the robot needs none; one that the robot carries loses sight of goal and obstacles."""
    sequence_length: int = Field(64, gt=2)
    batch_size: int = Field(32, gt=0)
    embed_noise: float = Field(0.05, ge=0)
    """Standard deviation of what is added to the embeddings, whose numbers lie in [-1, 1], so that no scene is learned
    by heart."""
    learning_rate: float = Field(1e-3, gt=0)


class CalibrationConfig(Spec):
    """Thresholds of the runtime, from validation episodes."""

    alpha: float = Field(0.05, gt=0, lt=1)
    """Promised miss rate of the steps that precede a violation."""
    horizon_steps: int = Field(1, gt=0)
    """H_v: a step precedes a violation if one follows within so many steps. Further ahead it can mostly still be
    avoided, and Q_h is rightly low."""
    surprise_quantile: float = Field(0.995, gt=0, lt=1)
    range_margin: float = Field(0.5, ge=0)
    """Values are accepted this share of the observed span beyond what the validation set shows."""


class LearnerConfig(Spec):
    """One training run."""

    size: Size = "nano"
    seed: int = Field(0, ge=0)
    steps: int = Field(2500, gt=0)
    """Full updates: world model, critics and actor."""
    world_model_warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the full updates that train the world model alone, first."""
    batch_size: int = Field(32, gt=0)
    sequence_length: int = Field(8, gt=2)
    validation_share: float = Field(0.15, gt=0, lt=1)
    """Of the episodes; never trained on, used for calibration and metrics."""
    decision_period_s: float = Field(0.05, gt=0)
    observation: ObservationSpec = ObservationSpec()
    """Cameras, their topics in the bags, and the size that the networks see them in."""
    learning_rate_warmup: int = Field(100, ge=0)
    """Steps over which the learning rates grow from 0."""
    learning_rate_final: float = Field(0.1, gt=0, le=1)
    """Share of the learning rate left at the last step (linear decay over the second half)."""
    bf16: bool = True
    """Matrix products and convolutions in bfloat16 (normalisation and losses stay in float32)."""
    checkpoint_every: int = Field(500, gt=0)
    world_model: WorldModelConfig = WorldModelConfig()
    critic: CriticConfig = CriticConfig()
    actor: ActorConfig = ActorConfig()
    cloning: CloningConfig = CloningConfig()
    imagination: ImaginationConfig = ImaginationConfig()
    refinement: RefinementConfig = RefinementConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @property
    def total_steps(self) -> int:
        """Of all phases."""
        return sum(self.phases)

    @property
    def phases(self) -> tuple[int, int, int, int]:
        """Updates of each phase: cloning, full updates, refinement, extraction."""
        extraction = self.extraction.share if self.actor.objective == "regression" else 0.0
        shares = (self.cloning.share, 1.0, self.refinement.share, extraction)
        cloning, full, refinement, extraction_ = (round(share * self.steps) for share in shares)
        return cloning, full, refinement, extraction_

    @property
    def named_phases(self) -> tuple[tuple[str, int], ...]:
        """Name and updates of each phase."""
        return tuple(zip(("cloning", "full updates", "refinement", "extraction"), self.phases, strict=True))

    @property
    def network(self) -> NetworkConfig:
        return SIZES[self.size].model_copy(update={"memory": self.extraction.memory})

    @model_validator(mode="after")
    def _side(self) -> LearnerConfig:
        _, height, width, _ = self.observation.shape
        if height != width or height < 32 or height & (height - 1):
            raise ValueError(
                f"observation: cameras must be square with a side of 32, 64, 128 ... pixels, found {height}x{width}"
            )
        return self

    @model_validator(mode="after")
    def _std(self) -> LearnerConfig:
        if self.actor.std_min >= self.actor.std_max:
            raise ValueError("actor.std_min must be below actor.std_max")
        if self.cloning.share and self.actor.sees != "image":
            raise ValueError("cloning.share must be 0 for an actor that does not see the image alone (actor.sees)")
        if self.refinement.actor and self.actor.objective != "regression":
            raise ValueError("refinement.actor must be false with actor.objective backprop: latents are fixed there")
        return self
