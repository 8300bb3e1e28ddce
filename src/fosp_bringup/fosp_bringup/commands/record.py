"""`fosp record`: demonstrations of a simulated task as bags."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Demonstrator(StrEnum):
    careful = "careful"
    greedy = "greedy"
    noisy = "noisy"
    random = "random"
    mixed = "mixed"


def record(
    scenario: Annotated[Path, typer.Option(help="Scenario file.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="Folder that gets one bag folder per episode.", metavar="DIR")],
    demonstrator: Annotated[Demonstrator, typer.Option(help="Who drives.")] = Demonstrator.mixed,
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes.")] = 50,
    seed: Annotated[int | None, typer.Option(help="In place of the scenario's seed.")] = None,
    robot: Annotated[str, typer.Option(help="Robot by name or file; by default the simulated one of the task.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> int:
    """Record demonstrations in simulation: rosbag2 MCAP, the topics that a robot's recorder writes."""
    from rich.progress import track

    from fosp_bringup.paths import robot_path
    from fosp_core.specs import read_robot
    from fosp_sim.processes import ProcessDied
    from fosp_sim.record import record_in_processes
    from fosp_sim.scenario import read_scenario

    described = read_scenario(scenario)
    if seed is not None:
        described = described.model_copy(update={"seed": seed})
    described_robot = read_robot(robot_path(robot or described.robot))
    recording = record_in_processes(described, described_robot, demonstrator.value, episodes, out, workers)
    try:
        outcomes = list(track(recording, total=episodes, description="recording"))
    except ProcessDied as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    reached = sum(o.reached and not o.violated for o in outcomes)
    violated = sum(o.violated for o in outcomes)
    print(f"{len(outcomes)} episodes in {out}: {reached} reached the goal without violation, {violated} violated")
    return 0
