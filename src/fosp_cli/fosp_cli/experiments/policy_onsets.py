"""Calibration on what a bundle's own policy does: it drives alone in simulation, without any filter.

The calibration's promise is for driving like that of its episodes. Demonstrators that ignore risk run into what any
critic sees; the policy avoids that by itself, and its violations are of another kind. The filter by risk must be off:
with it only those onsets would be seen that the threshold misses already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.progress import track

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.in_process import Evaluation, evaluate_all
from fosp_core.bundle.bundle import verify_bundle
from fosp_core.robot.config import read_robot
from fosp_core.specs import Calibration
from fosp_learner.bundling.recalibration import recalibrate_on_onsets
from fosp_sim.task.scenario import read_scenario


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
