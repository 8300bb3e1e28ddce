"""Pictures for the network that looks for local faults: whole ones with unseen things in them, and damaged ones.

All sizes are shares of the height of the frame, (H, W, 3) uint8 RGB. Places, sizes and strengths are drawn anew for
each picture, so that the network learns what a fault does to a picture rather than where it was.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_learner.bundling.camera_faults import SATURATED, varied

Image = NDArray[np.uint8]
Values = NDArray[np.integer | np.floating]
Damage = Callable[[Image, np.random.Generator], Values]

_VISIBLE_LEVELS, _VISIBLE_SHARE = 20, 0.01
"""A damage that changes fewer pixels than this share by this many levels is none: dirt before a black wall."""
_TRIALS = 5
_THINGS = 3
_FINE = 4
"""Things are drawn in a picture this many times as large, so that their edges look rendered."""


def whole(image: Image, rng: np.random.Generator) -> Image:
    """Return a healthy frame whose things have other colours, and now and then with things of other shapes."""
    shown = varied(image, rng) if rng.random() < 0.5 else image.copy()
    if rng.random() < 0.6:
        shown = _recoloured(shown, rng)
    for _ in range(int(rng.integers(_THINGS + 1)) if rng.random() < 0.6 else 0):
        shown = _with_thing(shown, rng)
    return shown


def damaged(image: Image, rng: np.random.Generator) -> Image | None:
    """Return the frame with a fault drawn at random, or None when none that was tried can be seen on it."""
    for _ in range(_TRIALS):
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        shown = np.clip(damage(image, rng), 0, 255).astype(np.uint8)
        changed = cv2.absdiff(shown, image).max(2) > _VISIBLE_LEVELS
        if changed.mean() > _VISIBLE_SHARE:
            return shown
    return None


def _coloured(hsv: Values) -> NDArray[np.bool_]:
    return np.asarray(hsv[..., 1] > SATURATED)


def _recoloured(image: Image, rng: np.random.Generator) -> Image:
    """Give each coloured thing a hue, saturation and brightness of its own."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    coloured = _coloured(hsv)
    count, things = cv2.connectedComponents(coloured.astype(np.uint8))
    turns = rng.integers(0, 180, count) if rng.random() < 0.5 else rng.integers(-35, 36, count)
    thing = things[coloured]
    hsv[..., 0][coloured] = (hsv[..., 0][coloured].astype(np.int32) + turns[thing]) % 180
    for channel, factors in ((1, rng.uniform(0.5, 1.1, count)), (2, rng.uniform(0.6, 1.3, count))):
        hsv[..., channel][coloured] = np.clip(hsv[..., channel][coloured] * factors[thing], 0, 255)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _with_thing(image: Image, rng: np.random.Generator) -> Image:
    """Put a thing with sharp edges somewhere: a disc, an ellipse or a rectangle, now and then on a post, and shaded."""
    height, width = image.shape[:2]
    fine = cv2.resize(image, (width * _FINE, height * _FINE), interpolation=cv2.INTER_NEAREST)
    mask = np.zeros(fine.shape[:2], np.uint8)
    column, row = rng.uniform(0, 1, 2) * (width * _FINE, height * _FINE)
    radius, shape = rng.uniform(0.02, 0.1) * height * _FINE, rng.integers(3)
    if rng.random() < 0.5:
        foot = column + rng.uniform(-0.3, 0.3) * radius, row + radius * rng.uniform(1.0, 5.0)
        thickness = max(1, int(rng.uniform(0.005, 0.03) * height * _FINE))
        cv2.line(mask, (int(column), int(row)), (int(foot[0]), int(foot[1])), 255, thickness)
    if shape == 2:
        corners = cv2.boxPoints(((column, row), (2 * radius, 2 * radius * rng.uniform(0.3, 1.5)), rng.uniform(0, 90)))
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 255)
    else:
        axes = int(radius), int(radius * (rng.uniform(0.3, 1.0) if shape else 1.0))
        cv2.ellipse(mask, (int(column), int(row)), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    colours = image[_coloured(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))]
    known = len(colours) > 0 and rng.random() < 0.6
    colour = colours[rng.integers(len(colours))] if known else rng.uniform(0, 255, 3)
    where = np.nonzero(mask)
    lit, turn = rng.uniform(0.0, 1.0), rng.uniform(0, 2 * np.pi)
    side = np.clip(((where[0] - row) * np.sin(turn) + (where[1] - column) * np.cos(turn)) / radius, -1, 1)
    fine[where] = np.clip(np.asarray(colour) * (1.0 + 0.5 * lit * side[:, None]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _spot(image: Image, rng: np.random.Generator) -> Values:
    """Return how far each pixel belongs to a round spot, or to a band through the frame, (H, W, 1) in [0, 1]."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / height
    row, column = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9) * width / height
    turn = rng.uniform(0, np.pi)
    along = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
    across = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
    sizes = rng.uniform(0.08, 0.3, 2) if rng.random() < 0.5 else (rng.uniform(0.05, 0.2), 3.0)
    power = rng.choice([2, 4, 8])
    return np.exp(-0.5 * (np.abs(along / sizes[0]) ** power + np.abs(across / sizes[1]) ** power))[..., None]


def _smear(image: Image, rng: np.random.Generator) -> Values:
    spot, veil = _spot(image, rng), rng.uniform(0, 0.6)
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.025, 0.12) * len(image)).astype(np.float32)
    return image * (1 - spot) + spot * ((1 - veil) * soft + veil * rng.uniform(60, 220, 3))


def _drop(image: Image, rng: np.random.Generator) -> Values:
    """A drop turns what is behind it around, or magnifies it, or shrinks it; the edge is hard or soft."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    row, column = rng.uniform(0.15, 0.85) * height, rng.uniform(0.15, 0.85) * width
    radius = rng.uniform(0.08, 0.28) * height
    down, right = rows - row, columns - column
    distance = np.hypot(down, right)
    inside = distance < radius
    kind = rng.random()
    scale = rng.uniform(-2.2, -0.5) if kind < 0.6 else rng.uniform(1.4, 2.5) if kind < 0.8 else rng.uniform(0.3, 0.65)
    depth = np.clip(2 * (1 - distance / radius), 0, 1) if rng.random() < 0.5 else np.ones_like(distance)
    scales = 1 + (scale - 1) * depth
    source = [
        np.where(inside, centre + scales * offset, place).astype(np.float32)
        for centre, offset, place in ((column, right, columns), (row, down, rows))
    ]
    shown = cv2.remap(image, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if rng.random() < 0.3:
        shown = shown * np.where(inside, rng.uniform(0.6, 1.3), 1.0)[..., None]
    if rng.random() < 0.3:
        shown = np.where(inside[..., None], cv2.GaussianBlur(shown, (0, 0), 0.0125 * height), shown)
    return shown


def _covered(image: Image, rng: np.random.Generator) -> Values:
    spot = _spot(image, rng)
    return image * (1 - spot) + spot * rng.uniform(0, 255, 3) * rng.uniform(0, 1)


def _blurred(image: Image, rng: np.random.Generator) -> Values:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.02, 0.12) * len(image)).astype(np.float32)


def _noisy(image: Image, rng: np.random.Generator) -> Values:
    return image + rng.normal(0, rng.uniform(12, 50), image.shape)


def _compressed(image: Image, rng: np.random.Generator) -> Values:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(3, 15))])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32)


def _striped(image: Image, rng: np.random.Generator) -> Values:
    """Rows or columns are darker or brighter than the others."""
    shown = image.astype(np.float32)
    lines = shown if rng.random() < 0.7 else shown.swapaxes(0, 1)
    count, first = max(1, int(rng.uniform(0.05, 0.3) * len(lines))), rng.integers(len(lines))
    lines[(first + np.arange(count)) % len(lines)] *= (
        rng.uniform(0.2, 0.7) if rng.random() < 0.7 else rng.uniform(1.4, 2)
    )
    return shown


DAMAGES: tuple[Damage, ...] = (_smear, _drop, _covered, _blurred, _noisy, _compressed, _striped, _smear, _drop, _drop)
"""Faults among which one is drawn; those that are hard to see stand here more than once."""
