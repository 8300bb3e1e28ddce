"""Every setting of fine-tuning, once, with its meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fosp_core.specs import Manifest, Spec, parse_spec
from fosp_learner.config import LearnerConfig


class GateConfig(Spec):
    """How much worse than the running bundle a candidate may be on episodes that neither was trained on."""

    episodes: int = Field(120, gt=0)
    """About so many judge a candidate: with half as many the miss rate is as uncertain as its margin is wide ..."""
    calibration_episodes: int = Field(300, gt=0)
    """... and at most so many calibrate it, half of them with a violation: with few of those the threshold that keeps
    the promised miss rate is so low that nothing is feasible."""
    miss_rate_margin: float = Field(0.03, ge=0)
    """Of the share of steps before a violation that pass as feasible."""
    false_veto_margin: float = Field(0.1, ge=0)
    """Of the share of steps of episodes without violation that do not."""
    inside_range: float = Field(0.97, gt=0, le=1)
    """Least share of steps whose values lie inside the calibrated ranges."""
    starts: int = Field(128, gt=0)
    """Real latents that the deployed policy is imagined on from ..."""
    horizon: int = Field(20, gt=1)
    """... for so many steps."""
    return_margin: float = Field(0.15, ge=0)
    """Of the imagined return, relative to the running bundle's, at least of an absolute 0.05."""
    violation_margin: float = Field(0.1, ge=0)
    """Of the imagined share of rollouts with a violation. A coarse comparison: a blurred prediction is a little costly
    everywhere, so two thirds of the rollouts of a policy violate that hardly ever does."""


class SettlingConfig(Spec):
    """Before each candidate: critics, then the online actor, alone, on latents of the world model as it is by then."""

    updates: int = Field(600, gt=0)
    """Of the critics, and as many of the actor. With `episodes` all of it takes a minute and a half of one core
    (`nano`)."""
    episodes: int = Field(400, gt=0)
    """Of the offline data so many are drawn anew each time; of experience at most so many, the newest, take part."""
    sequence_length: int = Field(16, gt=2)
    batch_size: int = Field(32, gt=1)
    critic_learning_rate: float = Field(1e-4, gt=0)
    actor_learning_rate: float = Field(3e-4, gt=0)
    embed_noise: float = Field(0.05, ge=0)
    """As in `extraction` of pre-training."""
    ascent: float = Field(3.0, ge=0)
    """How much the actor climbs the slope of the next reward, beside the regression; 0: not at all, and Q_r stays
    without it."""
    slope_learning_rate: float = Field(1e-3, gt=0)
    """Of the slope, which takes twice as many updates."""


class FinetuneConfig(Spec):
    """One fine-tuning run, online or on bags."""

    seed: int = Field(0, ge=0)
    steps: int = Field(2000, gt=0)
    """Updates in all: the step budget."""
    updates_per_row: float = Field(0.5, gt=0)
    """Updates that each new row of experience allows, online. With a row per decision (20 Hz) 0.5 asks for 10 updates
    per second, more than two cores give: then the learner simply trains all the time."""
    rest_s: float = Field(30.0, gt=0)
    """With no new experience for so long the robot rests, and the updates that are left need no more rows."""
    least_rows: int = Field(200, gt=0)
    """Rows of experience before the first update."""
    offline_share: float = Field(0.5, ge=0, le=1)
    """Of each batch (RLPD: half)."""
    train_on: Literal["all", "outcomes"] = "all"
    """New episodes: all, or those alone that succeed or violate. One that ran out of time shows mostly how the policy
    stood still, many rows of it."""
    batch_size: int = Field(32, gt=1)
    """Sequences of a batch, each as long as in pre-training."""
    learning_rate_scale: float = Field(0.3, gt=0)
    """Times the learning rates that the bundle was trained with."""
    freeze_image_encoder: bool = True
    """And the memory of images. The offline actor is frozen, but it sees them: were they to move, it would be another
    policy."""
    candidate_every: int = Field(500, gt=0)
    """Updates between two candidate bundles."""
    checkpoint_every: int = Field(100, gt=0)
    hold_out_every: int = Field(5, gt=1)
    """Every so many-th new episode is never trained on, and judges candidates."""
    rows_kept: int = Field(100_000, gt=0)
    """Batches are drawn from the newest rows of experience, at most so many."""
    override_tolerance: float = Field(0.15, gt=0, le=2)
    """An executed action this far outside of what the safety monitor let through counts as overridden."""
    cores: int = Field(1, gt=0)
    """CPU cores that learner_node may use."""
    niceness: int = Field(19, ge=0, le=19)
    """Of learner_node; 19: only what nobody else wants."""
    settling: SettlingConfig = SettlingConfig()
    gate: GateConfig = GateConfig()


def learner_config(manifest: Manifest, settings: FinetuneConfig) -> LearnerConfig:
    """The configuration that a bundle was trained with, as fine-tuning uses it; UserError when it is not understood.

    Networks and losses stay as they were; the schedule is one phase of full updates at constant learning rates.
    """
    described = {
        name: value
        for name, value in dict(manifest.training.get("config") or {}).items()
        if name in LearnerConfig.model_fields and name not in ("cloning", "refinement", "steps")
    }
    config = parse_spec(LearnerConfig, {"size": manifest.size, **described}, f"bundle {manifest.id[:12]}")
    scale = settings.learning_rate_scale

    def slower(part: Spec) -> Spec:
        return part.model_copy(update={"learning_rate": part.learning_rate * scale})  # type: ignore[attr-defined]

    return config.model_copy(
        update={
            "seed": settings.seed,
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "decision_period_s": manifest.decision_period_s,
            "checkpoint_every": settings.checkpoint_every,
            "learning_rate_final": 1.0,
            "world_model_warmup": 0.0,
            "cloning": config.cloning.model_copy(update={"share": 0.0}),
            "refinement": config.refinement.model_copy(update={"share": 0.0}),
            "extraction": config.extraction.model_copy(update={"share": 0.0}),
            "world_model": slower(config.world_model),
            "critic": slower(config.critic),
            "actor": slower(config.actor),
        }
    )
