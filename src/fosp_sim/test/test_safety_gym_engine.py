"""The engine of the five tasks against recorded episodes of the real safety-gymnasium 1.0.0 (golden/*.npz).

`tests/safety_gymnasium_peer.py` wrote them: a simple driver with noise, until the third or fourth goal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_episode import differences

from fosp_sim.task.safety_gym import layout
from fosp_sim.task.safety_gym.engine import Engine
from fosp_sim.task.safety_gym.layout import COURSES, LayoutDrawer, NoPlace

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module", params=list(COURSES))
def episode(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """Return the differences between the engine and the recorded episode of one task."""
    with np.load(GOLDEN / f"{request.param}.npz") as golden:
        return differences(request.param, golden)


def test_a_seed_places_every_object_where_the_library_places_it(episode: dict[str, np.ndarray]) -> None:
    assert episode["layout"].max() == 0.0


def test_at_least_three_goals_are_reached_and_the_next_goal_stands_where_it_does_there(
    episode: dict[str, np.ndarray],
) -> None:
    assert episode["goals"] >= 3
    assert episode["goal"].max() <= 1e-12


def test_positions_rewards_and_costs_are_exact_until_something_is_pushed(episode: dict[str, np.ndarray]) -> None:
    free = slice(0, int(episode["first_push"]))
    assert episode["agent"][free].max() <= 1e-12
    assert episode["reward"][free].max() <= 1e-12
    assert episode["objects"][free].max(initial=0.0) <= 1e-12
    assert not episode["cost"][free].any()


def test_positions_stay_within_five_centimetres_afterwards(episode: dict[str, np.ndarray]) -> None:
    assert episode["agent"].max() <= 0.05
    assert episode["objects"].max(initial=0.0) <= 0.05
    assert episode["cost"].mean() <= 0.02


def test_the_recorded_episodes_violate_and_push() -> None:
    with np.load(GOLDEN / "point_button1.npz") as golden:
        assert golden["cost"].any()
        assert golden["pushed"].any()


def test_an_engine_that_is_reset_repeats_the_episode() -> None:
    engine = Engine(COURSES["point_goal2"])
    engine.reset(5)
    first = [engine.step(np.array([0.03, 0.4])).reward for _ in range(30)]
    engine.reset(6)
    engine.reset(5)
    assert [engine.step(np.array([0.03, 0.4])).reward for _ in range(30)] == first


def test_a_square_that_is_too_small_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_TRIES_PER_LAYOUT", 5)
    crowded = COURSES["point_goal1"].with_hazards(60, 0.2, (0.0, 0.0, 1.0))
    with pytest.raises(NoPlace, match="do not fit"):
        LayoutDrawer(crowded).draw(np.random.RandomState(0))
