"""Tells the recordings of a set that differ from the others as nothing but a mistake does.

A camera that was mounted upside down for a day, rewards in another unit, a cost switch that was stuck: each recording
reads like a good one, and only beside the others it is odd. What is told lies far outside of what scenes, luck and
skill make of recordings: no episode of the simulators' demonstrations is told of, good or bad.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
LEAST = 8
"""Recordings from which on one can be odd among them."""
_CELLS = 8
"""Rows and columns of a look."""
_FRAMES = 6
"""Frames of a recording that its look is the mean of."""
_CLEARER = 0.7
"""Share of its distance from the usual look that is left when a picture is turned back: below it, it was turned."""
_LARGER, _SMALLER, _ALL_SMALLER = 10.0, 1.0 / 30.0, 1.0 / 100.0
"""Multiples of the usual reward: of the typical one of a recording, and of its largest."""
_LEAST_STEPS = 20
"""Steps with a cost from which on a cost in every step is odd."""


@dataclass(frozen=True)
class Traits:
    """Figures of one recording that are held against those of its set."""

    looks: tuple[Array, ...] = field(default=(), compare=False)
    """Mean picture of each camera, (8, 8, 3) in [0, 1]."""
    typical_reward: float = 0.0
    """Median of the absolute rewards that are not 0."""
    largest_reward: float = 0.0
    """Largest absolute reward."""
    costly: float = 0.0
    """Share of the steps with a cost."""
    steps: int = 0


def shown_rows(start: int, length: int) -> NDArray[np.int64]:
    """Return the rows of an episode that its look is the mean of: a few from the first to the last."""
    return start + np.linspace(0, length - 1, min(_FRAMES, length)).astype(np.int64)


def traits_of(images: NDArray[np.uint8], reward: NDArray[np.float32], cost: NDArray[np.float32]) -> Traits:
    """Return the traits of a recording by images (N, cameras, H, W, 3), and rewards and costs (N,) of its rows.

    The first row has neither reward nor cost.
    """
    seen = images[shown_rows(0, len(images))].astype(np.float32) / np.float32(255.0)
    looks = tuple(_cells(seen[:, camera].mean(0)) for camera in range(seen.shape[1]))
    rewards = np.abs(reward[1:])
    given = rewards[rewards > 0]
    return Traits(
        looks,
        float(np.median(given)) if len(given) else 0.0,
        float(given.max(initial=0.0)),
        float((cost[1:] > 0).mean()) if len(cost) > 1 else 0.0,
        len(rewards),
    )


def odd_ones(traits: Sequence[Traits], cameras: Sequence[str]) -> list[list[str]]:
    """Return for each recording of a set what is odd about it, in lines; `cameras` are their names."""
    found: list[list[str]] = [[] for _ in traits]
    if len(traits) < LEAST:
        return found
    for index, line in (*_turned(traits, cameras), *_rewards(traits), *_costs(traits)):
        found[index].append(line)
    return found


def _turned(traits: Sequence[Traits], cameras: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number, camera in enumerate(cameras):
        looks = np.array([one.looks[number] for one in traits])
        usual = np.median(looks, axis=0)
        apart = _distance(looks, usual)
        ways = {
            "turned by 180 degrees": looks[:, ::-1, ::-1],
            "upside down": looks[:, ::-1],
            "mirrored": looks[:, :, ::-1],
            "with red and blue exchanged": looks[..., ::-1],
        }
        left = np.array([_distance(turned, usual) for turned in ways.values()])
        for index in np.flatnonzero(left.min(0) < _CLEARER * apart):
            way = list(ways)[int(left[:, index].argmin())]
            yield int(index), f"{camera} looks {way}, by what the others show"


def _rewards(traits: Sequence[Traits]) -> Iterator[tuple[int, str]]:
    typical, largest = (np.array([getattr(t, f"{name}_reward") for t in traits]) for name in ("typical", "largest"))
    if not (typical > 0).any():
        return
    usual, most = float(np.median(typical[typical > 0])), float(np.median(largest[typical > 0]))
    larger = typical > _LARGER * usual
    smaller = (typical > 0) & (typical < _SMALLER * usual) & (largest < _ALL_SMALLER * most)
    for index in np.flatnonzero(larger | smaller):
        yield int(index), f"rewards are {typical[index] / usual:.2g} times those of the others: of another unit?"


def _costs(traits: Sequence[Traits]) -> Iterator[tuple[int, str]]:
    share = np.array([one.costly for one in traits])
    if np.median(share) >= 0.5:
        return
    for index, one in enumerate(traits):
        if one.costly == 1.0 and one.steps >= _LEAST_STEPS:
            yield index, f"all of its {one.steps} steps have a cost: was it stuck?"


def _distance(looks: Array, usual: Array) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(((looks - usual) ** 2).mean((1, 2, 3), dtype=np.float64)))


def _cells(picture: Array) -> Array:
    """Return the means over 8 x 8 cells of a picture (H, W, 3)."""
    rows, columns = (np.linspace(0, size, _CELLS + 1).astype(np.int64)[:-1] for size in picture.shape[:2])
    summed = np.add.reduceat(np.add.reduceat(picture, rows, 0), columns, 1)
    counts = np.outer(np.diff(rows, append=picture.shape[0]), np.diff(columns, append=picture.shape[1]))
    return np.asarray(summed / counts[..., None], np.float32)
