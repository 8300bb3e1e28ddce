"""Safe policy expansion, on actors and critics that are written down here."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.errors import UserError
from fosp_policy.expansion import (
    CHOICES,
    FALLBACK,
    OFFLINE,
    ONLINE,
    LatentError,
    PolicyOutputError,
    SafePolicy,
    choose,
)

Floats = NDArray[np.float64]
DETER, STOCH = np.zeros(3, np.float32), np.zeros(4, np.float32)
EPS, KAPPA, Q_R_LIMIT = 0.5, 0.1, 5.0


class Model:
    """Stands for an ONNX session; remembers its last input."""

    def __init__(self, function: Callable[..., dict[str, NDArray[np.float32]]]) -> None:
        self._function = function
        self.last: dict[str, NDArray[Any]] = {}

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        self.last = inputs
        return {name: np.asarray(value, np.float32) for name, value in self._function(**inputs).items()}


def bundle_of(
    means: list[list[float]],
    risk: Callable[[Floats], Floats],
    reward: Callable[[Floats], Floats] = lambda action: action[:, 0],
    cost: Callable[[Floats], Floats] = lambda action: 0.0 * action[:, 0],
    std: float = 0.3,
    success: Callable[[Floats], Floats] | None = None,
    spread: Callable[[Floats], Floats] | None = None,
) -> Any:
    """A bundle of two actors with fixed `means` (2, A) and critics that are functions of the actions (K, A)."""
    mean = np.array([means], np.float32)
    policy = Model(lambda deter, stoch: {"mean": mean, "std": np.full_like(mean, std)})
    critic = Model(
        lambda deter, stoch, action: {
            "q_r": reward(action[0])[np.newaxis],
            "q_c": cost(action[0])[np.newaxis],
            "q_h": risk(action[0])[np.newaxis],
            "v_h": np.array([0.25], np.float32),
            **({} if success is None else {"q_s": success(action[0])[np.newaxis]}),
            **({} if spread is None else {"q_h_spread": spread(action[0])[np.newaxis]}),
        }
    )
    ranges = {"q_r": (-Q_R_LIMIT, Q_R_LIMIT), "q_c": (-100.0, 100.0), "q_h": (0.0, 2.0)}
    calibration = SimpleNamespace(eps=EPS, ranges=ranges, spread_weight=None if spread is None else 1.0)
    latent, action = SimpleNamespace(deter=3, stoch=4), SimpleNamespace(size=2)
    further = () if success is None else ("q_s",)
    manifest = SimpleNamespace(
        id="0" * 12, latent=latent, action=action, kappa=KAPPA, calibration=calibration, critic_outputs=further
    )
    return SimpleNamespace(policy=policy, critic=critic, manifest=manifest)


def policy_of(bundle: Any, **options: Any) -> SafePolicy:
    return SafePolicy(cast(Bundle, bundle), **options)


def no_risk(action: Floats) -> Floats:
    return 0.0 * action[:, 0]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_deployed_the_mean_with_the_greater_utility_is_chosen() -> None:
    proposal = policy_of(bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk)).propose(DETER, STOCH, False, rng())
    chosen = proposal.candidates[proposal.chosen]
    assert len(proposal.candidates) == 2
    assert chosen.source == ONLINE
    assert chosen.mean
    assert chosen.action == pytest.approx([0.6, 0.0])
    assert proposal.v_h == 0.25


def test_utility_is_reward_minus_kappa_cost() -> None:
    bundle = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, cost=lambda action: 10.0 * action[:, 0])
    for candidate in policy_of(bundle).propose(DETER, STOCH, False, rng()).candidates:
        assert candidate.utility == pytest.approx(candidate.q_r - KAPPA * candidate.q_c)


def test_an_infeasible_candidate_loses_to_a_feasible_one_of_less_utility() -> None:
    bundle = bundle_of([[0.2, 0.0], [0.6, 0.0]], risk=lambda action: 2.0 * (action[:, 0] > 0.5))
    proposal = policy_of(bundle).propose(DETER, STOCH, False, rng())
    assert [candidate.feasible for candidate in proposal.candidates] == [True, False]
    assert proposal.candidates[proposal.chosen].source == OFFLINE


def test_without_the_filter_the_risk_of_a_candidate_counts_for_nothing() -> None:
    bundle = bundle_of([[0.2, 0.0], [0.6, 0.0]], risk=lambda action: 2.0 * (action[:, 0] > 0.5))
    proposal = policy_of(bundle, filters=False).propose(DETER, STOCH, False, rng())
    chosen = proposal.candidates[proposal.chosen]
    assert chosen.source == ONLINE
    assert chosen.q_h == pytest.approx(2.0), "its risk is told all the same"
    both_infeasible = bundle_of([[0.6, 0.0], [0.7, 0.0]], risk=lambda action: 2.0 * (action[:, 0] > 0.5))
    proposal = policy_of(both_infeasible, filters=False).propose(DETER, STOCH, False, rng())
    assert [candidate.source for candidate in proposal.candidates] == [OFFLINE, ONLINE], "no way out is looked for"
    assert proposal.candidates[proposal.chosen].source == ONLINE


def test_a_risk_equal_to_eps_is_feasible() -> None:
    proposal = policy_of(bundle_of([[0.2, 0.0]] * 2, lambda action: 0.0 * action[:, 0] + EPS)).propose(
        DETER, STOCH, False, rng()
    )
    assert proposal.candidates[0].feasible


@pytest.mark.parametrize("exploring", [False, True])
def test_when_none_is_feasible_the_least_risk_is_chosen_whatever_its_utility(exploring: bool) -> None:
    bundle = bundle_of([[0.9, 0.0], [-0.9, 0.0]], risk=lambda action: 0.8 + 0.1 * action[:, 0])
    proposal = policy_of(bundle, candidates=4).propose(DETER, STOCH, exploring, rng())
    risks = [candidate.q_h for candidate in proposal.candidates]
    assert proposal.chosen == int(np.argmin(risks))
    assert not any(candidate.feasible for candidate in proposal.candidates)


@pytest.mark.parametrize("exploring", [False, True])
def test_when_no_action_of_the_actors_is_feasible_the_safest_of_all_actions_is_the_way_out(exploring: bool) -> None:
    bundle = bundle_of([[0.9, 0.0], [0.8, 0.0]], risk=lambda action: 0.5 + 0.5 * action[:, 0], std=0.1)
    proposal = policy_of(bundle, candidates=4).propose(DETER, STOCH, exploring, rng())
    chosen = proposal.candidates[proposal.chosen]
    assert [candidate.source == FALLBACK for candidate in proposal.candidates] == [False] * 8 + [True]
    assert chosen.source == FALLBACK
    assert chosen.feasible
    assert not chosen.mean
    assert chosen.q_h < 0.1
    assert any(np.array_equal(chosen.action, action) for action in bundle.critic.last["action"][0])


@pytest.mark.parametrize(
    ("risk", "options"),
    [
        (lambda action: EPS * (0.6 + (action[:, 0] > 0.5)), {}),
        (lambda action: 1.0 * (action[:, 0] > 0.5), {"fallbacks": 0}),
        (lambda action: 1.0 * (action[:, 0] > 0.5) - 0.1, {}),
    ],
    ids=["barely feasible", "none asked for", "a value that the critic never gave"],
)
def test_what_is_no_way_out_is_not_proposed(risk: Callable[[Floats], Floats], options: dict[str, Any]) -> None:
    bundle = bundle_of([[0.9, 0.0], [0.8, 0.0]], risk, std=0.01)
    candidates = policy_of(bundle, candidates=4, **options).propose(DETER, STOCH, False, rng()).candidates
    assert all(candidate.source != FALLBACK and not candidate.feasible for candidate in candidates)


@pytest.mark.parametrize("exploring", [False, True])
@pytest.mark.parametrize("floor", [EPS * 0.6, 0.6], ids=["barely feasible", "not feasible"])
def test_a_robot_that_coasts_takes_the_least_risky_way_out_even_where_it_is_not_clear(
    exploring: bool, floor: float
) -> None:
    bundle = bundle_of([[0.9, 0.0], [0.8, 0.0]], lambda action: floor + 0.2 * (1.0 + action[:, 0]), std=0.01)
    stays = policy_of(bundle, candidates=4).propose(DETER, STOCH, exploring, rng())
    coasts = policy_of(bundle, candidates=4, coasts=True).propose(DETER, STOCH, exploring, rng())
    assert all(candidate.source != FALLBACK for candidate in stays.candidates), "it brakes, and waits for a person"
    chosen = coasts.candidates[coasts.chosen]
    assert chosen.source == FALLBACK
    assert chosen.q_h == min(candidate.q_h for candidate in coasts.candidates)
    assert chosen.action[0] < -0.8


def test_a_robot_that_coasts_keeps_an_action_of_the_actors_that_is_less_risky_than_every_way_out() -> None:
    bundle = bundle_of([[0.9, 0.0], [0.8, 0.0]], lambda action: 0.9 - 0.1 * action[:, 0], std=0.01)
    proposal = policy_of(bundle, candidates=4, coasts=True, fallbacks=1).propose(DETER, STOCH, False, rng())
    assert proposal.candidates[-1].source == FALLBACK
    assert proposal.candidates[proposal.chosen].source == OFFLINE


def test_there_is_no_fallback_where_an_action_of_the_actors_is_feasible() -> None:
    bundle = bundle_of([[0.9, 0.0], [-0.9, 0.0]], risk=lambda action: 1.0 * (action[:, 0] > -0.5))
    proposal = policy_of(bundle).propose(DETER, STOCH, False, rng())
    assert [candidate.source for candidate in proposal.candidates] == [OFFLINE, ONLINE]


def test_the_action_that_was_scored_is_the_action_that_is_proposed_bit_for_bit() -> None:
    bundle = bundle_of([[0.97, -0.97], [0.3, 0.1]], no_risk, std=1.0)
    proposal = policy_of(bundle, candidates=8).propose(DETER, STOCH, True, rng())
    scored = bundle.critic.last["action"][0]
    assert np.array_equal(scored, [candidate.action for candidate in proposal.candidates])
    assert scored.dtype == np.float32
    assert np.abs(scored).max() == 1.0, "a sample outside of [-1, 1] is clipped before it is scored"


def test_equal_actors_give_one_candidate() -> None:
    proposal = policy_of(bundle_of([[0.4, 0.0]] * 2, no_risk)).propose(DETER, STOCH, False, rng())
    assert [candidate.source for candidate in proposal.candidates] == [OFFLINE]


def test_deployed_extra_candidates_are_samples_of_both_actors_that_do_not_win_over_a_feasible_mean() -> None:
    policy = policy_of(bundle_of([[0.2, 0.0], [0.3, 0.0]], no_risk), candidates=5)
    proposal = policy.propose(DETER, STOCH, False, rng())
    assert [candidate.mean for candidate in proposal.candidates] == [True] * 2 + [False] * 8
    assert [candidate.source for candidate in proposal.candidates] == [OFFLINE, ONLINE] * 5
    assert proposal.chosen == 1
    assert max(candidate.utility for candidate in proposal.candidates) > proposal.candidates[1].utility


def test_deployed_a_feasible_sample_wins_when_no_mean_is_feasible() -> None:
    bundle = bundle_of([[0.2, 0.0], [0.2, 0.0]], risk=lambda action: 1.0 * (action[:, 0] > 0.1))
    proposal = policy_of(bundle, candidates=8).propose(DETER, STOCH, False, rng())
    chosen = proposal.candidates[proposal.chosen]
    assert chosen.feasible
    assert not chosen.mean
    assert chosen.utility == max(candidate.utility for candidate in proposal.candidates if candidate.feasible)


def test_without_preference_for_means_the_best_sample_wins() -> None:
    policy = policy_of(bundle_of([[0.2, 0.0]] * 2, no_risk), candidates=8, prefer_means=False)
    proposal = policy.propose(DETER, STOCH, False, rng())
    assert proposal.chosen == int(np.argmax([candidate.utility for candidate in proposal.candidates]))
    assert proposal.chosen != 0


def test_samples_that_a_critic_values_outside_of_its_range_are_dropped_and_means_are_not() -> None:
    bundle = bundle_of([[0.0, 0.0], [0.9, 0.0]], no_risk, reward=lambda action: 10.0 * action[:, 0])
    proposal = policy_of(bundle, candidates=16).propose(DETER, STOCH, False, rng())
    assert sum(candidate.mean for candidate in proposal.candidates) == 2
    assert 2 < len(proposal.candidates) < 32
    assert all(candidate.mean or abs(candidate.q_r) <= Q_R_LIMIT for candidate in proposal.candidates)


def test_when_every_sample_is_outside_of_the_range_they_are_left_to_the_monitor() -> None:
    bundle = bundle_of([[0.2, 0.0]] * 2, no_risk, reward=lambda action: 0.0 * action[:, 0] + 2 * Q_R_LIMIT)
    assert policy_of(bundle, candidates=3).propose(DETER, STOCH, True, rng()).candidates


def test_the_same_generator_state_gives_the_same_proposal() -> None:
    policy = policy_of(bundle_of([[0.2, 0.0], [0.3, 0.0]], no_risk), candidates=5)
    first, second = (policy.propose(DETER, STOCH, True, rng()) for _ in range(2))
    assert first.chosen == second.chosen
    assert all(np.array_equal(a.action, b.action) for a, b in zip(first.candidates, second.candidates, strict=True))


def test_exploring_with_a_drift_moves_all_candidates_its_way_and_deployed_none() -> None:
    policy = policy_of(bundle_of([[0.0, 0.0]] * 2, no_risk), candidates=8)
    drift = np.array([5.0, -5.0], np.float32)
    explored = policy.propose(DETER, STOCH, True, rng(), drift)
    assert all(c.action[0] > 0 > c.action[1] for c in explored.candidates)
    deployed, plain = (policy.propose(DETER, STOCH, False, rng(), of) for of in (drift, None))
    assert [c.action.tolist() for c in deployed.candidates] == [c.action.tolist() for c in plain.candidates]


def test_exploring_draws_feasible_candidates_by_softmax_of_five_times_the_utility() -> None:
    utility, feasible = np.array([0.0, 0.2, 9.0]), np.array([True, True, False])
    draws = np.bincount([choose(utility, np.zeros(3), feasible, None, g) for g in [rng()] for _ in range(4000)])
    assert len(draws) == 2, "the infeasible candidate is never drawn"
    assert draws[1] / 4000 == pytest.approx(np.e / (1 + np.e), abs=0.03)


@pytest.mark.parametrize(
    ("deter", "stoch"),
    [(np.zeros(2, np.float32), STOCH), (DETER, np.zeros(5, np.float32)), (np.full(3, np.nan, np.float32), STOCH)],
)
def test_a_latent_of_the_wrong_size_or_not_finite_is_refused(
    deter: NDArray[np.float32], stoch: NDArray[np.float32]
) -> None:
    with pytest.raises(LatentError):
        policy_of(bundle_of([[0.2, 0.0]] * 2, no_risk)).propose(deter, stoch, False, rng())


def test_a_critic_or_an_actor_that_is_not_finite_gives_no_proposal() -> None:
    with pytest.raises(PolicyOutputError, match="critics"):
        policy_of(bundle_of([[0.2, 0.0]] * 2, lambda action: np.nan * action[:, 0])).propose(DETER, STOCH, False, rng())
    with pytest.raises(PolicyOutputError, match="actors"):
        policy_of(bundle_of([[np.nan, 0.0]] * 2, no_risk)).propose(DETER, STOCH, False, rng())


def test_no_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        policy_of(bundle_of([[0.2, 0.0]] * 2, no_risk), candidates=0)
    with pytest.raises(ValueError, match="at least 0"):
        policy_of(bundle_of([[0.2, 0.0]] * 2, no_risk), fallbacks=-1)


def test_a_careless_policy_proposes_the_greatest_return_however_risky_and_offers_the_monitor_others() -> None:
    """The risk grows with the return: the most promising action is the riskiest one."""
    policy = policy_of(bundle_of([[0.2, 0.0], [0.9, 0.0]], lambda action: np.maximum(action[:, 0], 0.0)))
    policy.heeds_risk = False
    proposal = policy.propose(DETER, STOCH, False, rng())
    chosen = proposal.candidates[proposal.chosen]
    assert chosen.q_r == max(candidate.q_r for candidate in proposal.candidates)
    assert not chosen.feasible
    assert any(candidate.feasible for candidate in proposal.candidates)
    policy.heeds_risk = True
    assert policy.propose(DETER, STOCH, False, rng()).candidates[0].q_r < chosen.q_r


def test_a_success_critic_can_be_chosen_by_in_place_of_the_return_or_before_it() -> None:
    # The second mean earns more and succeeds less; the third kind of choice heeds the return where success is a draw.
    bundle = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, success=lambda action: 0.9 - action[:, 0])
    told = {choice: policy_of(bundle, choice=choice).propose(DETER, STOCH, False, rng()) for choice in CHOICES}
    sources = {choice: proposal.candidates[proposal.chosen].source for choice, proposal in told.items()}
    assert sources == {"return": ONLINE, "success": OFFLINE, "both": OFFLINE}
    assert [candidate.q_s for candidate in told["return"].candidates] == pytest.approx([0.7, 0.3])
    draw = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, success=lambda action: 0.9 - 0.01 * action[:, 0])
    proposal = policy_of(draw, choice="both").propose(DETER, STOCH, False, rng())
    assert proposal.candidates[proposal.chosen].source == ONLINE


@pytest.mark.parametrize("choice", ["success", "both"])
def test_whoever_succeeds_most_likely_must_be_feasible_and_a_mean_all_the_same(choice: str) -> None:
    bundle = bundle_of(
        [[0.2, 0.0], [0.6, 0.0]],
        risk=lambda action: 2.0 * (action[:, 0] > 0.5),
        success=lambda action: np.clip(action[:, 0], 0, 1),
    )
    proposal = policy_of(bundle, candidates=6, choice=choice).propose(DETER, STOCH, False, rng())
    assert proposal.candidates[proposal.chosen].source == OFFLINE
    assert proposal.candidates[proposal.chosen].mean
    free = policy_of(bundle, candidates=6, choice=choice, prefer_means=False).propose(DETER, STOCH, False, rng())
    assert free.candidates[free.chosen].feasible


def test_without_a_success_critic_nothing_can_be_chosen_by_it() -> None:
    with pytest.raises(UserError, match="no success critic, so 'choice' cannot be 'both'"):
        policy_of(bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk), choice="both")
    proposal = policy_of(bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk)).propose(DETER, STOCH, False, rng())
    assert all(np.isnan(candidate.q_s) for candidate in proposal.candidates)


def test_a_success_that_is_not_a_number_or_no_probability_is_not_heeded() -> None:
    broken = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, success=lambda action: np.nan * action[:, 0])
    with pytest.raises(PolicyOutputError):
        policy_of(broken).propose(DETER, STOCH, False, rng())
    beyond = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, success=lambda action: 3.0 + action[:, 0])
    proposal = policy_of(beyond, candidates=6).propose(DETER, STOCH, False, rng())
    assert all(candidate.mean for candidate in proposal.candidates), "samples of unknown value are dropped"


def test_where_the_heads_disagree_the_risk_is_the_greater() -> None:
    bundle = bundle_of(
        [[0.2, 0.0], [0.6, 0.0]], lambda action: 0.0 * action[:, 0] + 0.4, spread=lambda a: 0.5 * a[:, 0]
    )
    proposal = policy_of(bundle).propose(DETER, STOCH, False, rng())
    assert [candidate.q_h for candidate in proposal.candidates] == pytest.approx([0.5, 0.7])
    assert [candidate.feasible for candidate in proposal.candidates] == [True, False]
    broken = bundle_of([[0.2, 0.0], [0.6, 0.0]], no_risk, spread=lambda action: 0.0 * action[:, 0] - 1.0)
    with pytest.raises(PolicyOutputError):
        policy_of(broken).propose(DETER, STOCH, False, rng())
