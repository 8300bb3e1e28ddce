"""Experience on disk: what a crash leaves, and which episode is there at which update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_learner.data.bags import Episode
from fosp_learner.finetuning.online_buffer import LEDGER, OnlineBuffer

SHAPE = (1, 32, 32, 3)


@pytest.fixture
def add(tmp_path: Path, make_episode: Callable[..., Episode]) -> Callable[..., OnlineBuffer]:
    """`add(seed, step=0, held_out=False)`: one more episode in the buffer, opened anew."""

    def one_more(seed: int, step: int = 0, held_out: bool = False, overridden: int = 0) -> OnlineBuffer:
        buffer = OnlineBuffer(tmp_path, SHAPE, 3)
        episode = make_episode(8, seed)
        marks = np.zeros(8, np.uint8)
        marks[:overridden] = 2
        buffer.append(episode, marks, f"digest{seed}", step, held_out)
        return buffer

    return one_more


def test_rows_come_back_as_they_went_in(
    add: Callable[..., OnlineBuffer], make_episode: Callable[..., Episode], tmp_path: Path
) -> None:
    add(1)
    add(2, overridden=3)
    data = OnlineBuffer(tmp_path, SHAPE, 3).dataset(0, held_out=False)
    assert data is not None
    assert [e.name for e in data.episodes] == ["episode_1", "episode_2"]
    np.testing.assert_array_equal(data.images[8:], make_episode(8, 2).images)
    np.testing.assert_array_equal(data.action[8:], make_episode(8, 2).action)
    buffer = OnlineBuffer(tmp_path, SHAPE, 3)
    assert buffer.entries[1].overridden == 3
    assert buffer.interventions()[8:].tolist() == [2, 2, 2, 0, 0, 0, 0, 0]


def test_what_a_crash_cut_off_is_lost_and_nothing_else(add: Callable[..., OnlineBuffer], tmp_path: Path) -> None:
    add(1)
    add(2)
    with (tmp_path / "images.bin").open("ab") as file:
        file.write(b"half an episode")
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b'{"name": "episode_3", "dig')
    buffer = OnlineBuffer(tmp_path, SHAPE, 3)
    assert [e.name for e in buffer.entries] == ["episode_1", "episode_2"]
    add(3)
    data = OnlineBuffer(tmp_path, SHAPE, 3).dataset(0, held_out=False)
    assert data is not None
    assert len(data.images) == 24


def test_episodes_are_seen_from_the_update_on_at_which_they_came(add: Callable[..., OnlineBuffer]) -> None:
    add(1, step=0)
    buffer = add(2, step=7)
    assert len(buffer.dataset(6, held_out=False).episodes) == 1  # type: ignore[union-attr]
    assert len(buffer.dataset(7, held_out=False).episodes) == 2  # type: ignore[union-attr]


def test_a_resumed_run_cannot_put_experience_into_its_past(add: Callable[..., OnlineBuffer]) -> None:
    add(1, step=50)
    assert add(2, step=30).entries[-1].step == 50


def test_held_out_episodes_are_not_trained_on_and_old_ones_give_way(add: Callable[..., OnlineBuffer]) -> None:
    add(1)
    add(2, held_out=True)
    buffer = add(3)
    training, held_out = buffer.dataset(0, held_out=False), buffer.dataset(0, held_out=True)
    assert training is not None
    assert held_out is not None
    assert [e.name for e in training.episodes] == ["episode_1", "episode_3"]
    assert [e.name for e in held_out.episodes] == ["episode_2"]
    newest = buffer.dataset(0, held_out=False, rows_kept=10)
    assert newest is not None
    assert [e.name for e in newest.episodes] == ["episode_3"]


def test_episodes_that_only_ran_out_of_time_can_be_left_out(
    tmp_path: Path, make_episode: Callable[..., Episode]
) -> None:
    buffer = OnlineBuffer(tmp_path, SHAPE, 3)
    episodes = [
        replace(make_episode(8, 1), success=True, cost=np.zeros(8, np.float32)),
        replace(make_episode(8, 2), success=False, cost=np.zeros(8, np.float32)),
        make_episode(8, 3, violates=True),
        replace(make_episode(8, 4), success=False, cost=np.zeros(8, np.float32)),
    ]
    for i, episode in enumerate(episodes):
        driven = np.array([0, 0, 2, 2, 0, 0, 0, 0], np.uint8) if i == 3 else np.zeros(8, np.uint8)
        buffer.append(episode, driven, str(i), 0, False)
    every, outcomes = (buffer.dataset(0, held_out=False, outcomes=only) for only in (False, True))
    assert every is not None
    assert outcomes is not None
    assert [e.start for e in every.episodes] == [0, 8, 16, 24]
    assert [e.start for e in outcomes.episodes] == [0, 16, 24], "the last one shows how an operator drove"


def test_missing_rows_and_rows_of_another_shape_are_refused(
    add: Callable[..., OnlineBuffer], tmp_path: Path, make_episode: Callable[..., Episode]
) -> None:
    buffer = add(1)
    with pytest.raises(UserError, match="images"):
        buffer.append(make_episode(8, 2, size=16), np.zeros(8, np.uint8), "x", 0, False)
    (tmp_path / "images.bin").write_bytes(b"")
    with pytest.raises(UserError, match="rows are missing"):
        OnlineBuffer(tmp_path, SHAPE, 3)


def test_steps_of_an_operator_are_told_and_the_step_before_costs_what_the_setting_says(
    tmp_path: Path, make_episode: Callable[..., Episode]
) -> None:
    buffer = OnlineBuffer(tmp_path, SHAPE, 3)
    for number, marks in enumerate(([2, 2, 0, 1, 2, 2, 0, 0], [0, 0, 0, 2, 2, 2, 2, 0])):
        episode = replace(make_episode(8, number), cost=np.zeros(8, np.float32))
        buffer.append(episode, np.array(marks, np.uint8), str(number), 5 * number, False)
    plain = buffer.dataset(5, held_out=False)
    dear = buffer.dataset(5, held_out=False, intervention_cost=0.5)
    assert plain is not None
    assert dear is not None
    assert plain.corrected is not None
    assert np.flatnonzero(plain.corrected).tolist() == [0, 1, 4, 5, 11, 12, 13, 14]
    assert not plain.cost.any()
    assert dear.cost.tolist() == [0.5 * (row in (4, 11)) for row in range(16)], "nobody drove before the first row"
    assert not any(episode.violates for episode in dear.episodes)
    assert buffer.intervention_share(0, 10) == pytest.approx(4 / 7)
    assert buffer.intervention_share(5, 1) == pytest.approx(4 / 7)
    assert buffer.intervention_share(5, 10) == pytest.approx(8 / 14)
    assert OnlineBuffer(tmp_path / "empty", SHAPE, 3).intervention_share(9, 10) == 0.0


def test_an_episode_that_was_copied_or_played_again_is_known(
    add: Callable[..., OnlineBuffer], make_episode: Callable[..., Episode]
) -> None:
    add(1)
    buffer = add(2)
    again = make_episode(8, 1)
    assert buffer.same_as(replace(again, name="copy")) == "episode_1"
    assert buffer.same_as(make_episode(8, 3)) == ""
    assert buffer.same_as(replace(again, action=again.action + 1e-6)) == ""
