"""Makes candidates: bundles of the networks as they are now, calibrated and judged by the gate."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fosp_core.bundle.acceptance import unsupported_because
from fosp_core.bundle.bundle import read_manifest, verify_bundle, write_bundle
from fosp_core.bundle.reference import REFERENCE, Reference
from fosp_core.bundle.signature import read_private_key, sign_id
from fosp_core.errors import UserError
from fosp_core.specs import Calibration, Manifest
from fosp_learner.bundling.calibration import EpisodeValues, calibrate, lowered
from fosp_learner.bundling.export import CriticGraph, export_networks, learn_graphs
from fosp_learner.bundling.known_graphs import KnownGraphs
from fosp_learner.bundling.onsets import first_onset
from fosp_learner.bundling.reference import calibrate_reference, fit_reference
from fosp_learner.bundling.training_weights import WEIGHTS, read_weights, weights_bytes
from fosp_learner.bundling.validation import episode_values, validation_metrics
from fosp_learner.data.dataset import Dataset, EpisodeIndex, draw_episodes
from fosp_learner.data.lenses import LENSES
from fosp_learner.finetuning.config import GateConfig
from fosp_learner.finetuning.correction import (
    CORRECTION,
    Correction,
    calibrated_eps,
    correction_of,
    counted,
    for_new_scenes,
    newest_scene,
    tightened,
)
from fosp_learner.finetuning.fine_tuner import FineTuner, fill, snapshot
from fosp_learner.finetuning.gate import HeldOutEpisodes, Judgement, Networks, figures, judge
from fosp_learner.finetuning.lineage import Lineage
from fosp_learner.finetuning.online_buffer import Entry, OnlineBuffer
from fosp_learner.finetuning.parent_judge import ParentJudge
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import FilteredEpisode, KnownEmbeddings, filter_episodes


@dataclass(frozen=True)
class CandidateBundle:
    """A bundle on disk, and how the gate judged it."""

    path: Path
    manifest: Manifest
    judgement: Judgement


DatasetEpisode = tuple[Dataset, EpisodeIndex]
TIGHTENED = "tightened"
"""Key in the lineage of a bundle that differs from its parent by a lower threshold alone."""


@dataclass(frozen=True)
class GateEpisodes:
    """Episodes that no candidate was trained on: some calibrate it, the others judge it so. All of them calibrate what
    the robot gets."""

    calibrating: tuple[DatasetEpisode, ...]
    judging: tuple[DatasetEpisode, ...]
    new_calibrating: int
    """Number of the first calibrating episodes that are of experience."""
    new_judging: int
    """Number of the first judging episodes that are."""

    @classmethod
    def of(cls, new: Sequence[Dataset | None], offline: Dataset | None, config: GateConfig, seed: int) -> GateEpisodes:
        """Choose episodes; UserError when there are fewer than two.

        Half of the `new` ones calibrate and half judge, since they show what the candidate is for. Random `offline`
        ones fill the room that `config` leaves, up to half of them with a violation, which the thresholds depend on.
        """
        room = config.calibration_episodes + config.episodes
        ours = [(data, index) for data in new if data is not None for index in data.episodes][-room:]
        others: list[DatasetEpisode] = []
        if offline is not None:
            drawn = draw_episodes(offline, room - len(ours), 0.5, np.random.default_rng(seed))
            others = [(offline, index) for index in drawn]
        step = max(2, len(others) // config.episodes)
        judging = [*ours[1::2], *others[1::step]]
        calibrating = [*ours[0::2], *(entry for i, entry in enumerate(others) if i % step != 1)]
        if not judging and len(calibrating) > 1:
            judging.append(calibrating.pop())
        if not judging:
            raise UserError("a candidate needs at least two episodes to be calibrated and judged on; record more")
        new_judging = min(len(ours[1::2]), len(judging))
        new_calibrating = min(len(ours[0::2]), len(calibrating))
        return cls(tuple(calibrating), tuple(judging), new_calibrating, new_judging)

    def refusal(self, alpha: float) -> str:
        """Return why a calibration on these episodes cannot promise a miss rate of `alpha`; empty when it can."""
        held_out = (*self.calibrating, *self.judging)
        costs = (data.cost[index.start + 1 : index.start + index.length] for data, index in held_out)
        onsets, needed = sum(first_onset(cost) is not None for cost in costs), math.ceil(1.0 / alpha - 1.0 - 1e-9)
        if onsets >= needed:
            return ""
        return (
            f"a violation begins in {onsets} of the {len(held_out)} held-out episodes that calibrate a "
            f"candidate, and a miss rate of at most {alpha:g} needs {needed}: every candidate is refused until new "
            "episodes bring the others; give more of the bundle's training data (--offline), or show hazards"
        )


class CandidateMaker:
    """Makes the candidates of one run, judges each against the running bundle, and writes them to the lineage."""

    def __init__(
        self,
        tuner: FineTuner,
        parent: Manifest,
        buffer: OnlineBuffer,
        training: Dataset | None,
        validation: Dataset | None,
        run: Path,
        *,
        command: str,
        signing_key: Path | None,
        judge: ParentJudge,
    ) -> None:
        """`tuner` holds the networks of the bundle `parent` as yet; `training` and `validation` are offline data."""
        self._judge = judge
        self._tuner, self._parent, self._buffer = tuner, parent, buffer
        self._training, self._validation = training, validation
        self._folder, self._lineage = run / "candidates", Lineage(run)
        self._command, self._signing_key = command, signing_key
        self._parent_networks = snapshot(tuner.networks)
        self._embeddings = KnownEmbeddings()
        self._graphs: KnownGraphs | None = None

    def make(self, note: Callable[[str], None]) -> CandidateBundle:
        """Calibrate and judge the networks as they are now, and write a bundle of them; `note` gets one line.

        UserError when there are too few episodes, or the disk refuses.
        """
        step = self._tuner.step
        episodes = self._gate_episodes(step)
        running_id, running, calibration = self._running(note)
        candidate = self._write(episodes, running_id, running, calibration)
        if candidate.manifest.id not in self._lineage.candidate_ids():
            self._lineage.append(
                "candidate",
                candidate.manifest.id,
                parent=running_id,
                path=str(candidate.path.resolve()),
                step=step,
                gate=candidate.judgement.as_json(),
                metrics=candidate.manifest.metrics,
                data=candidate.manifest.training["experience"],
            )
        verdict = "passed the gate" if candidate.judgement.passed else "kept: " + "; ".join(candidate.judgement.reasons)
        note(f"candidate {candidate.manifest.id[:12]} at update {step}: {verdict}")
        return candidate

    def foreseen_refusal(self, step: int) -> str:
        """Return why no candidate of update `step` can pass, whatever it has learned; empty when one can.

        Its calibration must be supported where that of its parent is. Who gave few demonstrations should know that
        before experience is collected.
        """
        if unsupported_because(self._parent.calibration):
            return ""
        try:
            return self._gate_episodes(step).refusal(self._tuner.config.calibration.alpha)
        except UserError as error:
            return str(error)

    def _gate_episodes(self, step: int) -> GateEpisodes:
        new = [self._buffer.dataset(step, held_out=True)]
        if sum(len(data.episodes) for data in (*new, self._validation) if data is not None) < 2:
            # Too few: episodes that it was trained on must judge it, too. The support in its manifest says so.
            new.append(self._buffer.dataset(step, held_out=False))
        settings = self._tuner.settings
        return GateEpisodes.of(new, self._validation, settings.gate, settings.seed)

    def _running(self, note: Callable[[str], None]) -> tuple[str, Networks, Calibration]:
        """Return id, networks and calibration of the bundle that the robot is meant to run."""
        model_id, path = self._lineage.running()
        parent = self._parent
        if model_id in ("", parent.id):
            return parent.id, self._parent_networks, parent.calibration
        folder = Path(path)
        try:
            networks = fill(snapshot(self._parent_networks), read_weights(folder), folder)
            return model_id, networks, read_manifest(folder).calibration
        except UserError as error:
            note(f"{error}; candidates are judged against {parent.id[:12]}")
            return parent.id, self._parent_networks, parent.calibration

    def _write(
        self, episodes: GateEpisodes, running_id: str, running: Networks, running_calibration: Calibration
    ) -> CandidateBundle:
        tuner = self._tuner
        config, gate, networks = tuner.config, tuner.settings.gate, tuner.networks
        discount = config.critic.discount
        calibrating = self._filtered(networks.world_model, episodes.calibrating)
        judging = self._filtered(networks.world_model, episodes.judging)
        scores = self._scores(networks, config.calibration.horizon_steps)
        values = [[episode_values(networks.behaviour, e) for e in some] for some in (calibrating, judging)]
        news = episodes.new_calibrating, episodes.new_judging
        halves = (self._calibrated(some, new, scores) for some, new in zip(values, news, strict=True))
        (calibration, _), (reverse, _) = halves
        # The halves change places where both support the promise: twice as many violations make the miss rate certain.
        crossed = calibration.supported and reverse.supported
        ours = [HeldOutEpisodes(calibration, judging)]
        shown = [episodes.judging]
        if crossed:
            ours.append(HeldOutEpisodes(reverse, calibrating))
            shown.append(episodes.calibrating)
        theirs = [HeldOutEpisodes(running_calibration, self._filtered(running.world_model, some)) for some in shown]
        judgement = judge(
            figures(networks, ours, gate, discount),
            figures(running, theirs, gate, discount),
            gate,
            self._buffer.intervention_share(tuner.step, gate.intervention_episodes),
        )
        # The halves have judged. What the robot gets is calibrated on both: on few onsets eps is much of a chance.
        parts = [some[:new] for some, new in zip(values, news, strict=True)]
        parts += [some[new:] for some, new in zip(values, news, strict=True)]
        calibration, correction = self._calibrated([e for part in parts for e in part], sum(news), scores)
        held_out = _datasets((*episodes.calibrating, *episodes.judging))
        reference, camera = calibrate_reference(self._reference(), held_out)
        calibration = calibration.model_copy(update={"camera": camera, "spread_weight": config.spread_weight})
        actors, success = (tuner.offline_actor, tuner.behaviour.actor), tuner.behaviour.success
        files: dict[str, Path | bytes] = dict(
            export_networks(tuner.world_model, *actors, tuner.behaviour.critics, self._known_graphs(), success)
        )
        files |= {WEIGHTS: weights_bytes(tuner.weights()), REFERENCE: reference.to_bytes()}
        files |= {**self._judge.probe_files(), **self._judge.seen_files(self._trained_on())}
        refusals = self._judge.refusals(files, self._parent.model_copy(update={"calibration": calibration}))
        judgement = replace(judgement, reasons=(*judgement.reasons, *refusals))
        described = self._parent.model_copy(
            update={
                "parent_id": running_id,
                "critic_outputs": CriticGraph(tuner.behaviour.critics, success).further,
                "calibration": calibration,
                "metrics": validation_metrics(tuner, judging, config.calibration.horizon_steps),
                "training": {
                    **self._provenance(),
                    "gate": judgement.as_json(),
                    CORRECTION: {"calibrated_eps": calibration.eps / correction.share, **correction.as_json()},
                },
            }
        )
        path, complete = _write_once(self._folder, described, files)
        if self._signing_key is not None:
            sign_id(path, complete.id, read_private_key(self._signing_key))
        return CandidateBundle(path, complete, judgement)

    def _entries(self) -> list[Entry]:
        """Return the episodes that were there at this update, in the order in which they came."""
        return [entry for entry in self._buffer.entries if entry.step <= self._tuner.step]

    def _correction(self, scores: Mapping[int, float], eps: float) -> Correction:
        """Return the correction of `eps` in the kind of scenes that the robot is in by now; see `correction_of`."""
        entries = self._entries()
        return correction_of(entries, newest_scene(entries), self._tuner.settings.correction, scores, eps)

    def _scores(self, networks: Networks, horizon: int) -> dict[int, float]:
        """Return what the networks give each violation that counts at its last chance, by the episode's first row."""
        entries = self._entries()
        starts = {entry.start for entry in counted(entries, newest_scene(entries)) if entry.violates}
        parts = (self._buffer.dataset(self._tuner.step, held_out) for held_out in (False, True))
        violating = [(part, e) for part in parts if part is not None for e in part.episodes if e.start in starts]
        return {
            episode.index.start: score
            for episode in self._filtered(networks.world_model, violating)
            if (score := episode_values(networks.behaviour, episode).onset_score(horizon)) is not None
        }

    def _calibrated(
        self, values: list[EpisodeValues], new: int, scores: Mapping[int, float]
    ) -> tuple[Calibration, Correction]:
        """Return the calibration on episodes of which the first `new` are of experience, corrected, and how it was."""
        config = self._tuner.config.calibration
        pooled = calibrate(values, config)
        correction = self._correction(scores, pooled.eps)
        found = for_new_scenes(pooled, values[:new], config, correction)
        return lowered(found, found.eps, values), correction

    def tighten(self, note: Callable[[str], None]) -> None:
        """Write the running bundle with the corrected threshold, if that is lower; UserError when the disk refuses.

        Only its threshold is another one, so no gate judges it. The robot's own checks do before the swap.
        """
        model_id, path = self._lineage.running()
        folder = Path(path)
        running = read_manifest(folder)
        _, networks, calibration = self._running(note)
        correction = self._correction(self._scores(networks, calibration.horizon_steps), calibrated_eps(running))
        described = tightened(running, correction)
        if described is None:
            return
        target, complete = _write_once(self._folder, described, {name: folder / name for name in running.files})
        if self._signing_key is not None:
            sign_id(target, complete.id, read_private_key(self._signing_key))
        if complete.id in self._lineage.candidate_ids():
            return
        self._lineage.append(
            "candidate",
            complete.id,
            parent=model_id,
            path=str(target.resolve()),
            step=self._tuner.step,
            gate={"passed": True, "reasons": [], "candidate": {}, "running": {}},
            **{TIGHTENED: True},
        )
        note(f"a violation: {model_id[:12]} goes on as {complete.id[:12]} with eps {complete.calibration.eps:.4f}")

    def _filtered(self, model: WorldModel, episodes: Sequence[DatasetEpisode]) -> list[FilteredEpisode]:
        """Filter episodes, data set by data set, in the order given."""
        return [
            filtered
            for data in _datasets(episodes)
            for filtered in filter_episodes(model, data, known=self._embeddings)
        ]

    def _known_graphs(self) -> KnownGraphs:
        """Return the graphs of the networks, at first those of the parent."""
        if self._graphs is None:
            self._graphs, networks = KnownGraphs(), self._parent_networks
            behaviour = networks.behaviour
            actors = networks.offline_actor, behaviour.actor
            graphs = self._judge.networks()
            learn_graphs(self._graphs, graphs, networks.world_model, *actors, behaviour.critics, behaviour.success)
        return self._graphs

    def _reference(self) -> Reference:
        """Return what old and new frames look like: those that the networks were trained on."""
        data = self._trained_on()
        if not data:
            raise UserError("no episode to fit the reference of the cameras on; record more episodes")
        return fit_reference(data, self._tuner.settings.seed, self._judge.reference)

    def _trained_on(self) -> list[Dataset]:
        experience = self._buffer.dataset(self._tuner.step, held_out=False)
        return [one for one in (self._training, experience) if one is not None]

    def _provenance(self) -> dict[str, object]:
        """Return what the manifest says about the training."""
        tuner, parent = self._tuner, self._parent
        seen = self._entries()
        pretraining = dict(parent.training.get("config") or {})
        # Learning rates as they were before they were scaled: a later fine-tuning scales them itself.
        unscaled = {name: pretraining[name] for name in ("world_model", "critic", "actor") if name in pretraining}
        return {
            "command": self._command,
            "bundle": parent.id,
            "data_sha256": self._training.key if self._training is not None else "",
            "experience": {
                "episodes": len(seen),
                "rows": sum(e.length for e in seen),
                "success_share": round(sum(e.success for e in seen) / max(1, len(seen)), 4),
                "violation_share": round(sum(e.violates for e in seen) / max(1, len(seen)), 4),
                "steps_changed_by_monitor": sum(e.changed for e in seen),
                "steps_overridden": sum(e.overridden for e in seen),
                "overridden_share_by_episode": [round(e.overridden / max(1, e.length - 1), 4) for e in seen],
            },
            "seed": int(parent.training.get("seed", 0)),
            "steps": tuner.step,
            "config": {**tuner.config.model_dump(mode="json"), **unscaled},
            "finetune": tuner.settings.model_dump(mode="json"),
            **({LENSES: parent.training[LENSES]} if LENSES in parent.training else {}),
        }


def _write_once(folder: Path, manifest: Manifest, files: dict[str, Path | bytes]) -> tuple[Path, Manifest]:
    """Write a bundle into a folder named after its id; a resumed run, which makes the same one again, keeps the first.

    Return the folder, and the manifest with its id.
    """
    staging = folder / ".candidate"
    shutil.rmtree(staging, ignore_errors=True)
    complete = write_bundle(staging, manifest, files)
    target = folder / complete.id[:12]
    if target.exists():
        try:
            verify_bundle(target)
            shutil.rmtree(staging, ignore_errors=True)
            return target, complete
        except UserError:
            shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return target, complete


def _datasets(episodes: Sequence[DatasetEpisode]) -> list[Dataset]:
    """Return the data sets of the episodes, each with those of them alone, in the order given."""
    datasets: list[Dataset] = []
    for data, _ in episodes:
        if not any(data is known for known in datasets):
            datasets.append(data)
    return [replace(data, episodes=tuple(index for of, index in episodes if of is data)) for data in datasets]
