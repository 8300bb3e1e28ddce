"""The looks of a bundle's training frames, and how far a live frame is from that. Pure numpy and OpenCV.

A still frame becomes features: a coarse colour grid, gradients per cell, and histograms of brightness and of colour
differences. Linear scores, fitted against known faults of a camera, and the distance from the training frames, make one
number of them: the novelty. Two frames in a row give an estimate of the action between them; its sum over the last
steps, held against what was executed, dates the content: the inconsistency.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

REFERENCE = "reference.npz"
MAX_REFERENCE_BYTES = 1 << 26
"""Size of the unpacked reference.npz."""
MOTION_STEPS = 10
"""Steps over which the motion that the image shows is summed up: 0.5 s at 20 Hz."""
REMEMBERED_FRAMES = 400
"""Frames among which an exact repetition is looked for: a driver that loops shows one of them again."""
COMPARED_FRAMES = 12
"""Last frames that a frame is compared with, pixel by pixel: a clock in the picture does not make it another one."""
SEEN_MOTION = 0.2
"""Share of full speed from which the camera must see a change."""
REPEATS, REPEAT_WINDOW = 4, 6
"""The content repeats when so many of the last steps were in motion and showed a frame again. A camera at half the
decision rate shows every second one again, and lost frames a few."""
REPEATING = 1000.0
"""Inconsistency of content that repeats."""
MOTION_CLIP = 3.0
"""Features of motion are clipped to this many standard deviations."""
CAUSES = (
    "red and blue swapped",
    "mirrored",
    "upside down",
    "flipped top to bottom",
    "too dim",
    "too bright",
    "covered",
    "half covered on the left",
    "half covered on the right",
    "half covered at the top",
    "half covered at the bottom",
    "blurred or a hand before the lens",
    "turned to the left",
    "turned to the right",
    "turned up",
    "turned down",
)
"""Faults of a camera that a reference knows by name, in the order of its scores."""
UNKNOWN = "unlike every training frame"
OLD = "old, looped or frozen"

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

Array = NDArray[np.float32]


def still_features(image: NDArray[np.uint8]) -> Array:
    """Return the features (STILL_FEATURES,) of one frame (H, W, 3) uint8 RGB."""
    grid = cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    grey = cv2.transform(image, _GREY)
    across, down = cv2.absdiff(grey[:, 1:], grey[:, :-1]), cv2.absdiff(grey[1:], grey[:-1])
    cells = [
        cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
        for part in (across.astype(np.float32), down.astype(np.float32))
    ]
    plane = cv2.resize(image, (_PLANE, _PLANE), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.int16)
    red_blue = _TO_DIFFERENCE[plane[:, 0] - plane[:, 2] + 255]
    red_green = _TO_DIFFERENCE[plane[:, 0] - plane[:, 1] + 255]
    level = _TO_LEVEL[plane.max(1)]
    histograms = [
        np.sqrt(np.bincount(bins, minlength=count) / len(plane))
        for bins, count in (
            (red_blue, len(_DIFFERENCES) - 1),
            (red_green, len(_DIFFERENCES) - 1),
            (level, len(_LEVELS) - 1),
        )
    ]
    return np.concatenate(
        [
            grid.ravel(),
            _GRADIENT_GAIN * cells[0],
            _GRADIENT_GAIN * cells[1],
            *(_HISTOGRAM_GAIN * histogram for histogram in histograms),
        ]
    ).astype(np.float32)


def plane_of(image: NDArray[np.uint8]) -> Array:
    """Return the small frame (32, 32, 3) float32 that `motion_features` compares."""
    return np.asarray(cv2.resize(image, (_PLANE, _PLANE), interpolation=cv2.INTER_AREA), np.float32)


def motion_features(before: Array, after: Array) -> Array:
    """Return the features (MOTION_FEATURES,) of the change between two small frames: optical flow, and differences."""
    change = after - before
    grey = cv2.blur(cv2.transform(before + after, 0.5 * _GREY), (3, 3))
    faded = cv2.blur(cv2.transform(change, _GREY), (3, 3))
    slope_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    products = cv2.merge((slope_x * faded, slope_y * faded, slope_x * slope_x, slope_y * slope_y))
    cells = cv2.resize(products, (_PATCHES, _PATCHES), interpolation=cv2.INTER_AREA).reshape(-1, 4)
    flow = cells[:, :2] / (cells[:, 2:] + 2.0)
    difference = cv2.resize(change, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return np.concatenate([flow.ravel(), difference.ravel()]).astype(np.float32)


@dataclass(frozen=True)
class CameraReference:
    """Statistics of one camera's training frames; A is the number of action axes, F and M those of the features."""

    mean: Array
    """(F,)."""
    scores: Array
    """(S, F): a score is the product with the deviation from the mean; the first are those of CAUSES."""
    basis: Array
    """(B, F): principal directions, each over its standard deviation."""
    spread: Array
    """(2,): typical distance within the principal directions, and typical remainder outside of them."""
    motion_scale: Array
    """(M,): the features of motion are divided by it."""
    motion: Array
    """(M, A): from the scaled features of motion to the action of the step."""
    motion_noise: Array
    """(2, A): variance of the error of a sum of motion, per step, and per squared action."""
    least_change: Array
    """(1,): number of bytes that differ between two frames of a moving robot at least."""

    def novelty(self, image: NDArray[np.uint8]) -> tuple[float, str]:
        """Return how far the frame is from the training frames, 1 at the edge of them, and the likely cause."""
        return self.novelty_of(still_features(image))

    def novelty_of(self, features: Array) -> tuple[float, str]:
        """Return the same of the features (F,) of a frame."""
        deviation = features - self.mean
        scores = self.scores @ deviation
        best = int(np.argmax(scores))
        within = self.basis @ deviation
        distance = float(np.sqrt(np.mean(within * within))) / float(self.spread[0])
        size = float(np.linalg.norm(deviation)) / float(self.spread[1])
        unknown = max(distance, size)
        if float(scores[best]) >= unknown:
            return float(scores[best]), CAUSES[best]
        return unknown, UNKNOWN

    def action(self, before: Array, after: Array) -> Array:
        """Return the action (A,) that the change between two small frames shows."""
        scaled = np.clip(motion_features(before, after) / self.motion_scale, -MOTION_CLIP, MOTION_CLIP)
        return np.clip(scaled @ self.motion, -1.0, 1.0)

    def inconsistency(self, shown: Array, executed: Array) -> float:
        """Return by how many standard deviations the image lags behind the motion, both (T, A); 0 without motion.

        Only the part along the commanded direction counts: what is commanded and not shown.
        """
        steps, power = len(executed), float(np.square(executed).sum())
        told, seen = executed.sum(0), shown.sum(0)
        variance = self.motion_noise[0] * steps + self.motion_noise[1] * power
        size = float(np.sum(told * told / variance))
        if size <= 0.0:
            return 0.0
        return float(np.sum((told - seen) * told / variance)) / float(np.sqrt(size))


_FIELDS = tuple(field.name for field in fields(CameraReference))


@dataclass(frozen=True)
class Reference:
    """The references of all cameras, in the order of the observation spec."""

    cameras: tuple[CameraReference, ...]

    def to_bytes(self) -> bytes:
        """Return the content of reference.npz."""
        arrays = {f"{i}.{name}": getattr(camera, name) for i, camera in enumerate(self.cameras) for name in _FIELDS}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


def read_reference(path: Path, cameras: int, action_size: int) -> Reference:
    """Return the reference of a bundle; raise UserError when it is not readable, too large, or of other sizes."""
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_REFERENCE_BYTES:
                raise UserError(f"{path}: unpacks to more than {MAX_REFERENCE_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, KeyError):
        raise UserError(f"{path}: not readable; copy the bundle again") from None
    if set(arrays) != {f"{i}.{name}" for i in range(cameras) for name in _FIELDS}:
        raise UserError(f"{path}: does not hold the reference of {cameras} cameras; fit it anew: fosp bundle reference")
    return Reference(
        tuple(_checked(path, {name: arrays[f"{i}.{name}"] for name in _FIELDS}, action_size) for i in range(cameras))
    )


def _checked(path: Path, arrays: dict[str, NDArray[np.float32]], action_size: int) -> CameraReference:
    basis = arrays["basis"]
    expected: dict[str, tuple[int, ...]] = {
        "mean": (STILL_FEATURES,),
        "scores": (len(CAUSES), STILL_FEATURES),
        "basis": (basis.shape[0] if basis.ndim == 2 and len(basis) else -1, STILL_FEATURES),
        "spread": (2,),
        "motion_scale": (MOTION_FEATURES,),
        "motion": (MOTION_FEATURES, action_size),
        "motion_noise": (2, action_size),
        "least_change": (1,),
    }
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise UserError(f"{path}: '{name}' is no finite float32 array of shape {shape}; copy the bundle again")
    if min(arrays[name].min() for name in ("spread", "motion_scale")) <= 0 or arrays["motion_noise"][0].min() <= 0:
        raise UserError(f"{path}: holds a spread of zero; fit it anew: fosp bundle reference")
    if arrays["motion_noise"].min() < 0 or arrays["least_change"].min() < 0:
        raise UserError(f"{path}: holds a negative variance or number; fit it anew: fosp bundle reference")
    return CameraReference(**arrays)


@dataclass(frozen=True)
class FrameJudgement:
    """The judgement of the reference about the frames of one step, the worst of all cameras."""

    novelty: float
    """How far the frames are from those of the training; the manifest has its limit."""
    inconsistency: float
    """Standard deviations by which the image lags behind the executed motion, or REPEATING; the manifest has its
    limit."""
    cause: str
    """The likely cause, in words, should one of them be above its limit."""


class FrameJudge:
    """Judges the frames of a running encoder, one step after the other."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next step has no predecessor."""
        self._tracks = [_Track(camera) for camera in self._reference.cameras]
        self._executed: deque[Array] = deque(maxlen=MOTION_STEPS)

    def step(self, images: NDArray[np.uint8], executed: Array, is_first: bool) -> FrameJudgement:
        """Return the judgement on `images` (C, H, W, 3) after the action `executed` (A,), which is finite."""
        if is_first:
            self.reset()
        else:
            self._executed.append(executed)
        moving = not is_first and bool(np.abs(executed).max() >= SEEN_MOTION)
        cameras = self._reference.cameras
        novelty, cause = max((camera.novelty(image) for camera, image in zip(cameras, images, strict=True)))
        told = np.stack(self._executed) if self._executed else np.zeros((0, len(executed)), np.float32)
        pairs = zip(self._tracks, images, strict=True)
        inconsistency = max([track.inconsistency(image, told, moving) for track, image in pairs])
        return FrameJudgement(novelty, inconsistency, cause)


class _Track:
    """The last frames of one camera."""

    def __init__(self, camera: CameraReference) -> None:
        self._camera = camera
        self._plane: Array | None = None
        self._shown: deque[Array] = deque(maxlen=MOTION_STEPS)
        self._digests: deque[int] = deque(maxlen=REMEMBERED_FRAMES)
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=COMPARED_FRAMES)
        self._again: deque[bool] = deque(maxlen=REPEAT_WINDOW)

    def inconsistency(self, image: NDArray[np.uint8], told: Array, moving: bool) -> float:
        """Take in the next frame after the actions `told` (T, A), and return how little it shows of them."""
        plane, before = plane_of(image), self._plane
        self._plane = plane
        if self._shows_again(image, moving) >= REPEATS:
            return REPEATING
        if before is None or not len(told):
            return 0.0
        self._shown.append(self._camera.action(before, plane))
        return self._camera.inconsistency(np.stack(self._shown)[-len(told) :], told[-len(self._shown) :])

    def _shows_again(self, image: NDArray[np.uint8], moving: bool) -> int:
        """Return in how many of the last steps a frame was shown again in motion."""
        pixels = np.ascontiguousarray(image).ravel()
        digest = zlib.crc32(pixels.data)
        least = float(self._camera.least_change[0])
        again = moving and (
            digest in self._digests
            or any(np.count_nonzero(pixels != frame) < least for frame in reversed(self._frames))
        )
        self._again.append(again)
        self._digests.append(digest)
        self._frames.append(pixels.copy())
        return sum(self._again)


def windowed(values: Sequence[float] | NDArray[np.floating], count: int, window: int) -> float:
    """Return the greatest limit that `count` of some `window` values in a row reach, -inf when there are too few."""
    best = -np.inf
    for end in range(count, len(values) + 1):
        recent = np.sort(np.asarray(values[max(0, end - window) : end], np.float64))
        if len(recent) >= count:
            best = max(best, float(recent[-count]))
    return best
