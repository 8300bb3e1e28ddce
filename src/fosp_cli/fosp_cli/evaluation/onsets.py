"""How well q_h separates the steps before the onset of a violation from all others, whatever its threshold.

The monitor's threshold moves misses against false alarms. At one fixed rate of false alarms the misses of different
critics, and of one critic in different kinds of scenes, can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fosp_cli.evaluation.intervals import wilson_interval
from fosp_learner.bundling.onsets import first_onset, last_chance

FALSE_ALARMS = 0.05
"""Share of the quiet steps that the threshold stops."""


@dataclass(frozen=True)
class OnsetRisks:
    """q_h of the actions of an episode that was driven as proposed, up to the onset of its first violation."""

    before_onset: tuple[float, ...]
    """Steps that the first violation follows within the calibration's horizon; empty without a violation."""
    quiet: tuple[float, ...]
    """Steps that no violation follows within the foresight."""

    @property
    def at_last_chance(self) -> float | None:
        """Return the risk at the last chance to prevent the violation, where every step was decided; None without."""
        return self.before_onset[0] if self.before_onset else None


def onset_risks(
    periods: Sequence[int], q_h: Sequence[float], costs: Sequence[float], horizon_steps: int, foresight_steps: int
) -> OnsetRisks:
    """Return the risks of an episode by what followed; `costs[t]` is the worst cost in decision period t.

    Onset and last chance are those of the calibration (fosp_learner.bundling.onsets).
    """
    onset = first_onset(costs)
    if onset is None:  # an episode that begins in a violation and stays there tells nothing
        return OnsetRisks((), () if any(cost > 0 for cost in costs) else tuple(q_h))
    pairs = list(zip(periods, q_h, strict=True))
    before = tuple(risk for period, risk in pairs if last_chance(onset, horizon_steps) <= period <= onset)
    return OnsetRisks(before, tuple(risk for period, risk in pairs if period <= onset - foresight_steps))


def onset_figures(episodes: Sequence[OnsetRisks]) -> dict[str, float | list[float] | None]:
    """Return the rate of missed onsets with its interval, and the threshold of q_h that it belongs to.

    The rate is the mean, over the episodes with a violation, of the share of the steps before the onset whose q_h is
    not above the threshold. It is None without a violation, or where a risk was not evaluated.
    """
    quiet = np.array([risk for episode in episodes for risk in episode.quiet])
    violating = [np.array(episode.before_onset) for episode in episodes if episode.before_onset]
    known = quiet.size and violating and not (np.isnan(quiet).any() or any(np.isnan(one).any() for one in violating))
    if not known:
        return {"onset_miss_rate": None, "onset_miss_ci95": None, "onset_threshold": None}
    threshold = float(np.quantile(quiet, 1.0 - FALSE_ALARMS, method="higher"))
    missed = [float((one <= threshold).mean()) for one in violating]
    low, high = wilson_interval(math.fsum(missed), len(missed))
    return {
        "onset_miss_rate": round(float(np.mean(missed)), 4),
        "onset_miss_ci95": [round(low, 4), round(high, 4)],
        "onset_threshold": round(threshold, 6),
    }
