"""The looks of the frames that a bundle was trained on, and how far a live frame is from them. Pure numpy and OpenCV.

A still frame becomes features: a coarse colour grid, gradients per cell, and histograms of brightness and of colour
differences. Linear scores, fitted against known faults of a camera, the distance from the training frames, and a small
network that looks for local faults make one number of them: the novelty. Two frames in a row give an estimate of the
action between them; its sum over the last steps, held against what was executed, dates the content: the inconsistency.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.frame_features import (
    MOTION_FEATURES,
    STILL_FEATURES,
    changed_sides,
    motion_features,
    plane_of,
    still_features,
)
from fosp_core.bundle.lens import lens_score, lens_shapes
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
RETURNS = 2
"""The content repeats, too, when so many of the last REPEAT_WINDOW steps went back to an older frame after another."""
LARGEST_STILL_AREA = 1 / 8
"""Side of the square, as a share of the frame's height, in which two frames may differ at most and still count as the
same: a clock, for example."""
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
LOCAL = "dirt, water or a thing on the lens, or a damaged picture"
OLD = "old, looped or frozen"

Array = NDArray[np.float32]


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
    step_noise: Array
    """(A,): variance of the error of the motion of a single step."""
    least_change: Array
    """(1,): side, in pixels, of the square in which two frames of a moving robot differ at least."""
    lens_1: Array
    lens_2: Array
    lens_3: Array
    lens_out: Array
    """The layers of the network that looks for local faults, of the shapes of `lens_shapes`."""
    lens_scale: Array
    """(2,): factor and summand that make a novelty of its score."""

    def novelty(self, image: NDArray[np.uint8]) -> tuple[float, str]:
        """Return how far the frame is from the training frames, 1 at the edge of them, and the likely cause."""
        novelty, cause = self._novelty_as_a_whole(still_features(image))
        local = float(self.lens_scale[0]) * self.lens_score(image) + float(self.lens_scale[1])
        return (local, LOCAL) if local > novelty else (novelty, cause)

    def novelties_as_a_whole(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the novelties (n,) of frames (n, H, W, 3), local faults left out."""
        deviation = still_features(images) - self.mean
        within = deviation @ self.basis.T
        distance = np.sqrt(np.mean(within * within, 1)) / self.spread[0]
        size = np.linalg.norm(deviation, axis=1) / self.spread[1]
        return np.maximum((deviation @ self.scores.T).max(1), np.maximum(distance, size))

    @property
    def lens(self) -> tuple[Array, Array, Array, Array]:
        """The layers of the network that looks for local faults."""
        return self.lens_1, self.lens_2, self.lens_3, self.lens_out

    def lens_score(self, image: NDArray[np.uint8]) -> float:
        """Return the log-odds that a part of the frame shows a fault."""
        return lens_score(self.lens, image)

    def _novelty_as_a_whole(self, features: Array) -> tuple[float, str]:
        """Return novelty and cause by the statistics (F,) of the whole frame."""
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
        """Return the action that the change between small frames shows, both (..., 32, 32, 3): (..., A)."""
        scaled = np.clip(motion_features(before, after) / self.motion_scale, -MOTION_CLIP, MOTION_CLIP)
        return np.clip(scaled @ self.motion, -1.0, 1.0)

    def inconsistency(self, shown: Array, executed: Array) -> float:
        """Return by how many standard deviations the image lags behind the motion, both (T, A); 0 without motion.

        Only the part along the commanded direction counts: what is commanded and not shown. It is no more than the
        evidence, step by step, that the picture stands still rather than moves as commanded, because things that
        move by themselves agree with neither.
        """
        steps, power = len(executed), float(np.square(executed).sum())
        told, seen = executed.sum(0), shown.sum(0)
        variance = self.motion_noise[0] * steps + self.motion_noise[1] * power
        size = float(np.sum(told * told / variance))
        if size <= 0.0:
            return 0.0
        lag = float(np.sum((told - seen) * told / variance)) / float(np.sqrt(size))
        evidence = float(np.sum(executed * (executed - 2.0 * shown) / self.step_noise))
        return min(lag, float(np.sqrt(max(0.0, evidence))))


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
        "step_noise": (action_size,),
        "least_change": (1,),
        **lens_shapes(),
        "lens_scale": (2,),
    }
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise UserError(f"{path}: '{name}' is no finite float32 array of shape {shape}; copy the bundle again")
    positive = ("spread", "motion_scale", "step_noise")
    if min(arrays[name].min() for name in positive) <= 0 or arrays["motion_noise"][0].min() <= 0:
        raise UserError(f"{path}: holds a spread of zero; fit it anew: fosp bundle reference")
    if min(arrays[name].min() for name in ("motion_noise", "least_change")) < 0 or arrays["lens_scale"][0] < 0:
        raise UserError(f"{path}: holds a negative variance or number; fit it anew: fosp bundle reference")
    return CameraReference(**arrays)


@dataclass(frozen=True)
class FrameJudgement:
    """The judgement of the reference on the frames of one step, the worst of all cameras."""

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
        told, moving = self._told(executed, is_first)
        cameras = self._reference.cameras
        novelty, cause = max((camera.novelty(image) for camera, image in zip(cameras, images, strict=True)))
        pairs = zip(self._tracks, images, strict=True)
        inconsistency = max([track.inconsistency(image, told, moving) for track, image in pairs])
        return FrameJudgement(novelty, inconsistency, cause)

    def inconsistencies(self, images: NDArray[np.uint8], executed: Array) -> list[float]:
        """Return the inconsistency of each step of an episode, as `step` would give it, faster.

        `images` (n, C, H, W, 3) came after the actions `executed` (n, A), of which the first does not count.
        """
        planes = plane_of(images)
        shown = [camera.action(planes[:-1, i], planes[1:, i]) for i, camera in enumerate(self._reference.cameras)]
        found = []
        for row, frames in enumerate(images):
            told, moving = self._told(executed[row], row == 0)
            actions = [partial(action.__getitem__, row - 1) if row else None for action in shown]
            each = zip(self._tracks, frames, actions, strict=True)
            found.append(max([track.judged(image, told, moving, action) for track, image, action in each]))
        return found

    def _told(self, executed: Array, is_first: bool) -> tuple[Array, bool]:
        """Take in the action before a step; return the last ones (T, A), and whether the robot moved."""
        if is_first:
            self.reset()
        else:
            self._executed.append(executed)
        moving = not is_first and bool(np.abs(executed).max() >= SEEN_MOTION)
        told = np.stack(self._executed) if self._executed else np.zeros((0, len(executed)), np.float32)
        return told, moving


class _Track:
    """The last frames of one camera."""

    def __init__(self, camera: CameraReference) -> None:
        self._camera = camera
        self._plane: Array | None = None
        self._shown: deque[Array] = deque(maxlen=MOTION_STEPS)
        self._digests: deque[int] = deque(maxlen=REMEMBERED_FRAMES)
        self._frames: deque[tuple[NDArray[np.uint8], tuple[int, ...]]] = deque(maxlen=COMPARED_FRAMES)
        self._again: deque[bool] = deque(maxlen=REPEAT_WINDOW)
        self._returned: deque[bool] = deque(maxlen=REPEAT_WINDOW)

    def inconsistency(self, image: NDArray[np.uint8], told: Array, moving: bool) -> float:
        """Take in the next frame after the actions `told` (T, A), and return how little it shows of them."""
        plane, before = plane_of(image), self._plane
        self._plane = plane
        return self.judged(image, told, moving, None if before is None else partial(self._camera.action, before, plane))

    def judged(self, image: NDArray[np.uint8], told: Array, moving: bool, shown: Callable[[], Array] | None) -> float:
        """Return the same; `shown` gives the action (A,) that the change to this frame shows, if one came before."""
        if self._repeats(image, moving):
            return REPEATING
        if shown is None or not len(told):
            return 0.0
        self._shown.append(shown())
        return self._camera.inconsistency(np.stack(self._shown)[-len(told) :], told[-len(self._shown) :])

    def _repeats(self, image: NDArray[np.uint8], moving: bool) -> bool:
        """Take in the next frame, and return True when those of the last steps in motion were shown before."""
        bands = _band_digests(image)
        digest = hash(bands)
        known = moving and digest in self._digests
        least = float(self._camera.least_change[0])
        alike = known or (
            moving
            and any(
                # A square that is no higher than a band lies in two bands at most.
                sum(map(int.__ne__, bands, others)) <= 2 and changed_sides(image, frame[None])[0] < least
                for frame, others in reversed(self._frames)
            )
        )
        self._again.append(alike)
        self._returned.append(known and digest != self._digests[-1])
        self._digests.append(digest)
        self._frames.append((image.copy(), bands))
        return sum(self._again) >= REPEATS or sum(self._returned) >= RETURNS


def _band_digests(image: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return a checksum of each band of rows; a band is as high as the largest still area."""
    rows = max(1, int(LARGEST_STILL_AREA * len(image)))
    whole = np.ascontiguousarray(image)
    return tuple(zlib.crc32(whole[first : first + rows].data) for first in range(0, len(whole), rows))


def windowed(values: Sequence[float] | NDArray[np.floating], count: int, window: int) -> float:
    """Return the greatest limit that `count` of some `window` values in a row reach, -inf when there are too few."""
    best = -np.inf
    for end in range(count, len(values) + 1):
        recent = np.sort(np.asarray(values[max(0, end - window) : end], np.float64))
        if len(recent) >= count:
            best = max(best, float(recent[-count]))
    return best
