"""Asks of a candidate's judge, before it is announced, all that the safety monitor will ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fosp_core.bundle.acceptance import calibration_faults, unsupported_because
from fosp_core.bundle.agreement import Scores, disagreements, probe_risks
from fosp_core.bundle.probes import PROBES, read_probes
from fosp_core.bundle.reference import REFERENCE, read_reference
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Manifest
from fosp_learner.bundling.export import NAMES
from fosp_learner.bundling.probing import networks_in
from fosp_learner.bundling.seen import SEEN, read_seen, seen_bytes
from fosp_learner.data.dataset import Dataset


class ParentJudge:
    """The judge of the bundle that a run began with, which is the one that the robot was started with, and its probes.

    A bundle without probes lets every judge pass here, so that an offline run goes on; a running robot refuses it.
    """

    def __init__(self, bundle: Path, manifest: Manifest, robot: RobotConfig) -> None:
        self._bundle, self._manifest, self._robot = bundle, manifest, robot
        self._probes = read_probes(bundle, manifest)
        self._scores: Scores | None = None
        cameras, actions = len(manifest.observation.cameras), manifest.action.size
        self.reference = read_reference(bundle / REFERENCE, cameras, actions) if REFERENCE in manifest.files else None

    def networks(self) -> dict[str, bytes]:
        """Return the networks of the bundle as ONNX, by name; UserError when one cannot be read."""
        return {name: _content(self._bundle / f"{name}.onnx") for name in NAMES}

    def probe_files(self) -> dict[str, Path | bytes]:
        """Return the probes as a file for the candidate: it is as good a start for the robot as its parent."""
        return {} if self._probes is None else {PROBES: self._bundle / PROBES}

    def seen_files(self, data: Iterable[Dataset]) -> dict[str, Path | bytes]:
        """Return the file that tells what a candidate was trained on, by its parent's; none if that does not tell."""
        before = read_seen(self._bundle)
        if before is None:
            return {}
        return {SEEN: seen_bytes([*before, *(episode.content for one in data for episode in one.episodes)])}

    def refusals(self, files: Mapping[str, Path | bytes], candidate: Manifest) -> list[str]:
        """Return why the robot would refuse a candidate of these networks and this calibration, in words."""
        found = calibration_faults(candidate.calibration, self._robot.eps_ceiling)
        doubt = unsupported_because(candidate.calibration)
        if doubt and not unsupported_because(self._manifest.calibration):
            found.append(f"its calibration is unsupported, unlike the running one's: {doubt}")
        if self._probes is not None:
            if self._scores is None:
                own = {name: self._bundle / name for name in self._manifest.files}
                self._scores = self._scored(own, self._manifest)
            found += [
                f"its judge disagrees: it {reason}"
                for reason in disagreements(self._scores, self._scored(files, candidate), self._probes)
            ]
        return found

    def _scored(self, files: Mapping[str, Path | bytes], manifest: Manifest) -> Scores:
        assert self._probes is not None
        weight = manifest.calibration.spread_weight
        with networks_in(files) as networks:
            q_h = probe_risks(networks.encoder, networks.critic, manifest.latent, self._probes, weight)
        return Scores(q_h, manifest.calibration.eps)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
