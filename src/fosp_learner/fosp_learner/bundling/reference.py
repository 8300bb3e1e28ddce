"""Fits the reference of a bundle's cameras on training episodes, and its thresholds on held-out ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import verify_bundle, write_bundle
from fosp_core.bundle.frame_features import (
    MOTION_FEATURES,
    STILL_FEATURES,
    changed_sides,
    motion_features,
    plane_of,
    still_features,
)
from fosp_core.bundle.reference import (
    COMPARED_FRAMES,
    LARGEST_STILL_AREA,
    MOTION_CLIP,
    MOTION_STEPS,
    REFERENCE,
    REPEATING,
    SEEN_MOTION,
    CameraReference,
    FrameJudge,
    Reference,
    windowed,
)
from fosp_core.errors import UserError
from fosp_core.specs import CameraCalibration, Manifest
from fosp_learner.bundling.camera_faults import FAULTS, varied
from fosp_learner.bundling.lens_fitting import STEPS, LensLayers, Progress, fit_lens, lens_scores, silent
from fosp_learner.data.dataset import Dataset, EpisodeIndex, split

Array = NDArray[np.float32]

FALSE_ALARMS = 0.005
"""Largest share of healthy episodes with a false alarm."""
MARGIN = 1.25
"""Factor between the conformal limit of novelty and the one in force: deployed policies and unseen scenes show more
than demonstrations do. A greater limit only lowers the false alarms that the conformal argument bounds. With 1.7 a
mirrored picture of `safe_reach` was below the limit; with 1.25 some obstacles that move, which the training never
showed, are above it for a moment (docs/results/camera.md)."""
MOTION_MARGIN = 1.25
"""The same for the inconsistency."""
LENS_MARGIN = 1.0
"""The same for the score of the network that looks for local faults, which is a difference there: log-odds."""
LENS_UNIT = 4.0
"""Log-odds above their limit by which the novelty grows by its own limit."""
NOVELTY_COUNT, NOVELTY_WINDOW = 3, 5
INCONSISTENCY_COUNT, INCONSISTENCY_WINDOW = 2, 3
_FRAMES, _FAULT_FRAMES, _PAIRS = 10000, 600, 30000
_NOISE = 4.0
"""Variance of a feature that is added to the observed one, of 255 squared: what rounding and sensor noise may do."""
_DIRECTIONS = 48
_RIDGE = 100.0
_CHANGE_QUANTILE, _CHANGE_SHARE = 0.001, 0.8
_LEAST_LIMIT = 1.0
_SPREAD_QUANTILE = 0.999


def fit_reference(
    data: Sequence[Dataset],
    seed: int = 0,
    earlier: Reference | None = None,
    progress: Progress = silent,
    lens_steps: int = STEPS,
) -> Reference:
    """Return the reference of the cameras over the episodes of all data sets together; UserError without a step.

    The networks that look for local faults are those of the `earlier` reference, if there is one: they take minutes to
    fit, at `lens_steps` updates each, and fine-tuning changes no camera. Call `calibrate_reference` before use: nothing
    is a local fault until then.
    """
    rng = np.random.default_rng(seed)
    episodes = [(one, index) for one in data for index in one.episodes]
    if not any(index.length > 1 for _, index in episodes):
        raise UserError("no episode to fit the reference of the cameras on; record more episodes")
    cameras = range(episodes[0][0].images.shape[1])
    known = [earlier.cameras[i].lens if earlier is not None else None for i in cameras]
    return Reference(
        tuple(_fit_camera(episodes, camera, known[camera], rng, progress, lens_steps) for camera in cameras)
    )


def calibrate_reference(reference: Reference, held_out: Sequence[Dataset]) -> tuple[Reference, CameraCalibration]:
    """Return the reference with its networks scaled to the limit of novelty, and the limits.

    The limits of novelty as a whole, of local faults and of inconsistency come from conformal prediction over whole
    held-out episodes. Episodes with a violation are left out: a robot that pushes against a thing does not move as it
    was told. Content that repeats has no limit to calibrate, so the share of healthy episodes in which it does adds to
    the bound.
    """
    judge = FrameJudge(reference)
    episodes = [(data, index) for data in held_out for index in data.episodes]
    healthy = [(data, index) for data, index in episodes if not index.violates] or episodes
    if not healthy:
        raise UserError("no held-out episode to calibrate the reference of the cameras on; record more episodes")
    judged = [_worst(reference, judge, data, index) for data, index in healthy]
    worst = np.array([one for one, _ in judged])
    scores = np.array([lens for _, lens in judged])
    repeating = worst[:, 1] >= REPEATING
    shown = worst[~repeating, 1]
    share = FALSE_ALARMS / 3  # for each of the three
    per_camera = share / len(reference.cameras)  # each camera has a network and a limit of its own
    least = 1.0 / (len(worst) + 1)
    bound = 2 * max(share, least) + len(reference.cameras) * max(per_camera, least) + float(repeating.mean())
    limit = max(MARGIN * _conformal(worst[:, 0], share), _LEAST_LIMIT)
    found = CameraCalibration(
        novelty_limit=limit,
        novelty_count=NOVELTY_COUNT,
        novelty_window=NOVELTY_WINDOW,
        inconsistency_limit=max(MOTION_MARGIN * _conformal(shown, share), _LEAST_LIMIT) if len(shown) else _LEAST_LIMIT,
        inconsistency_count=INCONSISTENCY_COUNT,
        inconsistency_window=INCONSISTENCY_WINDOW,
        episodes=len(worst),
        false_alarm_bound=min(1.0, bound),
        supported=per_camera >= least,
    )
    scales = []
    for camera in range(len(reference.cameras)):
        edge = _conformal(scores[:, camera], per_camera) + LENS_MARGIN
        scales.append((limit / LENS_UNIT, limit * (1.0 - edge / LENS_UNIT)))
    return _scaled(reference, scales), found


def _scaled(reference: Reference, scales: Sequence[tuple[float, float]]) -> Reference:
    """Return the reference with one `lens_scale` per camera."""
    pairs = zip(reference.cameras, scales, strict=True)
    return Reference(tuple(replace(camera, lens_scale=np.array(scale, np.float32)) for camera, scale in pairs))


def add_reference(
    bundle: Path, data: Dataset, out: Path, held_out: float, command: str, progress: Progress = silent
) -> Manifest:
    """Fit the reference on `data`, of which the share `held_out` calibrates it, and write the new bundle to `out`.

    The new bundle names the old one as its parent and notes `command` in its manifest. Raise UserError when the old
    one is damaged, the data has too few episodes, or `out` cannot be written.
    """
    manifest = verify_bundle(bundle, needs_reference=False)
    seed = int(manifest.training.get("seed", 0))
    training, validation = split(data, held_out, seed)
    reference = fit_reference([training], seed, progress=progress)
    reference, limits = calibrate_reference(reference, [validation])
    calibration = manifest.calibration.model_copy(update={"camera": limits})
    noted = {"command": command, "data_sha256": data.key, "episodes": len(data.episodes), "held_out": held_out}
    described = manifest.model_copy(
        update={
            "parent_id": manifest.id,
            "calibration": calibration,
            "training": {**manifest.training, "reference": noted},
        }
    )
    files: dict[str, Path | bytes] = {name: bundle / name for name in manifest.files}
    return write_bundle(out, described, {**files, REFERENCE: reference.to_bytes()})


def _worst(
    reference: Reference, judge: FrameJudge, data: Dataset, index: EpisodeIndex
) -> tuple[tuple[float, float], list[float]]:
    """Return the limits that an episode reaches, in the windows that alarm.

    They are those of novelty without local faults and of inconsistency, and that of the network of each camera.
    """
    images = data.take_images(np.arange(index.start, index.start + index.length))
    executed = np.zeros((index.length, data.action.shape[1]), np.float32)
    executed[1:] = data.action[index.start : index.start + index.length - 1]
    cameras = [(camera, np.ascontiguousarray(images[:, i])) for i, camera in enumerate(reference.cameras)]
    novelty = np.max([camera.novelties_as_a_whole(frames) for camera, frames in cameras], 0)
    inconsistency = judge.inconsistencies(images, executed)
    alarming = min(NOVELTY_COUNT, index.length), NOVELTY_WINDOW
    return (
        (
            windowed(novelty, *alarming),
            windowed(inconsistency, min(INCONSISTENCY_COUNT, index.length), INCONSISTENCY_WINDOW),
        ),
        [windowed(lens_scores(camera.lens, frames), *alarming) for camera, frames in cameras],
    )


def _conformal(values: NDArray[np.float64], share: float) -> float:
    """Return the limit that a new exchangeable episode exceeds with probability `share` at most.

    With fewer than 1 / share - 1 episodes it is the greatest value, which the manifest says is not supported.
    """
    rank = math.ceil((len(values) + 1) * (1.0 - share))
    return float(np.sort(values)[min(rank, len(values)) - 1])


def _fit_camera(
    episodes: Sequence[tuple[Dataset, EpisodeIndex]],
    camera: int,
    lens: LensLayers | None,
    rng: np.random.Generator,
    progress: Progress,
    lens_steps: int,
) -> CameraReference:
    frames, pairs, told, changes = _drawn(episodes, camera, rng)
    healthy = still_features(frames)
    changed = still_features(np.stack([varied(frame, rng) for frame in frames]))
    mean = healthy.mean(0)
    covariance = 0.5 * _scatter(healthy - mean) + 0.5 * _scatter(changed - mean)
    regular = covariance + _NOISE * np.eye(STILL_FEATURES)
    some = frames[rng.permutation(len(frames))[:_FAULT_FRAMES]]
    some = np.concatenate([some[::2], np.stack([varied(frame, rng) for frame in some])])
    moved = (
        np.stack([still_features(np.stack([fault(f, rng) for f in some])).mean(0) for fault in FAULTS.values()]) - mean
    )
    scores = np.linalg.solve(regular, moved.T.astype(np.float64)).T
    both = np.concatenate([healthy, changed]) - mean
    scores /= np.maximum(np.quantile(both @ scores.T, _SPREAD_QUANTILE, axis=0), 1e-6)[:, None]
    variances, directions = np.linalg.eigh(regular)
    basis = (directions[:, -_DIRECTIONS:] / np.sqrt(variances[-_DIRECTIONS:])).T
    distance = np.sqrt(np.square(both @ basis.T).mean(1))
    size = np.linalg.norm(both, axis=1)
    spread = np.maximum([np.quantile(distance, _SPREAD_QUANTILE), np.quantile(size, _SPREAD_QUANTILE)], 1e-3)
    scale, motion, noise, step_noise = _fit_motion(pairs, told)
    side = _CHANGE_SHARE * float(np.quantile(changes, _CHANGE_QUANTILE)) if changes else 0.0
    least = [min(side, LARGEST_STILL_AREA * frames.shape[1])]
    layers = fit_lens(frames, rng, progress, lens_steps) if lens is None else lens
    arrays = (mean, scores, basis, spread, scale, motion, noise, step_noise, least, *layers, np.zeros(2))
    return CameraReference(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def _fit_motion(pairs: Sequence[Array], told: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
    """Return scale, regression and variances of the motion that the change between two frames shows.

    The variances are those of a sum of steps, by steps and power, and that of a single step.
    """
    features = np.concatenate(pairs)
    scale = np.maximum(features.std(0), 0.05 * max(float(features.std()), 1e-3))
    rows = np.clip(features / scale, -MOTION_CLIP, MOTION_CLIP)
    actions = np.concatenate(told)
    # Half of the episodes fit the regression first, so that the variances are those of frames it has not seen.
    half = sum(len(one) for one in told[: max(1, len(told) // 2)])

    def fitted(part: slice) -> Array:
        gram = rows[part].T @ rows[part] + _RIDGE * np.eye(MOTION_FEATURES)
        return np.asarray(np.linalg.solve(gram, rows[part].T @ actions[part]), np.float32)

    first = fitted(slice(None, half))
    errors, single, steps, powers = [], [], [], []
    for pair, action in list(zip(pairs, told, strict=True))[len(told) // 2 :]:
        shown = np.clip(np.clip(pair / scale, -MOTION_CLIP, MOTION_CLIP) @ first, -1.0, 1.0)
        error = action - shown
        single.append(np.square(error))
        for end in range(1, len(action) + 1):
            window = slice(max(0, end - MOTION_STEPS), end)
            errors.append(np.square(error[window].sum(0)))
            steps.append(end - window.start)
            powers.append(np.square(action[window]).sum())
    design = np.stack([steps, powers], 1).astype(np.float64)
    noise = np.linalg.lstsq(design, np.stack(errors), rcond=None)[0]
    step_noise = np.maximum(np.concatenate(single).mean(0), 1e-2)
    return scale, fitted(slice(None)), np.maximum(noise, [[1e-2], [1e-3]]), step_noise


def _drawn(
    episodes: Sequence[tuple[Dataset, EpisodeIndex]], camera: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Array], list[Array], list[int]]:
    """Return frames; the features of motion and the actions of whole episodes, in random order; and, for the frames of
    a moving robot, the side in pixels of the square in which they differ from that frame before that is most like them.
    """
    total = sum(index.length for _, index in episodes)
    frames: list[NDArray[np.uint8]] = []
    pairs: list[Array] = []
    told: list[Array] = []
    changes: list[int] = []
    seen = 0
    for number in rng.permutation(len(episodes)):
        data, index = episodes[number]
        images = data.take_images(np.arange(index.start, index.start + index.length))[:, camera]
        frames.extend(images[rng.random(index.length) < min(1.0, 1.2 * _FRAMES / total)])
        if index.length > 1 and seen < _PAIRS and (not index.violates or all(i.violates for _, i in episodes)):
            images = np.ascontiguousarray(images)
            planes = plane_of(images)
            pairs.append(motion_features(planes[:-1], planes[1:]))
            actions = data.action[index.start : index.start + index.length - 1]
            told.append(actions)
            seen += index.length - 1
            changes += [
                int(changed_sides(images[row], images[max(0, row - COMPARED_FRAMES) : row]).min())
                for row in range(2, index.length)
                if np.abs(actions[row - 2 : row]).max(1).min() >= SEEN_MOTION
            ]
    if not frames:
        data, index = episodes[0]
        frames.append(data.take_images(np.array([index.start]))[0, camera])
    if not pairs:
        pairs.append(np.zeros((1, MOTION_FEATURES), np.float32))
        told.append(np.zeros((1, episodes[0][0].action.shape[1]), np.float32))
    return np.stack(frames[:_FRAMES]), pairs, told, changes


def _scatter(deviations: Array) -> NDArray[np.float64]:
    return np.asarray(deviations.T @ deviations / len(deviations), np.float64)
