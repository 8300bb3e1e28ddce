"""Pre-training from bags to a bundle, as `fosp pretrain` runs it: data, training, calibration, export, report."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fosp_core.bag.files import find_bags
from fosp_core.bundle.acceptance import unsupported_because
from fosp_core.bundle.bundle import verify_bundle, write_bundle
from fosp_core.bundle.reference import REFERENCE
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import FORMAT_VERSION, Calibration, LatentSpec, Manifest, ObservationSpec
from fosp_learner import distributed
from fosp_learner.bundling.calibration import calibrate, set_by_one
from fosp_learner.bundling.export import CriticGraph, export_networks
from fosp_learner.bundling.probing import with_probes
from fosp_learner.bundling.reference import calibrate_reference, fit_reference
from fosp_learner.bundling.seen import SEEN, read_seen, seen_bytes
from fosp_learner.bundling.training_weights import OFFLINE_ACTOR, WEIGHTS, read_weights, weights_bytes
from fosp_learner.bundling.validation import Assessment, assess, episode_values
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bag_sets import choose_robot, lenses_of, task_of, with_period_of
from fosp_learner.data.dataset import Dataset, load_bags, split
from fosp_learner.data.lenses import LENSES, as_noted
from fosp_learner.distributed import processes
from fosp_learner.model.world_model import WorldModel
from fosp_learner.report.figure_data import SceneFrames
from fosp_learner.report.run import (
    RunFacts,
    begun_with,
    described,
    report_of,
    require_new_run,
    require_own_run,
    run_folder,
    write_facts,
)
from fosp_learner.training.behaviour import Behaviour
from fosp_learner.training.checkpoint import load_checkpoint, load_networks, network_tensors, save_checkpoint
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.run_log import RunLog, SilentLog
from fosp_learner.training.trainer import Trainer, steps_left

SceneOf = Callable[[str, RobotConfig, ObservationSpec], SceneFrames | None]
"""Gives the frames of a scene for the report's map by task, robot and observation; None without such a scene."""


def pretrain(
    bag_dirs: Sequence[Path],
    out: Path,
    robots: Sequence[RobotConfig],
    config: LearnerConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    runs: Path = Path("runs"),
    command: str = "",
    scene_of: SceneOf | None = None,
    device: str = "auto",
    begin_with: Path | None = None,
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Manifest | None:
    """Train on all bags below `bag_dirs`, write a bundle to `out`, and return its manifest.

    Processes that torchrun started train together; all but the one that writes return None.

    The robot is chosen from `robots` by the command topic in the bags. The run folder runs/pretrain/<name of out> gets
    checkpoint, config.json, losses.csv, TensorBoard scalars and report/; with `resume` training goes on from its
    checkpoint, and with `overwrite` it replaces that. The networks begin as those of the bundle `begin_with`, if there
    is one, and what that was trained on is not held out. `warn` gets a line for each doubt about the bundle.
    Raises UserError for bags, settings or a run that cannot be used, and TrainingDiverged when a loss is no longer
    finite.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; choose another --out or remove it")
    run = run_folder(runs, out)
    require_own_run(run, out)
    if not (resume or overwrite):
        require_new_run(run)
    bags = find_bags(bag_dirs)
    facts = RunFacts(
        task=task_of(bags),
        robot=choose_robot(bags, robots),
        observation=config.observation,
        bundle=str(out),
        command=command,
        begin_with=str(begin_with.absolute()) if begin_with else begun_with(run) if resume else "",
    )
    if resume and facts.begin_with != begun_with(run):
        raise UserError(f"{run} began with {begun_with(run) or 'random networks'}: resume it without --from")
    config = with_period_of(config, bags).for_robot(facts.robot)
    start = Start.of(Path(facts.begin_with), facts, config) if facts.begin_with else None
    seen = (start.seen or ()) if start else ()
    if start is not None and start.seen is None:
        warn(f"{facts.begin_with} does not tell which episodes it was trained on: give none of them again")
    with processes(device) as process:
        progress = _bag_progress() if process.writes else lambda done, total: None
        period_s = config.decision_period_s
        data = load_bags(bag_dirs, facts.observation, facts.robot, period_s, runs / "cache", progress)
        if data.copies and process.writes:
            warn(
                f"{data.copies} of {len(data.episodes)} episodes are copies of others: they count twice; leave the "
                "copies out (fosp bags check)"
            )
        for remark in data.remarks[:_MOST_REMARKS] if process.writes else ():
            warn(f"{remark} (fosp bags check tells of each bag)")
        for line in data.odd([camera.topic for camera in facts.observation.cameras]) if process.writes else ():
            warn(f"{line} (fosp bags check tells of each bag)")
        training, validation = split(data, config.validation_share, config.seed, seen)
        if not (training.tells_success and config.trains_success):
            config = config.model_copy(update={"success": config.success.model_copy(update={"enabled": False})})

        def calibrated_eps(model: WorldModel, behaviour: Behaviour) -> float:
            values = [episode_values(behaviour, episode) for episode in filter_episodes(model, validation)]
            return calibrate(values, config.calibration).eps

        trainer = Trainer(config, training, process.device, calibrated_eps)
        if resume:
            load_checkpoint(trainer, data.key, run / "checkpoint")
        elif start is not None:
            load_networks(trainer, start.weights, start.bundle)
        if not process.writes:
            train(trainer, data.key, None, SilentLog())
            return None
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
        write_facts(facts, run)
        with RunLog(run, config.named_phases, trainer.step) as log:
            log.note(f"{described(data)}; {len(validation.episodes)} held out. {facts.robot.name}, run in {run}")
            train(trainer, data.key, run / "checkpoint", log)
            trainer.to_cpu()
            log.note("calibrating and exporting; to fit the reference of the cameras takes minutes")
            assessment = assess(
                trainer, filter_episodes(trainer.world_model, validation), config.calibration.horizon_steps
            )
            log.metrics(trainer.step, assessment.metrics)
    fitted = fit_reference([training], config.seed, lens_steps=config.calibration.lens_steps)
    reference, camera = calibrate_reference(fitted, [validation])
    calibration = calibrate(assessment.values, config.calibration).model_copy(
        update={"camera": camera, "spread_weight": config.spread_weight}
    )
    made = provenance(trainer, data, command)
    made |= {"from": start.id} if start else {}
    made[LENSES] = as_noted(lenses_of(bags, facts.observation, facts.robot))
    manifest, files = bundle_of(trainer, assessment, calibration, facts.robot, facts.task, facts.observation, made)
    files[REFERENCE] = reference.to_bytes()
    files[WEIGHTS] = weights_bytes(network_tensors(trainer))
    if start is None or start.seen is not None:
        files[SEEN] = seen_bytes([*seen, *(episode.content for episode in training.episodes)])
    files, without_probes = with_probes(files, manifest, validation, config.seed)
    doubt = unsupported_because(calibration)
    if doubt:
        warn(f"the calibration is unsupported: {doubt}; {_IN_SIMULATION}")
    elif few := set_by_one(calibration):
        warn(few)
    if without_probes:
        warn(without_probes)
    written = write_bundle(out, manifest, files)
    report_of(run, facts, trainer, data, validation, assessment, calibration, _scene(scene_of, facts))
    return written


@dataclass(frozen=True)
class Start:
    """A bundle whose networks a training begins with."""

    bundle: Path
    id: str
    weights: dict[str, Tensor]
    seen: frozenset[str] | None
    """Hashes of the episodes that it was trained on; None if it does not tell."""

    @classmethod
    def of(cls, bundle: Path, facts: RunFacts, config: LearnerConfig) -> Start:
        """Return the start; UserError for a bundle of another robot, task, view or pace, or one without weights."""
        manifest = verify_bundle(bundle, facts.robot)
        for what, found, wanted in (
            ("task", manifest.task, facts.task),
            ("size", manifest.size, config.size),
            ("observation", manifest.observation, facts.observation),
            ("decision period", manifest.decision_period_s, config.decision_period_s),
        ):
            if found != wanted:
                raise UserError(f"{bundle}: its {what} is another one than that of this training; begin without --from")
        weights = {n: t for n, t in read_weights(bundle).items() if not n.startswith(OFFLINE_ACTOR)}
        return cls(bundle, manifest.id, weights, read_seen(bundle))


_MOST_REMARKS = 5
"""Kinds of oddities of the bags that are told at the start, the most frequent ones."""
_IN_SIMULATION = (
    "the bundle runs in simulation; for a robot record more violating episodes and train again, or accept it in words "
    "(docs/robots/generic.md)"
)


def _scene(scene_of: SceneOf | None, facts: RunFacts) -> SceneFrames | None:
    """Return the frames of the scene; without a simulator or a way to render, say why and return None."""
    try:
        return scene_of(facts.task, facts.robot, facts.observation) if scene_of else None
    except (ImportError, UserError) as error:
        print(f"the report has no map over a scene: {error}", file=sys.stderr)
        return None


def train(trainer: Trainer, data_key: str, checkpoint: Path | None, log: RunLog | SilentLog) -> None:
    """Make the updates that are left, and write checkpoints on the way, at the end, and when interrupted.

    `checkpoint` is None in a process that does not write.
    """
    left = steps_left(trainer.config, trainer.step)
    saved = trainer.step
    started, before = time.monotonic(), trainer.seconds

    def save() -> None:
        distributed.require_equal(trainer.world_model.parameters())
        if checkpoint is not None:
            save_checkpoint(trainer, data_key, checkpoint)

    try:
        for _ in range(left):
            figures = trainer.train_step()
            log.step(trainer.step, figures)
            while trainer.precision.news:
                log.note(trainer.precision.news.pop(0))
            trainer.seconds = before + time.monotonic() - started
            if trainer.step % trainer.config.checkpoint_every == 0:
                save()
                saved = trainer.step
    except KeyboardInterrupt:
        if checkpoint is not None:
            save_checkpoint(trainer, data_key, checkpoint)
        log.note(f"stopped at step {trainer.step}; go on with --resume")
        raise
    if saved != trainer.step:
        save()


def bundle_of(
    trainer: Trainer,
    assessment: Assessment,
    calibration: Calibration,
    robot: RobotConfig,
    task: str,
    observation: ObservationSpec,
    training: dict[str, Any],
) -> tuple[Manifest, dict[str, Path | bytes]]:
    """Return manifest (without id and hashes) and files of a bundle, exported and checked."""
    config = trainer.config
    behaviour = trainer.behaviour
    actor = behaviour.actor
    files: dict[str, Path | bytes] = dict(
        export_networks(trainer.world_model, actor, copy.deepcopy(actor), behaviour.critics, success=behaviour.success)
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        id="",
        task=task,
        robot=robot.name,
        size=config.size,
        observation=observation,
        action=robot.action,
        latent=LatentSpec(deter=config.network.carried, stoch=config.network.stoch),
        decision_period_s=config.decision_period_s,
        critic_outputs=CriticGraph(behaviour.critics, behaviour.success).further,
        calibration=calibration,
        metrics=assessment.metrics,
        training=training,
    )
    return manifest, files


def provenance(trainer: Trainer, data: Dataset, command: str) -> dict[str, Any]:
    """Return the manifest's entry on how the bundle was made."""
    return {
        "command": command,
        "data_sha256": data.key,
        "episodes": len(data.episodes),
        "data_steps": data.steps,
        "data_success_share": round(data.share("success"), 4),
        "data_violation_share": round(data.share("violates"), 4),
        "seed": trainer.config.seed,
        "steps": trainer.step,
        "actor_eps": trainer.behaviour.weighting.eps,
        "wall_time_s": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "config": trainer.config.model_dump(mode="json"),
    }


def _bag_progress() -> Any:
    """Return a function that shows the progress of reading bags."""
    from rich.progress import Progress

    bar = Progress(transient=True)
    task = bar.add_task("reading bags", total=None)

    def update(done: int, total: int) -> None:
        if done == 0:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    return update
