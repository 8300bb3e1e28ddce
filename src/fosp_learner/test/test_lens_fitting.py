"""The network that looks for local faults is fitted on frames of the training, and tells whole from damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fosp_core.bundle.lens import LENS_SIZE, lens_input, lens_score, lens_shapes
from fosp_learner.bundling.lens_faults import DAMAGES, damaged, whole
from fosp_learner.bundling.lens_fitting import fit_lens, lens_scores


def _frames(count: int, size: int = 64) -> np.ndarray:
    """Grey walls with a coloured box each."""
    rng = np.random.default_rng(0)
    frames = np.full((count, size, size, 3), 90, np.uint8)
    for frame in frames:
        row, column = rng.integers(0, size - size // 4, 2)
        frame[row : row + size // 4, column : column + size // 4] = (20, 40, 220)
    return frames


def test_the_network_of_numpy_is_that_of_torch():
    frames = _frames(8)
    layers = fit_lens(frames, np.random.default_rng(0))
    assert tuple(layer.shape for layer in layers) == tuple(lens_shapes().values())
    values = torch.from_numpy(np.stack([lens_input(frame) for frame in frames])).permute(0, 3, 1, 2)
    for layer in layers[:-1]:
        kernel = torch.from_numpy(layer[:-1].reshape(3, 3, -1, layer.shape[1])).permute(3, 2, 0, 1)
        values = torch.relu(nn.functional.conv2d(values, kernel, torch.from_numpy(layer[-1]), 2, 1))
    pooled = torch.cat([values.amax((2, 3)), values.mean((2, 3))], 1)
    expected = pooled @ torch.from_numpy(layers[-1][:-1, 0]) + float(layers[-1][-1, 0])
    assert [lens_score(layers, frame) for frame in frames] == pytest.approx(expected.tolist(), abs=1e-4)
    assert lens_scores(layers, np.stack(list(frames))).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_updates_are_bounded_by_what_is_asked_for_and_by_the_frames():
    done: list[tuple[int, int]] = []
    for most in (2, 5000):
        fit_lens(_frames(8), np.random.default_rng(0), lambda *told: done.append(told), most_steps=most)
    assert done == [(1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.long
def test_a_few_steps_already_tell_damaged_frames_from_whole_ones():
    frames = _frames(120)
    layers = fit_lens(frames, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    spoilt = [shown for shown in (damaged(frame, rng) for frame in frames[:60]) if shown is not None]
    whole_scores = [lens_score(layers, whole(frame, rng)) for frame in frames[60:]]
    assert np.mean([lens_score(layers, frame) for frame in spoilt]) > np.mean(whole_scores)


def test_frames_of_another_size_are_resized():
    assert lens_input(_frames(1, 100)[0]).shape == (LENS_SIZE, LENS_SIZE, 3)


@pytest.mark.parametrize("damage", sorted(set(DAMAGES), key=lambda damage: damage.__name__))
@pytest.mark.parametrize("shape", [(64, 64, 3), (48, 64, 3)])
def test_each_damage_keeps_the_shape_of_the_frame(damage, shape: tuple[int, int, int]):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rng = np.random.default_rng(1)
    before = image.copy()
    for _ in range(20):
        assert damage(image, rng).shape == shape
        assert whole(image, rng).shape == shape
    assert np.array_equal(image, before)


def test_damage_that_nobody_sees_is_none():
    assert damaged(np.zeros((64, 64, 3), np.uint8), _Smears()) is None


class _Smears(np.random.Generator):
    """Draws blur only, which changes nothing in a black picture."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def integers(self, *args, **kwargs):
        return 3
