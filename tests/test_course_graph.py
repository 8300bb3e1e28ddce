"""One of the paper's tasks on the live graph: two cameras at its decision rate, and the figures of the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.in_process import Evaluation, evaluate_episodes
from fosp_cli.evaluation.live_graph import LiveGraph
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bag_sets import decision_period_of
from fosp_learner.data.bags import check_bags, find_bags
from fosp_msgs.msg import Latent
from fosp_sim.task.scenario import read_scenario

PERIOD_S = 0.08
BACK_IMAGE = "back/color/image_raw"
SEEN = ObservationSpec(cameras=(CameraSpec(), CameraSpec(name="back", topic=BACK_IMAGE)))
CIRCLE = (0.45, 0.3)
"""A policy that drives in a circle of 0.75 m, through hazards or past them."""
EPISODES = 3

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def periods(messages: list[Any]) -> Any:
    """The times from one stamp to the next, s."""
    stamps = sorted({round(seconds(message.header.stamp), 4) for message in messages})
    return np.array([after - before for before, after in pairwise(stamps)])


def test_a_course_runs_on_the_live_graph_at_its_decision_rate_with_the_figures_of_the_evaluation(
    graph: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    robot, scenario = read_robot(robot_path("sim_point")), scenario_path("point_goal1")
    bundle, bags = tmp_path / "bundle", tmp_path / "bags"
    write_tiny_bundle(
        bundle,
        robot,
        policy_action=CIRCLE,
        decision_period_s=PERIOD_S,
        observation=SEEN,
        calibration={"surprise_limit": 100.0},
        task="point_goal1",
    )
    expected = evaluate_episodes(Evaluation(bundle, read_scenario(scenario), robot), range(EPISODES))
    heard = [graph.listen(Image, name, qos.IMAGE) for name in (topics.COLOR_IMAGE, BACK_IMAGE)]
    heard.append(graph.listen(Latent, topics.LATENT, qos.STEP))
    with LiveGraph(bundle, scenario, recorder=bags, log=tmp_path / "log.txt", say=lambda line: None) as live:
        found = [live.run_episode(episode) for episode in range(EPISODES)]
        live.await_bags(bags, EPISODES)
    for messages in heard:
        apart = periods(messages)
        assert np.median(apart) == pytest.approx(PERIOD_S, abs=1e-3)
        assert (np.abs(apart - PERIOD_S) < 0.5 * PERIOD_S).mean() > 0.95
    assert {(image.height, image.width) for image in heard[0] + heard[1]} == {(64, 64)}
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.steps >= 0.95 * theirs.steps
        assert mine.reward == pytest.approx(theirs.reward, abs=0.5)
        assert mine.cost == pytest.approx(theirs.cost, abs=30.0)
    recorded = find_bags([bags])
    assert decision_period_of(recorded) == pytest.approx(PERIOD_S)
    reports = check_bags([bags], SEEN, robot, PERIOD_S)
    assert [report.problem for report in reports] == [""] * EPISODES
    assert all(report.steps > 240 for report in reports)
