"""Safe policy expansion: candidates of two actors, scored by the critics, one of them chosen (PEX, Zhang 2023). No ROS.

The utility of a candidate is u = q_r - kappa * q_c, and it is feasible if and only if q_h <= eps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle import Bundle

OFFLINE: Literal[0] = 0
ONLINE: Literal[1] = 1
FALLBACK: Literal[2] = 2
Actors = Literal["both", "offline", "online"]
ACTORS: tuple[Actors, ...] = ("both", "offline", "online")
_SOURCES: tuple[Literal[0], Literal[1], Literal[2]] = (OFFLINE, ONLINE, FALLBACK)
DEPLOYED_CANDIDATES = 6
"""Of each actor: its mean, and five samples as alternatives for the safety monitor."""
ALTERNATIVE_SPREAD = 2.0
"""Those are drawn with so many times the actor's standard deviation. What is close to an infeasible mean is mostly as
infeasible: in 300 scenes of safe_reach alternatives of the actor's own spread prevented no violation, wider ones a
third of them."""
FALLBACKS = 12
"""Actions drawn evenly from the whole action box when no candidate of the actors is feasible. Where the actors see no
way on, mostly something else is feasible: without them the robot hangs there, braked, until its time is up."""
SOFTMAX_SHARPNESS = 5.0
"""Exploration draws a feasible candidate with probability softmax(SOFTMAX_SHARPNESS * u)."""


class PolicyOutputError(ValueError):
    """Actor or critic gave NaN or infinity for this latent: there is nothing to propose."""


class LatentError(ValueError):
    """The latent has the wrong size, or is not finite."""


@dataclass(frozen=True)
class Candidate:
    """One action, (A,) float32 in [-1, 1], exactly as the critics scored it, and their values."""

    source: Literal[0, 1, 2]
    """Actor, OFFLINE or ONLINE; or FALLBACK."""
    mean: bool
    """The actor's mean, not a sample."""
    action: NDArray[np.float32]
    q_r: float
    q_c: float
    q_h: float
    utility: float
    feasible: bool


@dataclass(frozen=True)
class Proposal:
    """All candidates of one latent, the index of the chosen one, and the reachability value of the state in [0, 1]."""

    candidates: tuple[Candidate, ...]
    chosen: int
    v_h: float


@dataclass(frozen=True)
class _Drawn:
    """Actions before they are scored."""

    action: NDArray[np.float32]
    """(N, A) in [-1, 1]."""
    source: NDArray[np.intp]
    """(N,)."""
    is_mean: NDArray[np.bool_]
    """(N,)."""


class SafePolicy:
    """Actors and critics of one bundle.

    `candidates` actions are taken from each actor. Exploring, all of them are samples. Deployed, the first is the
    actor's mean, and the others are samples: they give the safety monitor something to substitute when the means are
    infeasible, at no cost in smoothness, because with `prefer_means` (the default) a sample is chosen only if no mean
    is feasible. `prefer_means=False` takes the best of all candidates, which jumps between samples from step to step.
    A sample that a critic values outside of its calibrated range is dropped, unless nothing else is left: nothing is
    known of it, and the monitor would stop the robot for the mere company of it.

    When no candidate of the actors is feasible, `fallbacks` more are drawn evenly from the whole action box.

    `actors` other than both is no expansion: what the experiment compares it with.
    """

    def __init__(
        self,
        bundle: Bundle,
        candidates: int = 1,
        prefer_means: bool = True,
        actors: Actors = "both",
        fallbacks: int = FALLBACKS,
    ) -> None:
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        if fallbacks < 0:
            raise ValueError(f"fallbacks must be at least 0, got {fallbacks}")
        self._policy, self._critic = bundle.policy, bundle.critic
        self._latent = bundle.manifest.latent
        self._count, self._fallbacks = candidates, fallbacks
        self._prefer_means = prefer_means
        self._sources = {"both": [OFFLINE, ONLINE], "offline": [OFFLINE], "online": [ONLINE]}[actors]
        self.kappa = bundle.manifest.kappa
        self.eps = bundle.manifest.calibration.eps
        self._ranges = bundle.manifest.calibration.ranges

    def propose(
        self, deter: NDArray[np.float32], stoch: NDArray[np.float32], exploring: bool, rng: np.random.Generator
    ) -> Proposal:
        """Candidates for the latent `deter` (D,) float32, `stoch` (S,) float32, and the choice among them.

        Exploring, the choice is drawn from softmax(5 u) over the feasible candidates; deployed, it is the one with the
        greatest u. When none is feasible it is the one with the least q_h. Raises LatentError or PolicyOutputError.
        """
        self._check(deter, stoch)
        deter, stoch = deter[np.newaxis], stoch[np.newaxis]
        actors = self._policy.run(deter=deter, stoch=stoch)
        drawn = self._draw(actors["mean"][0], actors["std"][0], exploring, rng)
        candidates, v_h = self._score(deter, stoch, drawn)
        if self._fallbacks and not any(candidate.feasible for candidate in candidates):
            candidates, v_h = self._score(deter, stoch, self._with_fallbacks(drawn, rng))
        chosen = choose(
            np.array([candidate.utility for candidate in candidates]),
            np.array([candidate.q_h for candidate in candidates]),
            np.array([candidate.feasible for candidate in candidates]),
            np.array([candidate.mean for candidate in candidates]) if self._prefer_means else None,
            rng if exploring else None,
        )
        return Proposal(candidates, chosen, v_h)

    def _score(
        self, deter: NDArray[np.float32], stoch: NDArray[np.float32], drawn: _Drawn
    ) -> tuple[tuple[Candidate, ...], float]:
        """Those of the drawn actions that are kept, with their values, and v_h."""
        scored = self._critic.run(deter=deter, stoch=stoch, action=drawn.action[np.newaxis])
        values = {name: scored[name][0].astype(np.float64) for name in ("q_r", "q_c", "q_h")}
        v_h = float(scored["v_h"][0])
        if not np.isfinite([*values.values()]).all() or not np.isfinite(v_h):
            raise PolicyOutputError("the critics' output is not finite")
        utility = values["q_r"] - self.kappa * values["q_c"]
        candidates = tuple(
            Candidate(
                source=_SOURCES[drawn.source[i]],
                mean=bool(drawn.is_mean[i]),
                action=drawn.action[i],
                q_r=float(values["q_r"][i]),
                q_c=float(values["q_c"][i]),
                q_h=float(values["q_h"][i]),
                utility=float(utility[i]),
                feasible=bool(values["q_h"][i] <= self.eps),
            )
            for i in np.flatnonzero(self._known(values, drawn.is_mean))
        )
        return candidates, v_h

    def _known(self, values: dict[str, NDArray[np.float64]], means: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which candidates (N,) are kept: the means, and the samples that every critic values inside of its range."""
        inside = np.ones(len(means), bool)
        for name, value in values.items():
            low, high = self._ranges[name]  # type: ignore[index]
            inside &= (low <= value) & (value <= high)
        known = inside | means
        return known if known.any() else np.ones(len(means), bool)

    def _check(self, deter: NDArray[np.float32], stoch: NDArray[np.float32]) -> None:
        expected = (self._latent.deter,), (self._latent.stoch,)
        if (deter.shape, stoch.shape) != expected:
            raise LatentError(f"latent must be of shapes {expected}, got {(deter.shape, stoch.shape)}")
        if not (np.isfinite(deter).all() and np.isfinite(stoch).all()):
            raise LatentError("the latent is not finite")

    def _draw(
        self, mean: NDArray[np.float32], std: NDArray[np.float32], exploring: bool, rng: np.random.Generator
    ) -> _Drawn:
        """Distinct actions of the actors.

        `mean`, `std` are (2, A). Clipping comes before scoring, so that what is scored is what is proposed. Equal
        actions appear once: the online actor of a fresh bundle is a copy of the offline one.
        """
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise PolicyOutputError("the actors' output is not finite")
        sources = np.array(self._sources, np.intp)
        mean, std = mean[sources], std[sources]
        noise = rng.standard_normal((self._count, *mean.shape), dtype=np.float32)
        if not exploring:
            noise *= ALTERNATIVE_SPREAD
            noise[0] = 0.0
        drawn = np.clip(mean + std * noise, -1.0, 1.0).astype(np.float32).reshape(-1, mean.shape[-1])
        keep = np.sort(np.unique(drawn, axis=0, return_index=True)[1])
        is_mean = (keep < len(mean)) & (not exploring)
        return _Drawn(np.ascontiguousarray(drawn[keep]), sources[keep % len(mean)], is_mean)

    def _with_fallbacks(self, drawn: _Drawn, rng: np.random.Generator) -> _Drawn:
        more = rng.uniform(-1.0, 1.0, (self._fallbacks, drawn.action.shape[1])).astype(np.float32)
        return _Drawn(
            np.concatenate([drawn.action, more]),
            np.concatenate([drawn.source, np.full(len(more), FALLBACK, np.intp)]),
            np.concatenate([drawn.is_mean, np.zeros(len(more), bool)]),
        )


def choose(
    utility: NDArray[np.float64],
    q_h: NDArray[np.float64],
    feasible: NDArray[np.bool_],
    preferred: NDArray[np.bool_] | None,
    rng: np.random.Generator | None,
) -> int:
    """Index of the candidate to propose; every array is (N,).

    None feasible: the least q_h. Else among the feasible ones, and among those `preferred` where any is: the greatest
    utility, or, with an `rng`, a draw from softmax(5 u).
    """
    if not feasible.any():
        return int(np.argmin(q_h))
    eligible = feasible
    if preferred is not None and (feasible & preferred).any():
        eligible = feasible & preferred
    masked = np.where(eligible, utility, -np.inf)
    if rng is None:
        return int(np.argmax(masked))
    weight = np.exp(SOFTMAX_SHARPNESS * (masked - masked.max()))
    return int(rng.choice(len(weight), p=weight / weight.sum()))
