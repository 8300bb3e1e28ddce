"""Holds a candidate's judge against the running one on the probes and on the last camera frames, before a swap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.agreement import Disagreement, Scores, disagreement, refusal, require_agreement
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.probes import UNKNOWN, ProbeSet, Tolerance
from fosp_core.bundle.risk import judged_risk
from fosp_core.errors import UserError
from fosp_core.processes import give_way
from fosp_perception.encoder import Encoder, Moment

FRESH = 8
"""Number of frames after which the state of an encoder knows what it sees."""
EVERY = 4
"""One of so many frames is scored: neighbouring ones say the same."""
FRAMES_FACTOR = 2.0
"""Factor of the tolerated shares on the last frames, which are few and alike."""


def agreement_failure(running: Bundle, candidate: Bundle, probes: ProbeSet | None, moments: Sequence[Moment]) -> str:
    """Return why the candidate's judge must not take over, in words; empty when it agrees with the running one.

    Each judge gets the latents of its own encoder. `probes` are those of the bundle of the start.
    """
    try:
        require_agreement(running, candidate, probes)
    except UserError as error:
        return str(error)
    assert probes is not None
    ours, theirs = (_scores(bundle, moments, probes) for bundle in (running, candidate))
    if not np.isfinite(theirs.q_h).all():
        return refusal(running, candidate, ["gives risks that are not numbers on the last frames"])
    found = disagreement(ours, theirs, np.full(len(ours.q_h), UNKNOWN, np.int8))
    reasons = _beyond(found, probes.tolerance)
    return refusal(running, candidate, [f"{reason}, on the last frames" for reason in reasons]) if reasons else ""


def _beyond(found: Disagreement, tolerance: Tolerance) -> list[str]:
    """Return the reasons on frames of the running episode: only the verdicts count, for its risks are mostly low."""
    allowed = Tolerance(
        missed=0,
        vetoed=0,
        overlooked=min(1.0, FRAMES_FACTOR * tolerance.overlooked),
        overvetoed=min(1.0, FRAMES_FACTOR * tolerance.overvetoed),
        rank=-1.0,
        order=0.0,
    )
    return found.beyond(allowed)


def _scores(bundle: Bundle, moments: Sequence[Moment], probes: ProbeSet) -> Scores:
    """Replay the moments through the encoder of a bundle, and score the actions of the probes at some of them."""
    encoder = Encoder(bundle)
    rows: list[NDArray[np.float32]] = []
    for step, moment in enumerate(moments):
        latent = encoder.step(moment.images, moment.executed, moment.is_first)
        give_way()
        if step >= FRESH and step % EVERY == 0:
            actions = probes.actions[len(rows) % len(probes.actions)]
            state = {"deter": latent.deter[np.newaxis], "stoch": latent.stoch[np.newaxis]}
            scored = bundle.critic.run(**state, action=actions[np.newaxis])
            rows.append(judged_risk(scored, bundle.manifest.calibration.spread_weight)[0])
    count = probes.actions.shape[1]
    q_h = np.stack(rows) if rows else np.zeros((0, count), np.float32)
    return Scores(q_h, bundle.manifest.calibration.eps)
