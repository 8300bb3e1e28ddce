"""A policy that hangs goes back along the robot's trail, and then by another mode of its actors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle
from fosp_core.robot.config import read_robot
from fosp_core.robot.trail import RobotPlace, WayBack
from fosp_policy.detour import ASIDE_S, BACK_SHARE, NO_GUIDE, Detour, Guide
from fosp_policy.expansion import SafePolicy

PERIOD_S = 0.05
FORWARD = (0.8, 0.0, 0.0)


def arm() -> WayBack:
    way = WayBack.of(read_robot(Path(__file__).resolve().parents[3] / "config" / "robots" / "sim_arm.yaml"))
    assert way is not None
    return way


class Driven:
    """An arm whose policy wants to go on along x, and which does what the detour asks for."""

    def __init__(self) -> None:
        self.way, self.detour, self.x, self.time_s, self.guide = arm(), Detour(), 0.4, 0.0, NO_GUIDE
        self.wants: tuple[float, ...] = FORWARD
        self.risk = 0.2

    def go(self, seconds: float, speed: float) -> Driven:
        """Move along x at `speed`, m/s, or back where the detour says so."""
        for _ in range(round(seconds / PERIOD_S)):
            place = RobotPlace((self.x, 0.0, 0.2))
            self.detour = self.detour.after(place, self.time_s, self.wants, self.risk, self.way)
            self.guide = self.detour.guide(place, self.way)
            self.x += PERIOD_S * (0.25 * self.guide.back[0] if self.guide.back else speed)
            self.time_s += PERIOD_S
        return self


def test_a_policy_that_gets_on_is_left_alone() -> None:
    assert Driven().go(2.0, 0.06).detour.count == 0


def test_a_policy_that_wants_to_stand_or_whose_risk_falls_is_left_alone() -> None:
    still = Driven()
    still.wants = (0.1, 0.0, 0.0)
    assert still.go(2.0, 0.0).detour.count == 0
    creeping = Driven()
    for _ in range(40):
        creeping.risk -= 0.002
        creeping.go(PERIOD_S, 0.01)
    assert creeping.detour.count == 0


def test_a_policy_that_hangs_goes_back_slowly_and_then_keeps_off_the_way_that_did_not_lead_on() -> None:
    driven = Driven().go(0.8, 0.2).go(0.7, 0.0)
    assert driven.guide.back[0] == pytest.approx(-BACK_SHARE, abs=0.1)
    while driven.guide.back:
        driven.go(PERIOD_S, 0.0)
        assert max(map(abs, driven.guide.back), default=0.0) <= BACK_SHARE
    assert driven.x == pytest.approx(0.56 - 0.07, abs=0.01)
    assert np.sign(driven.guide.blocked).tolist() == [1.0, 0.0, 0.0]
    driven.detour = driven.detour.chose((0.0, 0.0, 0.7)).chose((0.0, 0.7, 0.0))
    assert driven.go(PERIOD_S, 0.0).guide.aside == (0.0, 0.0, 0.7), "it keeps to its choice"
    assert driven.go(ASIDE_S, 0.0).guide == NO_GUIDE, "for a while"


# -- the choice ------------------------------------------------------------------------------------
Floats = NDArray[np.float64]
DETER, STOCH = np.zeros(3, np.float32), np.zeros(4, np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def policy_of(
    means: list[list[float]], risk: Callable[[Floats], Floats], std: float = 0.3, **options: Any
) -> SafePolicy:
    """Two actors with fixed `means` (2, A), a `risk` of actions (K, A), and a return that grows along x."""
    mean = np.array([means], np.float32)

    def critic(action: Floats, **others: Any) -> dict[str, Floats]:
        zeros = 0.0 * action[0, :, 0]
        values = {"q_r": action[0, :, 0], "q_c": zeros, "q_h": risk(action[0])}
        return {**{name: value[np.newaxis] for name, value in values.items()}, "v_h": np.array([0.25])}

    bundle = SimpleNamespace(
        policy=SimpleNamespace(run=lambda **latent: {"mean": mean, "std": np.full_like(mean, std)}),
        critic=SimpleNamespace(run=critic),
        manifest=SimpleNamespace(
            latent=SimpleNamespace(deter=3, stoch=4),
            action=SimpleNamespace(size=2),
            kappa=0.1,
            critic_outputs=(),
            calibration=SimpleNamespace(
                eps=0.5, spread_weight=None, ranges=dict.fromkeys(("q_r", "q_c", "q_h"), (-9.0, 9.0))
            ),
        ),
    )
    return SafePolicy(cast(Bundle, bundle), **options)


def no_risk(action: Floats) -> Floats:
    return 0.0 * action[:, 0]


def test_the_way_back_is_proposed_while_it_is_feasible_or_nothing_is() -> None:
    def chosen(risk: float, others: float) -> list[float]:
        policy = policy_of([[0.5, 0.0]] * 2, lambda a: np.where(a[:, 0] < 0.0, risk, others), fallbacks=0)
        proposal = policy.propose(DETER, STOCH, False, rng(), guide=Guide(back=(-0.5, 0.0)))
        return proposal.candidates[proposal.chosen].action.tolist()

    assert chosen(risk=0.2, others=0.1) == [-0.5, 0.0]
    assert chosen(risk=0.9, others=0.8) == [-0.5, 0.0]
    assert chosen(risk=0.9, others=0.1) == [0.5, 0.0], "a feasible candidate is better than an infeasible way back"


def test_aside_the_best_candidate_is_chosen_that_does_not_go_where_the_robot_hung() -> None:
    policy = policy_of([[0.9, 0.0], [0.1, 0.6]], no_risk, std=0.0)
    proposal = policy.propose(DETER, STOCH, False, rng(), guide=Guide(blocked=(1.0, 0.0)))
    assert proposal.chosen_twist(2) == pytest.approx((0.1, 0.6)), "the other actor"
    assert len(proposal.candidates) == 2, "no candidate stands there twice"
    free = policy.propose(DETER, STOCH, False, rng())
    assert free.chosen_twist(2) == pytest.approx((0.9, 0.0))


def test_aside_the_candidate_most_like_the_one_before_is_kept() -> None:
    policy = policy_of([[0.5, 0.0], [0.5, 0.0]], no_risk, candidates=40)
    guide = Guide(blocked=(1.0, 0.0), aside=(0.0, -1.0))
    x, y = policy.propose(DETER, STOCH, False, rng(), guide=guide).chosen_twist(2)
    assert y < 0.0
    assert abs(x) < 0.5 * abs(y)


def test_what_is_infeasible_is_never_taken_aside() -> None:
    policy = policy_of([[0.5, 0.0], [0.5, 0.0]], lambda action: np.abs(action[:, 1]), candidates=20)
    guide = Guide(blocked=(1.0, 0.0), aside=(0.0, 1.0))
    proposal = policy.propose(DETER, STOCH, False, rng(), guide=guide)
    assert proposal.candidates[proposal.chosen].feasible
