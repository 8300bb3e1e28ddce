"""The reference of a bundle judges frames that repeat, lag behind, or are unlike those of the training."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import lenient_reference

from fosp_core.bundle.frame_features import (
    MOTION_FEATURES,
    STILL_FEATURES,
    changed_sides,
    motion_features,
    plane_of,
    still_features,
)
from fosp_core.bundle.lens import LENS_WIDTHS, lens_shapes
from fosp_core.bundle.reference import (
    CAUSES,
    LOCAL,
    REPEATING,
    CameraReference,
    FrameJudge,
    Reference,
    read_reference,
    windowed,
)
from fosp_core.errors import UserError

FULL = np.array([1.0], np.float32)
REST = np.zeros(1, np.float32)


def _frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), np.uint8)


def _reference(least_change: float = 0.0, **changes: np.ndarray) -> Reference:
    camera = lenient_reference(1, 1).cameras[0]
    return Reference((CameraReference(**{**vars(camera), "least_change": np.array([least_change], "f"), **changes}),))


def _play(judge: FrameJudge, frames: list[np.ndarray], executed: np.ndarray = FULL) -> list[float]:
    return [judge.step(frame, executed, i == 0).inconsistency for i, frame in enumerate(frames)]


def test_frames_that_change_are_consistent():
    assert max(_play(FrameJudge(_reference()), [_frame(i) for i in range(30)])) < REPEATING


def test_a_driver_that_repeats_its_last_three_frames_is_found_within_a_few_steps():
    found = _play(FrameJudge(_reference()), [_frame(i) for i in range(10)] + [_frame(7 + i % 3) for i in range(6)])
    assert max(found[:11]) < REPEATING
    assert found[11] == REPEATING  # the second frame that goes back


def test_one_frame_that_goes_back_is_no_loop():
    frames = [_frame(i) for i in range(10)] + [_frame(8)] + [_frame(i) for i in range(10, 20)]
    assert max(_play(FrameJudge(_reference()), frames)) < REPEATING


def test_a_driver_that_shows_each_frame_for_three_steps_repeats():
    assert REPEATING in _play(FrameJudge(_reference()), [_frame(i // 3) for i in range(12)])


def test_a_frozen_picture_with_a_clock_repeats():
    frames = [_frame(i) for i in range(5)] + [_frame(4) for _ in range(6)]
    for i, frame in enumerate(frames):
        frame[0, 2:4, 2:4] = i
    assert REPEATING in _play(FrameJudge(_reference(least_change=3)), frames)


def test_two_pixels_far_from_each_other_make_another_frame_of_it():
    frames = [_frame(0) for _ in range(12)]
    for i, frame in enumerate(frames):
        frame[0, 2, 2] = frame[0, 40, 50] = i
    assert max(_play(FrameJudge(_reference(least_change=14)), frames)) < REPEATING


def test_the_changed_side_is_that_of_a_square_around_all_changes():
    one = _frame(0)[0]
    other = one.copy()
    assert changed_sides(one, other[None]) == 0
    other[3, 5, 1] ^= 1
    assert changed_sides(one, other[None]) == 1
    other[7, 6, 0] ^= 1
    assert changed_sides(one, other[None]) == 5


def test_a_robot_at_rest_sees_the_same_frame_again_and_again():
    assert max(_play(FrameJudge(_reference()), [_frame(0)] * 30, REST)) < REPEATING


def test_every_second_frame_may_be_one_shown_before():
    assert max(_play(FrameJudge(_reference()), [_frame(i // 2) for i in range(30)])) < REPEATING


def test_a_picture_that_stands_still_lags_behind_the_motion():
    reference = _reference(motion_noise=np.array([[0.1], [0.01]], np.float32), step_noise=np.array([0.1], np.float32))
    found = _play(FrameJudge(reference), [_frame(i) for i in range(12)])
    assert found[0] == 0.0
    assert found == sorted(found)
    assert found[-1] > 5


def test_things_that_move_by_themselves_are_weaker_evidence_than_their_motion():
    noise = np.array([[0.1], [0.01]], np.float32)
    camera = _reference(motion_noise=noise, step_noise=np.array([0.1], np.float32)).cameras[0]
    told, against = np.ones((10, 1), np.float32), -np.ones((10, 1), np.float32)
    still = camera.inconsistency(0.0 * told, told)
    assert camera.inconsistency(told, told) == 0.0
    assert camera.inconsistency(against, told) < 2.0 * still  # twice as far from what was told, but no standing picture
    mixed = np.where(np.arange(10)[:, None] % 2, 1.0, 0.5).astype(np.float32) * told
    assert camera.inconsistency(mixed, told) == 0.0


def test_a_picture_with_a_local_fault_is_novel_by_the_scale_of_its_network():
    layers = {name: np.zeros(shape, np.float32) for name, shape in lens_shapes().items()}
    layers["lens_1"][4 * 3, 0] = 1.0  # the red of each second pixel
    layers["lens_2"][4 * LENS_WIDTHS[0], 0] = 1.0
    layers["lens_3"][4 * LENS_WIDTHS[1], 0] = 1.0
    layers["lens_out"][0, 0] = 10.0  # its maximum
    judge = FrameJudge(_reference(**layers, lens_scale=np.array([0.5, -1.0], np.float32)))
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    spot = grey.copy()
    spot[0, 16:33, 16:33] = 255
    assert judge.step(grey, REST, True).novelty < 0.1
    found = judge.step(spot, REST, False)
    assert found.novelty == pytest.approx(0.5 * 10.0 * (255 / 128 - 1) - 1.0, rel=1e-3)
    assert found.cause == LOCAL


def test_a_frame_along_the_direction_of_a_fault_is_novel_and_named():
    mean = still_features(_frame(0)[0])
    swapped = np.ascontiguousarray(_frame(0)[..., ::-1])
    direction = still_features(swapped[0]) - mean
    scores = np.zeros((len(CAUSES), STILL_FEATURES), np.float32)
    scores[0] = 3.0 * direction / (direction @ direction)
    judge = FrameJudge(_reference(mean=mean, scores=scores))
    assert judge.step(_frame(0), REST, True).novelty < 0.1
    found = judge.step(swapped, REST, False)
    assert found.novelty == pytest.approx(3.0, rel=1e-3)
    assert found.cause == "red and blue swapped"


def test_features_have_their_sizes_for_frames_of_any_size():
    for size in (16, 64, 100):
        image = np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)
        assert still_features(image).shape == (STILL_FEATURES,)
        assert motion_features(plane_of(image), plane_of(image)).shape == (MOTION_FEATURES,)


def test_windowed_is_the_limit_that_enough_values_in_a_window_reach():
    assert windowed([1, 9, 1, 1, 1], 2, 3) == 1
    assert windowed([1, 9, 1, 8, 1], 2, 3) == 8
    assert windowed([1], 2, 3) == -np.inf


def test_a_reference_survives_its_file(tmp_path: Path):
    path = tmp_path / "reference.npz"
    path.write_bytes(_reference(3.0).to_bytes())
    assert read_reference(path, 1, 1).cameras[0].least_change == 3.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.mean", np.full(STILL_FEATURES, np.nan, np.float32)),
        ("0.mean", np.zeros(3, np.float32)),
        ("0.spread", np.zeros(2, np.float32)),
        ("0.motion", np.zeros((MOTION_FEATURES, 2), np.float32)),
        ("0.motion_noise", np.full((2, 1), -1.0, np.float32)),
        ("0.step_noise", np.zeros(1, np.float32)),
        ("0.lens_1", np.zeros((3, 3), np.float32)),
        ("0.lens_scale", np.array([-1.0, 0.0], np.float32)),
        ("1.mean", np.zeros(STILL_FEATURES, np.float32)),
        ("0.mean", np.array([object()])),
    ],
)
def test_a_reference_that_is_not_one_is_refused(tmp_path: Path, name: str, value: np.ndarray):
    path = tmp_path / "reference.npz"
    with np.load(io.BytesIO(_reference().to_bytes())) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(path, **{**arrays, name: value})
    with pytest.raises(UserError, match=r"reference\.npz"):
        read_reference(path, 1, 1)


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path):
    path = tmp_path / "reference.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not readable"):
        read_reference(path, 1, 1)


@pytest.mark.parametrize("size", [16, 32, 48, 64, 100, 128])
def test_frames_in_a_stack_have_the_features_that_each_has_by_itself(size: int):
    frames = np.random.default_rng(size).integers(0, 256, (70, size, size, 3), np.uint8)
    frames[::2, : size // 2] = 200
    planes = plane_of(frames)
    assert np.array_equal(planes, [plane_of(frame) for frame in frames])
    assert np.array_equal(still_features(frames), [still_features(frame) for frame in frames])
    pairs = [motion_features(a, b) for a, b in pairwise(planes)]
    np.testing.assert_allclose(motion_features(planes[:-1], planes[1:]), pairs, rtol=1e-5, atol=1e-5)


def test_an_episode_is_judged_as_its_steps_one_by_one():
    rng = np.random.default_rng(0)
    reference = _reference(least_change=3, motion=rng.normal(0, 0.01, (MOTION_FEATURES, 1)).astype(np.float32))
    frames = np.concatenate([_frame(i // 2 if 20 < i < 30 else i) for i in range(40)])[:, None]
    executed = rng.uniform(-1, 1, (len(frames), 1)).astype(np.float32)
    judge = FrameJudge(reference)
    steps = [judge.step(frame, executed[i], i == 0) for i, frame in enumerate(frames)]
    found = judge.inconsistencies(frames, executed)
    assert found == pytest.approx([step.inconsistency for step in steps], rel=1e-5, abs=1e-6)
    assert REPEATING in found
    assert any(0 < value < REPEATING for value in found)


def test_the_novelty_of_many_frames_is_that_of_each():
    rng = np.random.default_rng(0)
    changes = {
        "mean": still_features(_frame(0)[0]),
        "scores": rng.normal(0, 0.01, (len(CAUSES), STILL_FEATURES)).astype(np.float32),
        "lens_scale": np.zeros(2, np.float32),
    }
    camera = _reference(**changes).cameras[0]
    frames = np.concatenate([_frame(i) for i in range(8)])
    each = [camera.novelty(frame)[0] for frame in frames]
    assert camera.novelties_as_a_whole(frames).tolist() == pytest.approx(each, rel=1e-4)
