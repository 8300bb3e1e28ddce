"""The simulation behind sim_node, without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec
from fosp_sim.real_time import Exposure, RealTimeTask
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario

STILL = np.zeros(3)


def live(arm: RobotConfig, rate: float = 40.0, **keys: Any) -> RealTimeTask:
    return RealTimeTask(parse_spec(Scenario, {"task": "safe_reach", **keys}, ""), arm, rate)


def exposures(simulation: RealTimeTask, ticks: int) -> list[Exposure]:
    return [e for e in (simulation.tick(STILL) for _ in range(ticks)) if e is not None]


def test_before_the_first_episode_there_are_frames_but_no_feedback(arm: RobotConfig) -> None:
    seen = exposures(live(arm), 20)
    assert len(seen) == 4
    assert all(e.feedback is None for e in seen)


@pytest.mark.parametrize(("rate", "steps"), [(40.0, 3), (20.0, 3), (25.0, 4), (200.0, 3)])
def test_an_episode_has_one_first_and_one_last_frame(arm: RobotConfig, rate: float, steps: int) -> None:
    simulation = live(arm, rate, max_steps=steps)
    first = simulation.begin(draw_scene(simulation.scenario, 5))
    told = [e.feedback for e in [first, *exposures(simulation, 100)] if e.feedback is not None]
    assert [f.is_first for f in told] == [True] + [False] * (len(told) - 1)
    assert [f.is_last for f in told] == [False] * (len(told) - 1) + [True]
    assert len(told) == 1 + round(steps * 0.05 * rate)
    assert not told[-1].terminal


def test_a_new_episode_may_begin_at_any_time(arm: RobotConfig) -> None:
    simulation = live(arm)
    for episode in (0, 1):
        first = simulation.begin(draw_scene(simulation.scenario, episode))
        assert first.feedback is not None
        assert first.feedback.is_first
        assert first.feedback.reward == 0.0
        assert simulation.episode == episode
        exposures(simulation, 7)


@pytest.mark.parametrize("rate", [0.0, -1.0, 30.0, 400.0])
def test_a_camera_rate_that_does_not_fit_is_refused(arm: RobotConfig, rate: float) -> None:
    with pytest.raises(UserError, match="camera_rate_hz must divide 200"):
        live(arm, rate)
