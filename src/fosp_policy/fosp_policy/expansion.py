"""Safe policy expansion (PEX, Zhang 2023): the critics score candidates of two actors, and one is chosen. No ROS.

The utility of a candidate is u = q_r - kappa * q_c, and it is feasible if and only if q_h <= eps. A bundle with a
success critic also gives q_s, the probability that the episode succeeds after the candidate; the choice can go by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.risk import judged_risk
from fosp_core.errors import UserError
from fosp_policy.detour import NO_GUIDE, Guide
from fosp_policy.exploration import mixed

OFFLINE: Literal[0] = 0
ONLINE: Literal[1] = 1
FALLBACK: Literal[2] = 2
Actors = Literal["both", "offline", "online"]
ACTORS: tuple[Actors, ...] = ("both", "offline", "online")
Choice = Literal["return", "success", "both"]
CHOICES: tuple[Choice, ...] = ("return", "success", "both")
"""Criteria of the choice among feasible candidates: utility, q_s, or utility among those of nearly the best q_s."""
SUCCESS_MARGIN = 0.02
"""Difference of q_s within which two candidates count as equally likely to succeed."""
_SOURCES: tuple[Literal[0], Literal[1], Literal[2]] = (OFFLINE, ONLINE, FALLBACK)
DEPLOYED_CANDIDATES = 6
"""Number of candidates of each actor: its mean, and five samples as alternatives for the safety monitor."""
ALTERNATIVE_SPREAD = 2.0
"""Factor of the actor's standard deviation for alternatives: actions near an infeasible mean are mostly infeasible."""
FALLBACKS = 48
"""Number of actions that are drawn evenly from the whole action box as ways out, when no actor's candidate is feasible.
Without them the robot brakes, and stays where it is until a person comes."""
FALLBACK_MARGIN = 0.5
"""A fallback is taken only if its q_h is at most this share of eps: if every feasible one were taken, the robot would
wander along the edge of the feasible set, and over it."""
ASIDE_COSINE = 0.5
"""An action goes aside when its cosine with the action that led nowhere is at most this."""
SOFTMAX_SHARPNESS = 5.0
"""Exploration draws a feasible candidate with probability softmax(SOFTMAX_SHARPNESS * u)."""


class PolicyOutputError(ValueError):
    """An actor or critic returned NaN or infinity for this latent, so that there is nothing to propose."""


class LatentError(ValueError):
    """The latent has the wrong size, or is not finite."""


@dataclass(frozen=True)
class ScoredCandidate:
    """One action, (A,) float32 in [-1, 1], exactly as the critics scored it, with their values."""

    source: Literal[0, 1, 2]
    """The actor, OFFLINE or ONLINE, or FALLBACK."""
    mean: bool
    """True for the actor's mean, False for a sample."""
    action: NDArray[np.float32]
    q_r: float
    q_c: float
    q_h: float
    """Risk that is compared with eps (fosp_core.bundle.risk)."""
    utility: float
    feasible: bool
    q_s: float = math.nan
    """Probability of success; NaN if the bundle has no success critic."""


@dataclass(frozen=True)
class Proposal:
    """All candidates for one latent, the index of the chosen one, and the reachability value v_h in [0, 1]."""

    candidates: tuple[ScoredCandidate, ...]
    chosen: int
    v_h: float

    def chosen_twist(self, axes: int) -> tuple[float, ...]:
        """Return the first `axes` values of the proposed action: all but that of a gripper."""
        return tuple(self.candidates[self.chosen].action[:axes].tolist())


class SafePolicy:
    """Actors and critics of one bundle.

    Each actor gives `candidates` actions. When exploring, all of them are samples. When deployed, the first is the
    actor's mean, and the others are samples, which the safety monitor can substitute for infeasible means.

    With `prefer_means` (the default) a sample is chosen only if no mean is feasible, so motion stays smooth.
    `prefer_means=False` chooses the best of all candidates, which jumps between samples from step to step. A sample
    that a critic values outside of its calibrated range is dropped, unless nothing else is left: nothing is known about
    it, and the monitor would stop the robot for it.

    When no candidate of the actors is feasible, `fallbacks` more are drawn evenly from the whole action box. The one of
    least risk joins the candidates and is chosen, if it is clearly feasible (FALLBACK_MARGIN) and within all ranges.
    With `coasts`, for a robot that keeps its momentum, it joins them in any case, and the least risky of all is chosen.
    A stop does not bring such a robot to rest, so it cannot wait for a person. Its way out is a thrust, which no actor
    may propose.

    `choice` is the criterion of the choice (CHOICES). All but "return" need a bundle with a success critic; without one
    they raise UserError.

    `actors` "offline" or "online" switches the expansion off, and `filters=False` the filter by risk: then every
    candidate counts as feasible. Both are for comparison.
    """

    def __init__(
        self,
        bundle: Bundle,
        candidates: int = 1,
        prefer_means: bool = True,
        actors: Actors = "both",
        fallbacks: int = FALLBACKS,
        filters: bool = True,
        choice: Choice = "return",
        coasts: bool = False,
    ) -> None:
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        if fallbacks < 0:
            raise ValueError(f"fallbacks must be at least 0, got {fallbacks}")
        if choice != "return" and "q_s" not in bundle.manifest.critic_outputs:
            raise UserError(
                f"bundle {bundle.manifest.id[:12]}: has no success critic, so 'choice' cannot be '{choice}': set it to "
                "'return', or train the bundle with success.enabled"
            )
        self._choice = choice
        self._critic_outputs = ("q_r", "q_c", "q_h", *(("q_s",) if "q_s" in bundle.manifest.critic_outputs else ()))
        self._policy, self._critic = bundle.policy, bundle.critic
        self._latent, self._action_size = bundle.manifest.latent, bundle.manifest.action.size
        self._count, self._fallbacks = candidates, fallbacks
        self._prefer_means, self._coasts = prefer_means, coasts
        chosen = {"both": [OFFLINE, ONLINE], "offline": [OFFLINE], "online": [ONLINE]}[actors]
        self._sources = np.array(chosen, np.intp)
        self._filters = filters
        self.heeds_risk = True
        """With False the policy proposes what promises the greatest return, however risky: a test of the monitor."""
        self.kappa = bundle.manifest.kappa
        self.eps = bundle.manifest.calibration.eps
        self._spread_weight = bundle.manifest.calibration.spread_weight
        self._ranges = bundle.manifest.calibration.ranges

    @property
    def action_size(self) -> int:
        """Number of axes of an action."""
        return self._action_size

    def propose(
        self,
        deter: NDArray[np.float32],
        stoch: NDArray[np.float32],
        exploring: bool,
        rng: np.random.Generator,
        drift: NDArray[np.float32] | None = None,
        guide: Guide = NO_GUIDE,
    ) -> Proposal:
        """Return candidates for the latent `deter` (D,) float32, `stoch` (S,) float32, and the choice among them.

        When exploring, all samples share the `drift` (A,) of exploration.py, if it is given, and the choice is drawn
        from softmax(5 u) over the feasible candidates; when deployed, it is the one with the greatest u, unless the
        `guide` of a robot that hangs (detour.py) asks for another. `choice` may put q_s in the place of u. When none is
        feasible, it is the one with the least q_h. Raise LatentError or PolicyOutputError.
        """
        self._check(deter, stoch)
        deter, stoch = deter[np.newaxis], stoch[np.newaxis]
        actors = self._policy.run(deter=deter, stoch=stoch)
        candidates, inside, v_h = self._score(
            deter, stoch, *self._draw(actors["mean"][0], actors["std"][0], exploring, rng, drift)
        )
        known = [candidate for candidate, known in zip(candidates, inside, strict=True) if known or candidate.mean]
        candidates = known or candidates
        if not self.heeds_risk:
            candidates = [*candidates, *self._drawn_evenly(deter, stoch, rng)]
            boldest = max(range(len(candidates)), key=lambda index: candidates[index].q_r)
            return Proposal(tuple(candidates), boldest, v_h)
        if guide != NO_GUIDE:
            guided = self._guided(deter, stoch, candidates, guide)
            if guided is not None:
                others = [candidate for candidate in candidates if candidate is not guided]
                return Proposal((*others, guided), len(others), v_h)
        if not any(candidate.feasible for candidate in candidates):
            candidates = [*candidates, *self._ways_out(deter, stoch, rng)]
        chosen = choose(
            np.array([candidate.q_s if self._choice == "success" else candidate.utility for candidate in candidates]),
            np.array([candidate.q_h for candidate in candidates]),
            self._eligible(candidates),
            np.array([candidate.mean for candidate in candidates]) if self._prefer_means else None,
            rng if exploring else None,
        )
        return Proposal(tuple(candidates), chosen, v_h)

    def _guided(
        self,
        deter: NDArray[np.float32],
        stoch: NDArray[np.float32],
        candidates: list[ScoredCandidate],
        guide: Guide,
    ) -> ScoredCandidate | None:
        """Return the candidate that a detour asks for; None where there is no such one that is feasible.

        The way back is proposed also when nothing is feasible: the monitor may know better. The way aside is another
        mode of the actors: at first the best candidate that does not go where the robot hung, then the candidate that
        is most like it.
        """
        feasible = [candidate for candidate in candidates if candidate.feasible]
        if guide.back:
            action = np.zeros((1, self._action_size), np.float32)
            action[0, : len(guide.back)] = np.clip(guide.back, -1.0, 1.0)
            action[0, len(guide.back) :] = candidates[0].action[len(guide.back) :]  # the gripper
            back = self._scored_known(deter, stoch, action)
            return back[0] if back and (back[0].feasible or not feasible) else None
        clear = [candidate for candidate in feasible if _cosine(candidate.action, guide.blocked) <= ASIDE_COSINE]
        if not guide.aside:
            return max(clear, key=lambda candidate: candidate.utility, default=None)
        return max(clear, key=lambda candidate: _cosine(candidate.action, guide.aside), default=None)

    def _eligible(self, candidates: Sequence[ScoredCandidate]) -> NDArray[np.bool_]:
        """Return the mask (N,) of the feasible candidates; with the choice "both", of those with about the best q_s."""
        feasible = np.array([candidate.feasible for candidate in candidates])
        if self._choice != "both" or not feasible.any():
            return feasible
        q_s = np.array([candidate.q_s for candidate in candidates])
        if self._prefer_means and any(one.feasible and one.mean for one in candidates):
            feasible &= np.array([candidate.mean for candidate in candidates])
        eligible: NDArray[np.bool_] = feasible & (q_s >= q_s[feasible].max() - SUCCESS_MARGIN)
        return eligible

    def _ways_out(
        self, deter: NDArray[np.float32], stoch: NDArray[np.float32], rng: np.random.Generator
    ) -> list[ScoredCandidate]:
        """Return the fallback of least risk within all ranges, if it is clearly feasible or the robot coasts."""
        drawn = self._drawn_evenly(deter, stoch, rng)
        least = sorted(drawn, key=lambda candidate: candidate.q_h)[:1]
        return [one for one in least if self._coasts or one.q_h <= FALLBACK_MARGIN * self.eps]

    def _drawn_evenly(
        self, deter: NDArray[np.float32], stoch: NDArray[np.float32], rng: np.random.Generator
    ) -> list[ScoredCandidate]:
        """Return the fallbacks, drawn evenly from the action box, that are within all ranges."""
        if not self._fallbacks:
            return []
        actions = rng.uniform(-1.0, 1.0, (self._fallbacks, self._action_size)).astype(np.float32)
        return self._scored_known(deter, stoch, actions)

    def _scored_known(
        self, deter: NDArray[np.float32], stoch: NDArray[np.float32], actions: NDArray[np.float32]
    ) -> list[ScoredCandidate]:
        """Score the actions (N, A), and return those that are within all ranges as fallbacks."""
        sources, no_mean = np.full(len(actions), FALLBACK, np.intp), np.zeros(len(actions), bool)
        candidates, inside, _ = self._score(deter, stoch, actions, sources, no_mean)
        return [candidate for candidate, known in zip(candidates, inside, strict=True) if known]

    def _score(
        self,
        deter: NDArray[np.float32],
        stoch: NDArray[np.float32],
        actions: NDArray[np.float32],
        sources: NDArray[np.intp],
        means: NDArray[np.bool_],
    ) -> tuple[list[ScoredCandidate], list[bool], float]:
        """Return actions (N, A) with their values, for each action True if it is within all ranges, and v_h.

        Plain numbers are faster here than arrays, because there are few of them.
        """
        scored = self._critic.run(deter=deter, stoch=stoch, action=actions[np.newaxis])
        scored["q_h"] = judged_risk(scored, self._spread_weight)
        values: dict[str, list[float]] = {name: scored[name][0].tolist() for name in self._critic_outputs}
        v_h = float(scored["v_h"][0])
        if not all(map(math.isfinite, (*chain.from_iterable(values.values()), v_h))):
            raise PolicyOutputError("the critics' output is not finite")
        candidates = [
            ScoredCandidate(
                *(_SOURCES[source], mean, action, q_r, q_c, q_h, q_r - self.kappa * q_c),
                feasible=q_h <= self.eps or not self._filters,
                q_s=q_s,
            )
            for action, q_r, q_c, q_h, q_s, source, mean in zip(
                actions,
                *(values[name] for name in ("q_r", "q_c", "q_h")),
                values.get("q_s", [math.nan] * len(actions)),
                sources.tolist(),
                means.tolist(),
                strict=True,
            )
        ]
        return candidates, self._inside(values), v_h

    def _inside(self, values: dict[str, list[float]]) -> list[bool]:
        """Return for each action True if every critic values it within its calibrated range."""
        bounds = [(0.0, 1.0) if name == "q_s" else self._ranges[name] for name in values]  # type: ignore[index]
        return [
            all(low <= value <= high for value, (low, high) in zip(of_one, bounds, strict=True))
            for of_one in zip(*values.values(), strict=True)
        ]

    def _check(self, deter: NDArray[np.float32], stoch: NDArray[np.float32]) -> None:
        expected = (self._latent.deter,), (self._latent.stoch,)
        if (deter.shape, stoch.shape) != expected:
            raise LatentError(f"latent must be of shapes {expected}, got {(deter.shape, stoch.shape)}")
        if not (np.isfinite(deter).all() and np.isfinite(stoch).all()):
            raise LatentError("the latent is not finite")

    def _draw(
        self,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        exploring: bool,
        rng: np.random.Generator,
        drift: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.bool_]]:
        """Return distinct actions (N, A) float32 in [-1, 1], their actors (N,), and the mask (N,) of the means.

        `mean` and `std` are (2, A). Actions are clipped before they are scored, so that the scored action is the
        proposed one. Equal actions appear once: the online actor of a new bundle is a copy of the offline one.
        """
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise PolicyOutputError("the actors' output is not finite")
        sources = self._sources
        mean, std = mean[sources], std[sources]
        noise = rng.standard_normal((self._count, *mean.shape), dtype=np.float32)
        if not exploring:
            noise *= ALTERNATIVE_SPREAD
            noise[0] = 0.0
        elif drift is not None:
            noise = mixed(noise, drift)
        drawn = np.clip(mean + std * noise, -1.0, 1.0).astype(np.float32).reshape(-1, mean.shape[-1])
        first: dict[tuple[float, ...], int] = {}
        for i, action in enumerate(drawn.tolist()):
            first.setdefault(tuple(action), i)
        keep = np.array(list(first.values()), np.intp)
        is_mean = (keep < len(mean)) & (not exploring)
        return np.ascontiguousarray(drawn[keep]), sources[keep % len(mean)], is_mean


def _cosine(action: NDArray[np.float32], direction: tuple[float, ...]) -> float:
    """Return the cosine between the twist of an action and `direction` (n,)."""
    twist, other = action[: len(direction)].astype(np.float64), np.array(direction)
    return float(twist @ other) / max(float(np.linalg.norm(twist) * np.linalg.norm(other)), 1e-9)


def choose(
    utility: NDArray[np.float64],
    q_h: NDArray[np.float64],
    feasible: NDArray[np.bool_],
    preferred: NDArray[np.bool_] | None,
    rng: np.random.Generator | None,
) -> int:
    """Return the index of the candidate to propose; every array is (N,).

    When none is feasible, it is the one with the least q_h. Otherwise, among the feasible ones, or those of them that
    are `preferred` if there are any, it has the greatest utility, or, with an `rng`, is drawn from softmax(5 u).
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
