"""How the axes of an action move the joints of an arm, and how near it is to a singularity: pure linear algebra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fosp_core.specs import TWIST_COMPONENTS

Vector = NDArray[np.float64]
DAMPING = 0.003
"""Damping of the least squares as a share of the Jacobian's largest singular value. It only keeps the numbers finite:
at the default thresholds of a singularity it takes less than one percent of a joint's speed away."""
_SINGULAR = 1e-6


@dataclass(frozen=True, eq=False)
class Kinematics:
    """The chain of an arm at one position of its joints."""

    position: Vector
    """(3,) m: the commanded point in the action frame."""
    orientation: tuple[float, float, float, float]
    """Unit quaternion (x, y, z, w) of the commanded point in the action frame."""
    jacobian: Vector
    """(6, n): velocity of the commanded point and angular velocity, along the axes of the action frame, per unit of
    each joint, from base to tip."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The condition number of the Jacobian, and its relative change."""

    number: float
    rows: Vector
    """(A,) d ln(number) per unit of each axis of the action, of the motion that damped least squares make of it.

    It is zero in a singularity, where there is no derivative."""


class Decomposition(NamedTuple):
    """Singular values of the rows of a Jacobian that the controller keeps: all six, or those of the velocity."""

    left: Vector
    """(r, k), r = 6 or 3."""
    values: Vector
    """(k,), the largest first."""
    right: Vector
    """(k, n)."""


def decomposed(jacobian: Vector, holds_orientation: bool) -> Decomposition:
    """Return the decomposition of a Jacobian (6, n), or of its first three rows where the orientation is not held."""
    return Decomposition(*np.linalg.svd(jacobian if holds_orientation else jacobian[:3], full_matrices=False))


def joint_motion(svd: Decomposition, axes: Sequence[str]) -> Vector:
    """Return the motion of the joints (n, A) per unit of each axis of the action, by damped least squares.

    The axes that are not commanded stand still: all other components of the twist, or, where the controller does not
    hold the orientation, those of the velocity. Then angular axes move no joint.
    """
    damped = svd.values / (svd.values**2 + (DAMPING * svd.values[0]) ** 2)
    inverse = (svd.right.T * damped) @ svd.left.T
    components = [TWIST_COMPONENTS.index(axis) for axis in axes]  # type: ignore[arg-type]
    motion = np.zeros((len(inverse), len(components)))
    for column, component in enumerate(components):
        if component < inverse.shape[1]:
            motion[:, column] = inverse[:, component]
    return motion


def conditioning(jacobian: Vector, motion: Vector, svd: Decomposition) -> Conditioning:
    """Return the condition number of a Jacobian (6, n), and its relative change along the `motion` (n, A) of the axes.

    The derivative of a singular value is u' dJ v (Papadopoulo and Lourakis, 2000).
    """
    left, values, right = svd
    largest, least = float(values[0]), float(values[-1])
    if least < _SINGULAR * largest:
        return Conditioning(math.inf, np.zeros(motion.shape[1]))
    change = jacobian_derivative(jacobian)[:, : len(left)]  # (n, r, n)
    of_largest = (change @ right[0]) @ left[:, 0]
    of_least = (change @ right[-1]) @ left[:, -1]
    return Conditioning(largest / least, (of_largest / largest - of_least / least) @ motion)


def jacobian_derivative(jacobian: Vector) -> Vector:
    """Return the derivative (n, 6, n) of the Jacobian (6, n) of a serial chain by each joint, which is the first index.

    A joint turns everything behind it: the axes of the joints after it, and the lever of those before it.
    """
    linear, angular = jacobian[:3], jacobian[3:]
    count = jacobian.shape[1]
    turned_linear = cross(angular.T[:, None, :], linear.T[None, :, :])  # (k, i): w_k x v_i
    turned_angular = cross(angular.T[:, None, :], angular.T[None, :, :])
    behind = np.triu(np.ones((count, count), bool))[:, :, None]  # joint k is at or before joint i
    linear_change = np.where(behind, turned_linear, turned_linear.transpose(1, 0, 2))  # else w_i x v_k
    change = np.concatenate([linear_change, np.where(behind, turned_angular, 0.0)], axis=2)
    return change.transpose(0, 2, 1)


def cross(first: Vector, second: Vector) -> Vector:
    """Return the cross products (..., 3), at a fifth of the time that numpy takes for few of them."""
    a, b, c = first[..., 0], first[..., 1], first[..., 2]
    x, y, z = second[..., 0], second[..., 1], second[..., 2]
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def finite(kinematics: Kinematics) -> bool:
    """Return True when every number is finite."""
    return bool(np.isfinite(kinematics.jacobian).all() and np.isfinite(kinematics.position).all())
