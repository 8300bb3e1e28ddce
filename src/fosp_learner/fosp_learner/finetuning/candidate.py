"""From the networks of a running fine-tuning to a bundle that was calibrated and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fosp_core.bundle.bundle import verify_bundle, write_bundle
from fosp_core.bundle.signature import read_private_key, sign_id
from fosp_core.errors import UserError
from fosp_core.specs import Calibration, Manifest
from fosp_learner.bundling.calibration import calibrate
from fosp_learner.bundling.export import export_networks
from fosp_learner.bundling.training_weights import WEIGHTS, weights_bytes
from fosp_learner.bundling.validation import validation_metrics
from fosp_learner.data.dataset import Dataset, EpisodeIndex, draw_episodes
from fosp_learner.finetuning.config import GateConfig
from fosp_learner.finetuning.fine_tuner import FineTuner
from fosp_learner.finetuning.gate import Judged, Judgement, Networks, episode_values, figures, judge
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import FilteredEpisode, filter_episodes


@dataclass(frozen=True)
class Candidate:
    """A bundle on disk, and how it was judged."""

    path: Path
    manifest: Manifest
    judgement: Judgement


Entry = tuple[Dataset, EpisodeIndex]


@dataclass(frozen=True)
class GateEpisodes:
    """Episodes that no candidate was trained on: some calibrate it, the others judge it."""

    calibrating: tuple[Entry, ...]
    judging: tuple[Entry, ...]

    @classmethod
    def of(cls, new: Sequence[Dataset | None], offline: Dataset | None, config: GateConfig, seed: int) -> GateEpisodes:
        """The `new` ones, half for each, since they show what the candidate is for; and of `offline` at random as many
        as `config` still has room for, those that violate first, up to half: thresholds hang on them.

        UserError when there are fewer than two.
        """
        room = config.calibration_episodes + config.episodes
        ours = [(data, index) for data in new if data is not None for index in data.episodes][-room:]
        others: list[Entry] = []
        if offline is not None:
            drawn = draw_episodes(offline, room - len(ours), 0.5, np.random.default_rng(seed))
            others = [(offline, index) for index in drawn]
        step = max(2, len(others) // config.episodes)
        judging = [*ours[1::2], *others[1::step]]
        calibrating = [*ours[0::2], *(entry for i, entry in enumerate(others) if i % step != 1)]
        if not judging and len(calibrating) > 1:
            judging.append(calibrating.pop())
        if not judging:
            raise UserError("a candidate needs at least two episodes to be calibrated and judged on; record more")
        return cls(tuple(calibrating), tuple(judging))


def make_candidate(
    tuner: FineTuner,
    episodes: GateEpisodes,
    running: Networks,
    running_calibration: Calibration,
    *,
    manifest: Manifest,
    training: dict[str, Any],
    folder: Path,
    signing_key: Path | None = None,
) -> Candidate:
    """Write `folder`/ID of the networks as they are now; `manifest` gives all that does not change by training."""
    config, gate = tuner.config, tuner.settings.gate
    networks, discount = tuner.networks, config.critic.discount
    calibrating = _filtered(networks.world_model, episodes.calibrating)
    judging = _filtered(networks.world_model, episodes.judging)
    calibration, reverse = (
        calibrate([episode_values(networks.behaviour, e) for e in some], config.calibration)
        for some in (calibrating, judging)
    )
    # The other way round as well, where both support the promise: with half as many violations the rate of misses is as
    # uncertain as its margin is wide.
    crossed = calibration.supported and reverse.supported
    judged = [Judged(calibration, judging), *([Judged(reverse, calibrating)] if crossed else [])]
    shown = [episodes.judging, *([episodes.calibrating] if crossed else [])]
    now = [Judged(running_calibration, _filtered(running.world_model, some)) for some in shown]
    judgement = judge(
        figures(networks, judged, gate, discount),
        figures(running, now, gate, discount),
        gate,
    )
    described = manifest.model_copy(
        update={
            "calibration": calibration,
            "metrics": validation_metrics(tuner, judging, config.calibration.horizon_steps),
            "training": {**training, "gate": judgement.as_json()},
        }
    )
    actors = tuner.offline_actor, tuner.behaviour.actor
    files: dict[str, Path | bytes] = dict(export_networks(tuner.world_model, *actors, tuner.behaviour.critics))
    files[WEIGHTS] = weights_bytes(tuner.weights())
    path, complete = _write(folder, described, files)
    if signing_key is not None:
        sign_id(path, complete.id, read_private_key(signing_key))
    return Candidate(path, complete, judgement)


def _write(folder: Path, manifest: Manifest, files: dict[str, Path | bytes]) -> tuple[Path, Manifest]:
    """Into a folder that is named after the id; a resumed run makes the same bundle again."""
    staging = folder / ".candidate"
    _remove(staging)
    complete = write_bundle(staging, manifest, files)
    target = folder / complete.id[:12]
    if target.exists():
        try:
            verify_bundle(target)
            _remove(staging)
            return target, complete
        except UserError:
            _remove(target)
    staging.rename(target)
    return target, complete


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _filtered(model: WorldModel, episodes: Sequence[tuple[Dataset, EpisodeIndex]]) -> list[FilteredEpisode]:
    """Data set by data set, in the order given."""
    from dataclasses import replace

    datasets: list[Dataset] = []
    for data, _ in episodes:
        if not any(data is known for known in datasets):
            datasets.append(data)
    return [
        filtered
        for data in datasets
        for filtered in filter_episodes(
            model, replace(data, episodes=tuple(index for of, index in episodes if of is data))
        )
    ]
