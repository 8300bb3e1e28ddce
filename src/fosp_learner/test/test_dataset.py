import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_episodes import random_episode

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data import dataset
from fosp_learner.data.bag_sets import decision_period_of
from fosp_learner.data.bags import BagReading, Episode, read_bags
from fosp_learner.data.batch import Batch
from fosp_learner.data.dataset import dataset_key, ends_of_ramps, from_episodes, load_bags, split
from fosp_learner.data.samplers import FrameSampler, SequenceSampler, shift_images, whole_episode
from fosp_learner.training.behaviour import data_trajectories

SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))


def test_a_first_row_has_no_past(episodes: list[Episode]):
    batch = SequenceSampler(from_episodes(episodes), 12, seed=1).batch(16)
    assert batch.is_first[:, 0].all()
    for name in ("reward", "cost", "action_prev", "followed_prev"):
        assert getattr(batch, name)[batch.is_first].abs().max() == 0
    assert not batch.is_terminal[batch.is_first].any()


def test_a_setpoint_on_its_way_goes_to_the_end_of_its_ramp():
    told = np.array([1, 1, 0.8, 0.6, 0.4, 0.4, 0.4, 0.6, 0.8, 0.2, 0.2], np.float32)
    wanted = [1, 1, 0.4, 0.4, 0.4, 0.4, 0.4, 0.8, 0.8, 0.2, 0.2]
    assert ends_of_ramps(told).tolist() == pytest.approx(wanted)
    assert ends_of_ramps(np.full(4, 0.3, np.float32)).tolist() == pytest.approx([0.3] * 4)
    assert ends_of_ramps(told[:1]).tolist() == [1]


def test_an_actor_follows_a_gripper_to_where_it_goes_and_the_past_is_what_was_executed(
    make_episode: Callable[..., Episode],
):
    episode = make_episode(8, 1)
    told = np.array([1, 1, 0.7, 0.4, 0.1, -0.2, -0.2, 0], np.float32)  # the last row has no action
    episode = replace(episode, success=True, action=np.column_stack([episode.action[:, :2], told]))
    for gripper, followed in ((True, [1, 1, -0.2, -0.2, -0.2, -0.2, -0.2]), (False, told[:-1].tolist())):
        data = from_episodes([episode], gripper=gripper)
        batch = whole_episode(data, data.episodes[0])
        assert batch.action_prev[0, 1:, 2].tolist() == pytest.approx(told[:-1].tolist())
        assert batch.followed_prev[0, 1:, 2].tolist() == pytest.approx(followed)
        assert (batch.followed_prev[..., :2] == batch.action_prev[..., :2]).all()
        feature = torch.zeros(1, 8, 3)
        assert (data_trajectories(batch, feature).followed == batch.followed_prev[:, 1:]).all()
        assert {round(x, 3) for x in FrameSampler(data).batch(200)[1][:, 2].tolist()} == {round(x, 3) for x in followed}


def test_every_seam_of_a_sequence_follows_the_end_of_an_episode(episodes: list[Episode]):
    batch = SequenceSampler(from_episodes(episodes), 12, seed=1).batch(16)
    assert batch.is_first[:, 1:].any()
    assert (batch.is_last[:, :-1] == batch.is_first[:, 1:]).all()


def test_a_share_of_the_sequences_holds_the_onset_of_a_violation(make_episode: Callable[..., Episode]):
    safe = [make_episode(12, seed) for seed in range(9)]
    cost = np.zeros(12, np.float32)
    cost[6:9] = 1.0
    data = from_episodes([*safe, replace(safe[0], cost=cost)])
    sampler = SequenceSampler(data, 4, seed=1)

    def share(batch: Batch) -> float:
        begins = (batch.cost[:, 1:] > 0) & (batch.cost[:, :-1] == 0) & ~batch.is_first[:, 1:]
        return float(begins.any(1).float().mean())

    even, more = (share(sampler.rows(400, onset_share=wanted)[1]) for wanted in (0.0, 0.5))
    assert even < 0.1
    assert 0.45 < more < 0.62
    plain, again = SequenceSampler(data, 4, seed=1), SequenceSampler(data, 4, seed=1)
    assert (plain.rows(8)[0] == again.rows(8, onset_share=0.0)[0]).all(), "without a share the draws stay as they were"
    without = SequenceSampler(from_episodes(safe), 4, seed=1)
    assert share(without.rows(20, onset_share=0.5)[1]) == 0.0


def test_rows_carry_the_action_that_led_to_them(episodes: list[Episode]):
    data = from_episodes(episodes)
    batch = whole_episode(data, data.episodes[3])
    np.testing.assert_array_equal(batch.action_prev[0, 1:], episodes[3].action[:-1])
    np.testing.assert_array_equal(batch.reward[0, 1:], episodes[3].reward[1:])


def test_no_transition_leads_from_one_episode_into_the_next(episodes: list[Episode]):
    batch = SequenceSampler(from_episodes(episodes), 12, seed=2).batch(16)
    data = data_trajectories(batch, torch.zeros(16, 12, 4))
    assert not data.valid[batch.is_first[:, 1:]].any()
    assert data.cut[batch.is_last[:, 1:]].all()
    assert data.cut[:, -1].all()


def test_split_is_disjoint_and_puts_violating_episodes_on_both_sides(episodes: list[Episode]):
    training, validation = split(from_episodes(episodes), 0.25, seed=0)
    names = [{e.name for e in part.episodes} for part in (training, validation)]
    assert names[0].isdisjoint(names[1])
    assert len(names[0] | names[1]) == len(episodes)
    assert all({e.violates for e in part.episodes} == {True, False} for part in (training, validation))


def test_one_episode_cannot_be_split(episodes: list[Episode]):
    with pytest.raises(UserError, match="record more"):
        split(from_episodes(episodes[:1]), 0.2, seed=0)


def test_same_seed_gives_same_sequences_and_the_state_can_be_restored(episodes: list[Episode]):
    data = from_episodes(episodes)
    first, second = (SequenceSampler(data, 6, seed=5, image_shift=2) for _ in range(2))
    first.batch(2)
    second.state = first.state
    torch.testing.assert_close(first.batch(4).images, second.batch(4).images)


def test_a_shift_moves_all_images_of_a_sequence_alike():
    images = np.arange(2 * 3 * 1 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 3, 1, 4, 4, 3)
    shifted = shift_images(images, np.array([[1, 0], [0, -2]]))
    np.testing.assert_array_equal(shifted[0, :, :, 1:], images[0, :, :, :-1])
    np.testing.assert_array_equal(shifted[1, :, :, :, :2], images[1, :, :, :, 2:])


def test_the_cache_is_reused_and_keyed_by_content(write_bag: Callable[..., Path], robot: RobotConfig, tmp_path: Path):
    bag = write_bag(frames=9)
    first = load_bags([bag], SMALL, robot, 0.05, tmp_path / "cache")
    stamp = (tmp_path / "cache" / first.key / "images.npy").stat().st_mtime_ns
    again = load_bags([bag], SMALL, robot, 0.05, tmp_path / "cache")
    assert (tmp_path / "cache" / again.key / "images.npy").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.images, again.images)
    other = load_bags([bag], SMALL, robot, 0.1, tmp_path / "cache")
    assert other.key != first.key
    assert {path.parent.name for path in tmp_path.glob("cache/*/images.npy")} == {first.key, other.key}


def test_copies_of_a_bag_are_counted_and_a_picture_that_differs_is_no_copy(
    write_bag: Callable[..., Path], robot: RobotConfig, tmp_path: Path
):
    bag = write_bag(frames=9)
    write_bag("other", frames=9, speed=0.1)
    shutil.copytree(bag, bag.parent / "again")
    for _ in range(2):  # read, and from the cache
        data = load_bags([bag.parent], SMALL, robot, 0.05, tmp_path / "cache")
        assert (len(data.episodes), data.copies) == (3, 1)
    assert from_episodes([random_episode(8, 1)] * 2).copies == 0, "unknown"


def test_copies_are_held_out_with_what_they_are_copies_of() -> None:
    episodes = from_episodes([random_episode(5, i % 10) for i in range(30)])
    data = episodes.of([replace(e, content=f"{i % 10}") for i, e in enumerate(episodes.episodes)])
    for seed in range(5):
        training, validation = split(data, 0.3, seed)
        sides = [{e.content for e in side.episodes} for side in (training, validation)]
        assert not sides[0] & sides[1]
        assert len(training.episodes) + len(validation.episodes) == 30
        assert {len(side.episodes) % 3 for side in (training, validation)} == {0}


def test_without_copies_the_split_is_what_it_was() -> None:
    data = from_episodes([random_episode(5, i) for i in range(20)])
    named = data.of([replace(e, content=f"{i}") for i, e in enumerate(data.episodes)])
    places = [[[e.start for e in side.episodes] for side in split(of, 0.25, 3)] for of in (data, named)]
    assert places[0] == places[1]


def test_what_is_odd_about_the_bags_is_known_with_the_data_also_from_the_cache(
    write_bag: Callable[..., Path], robot: RobotConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag("a", frames=9)
    write_bag("b", frames=9, speed=0.1)
    write_bag("c", frames=9, speed=0.05)
    remarks = {"a": ("late by 0.5 s", "clipped"), "b": (), "c": ("late by 0.25 s",)}

    def remarked(*arguments: Any) -> Iterator[BagReading]:
        for reading in read_bags(*arguments):
            name = Path(reading.report.bag).name
            yield replace(reading, report=replace(reading.report, notes=remarks[name]))

    monkeypatch.setattr("fosp_learner.data.dataset.read_bags", remarked)
    for _ in range(2):  # read, and from the cache
        data = load_bags([bag.parent], SMALL, robot, 0.05, tmp_path / "cache")
        most, other = data.remarks
        assert most.startswith("2 bags, first a")
        assert most.endswith(": late by 0.5 s")
        assert other.startswith("1 bag, first a")
        monkeypatch.setattr("fosp_learner.data.dataset.read_bags", None)


@pytest.mark.parametrize("named", ["abc", "nan", "0", "-0.05", "100", "inf"])
def test_a_decision_period_that_is_none_is_refused(
    named: str, write_bag: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(frames=9)
    monkeypatch.setattr("fosp_learner.data.bag_sets.bag_metadata", lambda path: {"decision_period_s": named})
    with pytest.raises(UserError, match=f"names a decision period of '{named}'"):
        decision_period_of([bag])


def test_bags_are_hashed_again_only_when_one_has_changed_whatever_its_time_says(
    write_bag: Callable[..., Path], robot: RobotConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bag, cache = write_bag(frames=9), tmp_path / "cache"
    first = load_bags([bag], SMALL, robot, 0.05, cache)
    hashed: list[str] = []

    def counted(*arguments: Any) -> str:
        hashed.append(dataset_key(*arguments))
        return hashed[-1]

    monkeypatch.setattr(dataset, "dataset_key", counted)
    assert load_bags([bag], SMALL, robot, 0.05, cache).key == first.key
    assert hashed == []
    (file,) = bag.glob("*.mcap")
    status = file.stat()
    file.write_bytes(file.read_bytes())
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    load_bags([bag], SMALL, robot, 0.05, cache)
    assert len(hashed) == 1
    shutil.rmtree(cache / first.key)
    assert load_bags([bag], SMALL, robot, 0.05, cache).key == first.key
    assert len(hashed) == 2, "a note without arrays is worth nothing"


def test_what_does_not_change_the_reading_does_not_change_the_key(write_bag: Callable[..., Path], robot: RobotConfig):
    bags = [write_bag(frames=9)]
    key = dataset_key(bags, SMALL, robot, 0.05)
    assert dataset_key(bags, SMALL, robot.model_copy(update={"name": "other"}), 0.05) == key
    assert dataset_key(bags, SMALL, robot.model_copy(update={"command_timeout_s": 9.0}), 0.05) != key
