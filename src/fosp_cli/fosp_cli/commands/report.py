"""`fosp report`: the report of a training run, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run: runs/pretrain/NAME.", metavar="RUN")],
    scenario: Annotated[
        str, typer.Option(help="Scene of the reachability map, by name or file; by default that of the task.")
    ] = "",
) -> int:
    """Write RUN/report from the run's last checkpoint and the cached data: figures, and one HTML page."""
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_cli.evaluation.scene_frames import scene_frames, scene_frames_of
    from fosp_core.errors import UserError
    from fosp_core.specs import ObservationSpec, read_robot
    from fosp_learner.report.run import read_facts, rebuild_report
    from fosp_sim.task.scenario import read_scenario

    if not run.is_dir():
        raise UserError(f"{run}: no such run; give a folder of runs/pretrain")
    facts, scene = read_facts(run), None
    if scenario:
        path = scenario_path(scenario)
        robot = facts.robot if facts else read_robot(robot_path(read_scenario(path).robot))
        scene = scene_frames_of(path, robot, facts.observation if facts else ObservationSpec())
    elif facts:
        scene = scene_frames(facts.task, facts.robot, facts.observation)
    print(rebuild_report(run, scene))
    return 0
