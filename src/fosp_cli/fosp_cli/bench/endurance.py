"""The whole graph for an hour and longer: does any node grow? Recorder, black box and learner run beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.bench.weight import LargeCameraGraph, process_cost
from fosp_core.robot.config import read_robot
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import read_scenario

_SAMPLE_S = 20.0
_DEMONSTRATIONS = 40
"""Episodes that the learner begins with."""
WARM_SHARE = 0.5
"""Share of the samples, from the first one, that is not counted: caches fill, and a learner's first round allocates."""


@dataclass(frozen=True)
class Sample:
    """Memory, open files and threads of one process at one time."""

    at_s: float
    """Time since the beginning, s."""
    rss_mb: float
    """Resident memory, MB."""
    files: int
    """Open file descriptors, sockets included."""
    threads: int


def sample(pid: int, at_s: float) -> Sample:
    """Read what a process of this user holds from /proc; raise OSError when it has ended."""
    root = Path(f"/proc/{pid}")
    count = {name: sum(1 for _ in (root / name).iterdir()) for name in ("fd", "task")}
    return Sample(at_s, process_cost(pid).rss_mb, count["fd"], count["task"])


def growth(samples: Sequence[Sample]) -> dict[str, float | int]:
    """Return the growth of one process over the samples after the warm-up.

    `percent` is the slope of a least-squares line through the resident memory, times the time between the first and the
    last of these samples, in percent of their mean; `files` and `threads` are the last number minus the first one.
    """
    counted = samples[int(WARM_SHARE * len(samples)) :]
    at_s, rss_mb = np.array([one.at_s for one in counted]), np.array([one.rss_mb for one in counted])
    slope = np.polyfit(at_s, rss_mb, 1)[0] if len(counted) > 1 else 0.0
    return {
        "mb": round(float(rss_mb.mean()), 1),
        "percent": round(100.0 * float(slope * (at_s[-1] - at_s[0]) / rss_mb.mean()), 2),
        "files": counted[-1].files - counted[0].files,
        "threads": counted[-1].threads - counted[0].threads,
    }


def endurance(bundle: Path, out: Path, minutes: float) -> dict[str, Any]:
    """Run episodes for so many minutes and return the growth of every node. Raise RunFailed when the graph fails."""
    out.mkdir(parents=True, exist_ok=True)
    scenario = read_scenario(scenario_path("safe_reach"))
    offline = out / "demonstrations"
    if not offline.exists():
        robot = read_robot(robot_path(scenario.robot))
        for _ in record_episodes(scenario, robot, "careful", _DEMONSTRATIONS, offline):
            pass
    samples: dict[str, list[Sample]] = {}
    with LargeCameraGraph(bundle, out, learner=out / "run", offline=(offline,)) as live:
        episode, begin_s, due_s = 0, time.monotonic(), 0.0
        while (at_s := time.monotonic() - begin_s) < 60.0 * minutes:
            live.run_episode(episode)
            episode += 1
            if at_s >= due_s:
                due_s += _SAMPLE_S
                _take(samples, live.pids, at_s)
    return {"minutes": minutes, "episodes": episode, "growth": {name: growth(taken) for name, taken in samples.items()}}


def _take(samples: dict[str, list[Sample]], pids: Mapping[str, int], at_s: float) -> None:
    for name, pid in pids.items():
        samples.setdefault(name, []).append(sample(pid, at_s))
