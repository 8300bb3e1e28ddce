"""safe_pick on the live graph: the gripper closes as the policy says, and the bag holds what it was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import JointState
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.in_process import Evaluation, evaluate_episodes
from fosp_cli.evaluation.live_graph import LiveGraph
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.specs import ObservationSpec
from fosp_learner.data.bags import find_bags, read_bag
from fosp_sim.task.scenario import read_scenario

PERIOD_S, STEPS = 0.05, 50
CLOSING = (0.0, 0.15, 0.0, -1.0)
"""A policy that moves aside slowly and closes the gripper."""
RATE_M_S = 0.2

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_gripper_of_a_policy_is_closed_on_the_live_graph_recorded_and_read(
    graph: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    robot, bundle, bags = read_robot(robot_path("sim_pick")), tmp_path / "bundle", tmp_path / "bags"
    scenario = tmp_path / "pick.yaml"
    scenario.write_text(yaml.safe_dump(yaml.safe_load(scenario_path("safe_pick").read_text()) | {"max_steps": STEPS}))
    calibration = {"surprise_limit": 100.0}
    write_tiny_bundle(bundle, robot, policy_action=CLOSING, calibration=calibration, task="safe_pick")
    (expected,) = evaluate_episodes(Evaluation(bundle, read_scenario(scenario), robot), [0])
    told = graph.listen(JointState, topics.GRIPPER, qos.RECORD)
    with LiveGraph(bundle, scenario, recorder=bags, log=tmp_path / "log.txt", say=lambda line: None) as live:
        found = live.run_episode(0)
        live.await_bags(bags, 1)
    assert found.steps >= 0.9 * expected.steps
    positions = np.array([message.position[0] for message in told])
    assert positions[0] == pytest.approx(0.1, abs=0.01)
    assert positions[-1] == pytest.approx(0.0, abs=0.01)
    assert np.abs(np.diff(positions)).max() <= RATE_M_S * 0.03 + 1e-6, "a tick that is late by two"
    (bag,) = find_bags([bags])
    reading = read_bag(bag, ObservationSpec(), robot, PERIOD_S)
    action = reading.episodes[0].action[:-1]
    assert action.shape[1] == 4
    assert action[0, 3] > 0.5
    assert (np.diff(action[:, 3]) <= 1e-3).all()
    assert action[-5:, 3] == pytest.approx(-np.ones(5), abs=0.05)
    assert reading.report.problem == ""
