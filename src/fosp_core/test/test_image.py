import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.image import observation_image


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
