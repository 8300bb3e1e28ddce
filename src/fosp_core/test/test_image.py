import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.image import SETTLED_FRAMES, ExposureSettling, observation_image


def test_the_centre_square_is_kept_and_the_sides_are_cut():
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[:, 40:280] = 200
    assert (observation_image(frame, 64, 64) == 200).all()


def test_a_frame_of_the_right_size_is_returned_unchanged():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(observation_image(frame, 64, 64), frame)


def test_a_tall_frame_is_cropped_above_and_below():
    frame = np.zeros((320, 240, 3), np.uint8)
    frame[40:280] = 100
    assert (observation_image(frame, 64, 64) == 100).all()


@pytest.mark.parametrize(
    "frame", [np.zeros((240, 320), np.uint8), np.zeros((240, 320, 4), np.uint8), np.zeros((240, 320, 3), np.float32)]
)
def test_anything_but_rgb_bytes_is_refused(frame):
    with pytest.raises(UserError, match="must be"):
        observation_image(frame, 64, 64)


def told_of(brightness: list[float]) -> ExposureSettling:
    settling = ExposureSettling()
    for value in brightness:
        settling.add(np.full((48, 64, 3), value, np.uint8))
    return settling


def test_frames_of_one_brightness_have_settled_but_not_before_there_are_enough() -> None:
    assert told_of([90.0] * SETTLED_FRAMES).settled
    assert not told_of([90.0] * (SETTLED_FRAMES - 1)).settled


def test_a_ramp_has_not_settled_and_has_after_it_ended() -> None:
    ramp = [20.0 + 10 * i for i in range(10)]
    assert not told_of(ramp).settled
    assert told_of(ramp + [110.0] * SETTLED_FRAMES).settled
