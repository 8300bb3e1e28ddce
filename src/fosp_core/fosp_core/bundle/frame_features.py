"""Features of frames, and of the change between two frames, by which a reference judges them. Pure numpy and OpenCV.

All functions take one frame or many: a stack of frames in one call gives the features of each, several times as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GRID, _CELLS, _PLANE, _PATCHES = 16, 8, 32, 4
_DIFFERENCES = np.array([-256.0, -60.0, -25.0, -4.0, 4.0, 25.0, 60.0, 257.0])
_LEVELS = np.array([0.0, 8.0, 24.0, 48.0, 72.0, 96.0, 128.0, 176.0, 240.0, 256.0])
_TO_DIFFERENCE = (np.digitize(np.arange(-255, 256), _DIFFERENCES) - 1).astype(np.intp)
_TO_LEVEL = (np.digitize(np.arange(256), _LEVELS) - 1).astype(np.intp)
_HISTOGRAM_GAIN = 60.0
_GRADIENT_GAIN = 4.0
_GREY = np.array([[1 / 3, 1 / 3, 1 / 3]], np.float32)
STILL_FEATURES = _GRID * _GRID * 3 + 2 * _CELLS * _CELLS + 2 * (len(_DIFFERENCES) - 1) + len(_LEVELS) - 1
MOTION_FEATURES = 2 * _PATCHES * _PATCHES + _GRID * _GRID * 3
_AT_A_TIME = 64
"""Frames that are computed at once: their planes fit into the cache of a core."""

Array = NDArray[np.float32]


def still_features(frames: NDArray[np.uint8]) -> Array:
    """Return the features of frames (..., H, W, 3) uint8 RGB: (..., STILL_FEATURES)."""
    if frames.ndim == 3:
        return _still_features(frames[None])[0]
    flat = frames.reshape(-1, *frames.shape[-3:])
    found = np.empty((len(flat), STILL_FEATURES), np.float32)
    for part in _parts(flat):
        found[part] = _still_features(flat[part])
    return found.reshape(*frames.shape[:-3], STILL_FEATURES)


def plane_of(frames: NDArray[np.uint8]) -> Array:
    """Return the small frames (..., 32, 32, 3) float32 of frames (..., H, W, 3) that `motion_features` compares."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    planes = np.empty((len(flat), _PLANE, _PLANE, 3), np.float32)
    for part in _parts(flat):
        planes[part] = _shrunk(flat[part], _PLANE)
    return planes.reshape(*frames.shape[:-3], _PLANE, _PLANE, 3)


def motion_features(before: Array, after: Array) -> Array:
    """Return the features of the change between small frames: optical flow, and differences.

    Both (..., 32, 32, 3) -> (..., MOTION_FEATURES).
    """
    shape = before.shape[:-3]
    before, after = (x.reshape(-1, _PLANE, _PLANE, 3) for x in (before, after))
    found = np.empty((len(before), MOTION_FEATURES), np.float32)
    for part in _parts(before):
        found[part] = _motion_features(before[part], after[part])
    return found.reshape(*shape, MOTION_FEATURES)


def changed_sides(frame: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the side, in pixels, of the smallest upright square that holds all changes between two frames: (n,).

    `frame` (H, W, 3) is held against each of `others` (n, H, W, 3).
    """
    number, height, width, colours = others.shape
    changed = np.bitwise_xor(others, frame).reshape(number, height, width * colours)
    if changed.shape[2] % 8 == 0:  # eight bytes at once
        packed = changed.view(np.uint64)
        rows, columns = np.bitwise_or.reduce(packed, 2) != 0, np.bitwise_or.reduce(packed, 1).view(np.uint8)
    else:
        rows, columns = changed.any(2), changed.any(1)
    columns = columns.reshape(number, width, colours).any(2)
    return np.maximum(_extent(rows), _extent(columns))


def _extent(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how far it is from the first mark of each row to the last one, both included; 0 without any."""
    extent = marked.shape[1] - marked[:, ::-1].argmax(1) - marked.argmax(1)
    return np.where(marked.any(1), extent, 0)


def _parts(frames: NDArray[Any]) -> list[slice]:
    """Return which frames are computed at once.

    Frames on top of each other are resized like one, unless a pixel of the result lies in two of them.
    """
    step = 1 if frames.shape[1] % _PLANE else _AT_A_TIME
    return [slice(begin, begin + step) for begin in range(0, len(frames), step)]


def _shrunk(frames: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize planes (n, H, W) or (n, H, W, 3) to `size` x `size` by area."""
    import cv2

    number, height, *rest = frames.shape
    column = np.ascontiguousarray(frames).reshape(number * height, *rest)
    small = np.asarray(cv2.resize(column, (size, number * size), interpolation=cv2.INTER_AREA))
    return small.reshape(number, size, size, *rest[1:])


def _still_features(frames: NDArray[np.uint8]) -> Array:
    import cv2

    number, height, width, _ = frames.shape
    column = np.ascontiguousarray(frames).reshape(number * height, width, 3)
    grey = cv2.transform(column, _GREY)
    lines = grey.reshape(number, height * width)  # down by one row is further by one width
    across = cv2.absdiff(grey[:, 1:], grey[:, :-1]).reshape(number, height, width - 1)
    down = cv2.absdiff(lines[:, width:], lines[:, :-width]).reshape(number, height - 1, width)
    cells = [_shrunk(part.astype(np.float32), _CELLS).reshape(number, -1) for part in (across, down)]
    plane = _shrunk(frames, _PLANE).reshape(number, -1, 3).astype(np.int16)
    counted = [
        (_TO_DIFFERENCE[plane[..., 0] - plane[..., 2] + 255], len(_DIFFERENCES) - 1),
        (_TO_DIFFERENCE[plane[..., 0] - plane[..., 1] + 255], len(_DIFFERENCES) - 1),
        (_TO_LEVEL[np.maximum(np.maximum(plane[..., 0], plane[..., 1]), plane[..., 2])], len(_LEVELS) - 1),
    ]
    histograms = []
    for bins, count in counted:
        bins += count * np.arange(number)[:, None]
        found = np.bincount(bins.ravel(), minlength=count * number).reshape(number, count)
        histograms.append(_HISTOGRAM_GAIN * np.sqrt(found / plane.shape[1]))
    grid = _shrunk(frames, _GRID).reshape(number, -1)
    parts = (grid, _GRADIENT_GAIN * cells[0], _GRADIENT_GAIN * cells[1], *histograms)
    return np.concatenate(parts, 1).astype(np.float32)


def _motion_features(before: Array, after: Array) -> Array:
    import cv2

    number = len(before)
    change = after - before
    grey = _blurred(_transformed(before + after, 0.5 * _GREY))
    faded = _blurred(_transformed(change, _GREY))
    stacked = _framed(grey)
    slope_x, slope_y = (
        _unframed(np.asarray(cv2.Sobel(stacked, cv2.CV_32F, x, 1 - x, scale=1 / 8), np.float32), number) for x in (1, 0)
    )
    products = np.stack((slope_x * faded, slope_y * faded, slope_x * slope_x, slope_y * slope_y), -1)
    cells = _shrunk(products, _PATCHES).reshape(number, -1, 4)
    flow = cells[..., :2] / (cells[..., 2:] + np.float32(2.0))
    difference = _shrunk(change, _GRID)
    return np.concatenate([flow.reshape(number, -1), difference.reshape(number, -1)], 1)


def _transformed(planes: Array, matrix: Array) -> Array:
    """Return the grey planes (n, 32, 32) of planes (n, 32, 32, 3)."""
    import cv2

    column = planes.reshape(-1, _PLANE, 3)
    return np.asarray(cv2.transform(column, matrix), np.float32).reshape(-1, _PLANE, _PLANE)


def _framed(planes: Array) -> Array:
    """Return planes (n, 32, 32) on top of each other, with one more row above and below each.

    The row is that which OpenCV sees beyond the edge of an image; it sees it itself where there is one plane alone.
    """
    if len(planes) == 1:
        return planes[0]
    return np.concatenate([planes[:, 1:2], planes, planes[:, -2:-1]], 1).reshape(-1, _PLANE)


def _unframed(column: Array, number: int) -> Array:
    """Return the planes (number, 32, 32) of what was made of `_framed` ones."""
    return column[None] if number == 1 else column.reshape(number, _PLANE + 2, _PLANE)[:, 1:-1]


def _blurred(planes: Array) -> Array:
    """Return the means of 3 x 3 pixels of planes (n, 32, 32)."""
    import cv2

    return _unframed(np.asarray(cv2.blur(_framed(planes), (3, 3)), np.float32), len(planes))
