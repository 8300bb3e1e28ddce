"""What is left of a safety monitor that dies: its exit, its last event, and a black box of its last seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import Transition
from monitored_chain import NODE, Chain

from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.specs import RobotConfig
from fosp_msgs.msg import SafetyEvent, SafetyVerdict


def test_a_monitor_whose_command_thread_fails_says_so_and_ends_with_exit_code_1(
    ros_environment: Any, start_node: Any, graph: Any, node_arguments: Any, robot: RobotConfig, wait_until: Any
) -> None:
    model_id, arguments = node_arguments
    ros_environment.variables["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    chain = Chain(graph, robot, model_id)
    events = graph.listen(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
    process = start_node("failing_monitor", *arguments)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert graph.transition(NODE, transition), process.log
    wait_until(lambda: not process.running, 20.0, "its end")
    assert process.process.returncode == 1, process.log
    assert "RuntimeError: the command stream failed: the publisher is broken" in process.log
    latched = wait_until(lambda: next((event for event in events if event.kind == SafetyEvent.LATCHED), None))
    assert latched.reason == SafetyVerdict.REASON_NOT_READY
    assert "the publisher is broken" in latched.text
    assert len(chain.commands) <= 100
