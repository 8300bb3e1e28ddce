"""Recordings that differ from the others of their set as a mistake does are told, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fosp_learner.data.alignment import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.data.odd_ones import LEAST, Traits, odd_ones, traits_of

CAMERA = ("camera/color/image_raw",)


def episode(seed: int) -> Episode:
    """An episode in front of a bright wall, a blue floor and a lamp on the left, with things that differ."""
    rng = np.random.default_rng(seed)
    images = np.zeros((30, 1, 64, 64, 3), np.uint8)
    images[:, :, :24], images[:, :, 24:] = 200, (20, 40, 120)
    images[:, :, 4:20, 4:20] = (250, 120, 10)
    x, y = rng.integers(8, 48, 2)
    images[:, :, y : y + 12, x : x + 12] = rng.integers(0, 255, 3)
    reward = np.append(np.float32(0.0), rng.uniform(0.005, 0.05, 29).astype(np.float32))
    if seed % 3:
        reward[-1] += 1.0
    cost = np.zeros(30, np.float32)
    cost[10 : 10 + seed % 5] = 1.0
    action = rng.uniform(-1, 1, (30, 3)).astype(np.float32)
    return Episode(f"episode_{seed}", images, action, reward, cost, np.zeros(30, np.bool_), success=False)


def told(*last: Episode) -> list[list[str]]:
    """Return the lines about ten good episodes, and about some more."""
    every = [*map(episode, range(10)), *last]
    return odd_ones([traits_of(e.images, e.reward, e.cost) for e in every], CAMERA)


def test_good_recordings_give_no_word() -> None:
    assert told(*map(episode, range(10, 40))) == [[]] * 40


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ((slice(None), slice(None), slice(None, None, -1)), "upside down"),
        ((slice(None), slice(None), slice(None, None, -1), slice(None, None, -1)), "turned by 180 degrees"),
        ((slice(None), slice(None), slice(None), slice(None, None, -1)), "mirrored"),
        ((..., slice(None, None, -1)), "with red and blue exchanged"),
    ],
)
def test_a_camera_that_was_mounted_or_read_otherwise_is_told(way: tuple[slice, ...], said: str) -> None:
    odd = episode(10)
    lines = told(replace(odd, images=odd.images[way]), episode(11))
    assert lines[:10] == [[]] * 10
    assert lines[10:] == [[f"{CAMERA[0]} looks {said}, by what the others show"], []]


@pytest.mark.parametrize("factor", [1000.0, 0.001, 20.0])
def test_rewards_of_another_unit_are_told(factor: float) -> None:
    odd = episode(10)
    (line,) = told(replace(odd, reward=odd.reward * np.float32(factor)))[-1]
    assert line.startswith("rewards are ")
    assert float(line.split()[2]) == pytest.approx(factor, rel=0.5)


def test_a_robot_that_hangs_or_never_arrives_is_not_odd() -> None:
    odd = episode(10)
    reward = odd.reward.copy()
    reward[1:] *= 0.2
    assert told(replace(odd, reward=reward))[-1] == []
    assert told(replace(odd, reward=np.zeros_like(reward)))[-1] == []


def test_a_cost_in_every_step_is_told_where_the_others_have_few() -> None:
    odd = episode(10)
    stuck = replace(odd, cost=np.ones_like(odd.cost))
    assert told(stuck)[-1] == ["all of its 29 steps have a cost: was it stuck?"]
    assert odd_ones([Traits(costly=1.0, steps=29)] * 20, ()) == [[]] * 20, "it is what they all have"


def test_too_few_recordings_tell_nothing() -> None:
    odd = replace(episode(0), cost=np.ones(30, np.float32))
    every = [odd, *map(episode, range(1, LEAST - 1))]
    assert odd_ones([traits_of(e.images, e.reward, e.cost) for e in every], CAMERA) == [[]] * (LEAST - 1)


def test_training_is_told_of_them_too_with_the_first_by_name() -> None:
    odd = episode(10)
    turned = [replace(odd, name=name, images=odd.images[:, :, ::-1]) for name in ("a", "b")]
    data = from_episodes([*map(episode, range(10)), *turned])
    (line,) = data.odd(CAMERA)
    assert line == f"2 bags, first a: {CAMERA[0]} looks upside down, by what the others show"
