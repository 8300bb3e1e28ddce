"""Random hue, saturation and brightness of images, which make what is learned hold in other light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fosp_learner import distributed

_GREY = torch.full((3, 3), 1 / 3)
"""Projection onto the grey axis, which a turn of the hue leaves unchanged."""
_TURN = math.sqrt(1 / 3) * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
"""Generator of turns about the grey axis (Rodrigues' formula)."""


def colour_matrices(hue: Tensor, saturation: Tensor, brightness: Tensor) -> Tensor:
    """Return matrices (N, 3, 3) on (r, g, b) for turns of the hue in rad and factors of saturation and brightness."""
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
    """Return pixels (N, H, W, 3 * cameras) in [-0.5, 0.5] with another hue, saturation and brightness.

    The change is the same in each of `groups` equal runs of images, and drawn evenly from +-hue_degrees,
    1 +- saturation and 1 +- brightness, by `generator` on the CPU or else by torch's global one, for the rows of this
    process. It makes what is learned hold in other light.
    """
    count, height, width, channels = pixels.shape
    assert (count % groups, channels % 3) == (0, 0), (pixels.shape, groups)
    drawn = torch.rand(groups, 3, generator=generator) if generator else distributed.uniform(groups, 3)
    hue, more, brighter = drawn.to(pixels.device).T * 2 - 1
    matrices = colour_matrices(hue * math.radians(hue_degrees), 1 + more * saturation, 1 + brighter * brightness)
    changed = torch.bmm((pixels + 0.5).reshape(groups, -1, 3), matrices.transpose(1, 2))
    return (changed.clamp_(0, 1) - 0.5).reshape(count, height, width, channels)
