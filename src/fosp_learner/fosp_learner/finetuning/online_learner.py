"""Bags in as they are finished, candidate bundles out: the loop around a FineTuner. No ROS.

One run folder holds everything: `buffer/` (experience), `checkpoint/`, `candidates/`, `lineage.jsonl`, `losses.csv`.
Killed at any moment and started again on the same folder it goes on from its last checkpoint, and sees every episode at
the very update at which it saw it before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fosp_core.bundle.bundle import read_manifest, verify_bundle
from fosp_core.errors import UserError
from fosp_core.specs import Calibration, RobotConfig
from fosp_learner.bundling.training_weights import read_weights, require_same_networks
from fosp_learner.data.bag_storage import METADATA, storage_files
from fosp_learner.data.dataset import Dataset, load_bags, split
from fosp_learner.finetuning.candidate import Candidate, GateEpisodes, make_candidate
from fosp_learner.finetuning.config import FinetuneConfig, learner_config
from fosp_learner.finetuning.fine_tuner import FineTuner, fill, snapshot
from fosp_learner.finetuning.gate import Networks
from fosp_learner.finetuning.interventions import read_marked
from fosp_learner.finetuning.lineage import Lineage, clear, forget_after
from fosp_learner.finetuning.online_buffer import OnlineBuffer
from fosp_learner.training.checkpoint import load_checkpoint, save_checkpoint
from fosp_learner.training.run_log import RunLog
from fosp_recording.episode_recorder import INCOMPLETE_PREFIX

POLL_S = 1.0


@dataclass(frozen=True)
class Sources:
    """Where a run gets everything from."""

    bundle: Path
    """What is fine-tuned; with training weights, or `weights` given."""
    robot: RobotConfig
    bags: tuple[Path, ...]
    """Folders of experience; looked at again and again when following."""
    offline: tuple[Path, ...] = ()
    """What the bundle was trained on."""
    weights: Path | None = None
    """Checkpoint that the bundle was exported from, when it holds no weights itself."""
    cache: Path = Path("runs/cache")
    signing_key: Path | None = None
    """Candidates are signed with it."""


class OnlineLearner:
    """One run. `follow`: go on looking for new bags, and let experience pace the updates; else train what is there."""

    def __init__(
        self,
        sources: Sources,
        settings: FinetuneConfig,
        run: Path,
        *,
        follow: bool = False,
        resume: bool = False,
        command: str = "",
    ) -> None:
        self.sources, self.settings, self.run_folder, self._follow = sources, settings, run, follow
        self._command = command
        self.manifest = verify_bundle(sources.bundle, sources.robot)
        self._weights = read_weights(sources.bundle, sources.weights)
        self._resumed = resume and (run / "checkpoint").is_dir()
        if not resume:
            clear(run)
        run.mkdir(parents=True, exist_ok=True)
        self.lineage = Lineage(run)
        self.buffer = OnlineBuffer(run / "buffer", self.manifest.observation.shape, self.manifest.action.size)
        self._training, self._validation = self._offline_data()
        self._refused: dict[Path, tuple[tuple[int, int], ...]] = {}
        self.notes: Callable[[str], None] = lambda line: None
        self._tuner: FineTuner | None = None
        self._shown: tuple[int, int] = (-1, -1)
        self._fed_s = time.monotonic()
        """When the last new bag was taken in."""
        self.candidates: list[Candidate] = []
        """Made since this process began."""

    # -- the loop ------------------------------------------------------------------------------------
    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Until `stop`, or until the step budget is spent. TrainingDiverged when a loss is not finite."""
        self.take_in_bags()
        while self._nothing_to_train_on:
            if stop():
                return
            if not self._follow:
                raise UserError("no episode to train on in the bags; see fosp bags check")
            time.sleep(POLL_S)
            self.take_in_bags()
        tuner = self._start()
        with RunLog(self.run_folder, [("fine-tuning", self.settings.steps)], tuner.step) as log:
            self.notes = log.note
            self.notes(self._summary())
            looked_s, started_s, before_s = time.monotonic(), time.monotonic(), tuner.seconds
            while not stop() and tuner.step < self.settings.steps:
                if self._follow and time.monotonic() - looked_s > POLL_S:
                    self.take_in_bags()
                    looked_s = time.monotonic()
                if not self._allowed():
                    time.sleep(POLL_S)
                    continue
                self._show_experience()
                log.step(tuner.step + 1, tuner.train_step())
                tuner.seconds = before_s + time.monotonic() - started_s
                if not self._milestones(tuner, stop):
                    return
            if self._follow and tuner.step >= self.settings.steps and not self._has_candidate(tuner.step):
                self._try_candidate(tuner)
            elif tuner.step % self.settings.checkpoint_every and not self._round_ends(tuner.step):
                self._checkpoint(tuner)

    def _round_ends(self, step: int) -> bool:
        return step % self.settings.candidate_every == 0 or step == self.settings.steps

    def _milestones(self, tuner: FineTuner, stop: Callable[[], bool]) -> bool:
        """False when `stop` came while a round was ended: the last checkpoint leads there again."""
        ends = self._round_ends(tuner.step)
        if ends:
            begun_s = time.monotonic()
            if not tuner.settle(self._experience(tuner.step), stop):
                return False
            self.notes(f"critics and actor settled at update {tuner.step} in {time.monotonic() - begun_s:.0f} s")
        if ends or tuner.step % self.settings.checkpoint_every == 0:
            self._checkpoint(tuner)
        if ends:
            self._try_candidate(tuner)
        return True

    def _experience(self, step: int) -> Dataset | None:
        """What there is to train on at this update."""
        outcomes = self.settings.train_on == "outcomes"
        return self.buffer.dataset(step, False, self.settings.rows_kept, outcomes)

    def _has_candidate(self, step: int) -> bool:
        """Of these updates, also by a process before this one."""
        return any(e.event == "candidate" and e.details["step"] == step for e in self.lineage.events())

    @property
    def concluded(self) -> bool:
        """Whether there is a candidate of all updates made so far."""
        return self._has_candidate(self.tuner.step)

    def _try_candidate(self, tuner: FineTuner) -> None:
        try:
            self.make_candidate()
        except UserError as error:
            self.notes(f"no candidate at update {tuner.step}: {error}")
            self.lineage.append("no_candidate", "", step=tuner.step, reason=str(error))

    def _start(self) -> FineTuner:
        if self._tuner is not None:
            return self._tuner
        shapes = self._training or self.buffer.dataset(self._now, held_out=False)
        assert shapes is not None
        shapes = shapes.of(shapes.episodes[:1])
        tuner = FineTuner(self.manifest, self._weights, self.sources.bundle, self.settings, self._training, shapes)
        source = self.sources.weights or self.sources.bundle
        actor, critics = tuner.behaviour.actor, tuner.behaviour.critics
        require_same_networks(self.sources.bundle, tuner.world_model, tuner.offline_actor, actor, critics, source)
        self._tuner = tuner
        self._parent_networks = snapshot(tuner.networks)
        if self._resumed:
            load_checkpoint(tuner, self._data_key, self.run_folder / "checkpoint")
            forget_after(self.run_folder / "losses.csv", tuner.step)
        self._show_experience()
        if self._resumed:
            # Setting the state again: the sampler of what has been experienced was made after it was loaded.
            load_checkpoint(tuner, self._data_key, self.run_folder / "checkpoint")
        if not any(event.event == "start" for event in self.lineage.events()):
            self.lineage.append("start", self.manifest.id, path=str(self.sources.bundle.resolve()))
        settings = json.dumps(self.settings.model_dump(mode="json"), indent=2)
        (self.run_folder / "config.json").write_text(settings + "\n")
        return tuner

    @property
    def tuner(self) -> FineTuner:
        return self._start()

    @property
    def _data_key(self) -> str:
        offline = self._training.key if self._training is not None else ""
        return f"{self.manifest.id}:{offline}"

    @property
    def _now(self) -> int:
        """Updates made; before the start every episode of the buffer counts."""
        return self._tuner.step if self._tuner is not None else self.settings.steps

    def _checkpoint(self, tuner: FineTuner) -> None:
        save_checkpoint(tuner, self._data_key, self.run_folder / "checkpoint")

    # -- experience ----------------------------------------------------------------------------------
    def take_in_bags(self) -> int:
        """Finished bags that were not taken in yet; how many. One that cannot be used is told of once."""
        count = 0
        for bag in self._new_bags():
            try:
                episodes = read_marked(
                    bag,
                    self.manifest.observation,
                    self.sources.robot,
                    self.manifest.decision_period_s,
                    self.settings.override_tolerance,
                )
            except UserError as error:
                self._pass_over(bag)
                self.notes(f"passed over: {error}")
                continue
            for marked in episodes:
                if marked.digest in self.buffer:
                    continue
                number = len(self.buffer.entries) + 1
                held_out = number % self.settings.hold_out_every == 0
                step = self._tuner.step if self._tuner is not None else 0
                entry = self.buffer.append(marked.episode, marked.marks, marked.digest, step, held_out)
                self.notes(
                    f"{bag.name}: {entry.length} rows, {'success' if entry.success else 'no success'}"
                    f"{', violation' if entry.violates else ''}, {entry.overridden} steps overridden, "
                    f"{entry.changed} changed by the monitor{', held out' if held_out else ''}"
                )
            self._pass_over(bag)
            self._fed_s = time.monotonic()
            count += 1
        return count

    def _new_bags(self) -> list[Path]:
        """Bag folders that a recorder has closed, oldest name first."""
        found = []
        for folder in self.sources.bags:
            if not folder.is_dir():
                if self._follow:
                    continue
                raise UserError(f"{folder}: no such folder of bags")
            for metadata in folder.rglob(METADATA):
                bag = metadata.parent
                hidden = any(part.startswith(".") for part in bag.relative_to(folder).parts)
                if hidden or bag.name.startswith(INCOMPLETE_PREFIX) or self._refused.get(bag) == _state(bag):
                    continue
                found.append(bag)
        return sorted(found)

    def _pass_over(self, bag: Path) -> None:
        """It is not read again unless it changes."""
        self._refused[bag] = _state(bag)

    @property
    def _nothing_to_train_on(self) -> bool:
        return self._training is None and self._experience(self._now) is None

    def _show_experience(self) -> None:
        """Give the sampler what had been experienced at this update."""
        tuner = self._tuner
        assert tuner is not None
        visible = sum(entry.step <= tuner.step for entry in self.buffer.entries)
        if visible != self._shown[0]:
            tuner.sampler.experience(self._experience(tuner.step))
            self._shown = (visible, tuner.step)

    def _allowed(self) -> bool:
        """Whether experience so far allows another update; while the robot rests, any number of them."""
        tuner = self._tuner
        assert tuner is not None
        if not self._follow:
            return True
        rows, resting = self.buffer.rows, time.monotonic() - self._fed_s > self.settings.rest_s
        return rows >= self.settings.least_rows and (resting or tuner.step < self.settings.updates_per_row * rows)

    def _offline_data(self) -> tuple[Dataset | None, Dataset | None]:
        """Training and validation episodes: the split that the bundle was trained with, when the data is the same."""
        if not self.sources.offline:
            return None, None
        config = learner_config(self.manifest, self.settings)
        data = load_bags(
            self.sources.offline,
            self.manifest.observation,
            self.sources.robot,
            self.manifest.decision_period_s,
            self.sources.cache,
            workers=self.settings.cores,
        )
        seed = int(self.manifest.training.get("seed", 0))
        return split(data, config.validation_share, seed)

    # -- candidates ----------------------------------------------------------------------------------
    def make_candidate(self) -> Candidate:
        """Calibrate, judge and write a bundle of the networks as they are now."""
        tuner = self.tuner
        new = [self.buffer.dataset(tuner.step, held_out=True)]
        if sum(len(data.episodes) for data in (*new, self._validation) if data is not None) < 2:
            # So few, that what it was trained on has to judge it, too; the manifest's support says so.
            new.append(self.buffer.dataset(tuner.step, held_out=False))
        episodes = GateEpisodes.of(new, self._validation, self.settings.gate, self.settings.seed)
        running_id, running, calibration = self._running()
        candidate = make_candidate(
            tuner,
            episodes,
            running,
            calibration,
            manifest=self.manifest.model_copy(update={"parent_id": running_id}),
            training=self._provenance(tuner),
            folder=self.run_folder / "candidates",
            signing_key=self.sources.signing_key,
        )
        self.candidates.append(candidate)
        known = {event.id for event in self.lineage.events() if event.event == "candidate"}
        if candidate.manifest.id not in known:
            self.lineage.append(
                "candidate",
                candidate.manifest.id,
                parent=running_id,
                path=str(candidate.path.resolve()),
                step=tuner.step,
                gate=candidate.judgement.as_json(),
                metrics=candidate.manifest.metrics,
                data=candidate.manifest.training["experience"],
            )
        verdict = "passed the gate" if candidate.judgement.passed else "kept: " + "; ".join(candidate.judgement.reasons)
        self.notes(f"candidate {candidate.manifest.id[:12]} at update {tuner.step}: {verdict}")
        return candidate

    def newest_candidate(self) -> Candidate:
        """Of this process: the newest that passed the gate, else the newest; the last of them is of all updates."""
        if not self.candidates or not self.concluded:
            self.make_candidate()
        passed = [candidate for candidate in self.candidates if candidate.judgement.passed]
        return (passed or self.candidates)[-1]

    def _running(self) -> tuple[str, Networks, Calibration]:
        """Id, networks and calibration of the bundle that the robot is meant to run."""
        model_id, path = self.lineage.running()
        if model_id in ("", self.manifest.id):
            return self.manifest.id, self._parent_networks, self.manifest.calibration
        folder = Path(path)
        try:
            networks = fill(snapshot(self._parent_networks), read_weights(folder), folder)
            return model_id, networks, read_manifest(folder).calibration
        except UserError as error:
            self.notes(f"{error}; candidates are judged against {self.manifest.id[:12]}")
            return self.manifest.id, self._parent_networks, self.manifest.calibration

    def _provenance(self, tuner: FineTuner) -> dict[str, object]:
        seen = [entry for entry in self.buffer.entries if entry.step <= tuner.step]
        config = tuner.config.model_dump(mode="json")
        return {
            "command": self._command,
            "bundle": self.manifest.id,
            "data_sha256": self._training.key if self._training is not None else "",
            "experience": {
                "episodes": len(seen),
                "rows": sum(e.length for e in seen),
                "success_share": round(sum(e.success for e in seen) / max(1, len(seen)), 4),
                "violation_share": round(sum(e.violates for e in seen) / max(1, len(seen)), 4),
                "steps_changed_by_monitor": sum(e.changed for e in seen),
                "steps_overridden": sum(e.overridden for e in seen),
            },
            "seed": int(self.manifest.training.get("seed", 0)),
            "steps": tuner.step,
            "config": {**config, **self._pretraining_rates()},
            "finetune": self.settings.model_dump(mode="json"),
        }

    def _pretraining_rates(self) -> dict[str, object]:
        """Learning rates before they were scaled: a later fine-tuning scales them itself."""
        config = dict(self.manifest.training.get("config") or {})
        return {name: config[name] for name in ("world_model", "critic", "actor") if name in config}

    def _summary(self) -> str:
        offline = (
            f"{len(self._training.episodes)} offline episodes" if self._training is not None else "no offline data"
        )
        tuner = self.tuner
        return (
            f"fine-tuning {self.manifest.id[:12]} ({self.manifest.task}, {self.manifest.size}): {offline}, "
            f"{len(self.buffer.entries)} of experience; update {tuner.step} of {self.settings.steps}, "
            f"run in {self.run_folder}"
        )


def _state(bag: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of change of a bag's files."""
    try:
        return tuple((s.st_size, s.st_mtime_ns) for s in (path.stat() for path in storage_files(bag)))
    except OSError:
        return ()
