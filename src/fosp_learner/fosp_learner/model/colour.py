"""Random changes of colour, so that what is learned holds in other light and for things of a somewhat other colour."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fosp_learner import distributed

_GREY = torch.full((3, 3), 1 / 3)
"""Projection onto the grey axis, which a turn of the hue leaves alone."""
_TURN = math.sqrt(1 / 3) * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
"""Generator of turns around the grey axis (Rodrigues)."""


def colour_matrices(hue: Tensor, saturation: Tensor, brightness: Tensor) -> Tensor:
    """(N,) turn of the hue in rad, factors of saturation and brightness -> (N, 3, 3), to be applied to (r, g, b)."""
    assert hue.shape == saturation.shape == brightness.shape, (hue.shape, saturation.shape, brightness.shape)
    hue, saturation, brightness = (x[:, None, None] for x in (hue, saturation, brightness))
    grey, turn = _GREY.to(hue.device), _TURN.to(hue.device)
    turned = hue.cos() * (torch.eye(3, device=hue.device) - grey) + hue.sin() * turn
    return brightness * (grey + saturation * turned)


def recoloured(
    pixels: Tensor,
    groups: int,
    hue_degrees: float,
    saturation: float,
    brightness: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pixels (N, H, W, 3 * cameras) in [-0.5, 0.5] with another hue, saturation and brightness, the same for each of
    `groups` equal runs of images, drawn evenly from +-hue_degrees, 1 +- saturation and 1 +- brightness.

    Draws from `generator`, on the CPU; by default torch's global one, for the rows of this process.
    """
    count, height, width, channels = pixels.shape
    assert (count % groups, channels % 3) == (0, 0), (pixels.shape, groups)
    drawn = torch.rand(groups, 3, generator=generator) if generator else distributed.uniform(groups, 3)
    hue, more, brighter = drawn.to(pixels.device).T * 2 - 1
    matrices = colour_matrices(hue * math.radians(hue_degrees), 1 + more * saturation, 1 + brighter * brightness)
    changed = torch.bmm((pixels + 0.5).reshape(groups, -1, 3), matrices.transpose(1, 2))
    return (changed.clamp_(0, 1) - 0.5).reshape(count, height, width, channels)
