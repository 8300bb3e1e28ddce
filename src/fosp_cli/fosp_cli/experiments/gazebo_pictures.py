"""A bundle that was trained on MuJoCo's pictures, on those that Gazebo's renderer would show: the gap between the two.

The pictures are MuJoCo's, with the lights and the encoding of ogre2 (fosp_sim.gazebo.picture); so are the physics.

python -m fosp_cli.experiments.gazebo_pictures --bundle DIR [--scenario NAME] [--episodes N] [--monitor on]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.in_process import Evaluation, Pictures, evaluate_all
from fosp_cli.evaluation.intervals import told_rate
from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_core.bundle.bundle import read_manifest
from fosp_core.robot.config import read_robot
from fosp_sim.task.scenario import read_scenario

KINDS: tuple[Pictures, ...] = get_args(Pictures)


def describe(name: str, results: Sequence[EpisodeResult]) -> str:
    """Return the figures of one kind of pictures in a line."""
    rates = (
        told_rate("success", [r.success for r in results]),
        told_rate("violation", [r.violated for r in results]),
        told_rate("hang", [r.hung for r in results]),
    )
    return ", ".join([f"{name:7} {len(results)} episodes", *rates])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--scenario", help="default: that of the bundle's task")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--monitor", choices=("on", "policy_filter", "off"), default="on")
    arguments = parser.parse_args()
    task = read_manifest(arguments.bundle).task
    scenario = read_scenario(scenario_path(arguments.scenario or task))
    scenario = scenario.model_copy(update={"episodes": arguments.episodes})
    robot = read_robot(robot_path(scenario.robot))
    evaluations = [
        Evaluation(arguments.bundle, scenario, robot, monitoring=arguments.monitor, pictures=kind) for kind in KINDS
    ]
    found: list[list[EpisodeResult]] = [[] for _ in KINDS]
    with closing(evaluate_all(evaluations)) as done:
        for index, result in done:
            found[index].append(result)
    for kind, results in zip(KINDS, found, strict=True):
        print(describe(kind, results), flush=True)


if __name__ == "__main__":
    main()
