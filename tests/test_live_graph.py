"""The live graph as evaluation and benchmarks run it, and the price of a message there."""

from pathlib import Path

import pytest
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.bench.message_costs import KINDS, message_costs
from fosp_cli.evaluation import live_graph
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_core.robot.config import read_robot

pytestmark = pytest.mark.usefixtures("ros_environment")


def test_an_episode_on_a_graph_that_went_down_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_graph, "COMMAND_SILENCE_S", 0.5)
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("sim_arm")))
    with LiveGraph(tmp_path / "bundle", scenario_path("safe_reach"), say=lambda line: None) as live:
        assert live._driver.call(Trigger, "lifecycle_manager/shutdown", Trigger.Request()).success
        with pytest.raises(RunFailed, match=r"nobody has commanded the robot for 0\.5 s; the graph is not active"):
            live.run_episode(1)


@pytest.mark.long
def test_a_message_costs_its_sender_and_its_receiver_processor_time():
    costs = message_costs(20)
    assert list(costs) == list(KINDS)
    for cost in costs.values():
        assert all(value > 0.0 for value in cost.values())
