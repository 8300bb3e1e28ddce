import numpy as np
import pytest

from fosp_core.rotation import rotated, rotation_between

QUARTER_ABOUT_Z = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])


def test_a_quarter_turn_about_z():
    assert rotated(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, np.pi / 2])) == pytest.approx(QUARTER_ABOUT_Z)


def test_rotations_are_about_the_fixed_axes_and_not_those_of_the_tool():
    turned = rotated(QUARTER_ABOUT_Z, np.array([np.pi, 0.0, 0.0]))
    assert turned == pytest.approx(np.array([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0]))


def test_the_rotation_between_two_orientations_is_the_one_that_was_made_whatever_the_sign_of_the_quaternion():
    random = np.random.default_rng(0)
    for rotation in random.uniform(-1.0, 1.0, (50, 3)):
        before = random.normal(size=4)
        before /= np.linalg.norm(before)
        after = rotated(before, rotation)
        assert np.linalg.norm(after) == pytest.approx(1.0)
        assert rotation_between(before, after) == pytest.approx(rotation)
        assert rotation_between(before, -after) == pytest.approx(rotation)


def test_no_rotation_is_exactly_none():
    assert rotation_between(QUARTER_ABOUT_Z, QUARTER_ABOUT_Z).tolist() == [0.0, 0.0, 0.0]
    assert rotated(QUARTER_ABOUT_Z, np.zeros(3)) == pytest.approx(QUARTER_ABOUT_Z)
