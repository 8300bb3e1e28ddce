"""Makes the probes of a bundle from validation episodes: before a violation, near one, and in safe episodes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.agreement import DEFAULT, Scores, declared_tolerance, probe_risks
from fosp_core.bundle.bundle import MODELS
from fosp_core.bundle.onnx_session import OnnxModel
from fosp_core.bundle.probes import (
    BEFORE,
    LEAST_LABELLED,
    PROBES,
    SAFE,
    UNKNOWN,
    ProbeSet,
    probe_bytes,
    tolerance_fault,
)
from fosp_core.bundle.replay import last_latent
from fosp_core.errors import UserError
from fosp_core.specs import Manifest
from fosp_learner.bundling.onsets import first_onset, last_chance
from fosp_learner.data.dataset import Dataset, EpisodeIndex

FRAMES = 16
"""Frames of a sequence: 0.8 s at 20 Hz, after which the state knows where the robot is and how it moves. With half as
many the shipped bundle of the base misses three times as many of its violations as with these."""
SEQUENCES = {BEFORE: 24, UNKNOWN: 16, SAFE: 16}
"""Largest number of sequences by label, each of an episode of its own."""
EXAMINED = 96
"""Number of sequences without a known label that are examined: those are kept at which the action matters most, where
the judge vetoes about half of the actions."""
_SAMPLES, _UNIFORM = 6, 3
"""Actions at the last frame besides the executed one and the actors' means: samples of the actors, and of the box."""
_SPREAD = 2.0
"""Factor of the actors' standard deviation in samples, as the policy draws its alternatives."""


@dataclass(frozen=True)
class JudgeNetworks:
    """The sessions of a bundle that probes need."""

    encoder: OnnxModel
    policy: OnnxModel
    critic: OnnxModel


@contextmanager
def networks_in(files: Mapping[str, Path | bytes]) -> Iterator[JudgeNetworks]:
    """Load the networks of a bundle that is not written yet."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = {}
        for name in MODELS:
            content = files[f"{name}.onnx"]
            path = Path(folder) / f"{name}.onnx"
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            loaded[name] = OnnxModel(path, "cpu")
        yield JudgeNetworks(**loaded)


def make_probes(
    networks: JudgeNetworks,
    manifest: Manifest,
    data: Dataset,
    seed: int = 0,
    judges: Sequence[tuple[JudgeNetworks, Manifest]] = (),
) -> ProbeSet:
    """Return the probes of a bundle from the episodes of `data`, which it was not trained on.

    `judges` are other fit judges of the task, whose disagreement is tolerated (fosp_core.bundle.agreement). UserError
    when there are too few episodes, or the bundle disagrees with the labels so often that the probes tell nothing.
    """
    rng = np.random.default_rng(seed)
    chosen = _chosen(data, manifest.calibration.horizon_steps, rng)
    rows = np.array([np.arange(end - FRAMES + 1, end + 1) for end, _ in chosen])
    executed = np.clip(data.action[rows - 1], -1, 1).astype(np.float32)
    executed[:, 0] = 0.0
    last = np.clip(data.action[rows[:, -1]], -1, 1).astype(np.float32)[:, np.newaxis]
    labels = np.array([label for _, label in chosen], np.int8)
    images = data.take_images(rows)
    probes = ProbeSet(images, executed, last, labels, DEFAULT)
    probes = replace(probes, actions=_actions(networks, manifest, probes, rng))

    def scores(one: JudgeNetworks, of: Manifest) -> Scores:
        weight = of.calibration.spread_weight
        return Scores(probe_risks(one.encoder, one.critic, of.latent, probes, weight), of.calibration.eps)

    own = scores(networks, manifest)
    kept = _most_telling(own, labels)
    labels, own = labels[kept], replace(own, q_h=own.q_h[kept])
    probes = ProbeSet(images[kept], executed[kept], probes.actions[kept], labels, DEFAULT)
    calibration = manifest.calibration
    tolerance = declared_tolerance(
        own,
        labels,
        calibration.alpha,
        calibration.false_veto_rate,
        [scores(*judge) for judge in judges],
    )
    probes = replace(probes, tolerance=tolerance)
    fault = tolerance_fault(probes)
    if fault:
        raise UserError(f"these episodes make no probes: {fault}")
    return probes


def with_probes(
    files: dict[str, Path | bytes], manifest: Manifest, data: Dataset, seed: int
) -> tuple[dict[str, Path | bytes], str]:
    """Return the files of a bundle with probes.npz, and an empty text; or the files as they were, and why."""
    try:
        with networks_in(files) as networks:
            return {**files, PROBES: probe_bytes(make_probes(networks, manifest, data, seed))}, ""
    except UserError as error:
        return files, f"the bundle holds no probes, so a running graph cannot swap from it: {error}"


def _chosen(data: Dataset, horizon: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return (last row, label) of each sequence; UserError when one of the labels is too rare."""
    most = {**SEQUENCES, UNKNOWN: EXAMINED}
    found: dict[int, list[int]] = {label: [] for label in most}
    for i in rng.permutation(len(data.episodes)):
        episode = data.episodes[i]
        for label, ends in _ends(data, episode, horizon).items():
            if len(found[label]) < most[label] and len(ends):
                found[label].append(episode.start + int(rng.choice(ends)))
    for label, name in ((BEFORE, "with a violation"), (SAFE, "without one")):
        if len(found[label]) < LEAST_LABELLED:
            raise UserError(
                f"probes need {LEAST_LABELLED} validation episodes {name}, of {FRAMES} steps at least, and there are "
                f"{len(found[label])}; record more episodes"
            )
    return [(end, label) for label, ends in found.items() for end in ends]


def _ends(data: Dataset, episode: EpisodeIndex, horizon: int) -> dict[int, NDArray[np.int64]]:
    """Return, by label, the steps of an episode at which a sequence of that label may end."""
    cost = data.cost[episode.start + 1 : episode.start + episode.length]
    steps = np.arange(len(cost))
    whole = steps >= FRAMES - 1
    onset = first_onset(cost)
    if onset is None:
        return {UNKNOWN: steps[whole]} if episode.violates else {SAFE: steps[whole], UNKNOWN: steps[whole]}
    chance = steps == last_chance(onset, horizon)
    return {BEFORE: steps[whole & chance], UNKNOWN: steps[whole & ~chance]}


def _most_telling(own: Scores, labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return the sequences to keep: all with a label, and of the others those with the most even vetoes."""
    share = own.vetoed.mean(1)
    uneven = np.where(labels == UNKNOWN, np.abs(share - 0.5), -1.0)
    known = int((labels != UNKNOWN).sum())
    return np.sort(np.argsort(uneven, kind="stable")[: known + SEQUENCES[UNKNOWN]])


def _actions(
    networks: JudgeNetworks, manifest: Manifest, probes: ProbeSet, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (S, K, A): the executed action, the means of both actors, samples of them, and samples of the box."""
    size = manifest.action.size
    rows = []
    for images, executed, action in zip(probes.images, probes.executed, probes.actions, strict=True):
        actors = networks.policy.run(**last_latent(networks.encoder, manifest.latent, images, executed))
        mean, std = actors["mean"][0], actors["std"][0]
        drawn = mean + _SPREAD * std * rng.standard_normal((_SAMPLES // len(mean), *mean.shape))
        uniform = rng.uniform(-1, 1, (_UNIFORM, size))
        rows.append(np.concatenate([action, mean, drawn.reshape(-1, size), uniform]))
    return np.clip(np.stack(rows), -1, 1).astype(np.float32)
