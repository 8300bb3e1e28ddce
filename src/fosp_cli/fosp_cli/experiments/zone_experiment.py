"""A script that drives at the goal regardless of obstacles, with and without protective zones, and without any model.

python -m fosp_cli.experiments.zone_experiment [--robot FILE] [--scenario NAME] [--episodes N]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.intervals import told_rate
from fosp_cli.evaluation.simulated_scans import SimulatedScans
from fosp_core.clock import Now
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import Env
from fosp_sim.task.scenario import Scenario, read_scenario


@dataclass(frozen=True)
class ZoneTrial:
    """One episode."""

    violated: bool
    succeeded: bool
    """The goal was reached without a violation."""
    stopped: int
    """Decisions at which the zones left nothing."""
    decisions: int
    busy_s: float
    """Time that casting and reading scans and judging took."""


def drive(env: Env, scans: SimulatedScans, field: ProtectiveField, robot: RobotConfig, episode: int) -> ZoneTrial:
    """Run one episode; the zones are asked once per decision, with a scan of that moment."""
    env.reset(episode)
    script = Demonstrator("greedy", env.scene, robot, env.scenario.seed + episode)
    now_s, cost, stopped, decisions, busy_s = 0.0, 0.0, 0, 0, 0.0
    command = (0.0,) * robot.action.twist_size
    while True:
        action = script.act(env.world.state(), now_s)
        began, share = time.process_time(), 1.0
        if robot.zones:
            views, wish = dict(scans.views(now_s)), tuple(action.tolist())
            share = field.judge(views, wish, command, ToolState(), Now(now_s, now_s)).share
        busy_s += time.process_time() - began
        result = env.step(share * action)
        stopped, decisions, cost = stopped + (share == 0.0), decisions + 1, max(cost, result.cost)
        now_s, command = result.time, result.ticks[-1].command
        if result.last:
            return ZoneTrial(cost > 0.0, result.success and cost == 0.0, stopped, decisions, busy_s)


def run(scenario: Scenario, robot: RobotConfig, episodes: int) -> list[ZoneTrial]:
    """Run the episodes from the first one on."""
    env = Env(scenario, robot, rendering="none")
    scans, field = SimulatedScans(robot, env.world), ProtectiveField(robot)
    return [drive(env, scans, field, robot, episode) for episode in range(episodes)]


def describe(label: str, trials: list[ZoneTrial]) -> str:
    """Return the figures of one way of driving in a line."""
    parts = [
        f"{label:14} {len(trials)} episodes",
        told_rate("violation", [t.violated for t in trials]),
        told_rate("success", [t.succeeded for t in trials]),
    ]
    decisions = sum(t.decisions for t in trials)
    parts.append(f"stopped in {100 * sum(t.stopped for t in trials) / decisions:.1f} % of decisions")
    return ", ".join([*parts, f"zones {1e3 * sum(t.busy_s for t in trials) / decisions:.2f} ms per decision"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", type=Path, default=robot_path("sim_base").with_name("sim_base.zones.yaml"))
    parser.add_argument("--scenario", default="safe_goal")
    parser.add_argument("--episodes", type=int, default=200)
    arguments = parser.parse_args()
    robot, scenario = read_robot(arguments.robot), read_scenario(scenario_path(arguments.scenario))
    alone = robot.model_copy(update={"zones": (), "sources": ()})
    for label, one in (("with zones", robot), ("without zones", alone)):
        print(describe(label, run(scenario, one, arguments.episodes)), flush=True)


if __name__ == "__main__":
    main()
