"""All settings of fine-tuning, with their defaults and meanings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fosp_core.specs import Manifest, Spec, parse_spec
from fosp_learner.config import LearnerConfig


class GateConfig(Spec):
    """The gate: how much worse than the running bundle a candidate may be, on episodes new to both."""

    episodes: int = Field(120, gt=0)
    """Number of episodes, about, that judge a candidate. With fewer the miss rate is too uncertain for its margin."""
    calibration_episodes: int = Field(300, gt=0)
    """Largest number of episodes that calibrate a candidate, up to half of them with a violation. With few violations
    the threshold that keeps the promised miss rate is so low that nothing is feasible."""
    miss_rate_margin: float = Field(0.03, ge=0)
    """By how much the share of steps before a violation that pass as feasible may exceed the running bundle's."""
    false_veto_margin: float = Field(0.1, ge=0)
    """By how much the share of steps of safe episodes that do not pass may exceed the running bundle's."""
    inside_range: float = Field(0.97, gt=0, le=1)
    """Smallest share of steps whose values lie inside the calibrated ranges."""
    starts: int = Field(128, gt=0)
    """Number of real latents from which the deployed policy is imagined on."""
    horizon: int = Field(20, gt=1)
    """Number of steps of each imagined rollout."""
    return_margin: float = Field(0.15, ge=0)
    """By how much the imagined return may fall below the running bundle's, as a share of that; at least 0.05 is
    allowed."""
    intervention_share: float = Field(1.0, gt=0, le=1)
    """Largest share of the steps of the newest `intervention_episodes` that an operator may have driven; with 1 it is
    told and nothing is refused for it."""
    intervention_episodes: int = Field(10, gt=0)
    """Number of the newest episodes of experience over which that share is taken."""
    violation_margin: float = Field(0.1, ge=0)
    """By how much the imagined share of rollouts with a violation may exceed the running bundle's. The comparison is
    coarse: a blurred prediction is a little costly everywhere, so imagined violations are far too frequent."""


class SettlingConfig(Spec):
    """Settling, before each candidate: the world model stands still, and critics, then online actor, learn alone."""

    updates: int = Field(600, gt=0)
    """Number of updates of the critics, and of the actor after them."""
    episodes: int = Field(400, gt=0)
    """Number of offline episodes that are drawn anew each time, and of the newest episodes of experience, at most."""
    sequence_length: int = Field(16, gt=2)
    """Rows of a sequence."""
    batch_size: int = Field(32, gt=1)
    """Sequences of a batch."""
    critic_learning_rate: float = Field(1e-4, gt=0)
    """Learning rate of the critics."""
    actor_learning_rate: float = Field(3e-4, gt=0)
    """Learning rate of the online actor."""
    embed_noise: float = Field(0.05, ge=0)
    """Standard deviation of the noise on image embeddings, as in `extraction` of pre-training."""
    ascent: float = Field(3.0, ge=0)
    """Weight with which the actor climbs the slope of the next reward, beside the regression. With 0 it does not, and
    Q_r is not taught the slope."""
    slope_learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the slope, which takes twice as many updates."""


class CorrectionConfig(Spec):
    """Correction of the threshold of Q_h by the violations of experience (correction.py)."""

    target: float = Field(0.02, gt=0, lt=1)
    """Share of the episodes that may hold a missed violation in the long run, in each kind of scenes."""
    rate: float = Field(0.7, gt=0)
    """Step of the logarithm of eps: a violation that Q_h missed divides eps by exp(rate * (1 - target)), which is 2;
    an episode without a violation multiplies it by exp(rate * target), up to the calibrated eps."""
    floor: float = Field(0.2, gt=0, le=1)
    """Smallest share of the calibrated eps. With 1 eps is never corrected."""


class FinetuneConfig(Spec):
    """One fine-tuning run, online or on bags."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the batches and of the choice of episodes."""
    steps: int = Field(2000, gt=0)
    """Number of updates in all: the step budget."""
    updates_per_row: float = Field(0.5, gt=0)
    """Number of updates that each new row of experience allows, online. With more than the machine can make, the
    learner trains all the time."""
    rest_s: float = Field(30.0, gt=0)
    """Time without new experience after which the robot rests, and the remaining updates need no more rows, s."""
    least_rows: int = Field(200, gt=0)
    """Number of rows of experience before the first update."""
    offline_share: float = Field(0.5, ge=0, le=1)
    """Share of each batch that comes from offline data (RLPD, arXiv 2302.02948: half)."""
    train_on: Literal["all", "outcomes"] = "outcomes"
    """New episodes to train on: only the `outcomes`, which succeed or violate, or `all`. An episode that ran out of
    time mostly shows, for many rows, how the policy stood still. Where an operator drove in it, it is kept for these
    steps, and the actor does not follow the others."""
    objective: Literal["advantages", "cloning", "critic_gradient"] = "advantages"
    """How the online actor learns: by the weights of the critics and the slope of the reward, or, for comparison, by
    cloning the episodes that succeed, or by the gradient of an ensemble of critics (RLPD-style), which needs a bundle
    that was trained with `critic.heads` of 2 or more."""
    actor_eps: Annotated[float, Field(gt=0, lt=1)] | Literal["calibrated"] = "calibrated"
    """Feasibility threshold in the weights of actions; `calibrated`: that of the bundle, which the robot runs with."""
    batch_size: int = Field(32, gt=1)
    """Sequences of a batch, each as long as in pre-training."""
    learning_rate_scale: float = Field(0.3, gt=0)
    """Factor of the learning rates that the bundle was trained with."""
    freeze_image_encoder: bool = True
    """Freeze the image encoder and the memory of images. The offline actor is frozen and sees through them: if they
    moved, it would be another policy."""
    candidate_every: int = Field(500, gt=0)
    """Number of updates between two candidate bundles."""
    checkpoint_every: int = Field(100, gt=0)
    """Number of updates between two checkpoints."""
    hold_out_every: int = Field(5, gt=1)
    """Every n-th new episode is held out: it is never trained on, and judges candidates."""
    rows_kept: int = Field(100_000, gt=0)
    """Largest number of rows of experience, the newest, that batches are drawn from."""
    override_tolerance: float = Field(0.15, gt=0, le=2)
    """Distance, on a normalised axis, of the executed action from what the safety monitor passed on, beyond which an
    operator has overridden it."""
    correction_weight: float = Field(1.0, ge=0)
    """Weight with which the online actor follows the steps that an operator drove, in place of the weight of their
    advantage. An action that is as good as the policy's own has weight 1."""
    intervention_cost: float | None = Field(None, gt=0)
    """Cost of the step before an operator takes over, by which the critics take the policy's action there for one that
    violates; null: none. Held-out episodes, which calibrate and judge, keep the costs that were measured."""
    bf16: bool | None = None
    """Compute in bfloat16 (true) or float32 (false); null takes what is faster on this machine, as in pre-training."""
    cores: int = Field(1, gt=0)
    """Number of CPU cores that learner_node may use."""
    niceness: int = Field(19, ge=0, le=19)
    """Niceness of learner_node; at 19 it gets only the time that no other process wants."""
    settling: SettlingConfig = SettlingConfig()
    """Settling before each candidate."""
    correction: CorrectionConfig = CorrectionConfig()
    """Correction of the threshold after violations."""
    gate: GateConfig = GateConfig()
    """The gate that each candidate has to pass."""


def learner_config(manifest: Manifest, settings: FinetuneConfig) -> LearnerConfig:
    """Return the configuration that a bundle was trained with, as fine-tuning uses it; UserError for an unknown one.

    Networks and losses stay as they were; the schedule is one phase of full updates at constant learning rates.
    """
    described = {
        name: value
        for name, value in dict(manifest.training.get("config") or {}).items()
        if name in LearnerConfig.model_fields and name not in ("cloning", "refinement", "steps", "bf16")
    }
    config = parse_spec(LearnerConfig, {"size": manifest.size, **described}, f"bundle {manifest.id[:12]}")
    scale = settings.learning_rate_scale
    eps = manifest.calibration.eps if settings.actor_eps == "calibrated" else settings.actor_eps
    actor = config.actor.model_copy(update={"eps": eps})
    if settings.objective == "cloning":  # every action that is followed has the same weight
        actor = actor.model_copy(update={"beta": 0.0, "reachability": False})
    horizon = max(config.calibration.horizon_steps, manifest.calibration.horizon_steps)

    # The risk stays the quantity that the bundle was calibrated for.
    weight = manifest.calibration.spread_weight
    counted = {"spread": "ignored"} if weight is None else {"spread": "added", "spread_weight": weight}

    def slower(part: Spec) -> Spec:
        return part.model_copy(update={"learning_rate": part.learning_rate * scale})  # type: ignore[attr-defined]

    return config.model_copy(
        update={
            "seed": settings.seed,
            "bf16": settings.bf16,
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "decision_period_s": manifest.decision_period_s,
            "checkpoint_every": settings.checkpoint_every,
            "learning_rate_final": 1.0,
            "world_model_warmup": 0.0,
            "cloning": config.cloning.model_copy(update={"share": 0.0}),
            "refinement": config.refinement.model_copy(update={"share": 0.0}),
            "extraction": config.extraction.model_copy(update={"share": 0.0}),
            "success": config.success.model_copy(update={"share": 0.0, "enabled": "q_s" in manifest.critic_outputs}),
            "world_model": slower(config.world_model),
            "critic": slower(config.critic),
            "actor": slower(actor),
            "calibration": config.calibration.model_copy(update={"horizon_steps": horizon, **counted}),
        }
    )
