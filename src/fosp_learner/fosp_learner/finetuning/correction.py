"""Correction of the calibrated threshold by what happens on the robot: adaptive conformal inference with a floor.

The calibration's promise holds for scenes like those of its episodes. On the robot scenes change, and with the safety
monitor at work only the onsets that it missed show: those that it stopped never become violations. So what is observed
is a stream of episodes, each with a violation that the judge missed (an error) or without, and the rule of adaptive
conformal inference (Gibbs and Candes 2021) moves the logarithm of the threshold:

    log eps <- log eps + rate * (target - error)        at most the calibrated eps, at least `floor` times that

After T episodes of one kind of scenes, the number of errors that came while eps was above its floor is at most

    target * T + 1 + log(1 / floor) / rate

whatever the scenes do (`error_bound`). A violation that comes at the floor is beyond what a threshold can do. So is one
whose onset scored above eps at its last chance, as when an obstacle drives into a robot that was stopped: it leaves eps
where it is.

A judge answers for its own misses. The episodes are replayed with the scores that the networks in question give their
onsets, since a candidate that has learned from a violation may see it coming where the bundle before it did not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fosp_core.specs import Calibration, Manifest
from fosp_learner.bundling.calibration import EpisodeValues, conformal_threshold, onset_scores
from fosp_learner.config import CalibrationConfig
from fosp_learner.finetuning.config import CorrectionConfig
from fosp_learner.finetuning.online_buffer import Entry

CORRECTION = "correction"
"""Key in a manifest's training of how its threshold was corrected."""


@dataclass(frozen=True)
class Correction:
    """Share of the calibrated eps that is in force in one kind of scenes, after the episodes so far."""

    config: CorrectionConfig
    log_share: float = 0.0
    """State of the rule. It goes below the floor by at most one step, so that it comes back at once."""
    episodes: int = 0
    errors: int = 0
    """Episodes with a missed violation while eps was above its floor."""
    beyond: int = 0
    """Episodes with a missed violation while eps was at its floor."""
    foreseen: int = 0
    """Episodes with a violation that scored above the eps in force at its last chance."""

    @property
    def share(self) -> float:
        """Share of the calibrated eps, in [floor, 1]."""
        return max(math.exp(self.log_share), self.config.floor)

    @property
    def at_floor(self) -> bool:
        return self.log_share <= math.log(self.config.floor)

    def as_json(self) -> dict[str, float]:
        """Return what a manifest says about it."""
        counts = {"episodes": self.episodes, "errors": self.errors, "beyond": self.beyond, "foreseen": self.foreseen}
        return {"share": round(self.share, 6), **counts}

    def after(self, missed: bool) -> Correction:
        """Return the correction after one more episode, with a violation that the judge missed or without any."""
        config = self.config
        moved = self.log_share + config.rate * (config.target - missed)
        return replace(
            self,
            log_share=min(max(moved, math.log(config.floor) - config.rate), 0.0),
            episodes=self.episodes + 1,
            errors=self.errors + (missed and not self.at_floor),
            beyond=self.beyond + (missed and self.at_floor),
        )

    def after_foreseen(self) -> Correction:
        """Return the correction after one more episode, whose violation the judge foresaw."""
        return replace(self, episodes=self.episodes + 1, foreseen=self.foreseen + 1)


def error_bound(config: CorrectionConfig, episodes: int) -> float:
    """Return the greatest number of errors above the floor that any stream of so many episodes can hold."""
    return config.target * episodes + 1.0 + math.log(1.0 / config.floor) / config.rate


def counted(entries: Iterable[Entry], scene: str) -> Iterator[Entry]:
    """Yield the episodes of one kind of scenes, but for those that show hazards: there contact was sought."""
    return (entry for entry in entries if entry.scene == scene and not entry.shows_hazards)


def correction_of(
    entries: Iterable[Entry], scene: str, config: CorrectionConfig, scores: Mapping[int, float], eps: float
) -> Correction:
    """Return the correction after the episodes of one kind of scenes, in the order in which they came.

    `scores` holds the q_h of the judge in question at the last chance before each violation, by the first row of the
    episode; one without a score counts as missed. `eps` is the judge's calibrated threshold.
    """
    correction = Correction(config)
    for entry in counted(entries, scene):
        if entry.violates and scores.get(entry.start, 0.0) > eps * correction.share:
            correction = correction.after_foreseen()
        else:
            correction = correction.after(entry.violates)
    return correction


def newest_scene(entries: Sequence[Entry]) -> str:
    """Return the kind of scenes of the newest episode that shows no hazards; the one without a name, if none does."""
    return next((entry.scene for entry in reversed(entries) if not entry.shows_hazards), "")


def for_new_scenes(
    pooled: Calibration, new: Sequence[EpisodeValues], config: CalibrationConfig, correction: Correction
) -> Calibration:
    """Return the calibration with the threshold for the scenes that the `new` episodes come from.

    With enough onsets for alpha their own threshold counts, else the pooled one: a few onsets support nothing, and the
    correction has followed them already. Counting them twice brings eps to its floor by a single one, where the robot
    hardly moves. Onsets that came while the monitor was at work are those that it missed, so that their scores are too
    low and the threshold errs on the safe side. In any case eps is at most the corrected share of the pooled one.
    """
    scores, corrected = onset_scores(new, pooled.horizon_steps), pooled.eps * correction.share
    own = conformal_threshold(scores, config.alpha, config.eps_ceiling)
    if not own.supported:
        return pooled.model_copy(update={"eps": corrected})
    counts = {"episodes": len(new), "violating_episodes": len(scores), "miss_rate_bound": own.miss_rate_bound}
    return pooled.model_copy(update={"eps": min(own.eps, corrected), "supported": True, **counts})


def calibrated_eps(manifest: Manifest) -> float:
    """Return the threshold of a bundle before any correction."""
    return float(dict(manifest.training.get(CORRECTION) or {}).get("calibrated_eps", manifest.calibration.eps))


def tightened(running: Manifest, correction: Correction) -> Manifest | None:
    """Return the manifest of a running bundle with its corrected threshold, or None if that is not lower."""
    eps = calibrated_eps(running) * correction.share
    if eps >= running.calibration.eps:
        return None
    return running.model_copy(
        update={
            "parent_id": running.id,
            "calibration": running.calibration.model_copy(update={"eps": eps}),
            "training": {
                **running.training,
                CORRECTION: {"calibrated_eps": calibrated_eps(running), **correction.as_json()},
            },
        }
    )
