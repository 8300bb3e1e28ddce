"""How fast this machine decides: the networks of a bundle and the checks of the monitor, at the pace of the robot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fosp_cli.doctor.diagnosis import DecisionTimes

MEASURED_S = 5.0
"""Time for which decisions are made."""


@dataclass(frozen=True)
class _AtRest:
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    heading: float = 0.0
    gripper: float | None = None


def decision_times(bundle: Path | None, measured_s: float = MEASURED_S) -> DecisionTimes | None:
    """Return how long decisions of a bundle take here, by default of a shipped one; None when it cannot be run.

    They come at the pace of the robot, because a processor that sleeps between them is slower than one that never does.
    """
    from fosp_bringup.paths import robot_path
    from fosp_bringup.stack import default_bundle
    from fosp_cli.evaluation.agent import Agent
    from fosp_core.bundle.bundle import load_bundle, read_manifest
    from fosp_core.errors import UserError
    from fosp_core.robot.config import read_robot

    chosen = bundle or default_bundle("safe_reach")
    try:
        manifest = read_manifest(chosen)
        robot = read_robot(robot_path(manifest.robot))
        agent = Agent(load_bundle(chosen, robot, provider="cpu"), robot)
    except UserError:
        return None  # the check of the bundle says why
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, *manifest.observation.shape), np.uint8)
    rest = np.zeros(robot.action.size, np.float32)
    state = _AtRest()
    period_s, times_s = manifest.decision_period_s, []
    began_s = time.monotonic()
    for step in range(max(1, round(measured_s / period_s))):
        time.sleep(max(0.0, began_s + step * period_s - time.monotonic()))
        start_s = time.perf_counter()
        agent.act(images[step % len(images)], rest, step == 0, state, step * period_s)
        times_s.append(time.perf_counter() - start_s)
    return DecisionTimes(period_s, tuple(times_s[1:]))  # the first one warms up
