"""Orientations as unit quaternions (x, y, z, w), and the rotations between them as vectors: rad, about fixed axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def rotation_between(before: Vector, after: Vector) -> Vector:
    """The shortest rotation (..., 3), rad, that turns the orientations (..., 4) `before` to `after`, in their frame."""
    difference = _product(after, before * np.array([-1.0, -1.0, -1.0, 1.0]))
    difference = np.where(difference[..., 3:] < 0.0, -difference, difference)
    sine = np.linalg.norm(difference[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, difference[..., 3:])
    return np.where(sine > 0.0, angle / np.where(sine > 0.0, sine, 1.0), 2.0) * difference[..., :3]


def rotated(orientation: Vector, rotation: Vector) -> Vector:
    """`orientation` (4,) turned by `rotation` (3,), rad, about the fixed axes of its frame; normalised."""
    angle = float(np.linalg.norm(rotation))
    axis = rotation / angle if angle > 0.0 else rotation
    turned = _product(np.append(np.sin(0.5 * angle) * axis, np.cos(0.5 * angle)), orientation)
    return np.asarray(turned / np.linalg.norm(turned))


def _product(a: Vector, b: Vector) -> Vector:
    """Hamilton product (..., 4): first the rotation b, then a."""
    vector = a[..., 3:] * b[..., :3] + b[..., 3:] * a[..., :3] + np.cross(a[..., :3], b[..., :3])
    scalar = a[..., 3:] * b[..., 3:] - (a[..., :3] * b[..., :3]).sum(-1, keepdims=True)
    return np.concatenate([vector, scalar], -1)
