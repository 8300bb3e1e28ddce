"""Calibration of a finished bundle: on recorded episodes, or on what its own policy does, alone and without any filter.

The calibration's promise is for driving like that of its episodes. Demonstrators that ignore risk run into what any
critic sees; the policy avoids that by itself, and its violations are of another kind. The filter by risk must be off:
with it only those onsets would be seen that the threshold misses already.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import Progress, track

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.in_process import Evaluation, evaluate_all
from fosp_core.bundle.bundle import read_manifest, verify_bundle
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import Calibration
from fosp_learner.bundling.recalibration import recalibrate, recalibrate_on_onsets
from fosp_learner.data.dataset import Dataset, load_bags
from fosp_sim.task.scenario import read_scenario


def robot_and_episodes(
    bundle: Path,
    data: list[Path],
    robot: str,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[RobotConfig, Dataset]:
    """Return a robot, by default that of the bundle, and recorded episodes as the bundle sees them."""
    manifest = read_manifest(bundle)
    described = read_robot(robot_path(robot or manifest.robot))
    return described, load_bags(data, manifest.observation, described, manifest.decision_period_s, cache, progress)


def calibrate_on_recordings(
    directory: Path, data: list[Path], robot: str, out: Path, alpha: float | None, allow_larger: bool
) -> Calibration:
    """Write a bundle to `out`, calibrated on recorded episodes; see `recalibrate`."""
    with Progress(transient=True) as bar:
        reading, filtering = bar.add_task("reading bags", total=None), bar.add_task("filtering", total=None)
        described, recorded = robot_and_episodes(
            directory,
            data,
            robot,
            Path("runs/cache"),
            lambda done, total: bar.update(reading, completed=done, total=total),
        )
        return recalibrate(
            directory,
            recorded,
            described,
            out,
            alpha,
            lambda done, total: bar.update(filtering, completed=done, total=total),
            allow_larger,
        ).calibration


def calibrate_on_policy(
    bundle: Path, scenario: str, episodes: int, seed: int, robot: str, out: Path, alpha: float | None
) -> Calibration:
    """Write the bundle to `out` with the threshold for its own onsets in `episodes` scenes from `seed` on.

    `robot` is a name or a path, by default the robot of the bundle. UserError as for `recalibrate_on_onsets`.
    """
    described = read_robot(robot_path(robot or verify_bundle(bundle).robot))
    scenes = read_scenario(scenario_path(scenario)).model_copy(update={"seed": seed, "episodes": episodes})
    driven = evaluate_all([Evaluation(bundle, scenes, described, monitoring="off")])
    risks = [result.risks for _, result in track(driven, "driving", total=episodes) if result.risks is not None]
    scores = [risk.at_last_chance for risk in risks if risk.at_last_chance is not None]
    quiet = np.array([risk for one in risks for risk in one.quiet], np.float32)
    onsets = np.array(scores, np.float32)
    return recalibrate_on_onsets(bundle, onsets, quiet, episodes, described, out, alpha).calibration
