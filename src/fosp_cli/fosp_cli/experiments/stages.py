"""The stages of `fosp experiment safety-gym`: each is a command of fosp, and one that is done is not run again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fosp_cli.experiments.course_page import FIGURES, course_page, figures_below, require_own_page
from fosp_cli.json_file import content_of, read_json, write_json, write_text
from fosp_core.errors import UserError

STAGES = ("record", "check", "pretrain", "calibrate", "eval", "unseen", "finetune")
CALIBRATED = "calibrated"
"""Folder of the bundle with the calibration on episodes of its own."""
CALIBRATION_SEED = 77_000_000
"""Seed of the scenes of the episodes that calibrate, which neither training nor evaluation uses."""
_SHOWN = ("success_rate", "violation_rate", "reward_mean", "cost_mean", "goals_mean", "veto_rate")


class Stages:
    """Runs stages in one folder, and notes there how long each took."""

    def __init__(self, folder: Path, workers: int | None = None) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror or error}") from None
        self._notes = folder / "stages.json"
        self._workers = ("--workers", workers) if workers else ()

    def run(self, stage: str, *words: Any, bundle: Path | None = None) -> None:
        """Run `fosp WORDS...` unless the stage is done with these very words, on the same bundle if it takes one.

        UserError when it fails.
        """
        done = self._done()
        of = self._described(words, bundle)
        command = of["command"]
        if self._is_done(stage, of):
            print(f"{stage}: done before")
            return
        print(f"{stage}: fosp {' '.join(command)}", flush=True)
        begun = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "fosp_cli.cli", *command], check=False).returncode
        if code:
            raise UserError(f"stage '{stage}' failed (exit code {code}); start the command again to go on from there")
        done[stage] = {**of, "wall_s": round(time.monotonic() - begun, 1)}
        write_json(self._notes, done)

    def _described(self, words: Sequence[Any], bundle: Path | None) -> dict[str, Any]:
        """Return what a stage is known by: its command, and the id of its bundle if it takes one."""
        command = [str(word) for word in words]
        if command[0] in ("eval", "record"):
            command += [str(word) for word in self._workers]
        return {"command": command, **({} if bundle is None else {"bundle": _bundle_id(bundle)})}

    def _is_done(self, stage: str, of: Mapping[str, Any]) -> bool:
        done = self._done().get(stage, {})
        return all(done.get(name) == value for name, value in of.items())

    def _done(self) -> dict[str, Any]:
        """Return the notes on the stages that are done, by name."""
        if not self._notes.is_file():
            return {}
        with content_of(self._notes) as done:
            return {stage: {**note} for stage, note in done.items()}

    def record(self, scenario: str, bags: Path, episodes: int, seed: int | None = None) -> None:
        """Record as many demonstrations as are missing, each with the scene of its number; `seed` replaces its own."""
        from fosp_bringup.paths import robot_path, scenario_path
        from fosp_core.robot.config import read_robot
        from fosp_sim.demonstration.record import record_in_processes
        from fosp_sim.task.scenario import read_scenario

        there = [n for n in range(episodes) if (bags / f"episode_{n:06d}").is_dir()]
        missing = [n for n in range(episodes) if n not in set(there)]
        if not missing:
            print(f"record: done before, {episodes} episodes")
            return
        described = read_scenario(scenario_path(scenario))
        described = described if seed is None else described.model_copy(update={"seed": seed})
        robot = read_robot(robot_path(described.robot))
        print(f"record: {len(missing)} of {episodes} episodes of {scenario}", flush=True)
        begun, workers = time.monotonic(), self._workers[1] if self._workers else None
        count = 0
        for first, length in _runs(missing):
            for _ in record_in_processes(described, robot, "mixed", length, bags, workers, first):
                count += 1
                if count % 10 == 0:
                    print(f"record: {count} of {len(missing)}", flush=True)
        done = self._done()
        stage = "record" if seed is None else "record_calibration"
        done[stage] = {"episodes": episodes, "wall_s": round(time.monotonic() - begun, 1)}
        write_json(self._notes, done)

    def pretrain(self, bags: Path, bundle: Path, *options: Any) -> None:
        """Train on the bags, or go on with a training that was interrupted.

        Raise UserError where the bundle is there, and was trained in another way: it is not made anew unasked.
        """
        if (bundle / "manifest.json").is_file():
            command = [word for word in self._done().get("pretrain", {}).get("command", []) if word != "--resume"]
            wanted = ["pretrain", str(bags), "--out", str(bundle), *map(str, options)]
            if command not in ([], wanted):
                told = f"{bundle}: was trained by 'fosp {' '.join(command)}'"
                raise UserError(f"{told}; delete it to train anew, or choose another --out")
            print("pretrain: done before")
            return
        from fosp_learner.report.run import run_folder

        begun = (run_folder(Path("runs"), bundle) / "checkpoint").exists()
        self.run("pretrain", "pretrain", bags, "--out", bundle, *options, *(("--resume",) if begun else ()))

    def calibrate(self, bundle: Path, bags: Path, out: Path) -> None:
        """Calibrate the bundle on episodes that it was not trained on, in place of an earlier calibration in `out`."""
        words = ("bundle", "calibrate", bundle, "--data", bags, "--allow-larger", "--out", out)
        if not self._is_done("calibrate", self._described(words, bundle)) and (out / "manifest.json").is_file():
            shutil.rmtree(out)
        self.run("calibrate", *words, bundle=bundle)

    def finetune(
        self, task: str, bundle: Path, bags: Path, out: Path, episodes: int, evaluation: int, config: Path
    ) -> None:
        """Fine-tune on the live graph in scenes that nothing else uses, and evaluate what comes out."""
        budget = ("--episodes", episodes, "--evaluation-episodes", evaluation, "--seeds", 1, "--arm", "fosp")
        self.run(
            "finetune",
            *("experiment", "transfer", "--scenario", task, "--bundle", bundle, "--offline", bags),
            *budget,
            *("--config", config, "--out", out),
            bundle=bundle,
        )


@dataclass(frozen=True)
class CourseRun:
    """One of the paper's tasks, and how much of it is to be made."""

    task: str
    episodes: int
    """Number of demonstrations."""
    steps: int
    """Number of full updates."""
    size: str
    """Size of the networks."""
    evaluation_episodes: int
    finetuning_episodes: int
    """Number of episodes on the live graph; 0: none."""
    calibration_episodes: int = 0
    """Number of demonstrations that calibrate the bundle, beside those that train it; 0: those that training held
    out."""
    until: str = STAGES[-1]
    """Last stage to run."""
    config: Path | None = None
    """Settings of training in place of config/learner/safety_gym.yaml."""
    finetuning_config: Path | None = None
    """Settings of fine-tuning in place of config/finetuning/safety_gym.yaml."""

    def __post_init__(self) -> None:
        from fosp_sim.task.safety_gym.layout import COURSES

        if self.task not in COURSES:
            raise UserError(f"--task must be one of {', '.join(COURSES)}, got '{self.task}'")
        if self.until not in STAGES:
            raise UserError(f"--until must be one of {', '.join(STAGES)}, got '{self.until}'")


def run_course(wanted: CourseRun, out: Path, page: Path, workers: int | None) -> tuple[Path, Path]:
    """Run the stages that are not done yet in `out`/TASK; return the files of the figures and of the page.

    Raise UserError when a stage fails.
    """
    from fosp_bringup.paths import share

    require_own_page(page)
    task, folder = wanted.task, out / wanted.task
    bags, bundle, tuned = folder / "bags", folder / "bundle", folder / "finetuned"
    learner, tuner = (share() / "config" / name / "safety_gym.yaml" for name in ("learner", "finetuning"))
    learner, tuner = wanted.config or learner, wanted.finetuning_config or tuner
    stages = Stages(folder, workers)
    unseen = [f"{task}_{name}" for name in ("transfer_hazard_count", "transfer_hazard_size", "changed_colors")]
    scenes = [word for name in unseen for word in ("--scenario", name)]
    monitors = ("--monitor", "off", "--monitor", "policy_filter", "--monitor", "on")
    asked = STAGES[: STAGES.index(wanted.until) + 1]
    stages.record(f"{task}_train", bags, wanted.episodes)
    if "check" in asked:
        stages.run("check", "bags", "check", bags, "--config", learner, "--json", folder / "check.json")
    if "pretrain" in asked:
        stages.pretrain(bags, bundle, "--config", learner, "--steps", wanted.steps, "--size", wanted.size)
    if "calibrate" in asked and wanted.calibration_episodes:
        stages.record(f"{task}_train", folder / "calibration", wanted.calibration_episodes, CALIBRATION_SEED)
        stages.calibrate(bundle, folder / "calibration", folder / CALIBRATED)
        bundle = folder / CALIBRATED
    offline = ("eval", "--bundle", bundle, "--episodes", wanted.evaluation_episodes)
    if "eval" in asked:
        stages.run("eval", *offline, "--scenario", task, *monitors, "--json", folder / "eval.json", bundle=bundle)
    if "unseen" in asked:
        stages.run("unseen", *offline, *scenes, "--json", folder / "unseen.json", bundle=bundle)
    if "finetune" in asked and wanted.finetuning_episodes:
        budget = wanted.finetuning_episodes, wanted.evaluation_episodes
        stages.finetune(task, bundle, bags, tuned, *budget, tuner)
    written = task_figures(folder, task)
    write_text(page, course_page(figures_below(out)))
    return written, page


def task_figures(folder: Path, task: str) -> Path:
    """Write the figures of all stages to `folder`/figures.json, and return that path."""
    figures: dict[str, Any] = {"task": task}
    for name in ("eval", "unseen"):
        path = folder / f"{name}.json"
        if path.is_file():
            with content_of(path) as content:
                rows = content.get("evaluations", [content])
                figures[name] = [{**_shown(row, task), "monitor": row["monitor"]} for row in rows]
    manifest = folder / CALIBRATED / "manifest.json"
    manifest = manifest if manifest.is_file() else folder / "bundle" / "manifest.json"
    if manifest.is_file():
        with content_of(manifest) as described:
            figures["bundle"] = {key: described[key] for key in ("id", "metrics", "calibration")}
            figures["bundle"]["training"] = _training(described["training"])
    tuned = folder / "finetuned" / "transfer.json"
    if tuned.is_file():
        with content_of(tuned) as content:
            trial = content["trials"][0]
            parts = ("during", "after", "after_unmonitored", "after_policy_alone")
            figures["finetuned"] = {part: _shown(trial[part], task) for part in parts}
            figures["finetuned"] |= {key: trial[key] for key in ("learner", "wall_s")}
    if (folder / "stages.json").is_file():
        figures["stages"] = read_json(folder / "stages.json")
    out = folder / FIGURES
    write_json(out, figures)
    return out


def _bundle_id(bundle: Path) -> str:
    """Return the id of a bundle; UserError without one."""
    path = bundle / "manifest.json"
    if not path.is_file():
        raise UserError(f"{bundle}: no bundle is there")
    with content_of(path) as described:
        return str(described["id"])


def _training(training: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of the training of a bundle."""
    kept = ("episodes", "data_violation_share", "steps", "threads", "wall_time_s")
    return {**{key: training[key] for key in kept}, "full_updates": training["config"]["steps"]}


def _shown(row: dict[str, Any], task: str) -> dict[str, Any]:
    """Return what is kept of an evaluation: its figures and their intervals, without the single episodes."""
    kept = {key: row[key] for key in row if key in _SHOWN or key.endswith("_ci95")}
    return {"scenario": row.get("scenario_name", task), "episodes": row["episodes"], **kept}


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive numbers, as the first of each and their length."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs
