"""Every hyperparameter of training, with its default and its meaning. Debatable design choices are switches.

A YAML file for `fosp pretrain --config` holds those that differ, such as `steps: 500` or `actor: {beta: 2.0}`. In the
meanings, m is the memory of earlier images, h the recurrent state of the RSSM (the world model), e the embedding of the
current image, and z the categorical state of the RSSM.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fosp_core.robot.config import RobotConfig
from fosp_core.robot.horizon import needed_horizon_steps
from fosp_core.specs import ObservationSpec, Spec
from fosp_learner.phase_config import ExtractionConfig, RefinementConfig, SuccessConfig

Size = Literal["nano", "small", "paper"]
PHASES = ("cloning", "full updates", "refinement", "extraction", "success")


class NetworkConfig(Spec):
    """Widths of all networks."""

    recurrent: int
    """Units of the recurrent state h."""
    variables: int
    """Categorical variables that make up the stochastic state z."""
    classes: int
    """Classes of each categorical variable."""
    cnn_depth: int
    """Channels of the first convolution; each of the following ones doubles them."""
    units: int
    """Hidden units of every multilayer perceptron."""
    keypoints: int = 32
    """Feature maps whose positions make up the image embedding."""
    keypoint_values: int = 8
    """Features that are read off at the position of each keypoint."""
    memory: int = 0
    """Units of the recurrent memory m of earlier images, set by `extraction.memory`."""

    @property
    def stoch(self) -> int:
        """Size of the flattened one-hot z."""
        return self.variables * self.classes

    @property
    def embed(self) -> int:
        """Size of the image embedding e: position, peak and values of each keypoint."""
        return (3 + self.keypoint_values) * self.keypoints

    @property
    def state(self) -> int:
        """Size of the model state (h, z), which the world model predicts and decodes from."""
        return self.recurrent + self.stoch

    @property
    def carried(self) -> int:
        """Size of (m, h, e), the deterministic part of a latent."""
        return self.memory + self.recurrent + self.embed

    @property
    def feature(self) -> int:
        """Size of the whole latent (m, h, e, z). Critics see all of it but m, actors by default m and e."""
        return self.carried + self.stoch


SIZES: dict[Size, NetworkConfig] = {
    "nano": NetworkConfig(recurrent=128, variables=16, classes=16, cnn_depth=16, units=128),
    "small": NetworkConfig(recurrent=256, variables=32, classes=32, cnn_depth=24, units=256),
    "paper": NetworkConfig(recurrent=512, variables=48, classes=48, cnn_depth=32, units=512),
}


class WorldModelConfig(Spec):
    """The RSSM, its heads, and the scales of their losses (DreamerV3)."""

    unimix: float = Field(0.01, ge=0, lt=1)
    """Share of the uniform distribution that is mixed into every categorical distribution."""
    free_nats: float = Field(1.0, ge=0)
    """Value in nats below which neither KL term is reduced further."""
    dynamics_scale: float = Field(0.5, ge=0)
    """Scale of KL[sg(posterior) || prior]."""
    representation_scale: float = Field(0.1, ge=0)
    """Scale of KL[posterior || sg(prior)]."""
    reconstruction_scale: float = Field(0.1, gt=0)
    """Scale of the squared pixel error, which is summed over an image with pixels in [0, 1]."""
    decoded_share: float = Field(0.25, gt=0, le=1)
    """Share of a batch's rows that are decoded, drawn anew for each batch. Neighbouring frames look alike, and decoding
    is expensive."""
    foreground_scale: float = Field(3.0, ge=0)
    """Extra weight of a pixel per unit of distance from the mean training image; 0 turns it off. With a fixed camera
    the small things that move matter most, and the error over all pixels hardly sees them."""
    violation_weight: float = Field(10.0, ge=1)
    """Weight of the cost loss on steps with cost, which are rare."""
    image_shift: int = Field(4, ge=0, le=8)
    """Largest random shift of the images in pixels, the same over a sequence (DrQ); 0 turns it off."""
    hue_shift: float = Field(40.0, ge=0, le=180)
    """Largest random turn of the hue in degrees, the same over a sequence; 0 turns it off. It keeps the policy from
    relying on colours, which change with the light. Images are reconstructed in their own colours."""
    saturation_shift: float = Field(0.2, ge=0, lt=1)
    """Largest random change of the saturation, as a share, the same over a sequence; 0 turns it off."""
    brightness_shift: float = Field(0.15, ge=0, lt=1)
    """Largest random change of the brightness, as a share, the same over a sequence; 0 turns it off."""
    learning_rate: float = Field(5e-4, gt=0)
    """Learning rate of the world model in full updates."""
    gradient_clip: float = Field(100.0, gt=0)
    """Norm that the gradient of the world model is clipped to."""
    reward_scale: float = Field(1.0, ge=0)
    """Scale of the cross-entropy of the reward head."""
    cost_scale: float = Field(1.0, ge=0)
    """Scale of the cross-entropy of the cost head."""
    actor_gradient_scale: float = Field(10.0, ge=0)
    """Factor on the actor's gradient that reaches the world model; 0 stops it."""
    critic_gradient_scale: float = Field(1.0, ge=0)
    """Factor on the critics' gradient that reaches the world model; 0 stops it."""
    embed_gradient_scale: float = Field(0.1, ge=0)
    """Factor on the gradient of the world model's own losses that reaches the image encoder. Below 1, actor and critics
    decide what the encoder looks for; pixels say little about the small things that matter."""
    patch: Literal[4, 8] = 4
    """Pixels along the side of the patches that images are cut into first. Patches of 8 in images of 128 x 128 give the
    networks twice the detail for about the time of patches of 4 in images of 64 x 64."""
    encoder: Literal["keypoints", "grid"] = "keypoints"
    """Image encoder: positions and peaks of feature maps, or the flattened grid (DreamerV3)."""

    @property
    def loss_scales(self) -> dict[str, float]:
        """Scale of each loss of the world model, by the loss's name."""
        return {
            "reconstruction": self.reconstruction_scale,
            "reward": self.reward_scale,
            "cost": self.cost_scale,
            "continue": 1.0,
            "embed": 1.0,
            "kl": 1.0,  # its two terms have scales of their own
        }


class CriticConfig(Spec):
    """Q and V of return, cost and reachability. Each is a network of its own, so their losses need no scales."""

    discount: float = Field(1 - 1 / 333, gt=0, lt=1)
    """Discount of rewards and costs per step."""
    lambda_: float = Field(0.95, ge=0, le=1)
    """Lambda of the lambda-returns: 0 bootstraps after one step, 1 at the end of the sequence."""
    reward_expectile: float = Field(0.8, gt=0, lt=1)
    """Expectile of V_r: the weight on Q > V (IQL)."""
    cost_expectile: float = Field(0.8, gt=0, lt=1)
    """Expectile of V_c: the weight on Q < V (FISOR)."""
    reachability_expectile: float = Field(0.9, gt=0, lt=1)
    """Expectile of V_h: the weight on Q < V (FISOR)."""
    reachability_discount: float = Field(0.95, gt=0, lt=1)
    """Discount of the reachability of the unsafe set per step."""
    target_rate: float = Field(0.02, gt=0, le=1)
    """Share of a network that its moving-average target takes over per update."""
    layers: int = Field(2, ge=1)
    """Hidden layers of each critic."""
    heads: int = Field(1, ge=1, le=5)
    """Networks for each Q. With several, a value is that of the most pessimistic one (clipped double Q)."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the critics."""
    gradient_clip: float = Field(100.0, gt=0)
    """Norm that the gradient of the critics is clipped to."""


class ActorConfig(Spec):
    """The policy, and how it is improved."""

    objective: Literal["regression", "backprop"] = "regression"
    """Advantage-weighted regression on executed actions in closed form, or, as the ablation without in-sample learning,
    the gradient of imagined returns through the model (SafeDreamer-style). The ablation needs `imagination.weight` > 0,
    so that the critics know the actor's own actions."""
    components: int = Field(4, ge=1)
    """Normal distributions in the policy's mixture. The policy acts by the most probable one: where two ways lead round
    an obstacle, the mean of both leads into it."""
    beta: float = Field(4.0, ge=0)
    """Inverse temperature of the weights; 0 is behaviour cloning of the actions that the feasibility filter leaves."""
    eta: float = Field(3.0, ge=0)
    """Weight of the reachability advantage."""
    weight_limit: float = Field(100.0, gt=1)
    """Largest weight of an action."""
    normalise_weights: bool = True
    """Divide the weights by their mean over the batch, so that the size of an update does not depend on `beta`."""
    advantage_floor: float = Field(0.1, gt=0)
    """Smallest range that reward and cost advantages are divided by. A floor well above the range of the advantages
    leaves all weights alike, which is cloning."""
    range_rate: float = Field(0.01, gt=0, le=1)
    """Rate of the moving average of the 5-95 % range of the advantages."""
    reachability: bool = True
    """Use Q_h. `false` is the ablation without it: no filter by risk, and V_h counts as 0 in the weights."""
    eps: Annotated[float, Field(gt=0, lt=1)] | Literal["calibrated"] = 0.25
    """Feasibility threshold in the weights of actions; the deployed one is calibrated afterwards. With `calibrated` it
    is 0.25 until the critics are done, and is then calibrated on the held-out episodes, before extraction."""
    cost_limit: float = Field(0.0, ge=0)
    """Mean V_c above which the cost multiplier grows, and below which it falls."""
    multiplier_initial: float = Field(0.1, ge=0)
    """Initial cost multiplier of the augmented Lagrangian."""
    multiplier_step: float = Field(5e-5, ge=0)
    """Initial penalty of the augmented Lagrangian, which is the step size of the multiplier."""
    multiplier_growth: float = Field(1e-5, ge=0)
    """Growth of the penalty per update, as a share."""
    entropy_scale: float = Field(3e-4, ge=0)
    """Scale of the entropy that is added to the actor's objective."""
    std_min: float = Field(0.1, gt=0)
    """Smallest standard deviation of an action; actions lie in [-1, 1]."""
    std_max: float = Field(1.0, gt=0)
    """Largest standard deviation of an action."""
    sees: Literal["image", "all"] = "image"
    """Part of the latent that the actor sees: the image embedding e and the memory m of earlier ones, or all of it. h
    holds the past actions, and an actor that sees them copies the last one instead of looking at the image (the copycat
    problem; Wen et al. 2020)."""
    layers: int = Field(2, ge=1)
    """Hidden layers of the actor."""
    units: int | None = Field(256, gt=0)
    """Hidden units of the actor; null takes those of `size`."""
    learning_rate: float = Field(5e-4, gt=0)
    """Learning rate of the actor in full updates."""
    gradient_clip: float = Field(100.0, gt=0)
    """Norm that the gradient of the actor is clipped to."""


class ImaginationConfig(Spec):
    """Model rollouts under the current actor, beside the recorded sequences."""

    weight: float = Field(0.0, ge=0)
    """Weight of the losses on imagined steps; 0 is purely in-sample."""
    starts: int | None = Field(128, gt=0)
    """Latents of a batch that rollouts start from, drawn anew for each batch; null takes all of them."""
    horizon: int = Field(15, gt=1)
    """Steps of a rollout."""


class CloningConfig(Spec):
    """First phase: image encoder and actor clone demonstrations, on independent frames that are shifted at random.

    The sequences of a full update hold few scenes, and each many times over; keypoints hardly form on them. Cloning
    needs an actor that sees the image alone.
    """

    share: float = Field(1.8, ge=0)
    """Updates of this phase per full update."""
    episodes: Literal["good", "all"] = "good"
    """Episodes that are cloned: those that succeed without violation, or all (behaviour cloning as commonly meant)."""
    batch_size: int = Field(256, gt=0)
    """Frames of a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of image encoder and actor in this phase."""


class CalibrationConfig(Spec):
    """Thresholds of the runtime, from validation episodes."""

    alpha: float = Field(0.05, gt=0, lt=1)
    """Promised miss rate: the probability that a violation's last chance passes as feasible (bundling/onsets.py)."""
    horizon_steps: int = Field(1, gt=0)
    """Least number of decisions from the last chance to the onset of a violation, both included. A robot that takes
    longer from a picture to its rest (fosp_core.robot.horizon) is given its own number."""
    eps_ceiling: float = Field(0.5, gt=0, lt=1)
    """Largest eps, also where a greater one would keep the promised miss rate: no robot should take greater risks."""
    spread: Literal["ignored", "added"] = "ignored"
    """Add the disagreement of the heads of Q_h to the risk that eps is a threshold of, here and at run time; needs
    `critic.heads` of 2 or more."""
    spread_weight: float = Field(1.0, gt=0)
    """Weight of that disagreement."""
    surprise_quantile: float = Field(0.995, gt=0, lt=1)
    """Quantile of the surprise on validation steps that becomes the runtime's limit."""
    range_margin: float = Field(0.5, ge=0)
    """Margin by which the accepted range of a value exceeds the observed range, as a share of its span."""
    lens_steps: int = Field(5000, gt=0)
    """Most updates of the network of each camera that looks for local faults in a picture."""


class LearnerConfig(Spec):
    """One training run."""

    size: Size = "nano"
    """Widths of the networks."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of all random generators."""
    steps: int = Field(2500, gt=0)
    """Full updates: world model, critics and actor. The other phases are shares of it."""
    world_model_warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the full updates, at their beginning, that train the world model alone."""
    batch_size: int = Field(32, gt=0)
    """Sequences of a batch in full updates."""
    sequence_length: int = Field(8, gt=2)
    """Rows of a sequence in full updates and refinement."""
    validation_share: float = Field(0.15, gt=0, lt=1)
    """Share of the episodes that is held out for calibration and metrics."""
    decision_period_s: float = Field(0.05, gt=0)
    """Time between two decisions, s."""
    observation: ObservationSpec = ObservationSpec()
    """Cameras, their topics in the bags, and the size that the networks see them in."""
    learning_rate_warmup: int = Field(100, ge=0)
    """Updates over which the learning rates grow from 0, in each phase."""
    learning_rate_final: float = Field(0.1, gt=0, le=1)
    """Share of the learning rates that is left at the end of each phase, after a linear decay over its second half."""
    bf16: bool | None = None
    """Compute matrix products and convolutions in bfloat16 (true) or float32 (false); normalisation and losses are in
    float32 anyway. null measures both in the first updates of each phase and takes the faster, so that two runs on one
    machine may differ in rounding."""
    checkpoint_every: int = Field(500, gt=0)
    """Updates between two checkpoints."""
    world_model: WorldModelConfig = WorldModelConfig()
    critic: CriticConfig = CriticConfig()
    actor: ActorConfig = ActorConfig()
    cloning: CloningConfig = CloningConfig()
    imagination: ImaginationConfig = ImaginationConfig()
    refinement: RefinementConfig = RefinementConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    success: SuccessConfig = SuccessConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @property
    def total_steps(self) -> int:
        """Updates of all phases together."""
        return sum(self.phases)

    @property
    def phases(self) -> tuple[int, ...]:
        """Updates of each phase: cloning, full updates, refinement, extraction, success."""
        extraction = self.extraction.share if self.actor.objective == "regression" else 0.0
        success = self.success.share if self.success.enabled else 0.0
        shares = (self.cloning.share, 1.0, self.refinement.share, extraction, success)
        return tuple(round(share * self.steps) for share in shares)

    @property
    def trains_success(self) -> bool:
        """True if the success critic gets at least one update: one that learned nothing must not choose actions."""
        return self.success.enabled and self.phases[-1] > 0

    @property
    def named_phases(self) -> tuple[tuple[str, int], ...]:
        """Name and updates of each phase."""
        return tuple(zip(PHASES, self.phases, strict=True))

    def for_robot(self, robot: RobotConfig) -> LearnerConfig:
        """Return this configuration with a calibration that looks at least as far ahead as `robot` needs to stop."""
        steps = max(self.calibration.horizon_steps, needed_horizon_steps(robot, self.decision_period_s))
        return self.model_copy(update={"calibration": self.calibration.model_copy(update={"horizon_steps": steps})})

    @property
    def spread_weight(self) -> float | None:
        """Weight of the disagreement of the heads in the risk; None: it is not counted."""
        return self.calibration.spread_weight if self.calibration.spread == "added" else None

    @property
    def network(self) -> NetworkConfig:
        """Widths of the networks of this run."""
        return SIZES[self.size].model_copy(update={"memory": self.extraction.memory})

    @model_validator(mode="after")
    def _side(self) -> LearnerConfig:
        _, height, width, _ = self.observation.shape
        if height != width or height < 32 or height & (height - 1):
            raise ValueError(
                f"observation: cameras must be square with a side of 32, 64, 128 ... pixels, found {height}x{width}"
            )
        if height < 8 * self.world_model.patch:
            raise ValueError(f"world_model.patch {self.world_model.patch} needs images of 64 pixels or more")
        return self

    @model_validator(mode="after")
    def _std(self) -> LearnerConfig:
        if self.actor.std_min >= self.actor.std_max:
            raise ValueError("actor.std_min must be below actor.std_max")
        if self.cloning.share and self.actor.sees != "image":
            raise ValueError("cloning.share must be 0 for an actor that does not see the image alone (actor.sees)")
        if self.refinement.actor and self.actor.objective != "regression":
            raise ValueError("refinement.actor must be false with actor.objective backprop: latents are fixed there")
        if self.calibration.spread == "added" and self.critic.heads == 1:
            raise ValueError("calibration.spread 'added' needs critic.heads of 2 or more: one head cannot disagree")
        return self
