"""Episodes in process with a fault of the camera, with and without the checks of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fosp_cli.evaluation.agent import Agent
from fosp_cli.evaluation.image_faults import IMAGE_FAULTS, Image
from fosp_core.bundle.bundle import Bundle, load_bundle
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.judge.verdict import Verdict
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_sim.env import DECISION_PERIOD, Env
from fosp_sim.task.scenario import Scenario

HEALTHY = ""
"""No fault."""
LATEST_ONSET = 25
"""In every second scene the fault begins at a drawn step between 5 and this; in the others with the first frame."""
_NEVER = 1e12


@dataclass(frozen=True)
class CameraTrial:
    """Some scenes of one scenario under one fault."""

    bundle: Path
    scenario: Scenario
    robot: RobotConfig
    fault: str
    """Key of IMAGE_FAULTS, or HEALTHY."""
    checked: bool
    """The monitor checks the picture; False: it decides as it did before."""


@dataclass(frozen=True)
class FaultedEpisode:
    """The outcome of one scene; steps are decision periods, and None says that it never happened."""

    episode: int
    success: bool
    violated_at: int | None
    stopped_at: int | None
    """First CAMERA stop at or after the fault began, without the wait for known frames at the start."""
    reason: str
    """Text of that stop."""

    @property
    def stopped_before_violation(self) -> bool:
        return self.stopped_at is not None and (self.violated_at is None or self.stopped_at <= self.violated_at)


def run_scenes(trial: CameraTrial, episodes: Sequence[int]) -> list[FaultedEpisode]:
    """Run scenes in this process. Raise UserError when bundle and robot do not fit each other."""
    bundle = load_bundle(trial.bundle, trial.robot, provider="cpu")
    parameters = MonitorParameters()
    if not trial.checked:
        bundle, parameters = _unchecked(bundle), MonitorParameters(known_frames=1)
    env = Env(trial.scenario, trial.robot, observation=bundle.manifest.observation)
    agent = Agent(bundle, trial.robot, parameters=parameters)
    return [_run(env, agent, trial, episode, parameters) for episode in episodes]


def _unchecked(bundle: Bundle) -> Bundle:
    """Return the bundle with limits that no frame reaches."""
    calibration = bundle.manifest.calibration
    assert calibration.camera is not None
    camera = calibration.camera.model_copy(update={"novelty_limit": _NEVER, "inconsistency_limit": _NEVER})
    calibration = calibration.model_copy(update={"camera": camera})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"calibration": calibration}))


def _run(env: Env, agent: Agent, trial: CameraTrial, episode: int, parameters: MonitorParameters) -> FaultedEpisode:
    observation = env.reset(episode)
    agent.reset(episode)
    rng = np.random.default_rng([trial.scenario.seed, episode])
    began = int(rng.integers(5, LATEST_ONSET + 1)) if episode % 2 else 0
    frames: list[Image] = []
    images, time_s, is_first = observation.images, observation.time, True
    executed = np.zeros(env.action_size, np.float32)
    # The wait for known frames, and the time after which a stop is released, are no stop of a healthy camera.
    since = max(began if trial.fault else 0, parameters.known_frames + round(parameters.release_s / DECISION_PERIOD))
    violated_at: int | None = None
    stopped_at, reason = None, ""
    step = 0
    while True:
        frames.append(images[0])
        if trial.fault and step >= began:
            shown = IMAGE_FAULTS[trial.fault](frames, began, rng)
            images = np.repeat(shown[np.newaxis], len(images), axis=0)
        action = agent.act(images, executed, is_first, env.world.state(), time_s)
        verdict = action.verdict
        if stopped_at is None and verdict is not None and step >= since and _stops(verdict):
            stopped_at, reason = step, verdict.reason_text
        result = env.step(action.action)
        agent.watch(result.ticks)
        if result.cost > 0 and violated_at is None:
            violated_at = step
        # Nothing that follows a latched stop, or a violation that is already judged, changes the outcome.
        latched = (
            bool(trial.fault) and verdict is not None and verdict.decision is Decision.LATCH and stopped_at is not None
        )
        judged = violated_at is not None and (stopped_at is not None or not trial.checked)
        if result.last or latched or judged:
            return FaultedEpisode(episode, result.success and violated_at is None, violated_at, stopped_at, reason)
        images, executed, time_s, is_first = result.images, result.executed, result.time, False
        step += 1


def _stops(verdict: Verdict) -> bool:
    return verdict.decision >= Decision.STOP and verdict.reason is Reason.CAMERA


def row_of(before: Sequence[FaultedEpisode], after: Sequence[FaultedEpisode]) -> dict[str, Any]:
    """Return the figures of one fault: the same scenes without the checks of the picture, and with them."""
    violating = {one.episode for one in before if one.violated_at is not None}
    saved = [one for one in after if one.episode in violating and _safe(one)]
    reasons = [one.reason for one in after if one.reason]
    return {
        "scenes": len(after),
        "success_before": _share([one.success for one in before]),
        "success_after": _share([one.success for one in after]),
        "violated_before": _share([one.violated_at is not None for one in before]),
        "violated_after": _share([one.violated_at is not None for one in after]),
        "stopped_before_violation": _share([one.stopped_before_violation for one in after]),
        "stopped_of_violating": len(saved) / len(violating) if violating else None,
        "example": max(set(reasons), key=reasons.count) if reasons else "",
    }


def _safe(one: FaultedEpisode) -> bool:
    return one.violated_at is None or one.stopped_before_violation


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(1, len(flags))
