"""The command stream for minutes on end, with everything beside it that a robot's computer may have to do."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.bench.stream_watch import Lateness, Report, StreamWatch
from fosp_cli.bench.training import train_until_killed
from fosp_cli.evaluation.episode_driver import RunFailed
from fosp_cli.evaluation.live_graph import LiveSimulation
from fosp_core.processes import end_with_parent
from fosp_core.specs import read_robot
from fosp_sim.task.scenario import read_scenario


def stream_under_load(bundle: Path, out: Path, minutes: float) -> dict[str, Any]:
    """Episodes of safe_reach on the live graph beside a learner that trains and a process that only computes.

    Figures as of `figures`. RunFailed when the graph does not do its part, or says nothing of its stream.
    """
    out.mkdir(parents=True, exist_ok=True)
    scenario = scenario_path("safe_reach")
    robot = read_robot(robot_path(read_scenario(scenario).robot))
    log = out / "stream.log"
    with LiveSimulation(bundle, scenario, log=log) as live, StreamWatch(robot) as watch, _load():
        live.run_episode(0)
        before = _report(watch, log)
        episode, until = 1, time.monotonic() + 60.0 * minutes
        while time.monotonic() < until:
            live.run_episode(episode)
            episode += 1
        after = _report(watch, log)
    return {"minutes": minutes, "episodes": episode - 1, **figures(watch.seen, before, after)}


def _report(watch: StreamWatch, log: Path) -> Report:
    report = watch.wait_report()
    if report is None:
        raise RunFailed(f"the safety monitor does not report its command ticks; {log} may say why")
    return report


def figures(seen: Lateness, before: Report, after: Report) -> dict[str, Any]:
    """Lateness as seen from outside, and late ticks between two reports: those seen, those told, and the untold."""
    observed = seen.late_until(after.ticks) - seen.late_until(before.ticks)
    reported = after.late_ticks - before.late_ticks
    p = np.percentile(np.array(seen.lateness_s) * 1e3, [50, 99, 99.9, 100]) if seen.lateness_s else np.zeros(4)
    return {
        "commands": len(seen.lateness_s),
        "lost_on_the_way": seen.lost,
        "lateness_ms": dict(zip(("p50", "p99", "p99.9", "max"), (round(float(x), 3) for x in p), strict=True)),
        "late_observed": observed,
        "late_reported": reported,
        "late_unreported": max(0, observed - reported),
    }


@contextmanager
def _load() -> Iterator[None]:
    """A learner at idle priority, and a process that takes all that one core has."""
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=work, daemon=True) for work in (train_until_killed, _compute)]
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()


def _compute() -> None:
    end_with_parent()
    while True:
        sum(range(100_000))
