"""A new judge must earn it: the critics of two bundles score the same moments, each with its own encoder's latents.

The probes of the bundle that a person started the graph with (fosp_core.bundle.probes) are replayed through both. A
candidate that disagrees by more than the probes tolerate is refused, with the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.onnx_session import OnnxModel
from fosp_core.bundle.probes import BEFORE, SAFE, ProbeSet, Tolerance
from fosp_core.bundle.replay import last_latent
from fosp_core.bundle.risk import judged_risk
from fosp_core.errors import UserError
from fosp_core.specs import LatentSpec

CONFIDENCE = 0.99
"""A judge that keeps the promise of the bundle passes the test on labelled probes with this probability at least."""
DEFAULT = Tolerance(missed=0, vetoed=0, overlooked=0.2, overvetoed=0.35, rank=0.7, order=0.8)
"""Shares and ranks that are tolerated where no other fit judge was measured; the counts are always computed."""
VETO_MARGIN = 0.1
"""By how much the share of vetoed safe actions may exceed that of the bundle."""
LEAST_PAIRS = 30
"""Least number of actions that a share is a share of: fewer say nothing."""

Risks = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Risks of S x K actions by one judge, and its threshold."""

    q_h: Risks
    eps: float

    @property
    def vetoed(self) -> NDArray[np.bool_]:
        """(S, K) True where the judge finds the action infeasible; so it does where the risk is not a number."""
        return ~(self.q_h <= self.eps)


def probe_risks(
    encoder: OnnxModel, critic: OnnxModel, latent: LatentSpec, probes: ProbeSet, spread_weight: float | None = None
) -> Risks:
    """Replay every sequence from an empty state, and return the risk (S, K) of its actions at its last frame.

    `spread_weight` is that of the calibration whose eps the risk is held against.
    """
    rows = zip(probes.images, probes.executed, probes.actions, strict=True)
    return np.stack(
        [
            judged_risk(
                critic.run(action=actions[np.newaxis], **last_latent(encoder, latent, images, executed)), spread_weight
            )[0]
            for images, executed, actions in rows
        ]
    )


def scores_of(bundle: Bundle, probes: ProbeSet) -> Scores:
    """Return the risks that a bundle gives to the actions of probes; UserError when its networks fail on them."""
    try:
        weight = bundle.manifest.calibration.spread_weight
        q_h = probe_risks(bundle.encoder, bundle.critic, bundle.manifest.latent, probes, weight)
    except Exception as error:  # onnxruntime raises its own, undocumented types
        detail = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise UserError(f"bundle {bundle.manifest.id[:12]}: fails on the probes ({detail})") from None
    return Scores(q_h, bundle.manifest.calibration.eps)


@dataclass(frozen=True)
class Disagreement:
    """How another judge disagrees; a share or a rank is NaN where too few actions tell."""

    before: int
    missed: int
    safe: int
    vetoed: int
    overlooked: float
    overvetoed: float
    rank: float
    order: float

    def beyond(self, tolerance: Tolerance) -> list[str]:
        """Return what exceeds the tolerance, in words with the numbers."""
        found = []
        if self.missed > tolerance.missed:
            found.append(
                f"lets pass {self.missed} of {self.before} actions before a violation (at most {tolerance.missed})"
            )
        if self.vetoed > tolerance.vetoed:
            found.append(f"vetoes {self.vetoed} of {self.safe} safe actions (at most {tolerance.vetoed})")
        if self.overlooked > tolerance.overlooked:
            found.append(
                f"lets pass {self.overlooked:.0%} of what the other judge vetoes (at most {tolerance.overlooked:.0%})"
            )
        if self.overvetoed > tolerance.overvetoed:
            found.append(
                f"vetoes {self.overvetoed:.0%} of what the other judge lets pass (at most {tolerance.overvetoed:.0%})"
            )
        if self.rank < tolerance.rank:
            found.append(f"gives risks of rank correlation {self.rank:.2f} (at least {tolerance.rank:.2f})")
        if self.order < tolerance.order:
            found.append(f"orders {self.order:.0%} of the actions of a moment alike (at least {tolerance.order:.0%})")
        return found


def disagreement(running: Scores, candidate: Scores, labels: NDArray[np.int8]) -> Disagreement:
    """Hold the candidate's scores against those of the running judge; the first action of a row has the label."""
    ours, theirs = running.vetoed, candidate.vetoed
    before, safe = labels == BEFORE, labels == SAFE
    return Disagreement(
        before=int(before.sum()),
        missed=int((~theirs[before, 0]).sum()),
        safe=int(safe.sum()),
        vetoed=int(theirs[safe, 0].sum()),
        overlooked=_share(~theirs, ours),
        overvetoed=_share(theirs, ~ours),
        rank=rank_correlation(running.q_h.ravel(), candidate.q_h.ravel()),
        order=_order(ours, candidate.q_h),
    )


def require_agreement(running: Bundle, candidate: Bundle, probes: ProbeSet | None) -> None:
    """Raise UserError unless the candidate's judge agrees with the running one, and there are probes to tell by."""
    if probes is None:
        raise UserError(
            f"bundle {candidate.manifest.id[:12]}: the bundle that the graph was started with holds no probes, so that "
            "no other judge can be held against it; add them with: fosp bundle probes, and start the graph with that"
        )
    reasons = disagreements(scores_of(running, probes), scores_of(candidate, probes), probes)
    if reasons:
        raise UserError(refusal(running, candidate, reasons))


def disagreements(running: Scores, candidate: Scores, probes: ProbeSet) -> list[str]:
    """Return in what the candidate disagrees beyond the tolerance of the probes, in words; empty when it agrees."""
    if not np.isfinite(candidate.q_h).all():
        return ["gives risks that are not numbers"]
    return disagreement(running, candidate, probes.labels).beyond(probes.tolerance)


def refusal(running: Bundle, candidate: Bundle, reasons: Iterable[str]) -> str:
    """Return the line of a refusal."""
    names = f"bundle {candidate.manifest.id[:12]}: its judge disagrees with that of {running.manifest.id[:12]}"
    return f"{names}: it {'; it '.join(reasons)}"


# -- the tolerance -----------------------------------------------------------------------------------
def declared_tolerance(
    own: Scores, labels: NDArray[np.int8], alpha: float, false_veto_rate: float, judges: Sequence[Scores] = ()
) -> Tolerance:
    """Return the disagreement that the probes of a bundle tolerate.

    The counts are quantiles of binomial distributions: a judge that misses at most a share `alpha` of the steps before
    a violation passes with probability CONFIDENCE, one of each episode being probed. Where the bundle itself misses
    more on its probes, which know few frames, its own share counts.

    The shares and ranks are the worst of DEFAULT and of what `judges`, other fit judges of the same task, gave. By
    exchangeability a further one of those exceeds each with a probability of at most 1 / (judges + 1).
    """
    self_test = disagreement(own, own, labels)
    before, safe = max(1, self_test.before), max(1, self_test.safe)
    others = [disagreement(own, judge, labels) for judge in judges]

    def worst(name: str, default: float, choose: Any) -> float:
        found = [value for other in others if math.isfinite(value := getattr(other, name))]
        return float(choose([default, *found]))

    return Tolerance(
        missed=binomial_most(before, max(alpha, self_test.missed / before)),
        vetoed=binomial_most(safe, min(1.0, max(false_veto_rate, self_test.vetoed / safe) + VETO_MARGIN)),
        overlooked=worst("overlooked", DEFAULT.overlooked, max),
        overvetoed=worst("overvetoed", DEFAULT.overvetoed, max),
        rank=worst("rank", DEFAULT.rank, min),
        order=worst("order", DEFAULT.order, min),
        judges=len(others),
    )


def binomial_most(count: int, share: float) -> int:
    """Return the least k that a binomial number of `count` trials exceeds with probability 1 - CONFIDENCE at most."""
    below = 0.0
    for k in range(count + 1):
        below += math.comb(count, k) * share**k * (1 - share) ** (count - k)
        if below >= CONFIDENCE:
            return k
    return count


# -- statistics --------------------------------------------------------------------------------------
def _share(found: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    count = int(among.sum())
    return float(found[among].mean()) if count >= LEAST_PAIRS else math.nan


def rank_correlation(a: Risks, b: Risks) -> float:
    """Return Spearman's rank correlation; 0 where a side is constant, because it then orders nothing."""
    ranks = _ranks(a), _ranks(b)
    if len(a) < 2 or any(rank.std() == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: Risks) -> NDArray[np.float64]:
    """Return the ranks, with the mean rank for equal values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return mean[inverse]


def _order(vetoed: NDArray[np.bool_], risks: Risks) -> float:
    """Return the chance that, of a vetoed action and another one of the same row, the vetoed one has more risk.

    Equal risks count half. Rows are weighed alike; NaN where fewer than LEAST_LABELLED rows hold both kinds.
    """
    chances = []
    for veto, risk in zip(vetoed, risks, strict=True):
        if veto.any() and not veto.all():
            more, less = risk[veto][:, np.newaxis], risk[~veto][np.newaxis]
            chances.append(float(np.mean((more > less) + 0.5 * (more == less))))
    return float(np.mean(chances)) if len(chances) >= LEAST_ROWS else math.nan


LEAST_ROWS = 8
"""Least number of moments at which the running judge vetoes some actions and not others."""
