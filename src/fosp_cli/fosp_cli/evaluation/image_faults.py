"""Faults of a camera as a sequence of frames shows them, for the table of `fosp experiment camera`.

Each is a function of the frames so far, oldest first, of the index of the frame at which it began, and of a generator
of the scene. Frames are (H, W, 3) uint8 RGB as the model sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Frames = Sequence[Image]
ImageFault = Callable[[Frames, int, np.random.Generator], Image]
"""(frames so far, index of the frame at which it began, generator of this scene and frame) -> the frame shown."""

_OLD_STEPS = 20
"""One second at 20 Hz."""
_LOOP = 3


def still(change: Callable[[Image], Image]) -> ImageFault:
    """Return the fault that changes each frame by itself."""
    return lambda frames, began, rng: change(frames[-1])


def mixed(image: Image, other: NDArray[np.floating] | Image, weight: NDArray[np.floating] | float) -> Image:
    """Return (1 - weight) * image + weight * other."""
    return np.asarray(np.clip(image * (1.0 - weight) + other * weight, 0, 255), np.uint8)


def _soft(image: Image, share: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), share * len(image)), np.uint8)


def _grid(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return row and column of each pixel, (H, W, 1) in [0, 1)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return rows[..., None] / image.shape[0], columns[..., None] / image.shape[1]


def _half_black(image: Image) -> Image:
    shown = image.copy()
    shown[:, image.shape[1] // 2 :] = 0
    return shown


def _smear(image: Image) -> Image:
    rows, columns = _grid(image)
    band = np.exp(-np.square((rows - 0.35 - 0.4 * (columns - 0.1)) / 0.12))
    return mixed(image, 0.6 * _soft(image, 0.08) + 0.4 * 140.0, band)


def _drop(image: Image) -> Image:
    """Show what lies behind a drop of water, as wide as a third of the frame, upside down."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    centre, radius = (0.55 * height, 0.6 * width), 0.18 * height
    down, right = rows - centre[0], columns - centre[1]
    inside = np.hypot(down, right) < radius
    source = [np.where(inside, c - 1.5 * d, p) for c, d, p in ((centre[1], right, columns), (centre[0], down, rows))]
    shown = cv2.remap(image, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shown, np.uint8)


def _turned(image: Image) -> Image:
    by = round(3 * image.shape[1] / 64)
    matrix = np.array([[1, 0, by], [0, 1, 0]], np.float32)
    size = image.shape[1], image.shape[0]
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _wall(image: Image) -> Image:
    """Show a wall of tiles where the background is black."""
    rows, columns = _grid(image)
    tiles = np.where((rows * 10).astype(int) + (columns * 10).astype(int) & 1, 200.0, 120.0)
    behind = (image.max(2, keepdims=True) < 40) & (rows < 0.5)
    return mixed(image, tiles * np.array([1.0, 0.8, 0.6]), behind.astype(np.float32))


def _person(frames: Frames, began: int, rng: np.random.Generator) -> Image:
    """Let a person walk through the background, from the left to the right in 3 s."""
    shown = frames[-1].copy()
    height, width = shown.shape[:2]
    at = int(width * (((len(frames) - began) / 60.0) % 1.0))
    cv2.ellipse(shown, (at, int(0.22 * height)), (int(0.1 * width), int(0.25 * height)), 0, 0, 360, (60, 90, 160), -1)
    cv2.circle(shown, (at, int(0.05 * height)), int(0.06 * width), (220, 180, 150), -1)
    return shown


def _strobe(frames: Frames, began: int, rng: np.random.Generator) -> Image:
    gain = 1.7 if (len(frames) - began) // 2 % 2 else 0.5
    return np.asarray(np.clip(frames[-1] * gain, 0, 255), np.uint8)


def _stripe(frames: Frames, began: int, rng: np.random.Generator) -> Image:
    """Darken a sixth of the rows, which roll through the frame as under a lamp at mains frequency."""
    shown = frames[-1].astype(np.float32)
    height = len(shown)
    first = (len(frames) - began) * 7 * height // 64
    shown[(first + np.arange(height // 6)) % height] *= 0.4
    return shown.astype(np.uint8)


def _jpeg(image: Image) -> Image:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 5])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _cap(image: Image) -> Image:
    rows, columns = _grid(image)
    covered = 1.0 / (1.0 + np.exp(-(columns + 0.4 * rows - 0.6) / 0.05))
    return mixed(image, np.zeros(3), covered)


def _clock(frames: Frames, began: int, rng: np.random.Generator) -> Image:
    shown = frames[began].copy()
    shown[2:4, 2:4] = (37 * len(frames)) % 256
    return shown


IMAGE_FAULTS: dict[str, ImageFault] = {
    "hand on the lens, dark": still(lambda image: mixed(image, np.full(3, 12.0), 0.95)),
    "hand on the lens, blurred": still(lambda image: mixed(_soft(image, 0.12), np.array([150.0, 95.0, 75.0]), 0.5)),
    "red and blue swapped": still(lambda image: np.ascontiguousarray(image[..., ::-1])),
    "mirrored": still(lambda image: np.ascontiguousarray(image[:, ::-1])),
    "upside down": still(lambda image: np.ascontiguousarray(image[::-1, ::-1])),
    "1 s old under fresh stamps": lambda frames, began, rng: frames[max(0, len(frames) - 1 - _OLD_STEPS)],
    "last 3 frames repeated": lambda frames, began, rng: frames[max(0, began - _LOOP + (len(frames) - began) % _LOOP)],
    "half black": still(_half_black),
    "frozen but for a clock": _clock,
    "smear": still(_smear),
    "water drop": still(_drop),
    "exposure jump": still(lambda image: np.asarray(np.clip(image * 2.2, 0, 255), np.uint8)),
    "lens turned by 3 px": still(_turned),
    "other wall behind": still(_wall),
    "person in the background": _person,
    "strobing light": _strobe,
    "rolling stripe": _stripe,
    "low bit rate JPEG": still(_jpeg),
    "lens cap half on": still(_cap),
}
"""The faults of the table by name."""
