"""The gate holds a candidate against the running bundle, on episodes new to both and on imagined rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from torch import Tensor

from fosp_core.specs import Calibration
from fosp_learner.bundling.calibration import EpisodeValues
from fosp_learner.bundling.validation import episode_values
from fosp_learner.finetuning.config import GateConfig
from fosp_learner.model.actor import Actor
from fosp_learner.model.losses import two_hot_mean, two_hot_positive
from fosp_learner.model.world_model import RowLatents, WorldModel
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.filtering import FilteredEpisode


@dataclass(frozen=True)
class Networks:
    """The networks that a bundle was exported from."""

    world_model: WorldModel
    behaviour: Behaviour
    """Critics, and the online actor."""
    offline_actor: Actor
    kappa: float
    """Weight of the cost in the utility q_r - kappa * q_c."""


@dataclass(frozen=True)
class GateFigures:
    """Figures of one bundle on the gate's episodes; NaN where nothing can be said."""

    miss_rate: float
    """Share of the onsets of violations that pass as feasible at the last chance to prevent them."""
    false_veto_rate: float
    """Share of the steps of episodes without violation whose action does not pass."""
    inside_range: float
    """Share of the steps with every value inside its calibrated range."""
    imagined_return: float
    """Mean discounted return of the deployed policy, imagined by the bundle's own world model."""
    imagined_violation: float
    """Mean probability that such a rollout holds a violation."""


@dataclass(frozen=True)
class Judgement:
    """The outcome of the gate; without `reasons` the candidate may be announced."""

    candidate: GateFigures
    running: GateFigures
    reasons: tuple[str, ...]
    intervention_share: float = 0.0
    """Share of the steps of the newest experience that an operator drove."""

    @property
    def passed(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, object]:
        """Return it for the lineage and the manifest, without figures that are not finite."""

        def finite(figures: GateFigures) -> dict[str, float]:
            return {name: round(value, 5) for name, value in asdict(figures).items() if np.isfinite(value)}

        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "intervention_share": round(self.intervention_share, 5),
            "candidate": finite(self.candidate),
            "running": finite(self.running),
        }


def judge(
    candidate: GateFigures, running: GateFigures, config: GateConfig, intervention_share: float = 0.0
) -> Judgement:
    """Compare the candidate with the running bundle, figure by figure; a figure that neither has counts for nobody.

    `intervention_share` is that of the experience that the candidate has learned from.
    """
    reasons = []

    def worse(name: str, now: float, limit: float, what: str) -> None:
        if np.isfinite(limit) and not now <= limit:
            reasons.append(f"{name} {now:.3f} is {what} {limit:.3f}")

    def too_low(name: str, now: float, limit: float, what: str) -> None:
        if np.isfinite(limit) and not now >= limit:
            reasons.append(f"{name} {now:.3f} is {what} {limit:.3f}")

    worse("miss rate", candidate.miss_rate, running.miss_rate + config.miss_rate_margin, "above the running one's")
    worse(
        "false veto rate",
        candidate.false_veto_rate,
        running.false_veto_rate + config.false_veto_margin,
        "above the running one's",
    )
    too_low("share of values inside their ranges", candidate.inside_range, config.inside_range, "below")
    room = max(config.return_margin * abs(running.imagined_return), 0.05)
    too_low("imagined return", candidate.imagined_return, running.imagined_return - room, "below the running one's")
    worse(
        "imagined share of violations",
        candidate.imagined_violation,
        running.imagined_violation + config.violation_margin,
        "above the running one's",
    )
    worse("share of steps that an operator drove", intervention_share, config.intervention_share, "above")
    return Judgement(candidate, running, tuple(reasons), intervention_share)


@dataclass(frozen=True)
class HeldOutEpisodes:
    """Episodes, filtered by a bundle's own world model, and a calibration of that bundle without them."""

    calibration: Calibration
    episodes: Sequence[FilteredEpisode]


@torch.no_grad()
def figures(networks: Networks, judged: Sequence[HeldOutEpisodes], config: GateConfig, discount: float) -> GateFigures:
    """Return the figures of a bundle: miss and false veto rate on all of `judged`, the others on the first alone."""
    values = [[episode_values(networks.behaviour, episode) for episode in part.episodes] for part in judged]
    calibration, episodes = judged[0].calibration, judged[0].episodes
    held = [(part.calibration.eps, e) for part, of_it in zip(judged, values, strict=True) for e in of_it]
    missed, vetoed = miss_and_false_veto_rate(held, calibration.horizon_steps)
    returned = violation = float("nan")
    if networks.world_model.predicts:
        returned, violation = _imagined(networks, calibration, episodes, config, discount)
    return GateFigures(
        miss_rate=missed,
        false_veto_rate=vetoed,
        inside_range=float(np.concatenate([_inside(e, calibration) for e in values[0]]).mean()),
        imagined_return=returned,
        imagined_violation=violation,
    )


def miss_and_false_veto_rate(held: Sequence[tuple[float, EpisodeValues]], horizon_steps: int) -> tuple[float, float]:
    """Return miss rate and false veto rate of episodes, each with an eps of its own.

    The miss rate is the share of the onsets that pass at their last chance, the false veto rate a mean over the steps
    of the episodes without violation; NaN where there are none.
    """
    scores = [(e.onset_score(horizon_steps), eps) for eps, e in held]
    missed = [score <= eps for score, eps in scores if score is not None]
    vetoed = [e.q_h > eps for eps, e in held if not e.violates]
    return (
        float(np.mean(missed)) if missed else float("nan"),
        float(np.concatenate(vetoed).mean()) if vetoed else float("nan"),
    )


def _inside(values: EpisodeValues, calibration: Calibration) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    inside = np.ones(len(values.q_r), np.bool_)
    for name in ("q_r", "q_c", "q_h"):
        low, high = calibration.ranges[name]  # type: ignore[index]
        value = getattr(values, name)
        inside &= (low <= value) & (value <= high)
    return inside


def _imagined(
    networks: Networks,
    calibration: Calibration,
    episodes: Sequence[FilteredEpisode],
    config: GateConfig,
    discount: float,
) -> tuple[float, float]:
    """Imagine the deployed policy from real latents of the same frames for every bundle.

    Return the mean discounted return, and the mean probability of a violation.
    """
    model = networks.world_model
    rows = [episode.latents.rows for episode in episodes]
    every = RowLatents(*(torch.cat([getattr(part, f.name) for part in rows]) for f in fields(RowLatents)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = every.of(torch.randperm(len(every.recurrent))[: config.starts])
        count = len(state.recurrent)
        alive, free, returned = torch.ones(count), torch.ones(count), torch.zeros(count)
        for step in range(config.horizon):
            state = model.imagine_step(state, expansion(networks, state.feature, calibration.eps))
            returned += discount**step * alive * two_hot_mean(model.reward(state.state))
            free *= 1 - alive * two_hot_positive(model.cost(state.state))
            alive *= torch.sigmoid(model.continues(state.state))
    return float(returned.mean()), float(1 - free.mean())


def expansion(networks: Networks, feature: Tensor, eps: float) -> Tensor:
    """Choose as the deployed policy does between the means of both actors: features (B, F) -> actions (B, A)."""
    candidates = torch.stack([networks.offline_actor(feature)[0], networks.behaviour.actor(feature)[0]], 1)
    repeated = feature.unsqueeze(1).expand(-1, 2, -1)
    critic = networks.behaviour.critics.q_target
    q_r, q_c, _ = critic.values(repeated, candidates)
    q_h = critic.risk(repeated, candidates, networks.behaviour.config.spread_weight)
    feasible = q_h <= eps
    utility = torch.where(feasible, q_r - networks.kappa * q_c, torch.full_like(q_r, -torch.inf))
    choice = torch.where(feasible.any(1), utility.argmax(1), q_h.argmin(1))
    return candidates[torch.arange(len(candidates)), choice]
