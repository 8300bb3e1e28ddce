"""Report of a run folder, at the end of training or again from checkpoint and cache (`fosp report`)."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Calibration, ObservationSpec, Spec
from fosp_learner.bundling.calibration import calibrate
from fosp_learner.bundling.seen import read_seen
from fosp_learner.bundling.validation import Assessment, assess
from fosp_learner.config import LearnerConfig
from fosp_learner.data.dataset import Dataset, open_dataset, split
from fosp_learner.report.figure_data import SceneFrames
from fosp_learner.training.checkpoint import load_checkpoint, read_checkpoint, restore_checkpoint
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

_FACTS = "run.json"


class RunFacts(Spec):
    """Content of run.json: the task, robot and command of a run."""

    task: str
    robot: RobotConfig
    observation: ObservationSpec
    bundle: str
    command: str = ""
    begin_with: str = ""
    """Bundle whose networks the training began with; empty: none."""


def begun_with(run: Path) -> str:
    """Return the bundle that a run began with; empty without one, or without facts."""
    facts = read_facts(run)
    return facts.begin_with if facts else ""


def write_facts(facts: RunFacts, run: Path) -> None:
    """Write run.json into the folder of the run."""
    (run / _FACTS).write_text(json.dumps(facts.model_dump(mode="json"), indent=2) + "\n")


def read_facts(run: Path) -> RunFacts | None:
    """Return the facts of a run, or None without run.json; UserError when it is damaged."""
    try:
        return RunFacts.model_validate_json((run / _FACTS).read_text())
    except OSError:
        return None
    except (ValidationError, ValueError):
        raise UserError(f"{run / _FACTS}: damaged; remove it to get a report without the map over a scene") from None


def run_folder(runs: Path, out: Path) -> Path:
    """Return the folder of the run that makes the bundle `out`: runs/pretrain/NAME, or PARENT-NAME.

    The second is for a bundle of the same last name as another one, whose run has the first.
    """
    out = out.absolute()
    folder = runs / "pretrain" / out.name
    return folder if _may_be_of(folder, out) else folder.with_name(f"{out.parent.name}-{out.name}")


def require_new_run(run: Path) -> None:
    """Raise UserError when there is a checkpoint in the folder of the run, which would be replaced."""
    if not restore_checkpoint(run / "checkpoint"):
        return
    facts = read_facts(run)
    whose = f" (of {facts.bundle})" if facts else ""
    raise UserError(
        f"{run} holds the checkpoint of a run{whose}: go on with it by --resume, replace it by --overwrite, or choose "
        "an --out with another name"
    )


def require_own_run(run: Path, out: Path) -> None:
    """Raise UserError when the folder of the run is that of another bundle, which must not be resumed as this one."""
    if not _may_be_of(run, out.absolute()):
        raise UserError(f"{run} is the run of another bundle; choose an --out with another name")


def _may_be_of(run: Path, out: Path) -> bool:
    """Return whether `run` is a run of the bundle `out`, or does not say of which."""
    facts = read_facts(run)
    return facts is None or Path(facts.bundle).absolute() == out


def described(data: Dataset) -> str:
    """Describe the size and kind of a data set in a few words."""
    succeed, violate = data.share("success"), data.share("violates")
    return f"{len(data.episodes)} episodes, {data.steps} steps: {succeed:.0%} succeed, {violate:.0%} violate"


def report_of(
    run: Path,
    facts: RunFacts | None,
    trainer: Trainer,
    data: Dataset,
    validation: Dataset,
    assessment: Assessment,
    calibration: Calibration,
    scene: SceneFrames | None,
) -> Path:
    """Write `run`/report and return its page."""
    from fosp_learner.report.report import ReportInput, write_report

    table = {
        "run": run.absolute().name,
        "task": facts.task if facts else "",
        "robot": facts.robot.name if facts else "",
        "command": facts.command if facts else "",
        "data": f"{described(data)}; {len(validation.episodes)} held out",
        "networks": trainer.config.size,
        "updates": f"{trainer.step} of {trainer.config.total_steps}, {trainer.seconds / 60:.1f} min",
        "seed": str(trainer.config.seed),
    }
    shown = {name: value for name, value in table.items() if value}
    made_of = ReportInput(trainer, validation, assessment, calibration, run / "losses.csv", shown, scene)
    return write_report(run / "report", made_of)


def rebuild_report(run: Path, scene: SceneFrames | None = None, cache: Path | None = None) -> Path:
    """Write the report of the last checkpoint of `run` (runs/pretrain/NAME) and return its page.

    `cache` holds the rows of the bags, by default runs/cache beside runs/pretrain. UserError when checkpoint or rows
    are gone.
    """
    saved = read_checkpoint(run / "checkpoint")
    try:
        # A run of an earlier release trained no success critic.
        config = LearnerConfig.model_validate({"success": {"enabled": False}, **saved["config"]})
    except (KeyError, ValidationError):
        raise UserError(f"{run / 'checkpoint'}: of another version of fosp; train anew to get its report") from None
    rows = (cache or run.absolute().parents[1] / "cache") / str(saved["data"])
    if not rows.is_dir():
        raise UserError(f"{rows}: the rows of the bags are gone; read them again with `fosp pretrain ... --resume`")
    data = open_dataset(rows)
    start = begun_with(run)
    seen = (read_seen(Path(start)) or ()) if start else ()
    training, validation = split(data, config.validation_share, config.seed, seen)
    trainer = Trainer(config, training)
    load_checkpoint(trainer, data.key, run / "checkpoint")
    horizon = config.calibration.horizon_steps
    assessment = assess(trainer, filter_episodes(trainer.world_model, validation), horizon)
    calibration = calibrate(assessment.values, config.calibration).model_copy(
        update={"spread_weight": config.spread_weight}
    )
    return report_of(run, read_facts(run), trainer, data, validation, assessment, calibration, scene)
