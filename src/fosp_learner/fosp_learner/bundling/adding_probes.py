"""Adds probes to a bundle that was trained before there were any, without training it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fosp_core.bundle.agreement import disagreement, scores_of
from fosp_core.bundle.bundle import Bundle, load_bundle, write_bundle
from fosp_core.bundle.probes import PROBES, ProbeSet, described, probe_bytes
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Manifest
from fosp_learner.bundling.probing import JudgeNetworks, make_probes
from fosp_learner.bundling.seen import read_seen
from fosp_learner.config import LearnerConfig
from fosp_learner.data.dataset import Dataset, load_bags, split


def add_probes(
    bundle: Path,
    data: Sequence[Path],
    out: Path,
    robot: RobotConfig,
    cache: Path,
    judges: Sequence[Path] = (),
    seed: int = 0,
) -> tuple[Manifest, list[str]]:
    """Write a bundle with all files of `bundle` and new probes to `out`; return its manifest, and lines to tell.

    Of the data that the bundle was trained on its validation episodes are probed, of other data all. UserError when the
    episodes make no probes, or a bundle of `judges` is for another robot or observation.
    """
    loaded = load_bundle(bundle, robot, "cpu")
    manifest = loaded.manifest
    others = [load_bundle(path, robot, "cpu") for path in judges]
    for path, other in zip(judges, others, strict=True):
        if (other.manifest.task, other.manifest.observation) != (manifest.task, manifest.observation):
            raise UserError(f"{path}: is for another task or other cameras than {bundle}")
    episodes = load_bags(data, manifest.observation, robot, manifest.decision_period_s, cache)
    validation, told = _validation(episodes, manifest, read_seen(bundle))
    probes = make_probes(
        _networks(loaded), manifest, validation, seed, [(_networks(other), other.manifest) for other in others]
    )
    files: dict[str, Path | bytes] = {name: bundle / name for name in manifest.files}
    provenance = {"data_sha256": episodes.key, "episodes": len(validation.episodes), "seed": seed}
    complete = manifest.model_copy(update={"training": {**manifest.training, "probes": provenance}})
    written = write_bundle(out, complete, {**files, PROBES: probe_bytes(probes)})
    return written, [told, *_lines(loaded, probes)]


def _validation(data: Dataset, manifest: Manifest, seen: frozenset[str] | None) -> tuple[Dataset, str]:
    """Return the episodes that the bundle was not trained on, as far as it tells, and a line about them."""
    if seen is not None or data.key != manifest.training.get("data_sha256"):
        new = data.unseen(seen or ())
        if not new.episodes:
            raise UserError("the bundle was trained on every one of these episodes; give others")
        return new, f"{len(new.episodes)} episodes that the bundle was not trained on are probed"
    trained = dict(manifest.training.get("config") or {})
    share = float(trained.get("validation_share", LearnerConfig().validation_share))
    validation = split(data, share, int(manifest.training.get("seed", 0)))[1]
    return validation, f"the {len(validation.episodes)} validation episodes of its training are probed"


def _lines(loaded: Bundle, probes: ProbeSet) -> list[str]:
    own = scores_of(loaded, probes)
    found = disagreement(own, own, probes.labels)
    return [
        f"on the probes the bundle misses {found.missed} of {found.before} actions before a violation, and vetoes "
        f"{found.vetoed} of {found.safe} safe ones",
        described(probes),
    ]


def _networks(bundle: Bundle) -> JudgeNetworks:
    return JudgeNetworks(bundle.encoder, bundle.policy, bundle.critic)
