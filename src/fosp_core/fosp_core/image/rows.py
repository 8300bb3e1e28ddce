"""The padding of an image's rows. No ROS.

A message whose `step` belongs to another encoding than the one that it names has pixels of another size: read as named,
every picture is sheared or shows a share of the scene, and none of its other fields contradicts it.
"""

from __future__ import annotations

_LARGEST_PITCH = 512
"""Bytes to whose multiple the rows of drivers and graphics cards are padded at most."""


def is_padded(step: int, row: int, width: int) -> bool:
    """Return True where rows of `row` bytes, of `width` pixels, may have been padded to `step` bytes.

    Padding is less than a byte for each pixel, or fills a row up to a multiple of a power of two.
    """
    return row <= step and step - row < max(width, min(step & -step, _LARGEST_PITCH))
