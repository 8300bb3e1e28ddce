"""Random changes of colour: a turn of the hue around the grey axis, saturation, brightness."""

from __future__ import annotations

import math

import torch

from fosp_learner.model.colours import colour_matrices, recoloured

RED, GREEN, BLUE = torch.eye(3)


def _matrix(hue: float = 0.0, saturation: float = 1.0, brightness: float = 1.0) -> torch.Tensor:
    one = torch.ones(1)
    return colour_matrices(hue * one, saturation * one, brightness * one)[0]


def test_a_third_of_a_turn_makes_red_green_and_green_blue() -> None:
    turn = _matrix(hue=2 * math.pi / 3)
    torch.testing.assert_close(turn @ RED, GREEN)
    torch.testing.assert_close(turn @ GREEN, BLUE)


def test_grey_keeps_its_place_whatever_the_turn_and_the_saturation() -> None:
    grey = torch.full((3,), 0.4)
    torch.testing.assert_close(_matrix(hue=1.0, saturation=0.3) @ grey, grey)
    torch.testing.assert_close(_matrix(brightness=0.5) @ grey, 0.5 * grey)


def test_no_saturation_is_grey_of_the_same_mean() -> None:
    torch.testing.assert_close(_matrix(saturation=0.0) @ RED, torch.full((3,), 1 / 3))


def test_images_of_a_sequence_change_alike_and_those_of_another_otherwise() -> None:
    torch.manual_seed(0)
    pixels = (0.5 * torch.rand(1, 4, 4, 6) - 0.25).expand(6, 4, 4, 6)
    changed = recoloured(pixels, 2, hue_degrees=40, saturation=0.2, brightness=0.1)
    assert changed.shape == pixels.shape
    torch.testing.assert_close(changed[0], changed[2])
    assert not torch.allclose(changed[0], changed[3])
    assert changed.abs().max() <= 0.5


def test_no_shift_changes_nothing() -> None:
    pixels = torch.rand(4, 8, 8, 3) - 0.5
    torch.testing.assert_close(recoloured(pixels, 4, 0.0, 0.0, 0.0), pixels)
