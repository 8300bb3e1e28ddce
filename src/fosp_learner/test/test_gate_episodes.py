"""Which episodes calibrate and judge a candidate, and whether they can support its promise at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fosp_core.errors import UserError
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.finetuning.candidate import GateEpisodes
from fosp_learner.finetuning.config import GateConfig


def test_new_episodes_calibrate_and_judge_before_offline_ones_and_of_those_half_violate(
    make_episode: Callable[..., Episode],
) -> None:
    def data(violating: int, others: int, seed: int) -> Dataset:
        flags = [True] * violating + [False] * others
        return from_episodes([make_episode(4, seed + i, violates=flag) for i, flag in enumerate(flags)])

    new, offline = data(1, 5, 0), data(30, 90, 100)
    chosen = GateEpisodes.of([new, None], offline, GateConfig(episodes=10, calibration_episodes=40), 0)
    parts = (chosen.calibrating, chosen.judging)
    assert [sum(of is new for of, _ in part) for part in parts] == [3, 3]
    drawn = [index for part in parts for of, index in part if of is offline]
    assert len(drawn) == len({index.start for index in drawn}) == 50 - 6
    assert sum(index.violates for index in drawn) == 22
    assert 8 <= len(chosen.judging) <= 14
    many = GateEpisodes.of([data(0, 9, 0)], offline, GateConfig(episodes=2, calibration_episodes=4), 0)
    assert len(many.calibrating) + len(many.judging) == 6
    few = GateEpisodes.of([data(0, 2, 0)], None, GateConfig(), 0)
    assert (len(few.calibrating), len(few.judging)) == (1, 1)
    with pytest.raises(UserError, match="at least two episodes"):
        GateEpisodes.of([data(0, 1, 0)], None, GateConfig(), 0)


@pytest.mark.parametrize(
    ("violating", "told"), [(60, ""), (19, ""), (18, "in 18 of the 68 held-out episodes"), (0, "in 0 of")]
)
def test_too_few_violations_to_calibrate_on_are_told_before_a_candidate_is_made(
    violating: int, told: str, make_episode: Callable[..., Episode]
) -> None:
    flags = [True] * violating + [False] * 50
    offline = from_episodes([make_episode(4, i, violates=flag) for i, flag in enumerate(flags)])
    refusal = GateEpisodes.of([], offline, GateConfig(), 0).refusal(0.05)
    assert told in refusal
    assert bool(told) == ("needs 19: every candidate is refused until new episodes bring the others" in refusal)
