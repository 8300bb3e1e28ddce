"""The loop of a fine-tuning run: finished bags come in, a FineTuner learns from them, candidate bundles go out. No ROS.

One run folder holds everything: `buffer/` (experience), `checkpoint/`, `candidates/`, `lineage.jsonl`, `losses.csv`.
Killed at any moment, the run goes on from its last checkpoint when it is started again on the same folder, and sees
every episode at the very update at which it saw it before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fosp_core.bag.files import METADATA, files_of, find_bags, folders_below
from fosp_core.bundle.bundle import verify_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Manifest
from fosp_learner.bundling.seen import read_seen
from fosp_learner.bundling.training_weights import read_weights, require_same_networks
from fosp_learner.data.bags import bag_metadata
from fosp_learner.data.dataset import Dataset, EpisodeIndex, load_bags, split
from fosp_learner.data.lenses import LENSES, from_note
from fosp_learner.finetuning.candidate import TIGHTENED, CandidateBundle, CandidateMaker
from fosp_learner.finetuning.config import FinetuneConfig, learner_config
from fosp_learner.finetuning.fine_tuner import FineTuner
from fosp_learner.finetuning.interventions import read_labelled
from fosp_learner.finetuning.lineage import Lineage, clear, forget_after
from fosp_learner.finetuning.online_buffer import OnlineBuffer
from fosp_learner.finetuning.parent_judge import ParentJudge
from fosp_learner.training.checkpoint import load_checkpoint, restore_checkpoint, save_checkpoint
from fosp_learner.training.run_log import RunLog
from fosp_recording.episode_recorder import INCOMPLETE_PREFIX

POLL_S = 1.0
Note = Callable[[str], None]


@dataclass(frozen=True)
class Sources:
    """Everything that a run reads."""

    bundle: Path
    """The bundle that is fine-tuned; with training weights, or `weights` given."""
    robot: RobotConfig
    bags: tuple[Path, ...]
    """Folders of experience; a learner that follows looks at them again and again."""
    offline: tuple[Path, ...] = ()
    """Folders of the bags that the bundle was trained on."""
    weights: Path | None = None
    """Checkpoint that the bundle was exported from, when it holds no weights itself."""
    cache: Path = Path("runs/cache")
    signing_key: Path | None = None
    """Private key that candidates are signed with."""


class BagIntake:
    """Takes each finished bag into the buffer once."""

    def __init__(self, sources: Sources, manifest: Manifest, settings: FinetuneConfig, buffer: OnlineBuffer) -> None:
        self._sources, self._manifest, self._settings = sources, manifest, settings
        self._buffer = buffer
        self._known: dict[Path, tuple[tuple[int, int], ...]] = {}
        self.fed_s = time.monotonic()
        """Monotonic time at which the last new bag was taken in."""

    def take_in(self, step: int, note: Note) -> bool:
        """Take in the bags that are new at update `step`; return True if one of them holds a violation.

        A bag that cannot be used is told of once. Violations in episodes that show hazards do not count.
        """
        violated = False
        for bag in self._new_bags():
            try:
                episodes = read_labelled(
                    bag,
                    self._manifest.observation,
                    self._sources.robot,
                    self._manifest.decision_period_s,
                    self._settings.override_tolerance,
                    from_note(self._manifest.training.get(LENSES)),
                )
            except UserError as error:
                self._known[bag] = _state(bag)
                note(f"passed over: {error}")
                continue
            for labelled in episodes:
                if labelled.digest in self._buffer:
                    continue
                if before := self._buffer.same_as(labelled.episode):
                    note(f"passed over: {bag}: holds the same episode as {before}, copied or played again")
                    continue
                number = len(self._buffer.entries) + 1
                held_out = number % self._settings.hold_out_every == 0
                entry = self._buffer.append(
                    labelled.episode, labelled.interventions, labelled.digest, step, held_out, bag_metadata(bag)
                )
                share = entry.overridden / max(1, entry.length - 1)
                note(
                    f"{bag.name}: {entry.length} rows, {'success' if entry.success else 'no success'}"
                    f"{', violation' if entry.violates else ''}, {entry.overridden} steps overridden ({share:.0%}), "
                    f"{entry.changed} changed by the monitor{', held out' if held_out else ''}"
                )
                violated |= entry.violates and not entry.shows_hazards
            self._known[bag] = _state(bag)
            self.fed_s = time.monotonic()
        return violated

    def _new_bags(self) -> list[Path]:
        """Return the bag folders that a recorder has closed and that are new or have changed, sorted by name."""
        found = []
        for folder in self._sources.bags:
            if not folder.is_dir():  # it may appear later
                continue
            for bag, names in folders_below(folder):
                if (
                    METADATA not in names
                    or bag.name.startswith(INCOMPLETE_PREFIX)
                    or self._known.get(bag) == _state(bag)
                ):
                    continue
                found.append(bag)
        return sorted(found)


class OnlineLearner:
    """One fine-tuning run, from its last checkpoint when it is resumed.

    With `follow` it goes on looking for new bags, and experience paces the updates; else it trains on what is there.
    """

    def __init__(
        self,
        sources: Sources,
        settings: FinetuneConfig,
        run: Path,
        *,
        follow: bool = False,
        resume: bool = False,
        overwrite: bool = False,
        command: str = "",
    ) -> None:
        """Build everything; UserError when anything is wrong with the bundle, its weights, the data or the run folder.

        With `overwrite` an earlier run in the folder is removed, but for its candidates.
        """
        self.sources, self.settings, self.run_folder, self._follow = sources, settings, run, follow
        self.manifest = verify_bundle(sources.bundle, sources.robot)
        weights = read_weights(sources.bundle, sources.weights)
        if not follow:
            find_bags(sources.bags)  # before what takes minutes
        checkpoint = run / "checkpoint"
        there = restore_checkpoint(checkpoint)
        if there and not (resume or overwrite):
            raise UserError(
                f"{run} holds the checkpoint of a run: go on with it by --resume, replace it by --overwrite, or choose "
                "an --out with another name"
            )
        if not resume:
            clear(run)
        run.mkdir(parents=True, exist_ok=True)
        self.lineage = Lineage(run)
        action, shape = self.manifest.action, self.manifest.observation.shape
        self.buffer = OnlineBuffer(run / "buffer", shape, action.size, action.gripper is not None)
        self._intake = BagIntake(sources, self.manifest, settings, self.buffer)
        self._training, validation = _offline_data(sources, self.manifest, settings)
        self._data_key = f"{self.manifest.id}:{self._training.key if self._training is not None else ''}"
        shapes = _blank_data(self.manifest)
        self.tuner = FineTuner(self.manifest, weights, sources.bundle, settings, self._training, shapes)
        _require_same_networks(self.tuner, sources)
        self._maker = CandidateMaker(
            self.tuner,
            self.manifest,
            self.buffer,
            self._training,
            validation,
            run,
            command=command,
            signing_key=sources.signing_key,
            judge=ParentJudge(sources.bundle, self.manifest, sources.robot),
        )
        if resume and there:
            load_checkpoint(self.tuner, self._data_key, checkpoint)
            forget_after(run / "losses.csv", self.tuner.step)
        self._visible = -1
        """Number of episodes that the sampler draws from."""
        self._note: Note = lambda line: None
        self._candidates: list[CandidateBundle] = []
        """Made since this process began."""

    # -- the loop ------------------------------------------------------------------------------------
    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Train until `stop`, or until the step budget is spent. TrainingDiverged when a loss is not finite.

        A learner that follows goes on watching for violations, which tighten the running bundle, until `stop`.
        """
        tuner, intake = self.tuner, self._intake
        intake.take_in(tuner.step, self._note)
        if not (self._follow or self.buffer.entries):
            raise UserError("no episode to train on in the bags; see fosp bags check")
        while self._training is None and self._experience(tuner.step) is None:
            if stop():
                return
            if not self._follow:
                raise UserError("every episode of the bags is held out; give more of them, or --offline")
            time.sleep(POLL_S)
            intake.take_in(tuner.step, self._note)
        self._note_start()
        with RunLog(self.run_folder, [("fine-tuning", self.settings.steps)], tuner.step) as log:
            self._note = log.note
            for line in filter(None, (self._summary(), self._maker.foreseen_refusal(tuner.step))):
                self._note(line)
            if self._follow:
                self._tighten()  # after violations of an earlier process, or of the bags that were there already
            looked_s, started_s, before_s = time.monotonic(), time.monotonic(), tuner.seconds
            while not stop() and tuner.step < self.settings.steps:
                if self._follow and time.monotonic() - looked_s > POLL_S:
                    if intake.take_in(tuner.step, self._note):
                        self._tighten()
                    looked_s = time.monotonic()
                if not self._allowed():
                    time.sleep(POLL_S)
                    continue
                self._show_experience()
                log.step(tuner.step + 1, tuner.train_step())
                tuner.seconds = before_s + time.monotonic() - started_s
                if not self._milestones(stop, log):
                    return
            if self._follow and tuner.step >= self.settings.steps and not self.concluded:
                self._try_candidate()
            elif tuner.step % self.settings.checkpoint_every and not self._round_ends(tuner.step):
                self._checkpoint()
            while self._follow and not stop():
                if intake.take_in(tuner.step, self._note):
                    self._tighten()
                time.sleep(POLL_S)

    def _note_start(self) -> None:
        if not any(event.event == "start" for event in self.lineage.events()):
            self.lineage.append("start", self.manifest.id, path=str(self.sources.bundle.resolve()))
        settings = json.dumps(self.settings.model_dump(mode="json"), indent=2)
        (self.run_folder / "config.json").write_text(settings + "\n")

    def _round_ends(self, step: int) -> bool:
        return step % self.settings.candidate_every == 0 or step == self.settings.steps

    def _milestones(self, stop: Callable[[], bool], log: RunLog) -> bool:
        """Write the checkpoint and make the candidate that are due after an update.

        Return False when `stop` came while a round was ended: the last checkpoint leads there again.
        """
        tuner = self.tuner
        ends = self._round_ends(tuner.step)
        if ends:
            begun_s = time.monotonic()
            log.aside("settling", 0, 1)
            if not tuner.settle(
                self._experience(tuner.step),
                stop,
                lambda what, *of: log.aside(f"settling {what}", *of),
                self._ended(tuner.step),
            ):
                return False
            log.aside("")
            self._note(f"critics and actor settled at update {tuner.step} in {time.monotonic() - begun_s:.0f} s")
        if ends or tuner.step % self.settings.checkpoint_every == 0:
            self._checkpoint()
        if ends:
            self._try_candidate()
        return True

    def _checkpoint(self) -> None:
        save_checkpoint(self.tuner, self._data_key, self.run_folder / "checkpoint")

    def _experience(self, step: int, every: bool = False) -> Dataset | None:
        """Return the experience to train on at update `step`; with `every` also what `train_on` leaves out."""
        outcomes = self.settings.train_on == "outcomes" and not every
        cost = self.settings.intervention_cost
        return self.buffer.dataset(step, False, self.settings.rows_kept, outcomes, cost)

    def _ended(self, step: int) -> Dataset | None:
        """Return all of the experience at update `step` for the success critic; None where nothing else is needed."""
        needed = self.tuner.behaviour.success is not None and self.settings.train_on == "outcomes"
        return self._experience(step, every=True) if needed else None

    def _show_experience(self) -> None:
        """Let the sampler draw from the experience of this update."""
        visible = sum(entry.step <= self.tuner.step for entry in self.buffer.entries)
        if visible != self._visible:
            self.tuner.sampler.experience(self._experience(self.tuner.step))
            self._visible = visible

    def _allowed(self) -> bool:
        """Return whether experience allows another update; while the robot rests it allows any number of them."""
        if not self._follow:
            return True
        rows, resting = self.buffer.rows, time.monotonic() - self._intake.fed_s > self.settings.rest_s
        return rows >= self.settings.least_rows and (resting or self.tuner.step < self.settings.updates_per_row * rows)

    def _summary(self) -> str:
        offline = (
            f"{len(self._training.episodes)} offline episodes" if self._training is not None else "no offline data"
        )
        return (
            f"fine-tuning {self.manifest.id[:12]} ({self.manifest.task}, {self.manifest.size}): {offline}, "
            f"{len(self.buffer.entries)} of experience; update {self.tuner.step} of {self.settings.steps}, "
            f"run in {self.run_folder}"
        )

    # -- candidates ----------------------------------------------------------------------------------
    @property
    def concluded(self) -> bool:
        """True if all updates made so far have gone into a candidate, also one of a process before this one."""
        step = self.tuner.step
        made = (e.details for e in self.lineage.events() if e.event == "candidate" and not e.details.get(TIGHTENED))
        return any(details["step"] == step for details in made)

    def make_candidate(self) -> CandidateBundle:
        """Calibrate, judge and write a bundle of the networks as they are now; UserError when that cannot be done."""
        self._candidates.append(self._maker.make(self._note))
        return self._candidates[-1]

    def newest_candidate(self) -> CandidateBundle:
        """Return the newest candidate of this process that passed the gate, or else the newest.

        A candidate of all updates is made first, unless there is one.
        """
        if not self._candidates or not self.concluded:
            self.make_candidate()
        passed = [candidate for candidate in self._candidates if candidate.judgement.passed]
        return (passed or self._candidates)[-1]

    def _tighten(self) -> None:
        """Offer the running bundle with the threshold that its violations leave it, without waiting for a candidate."""
        try:
            self._maker.tighten(self._note)
        except UserError as error:
            self._note(f"the running bundle is not tightened: {error}")

    def _try_candidate(self) -> None:
        try:
            self.make_candidate()
        except UserError as error:
            step = self.tuner.step
            self._note(f"no candidate at update {step}: {error}")
            self.lineage.append("no_candidate", "", step=step, reason=str(error))


def _offline_data(
    sources: Sources, manifest: Manifest, settings: FinetuneConfig
) -> tuple[Dataset | None, Dataset | None]:
    """Return training and validation episodes: what the bundle was trained on, as far as it tells, is not held out."""
    if not sources.offline:
        return None, None
    config = learner_config(manifest, settings)
    data = load_bags(
        sources.offline,
        manifest.observation,
        sources.robot,
        manifest.decision_period_s,
        sources.cache,
        workers=settings.cores,
    )
    seen = read_seen(sources.bundle) or ()
    return split(data, config.validation_share, int(manifest.training.get("seed", 0)), seen)


def _blank_data(manifest: Manifest) -> Dataset:
    """Return two blank rows of the bundle's shapes: the networks can be built before there is any experience."""
    zeros = np.zeros(2, np.float32)
    return Dataset(
        images=np.zeros((2, *manifest.observation.shape), np.uint8),
        action=np.zeros((2, manifest.action.size), np.float32),
        reward=zeros,
        cost=zeros,
        is_terminal=np.zeros(2, np.bool_),
        episodes=(EpisodeIndex("blank", 0, 2, success=True, violates=False),),
        key="",
    )


def _require_same_networks(tuner: FineTuner, sources: Sources) -> None:
    """UserError unless the networks give the golden outputs of the bundle."""
    of = tuner.behaviour
    source = sources.weights or sources.bundle
    require_same_networks(
        sources.bundle, tuner.world_model, tuner.offline_actor, of.actor, of.critics, source, of.success
    )


def _state(bag: Path) -> tuple[tuple[int, int], ...]:
    """Return size and time of change of each file of a bag."""
    try:
        return tuple((s.st_size, s.st_mtime_ns) for s in (path.stat() for path in files_of(bag)))
    except (OSError, UserError):
        return ()
