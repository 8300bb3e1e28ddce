"""Calibration of a finished bundle on episodes that it was not trained on: other thresholds, the same networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle, load_bundle, verify_bundle, write_bundle
from fosp_core.bundle.replay import replayed
from fosp_core.bundle.risk import judged_risk
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.horizon import short_horizon
from fosp_core.specs import Manifest
from fosp_learner.bundling.calibration import EpisodeValues, calibrate, conformal_threshold
from fosp_learner.bundling.seen import read_seen
from fosp_learner.config import LearnerConfig
from fosp_learner.data.batch import Batch
from fosp_learner.data.dataset import Dataset
from fosp_learner.data.samplers import whole_episode


def recalibrate(
    directory: Path,
    data: Dataset,
    robot: RobotConfig,
    out: Path,
    alpha: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    allow_larger: bool = False,
) -> Manifest:
    """Write the bundle `directory` to `out` with a calibration for `robot`, and return the manifest.

    All episodes of `data` are used, so none of them may have trained the bundle; `progress(done, total)` counts them.
    eps becomes smaller or stays: a larger one that keeps the promise as well is taken with `allow_larger` alone, and if
    more onsets support it than before. The horizon is that of `robot`, and `alpha` that of the bundle unless it is
    given. Raise UserError as loading and calibrating do, for episodes that trained the bundle, and when the calibration
    is unsupported: eps would then not be what alpha promises.
    """
    if trained := len(data.episodes) - len(data.unseen(read_seen(directory) or ()).episodes):
        raise UserError(f"{trained} of {len(data.episodes)} episodes trained the bundle: they cannot calibrate it")
    bundle = load_bundle(directory, robot)
    manifest, before = bundle.manifest, bundle.manifest.calibration
    settings = LearnerConfig(decision_period_s=manifest.decision_period_s).for_robot(robot).calibration
    ceiling = settings.eps_ceiling if allow_larger else min(settings.eps_ceiling, before.eps)
    settings = settings.model_copy(update={"alpha": before.alpha if alpha is None else alpha, "eps_ceiling": ceiling})
    values = []
    for index in data.episodes:
        values.append(deployed_values(bundle, whole_episode(data, index)))
        progress(len(values), len(data.episodes))
    calibration = calibrate(values, settings)
    if not calibration.supported:
        raise UserError(
            f"{calibration.violating_episodes} of {calibration.episodes} episodes violate: too few for alpha "
            f"{calibration.alpha:g}, or their risk is not seen; record more, or choose a greater --alpha"
        )
    onsets, had = calibration.violating_episodes, before.violating_episodes
    if calibration.eps > before.eps and onsets <= had:
        raise UserError(
            f"a larger eps ({calibration.eps:.4f}, was {before.eps:.4f}) is asked for by {onsets} onsets, no more than "
            f"the {had} of before; record more"
        )
    # Ranges and cameras belong to the networks and their data, so what was accepted before stays so.
    ranges = {name: _union(before.ranges[name], span) for name, span in calibration.ranges.items()}
    kept = {"ranges": ranges, "camera": before.camera, "spread_weight": before.spread_weight}
    changed = {"parent_id": manifest.id, "calibration": calibration.model_copy(update=kept)}
    return write_bundle(out, manifest.model_copy(update=changed), {name: directory / name for name in manifest.files})


def recalibrate_on_onsets(
    directory: Path,
    scores: NDArray[np.float32],
    quiet: NDArray[np.float32],
    episodes: int,
    robot: RobotConfig,
    out: Path,
    alpha: float | None = None,
) -> Manifest:
    """Write the bundle `directory` to `out` with the threshold that `scores` ask for, and return the manifest.

    `scores` (n,) are the risks at the last chances of the onsets in `episodes` that the policy alone drove, with the
    horizon of the bundle, and `quiet` (m,) those of steps that no violation followed. All else stays. UserError as for
    `recalibrate`, and when the bundle looks less far ahead than `robot` needs.
    """
    manifest = verify_bundle(directory, robot)
    before = manifest.calibration
    doubt = short_horizon(before, robot, manifest.decision_period_s)
    if doubt:
        raise UserError(doubt)
    promised = before.alpha if alpha is None else alpha
    threshold = conformal_threshold(scores, promised, before.eps)
    if not threshold.supported:
        raise UserError(
            f"{len(scores)} onsets in {episodes} episodes are too few for alpha {promised:g}, or their risk is not "
            "seen; drive more episodes, or choose a greater --alpha"
        )
    calibration = before.model_copy(
        update={
            "eps": threshold.eps,
            "alpha": promised,
            "miss_rate_bound": threshold.miss_rate_bound,
            "supported": True,
            "episodes": episodes,
            "violating_episodes": len(scores),
            "false_veto_rate": float((quiet > threshold.eps).mean()) if len(quiet) else 0.0,
        }
    )
    changed = {"parent_id": manifest.id, "calibration": calibration}
    return write_bundle(out, manifest.model_copy(update=changed), {name: directory / name for name in manifest.files})


def deployed_values(bundle: Bundle, batch: Batch) -> EpisodeValues:
    """Return the values of one episode, a batch (1, L), by the networks of the bundle as they run on the robot."""
    images, actions = batch.images[0].numpy(), batch.action_prev[0].numpy()
    columns: dict[str, list[float]] = {name: [] for name in ("q_r", "q_c", "q_h", "v_h", "surprise")}
    following = (*actions[1:], actions[-1])  # the last row has none; its values are left out but for v_h
    for action, (state, surprise) in zip(
        following, replayed(bundle.encoder, bundle.manifest.latent, images, actions), strict=True
    ):
        scored = bundle.critic.run(action=action[np.newaxis, np.newaxis], **state)
        scored["q_h"] = judged_risk(scored, bundle.manifest.calibration.spread_weight)
        for name in ("q_r", "q_c", "q_h"):
            columns[name].append(float(scored[name][0, 0]))
        columns["v_h"].append(float(scored["v_h"][0]))
        columns["surprise"].append(surprise)

    def column(name: str) -> NDArray[np.float32]:
        return np.array(columns[name], np.float32)

    return EpisodeValues(
        q_r=column("q_r")[:-1],
        q_c=column("q_c")[:-1],
        q_h=column("q_h")[:-1],
        v_h=column("v_h"),
        cost=batch.cost[0, 1:].numpy(),
        surprise=column("surprise")[1:],
    )


def _union(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])
