"""safety_monitor_node as a process of its own, over real DDS: what the operator sees of it, and may set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from monitored_chain import DANGER, MODULE, NODE, Chain, components, decided, moves, reset, stands
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from fosp_core import topics
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_msgs.msg import SafetyEvent, SafetyVerdict
from fosp_safety_monitor.parameters import SHADOW_PHRASE


def test_diagnostics_name_state_model_rates_and_what_stops_the_robot(chain: Chain, wait_until: Any) -> None:
    def status(level: bytes) -> Callable[[], Any]:
        return lambda: next((a.status[0] for a in chain.diagnostics[-1:] if a.status[0].level == level), None)

    count = len(chain.diagnostics)
    wait_until(lambda: len(chain.diagnostics) > count + 1)
    values = {item.key: item.value for item in chain.diagnostics[-1].status[0].values}
    assert values["state"] == "active"
    assert values["model id"] == chain.model_id
    assert values["latched"] == "no"
    assert float(values["proposal rate (Hz)"]) == pytest.approx(20.0, abs=10.0)
    assert 20.0 < float(values["robot state rate (Hz)"]) < 140.0
    assert float(values["robot state age (ms)"]) < 100.0
    assert int(values["command ticks"]) > 50
    assert values["mode"] == "gating"
    assert values["emergency stop"] == "never received"
    assert values["others on the command topic"] == "none"
    assert "SCHED_FIFO" in values["scheduling"]
    assert "late ticks" in values
    chain.policy_lives = False
    assert "proposal" in wait_until(status(DiagnosticStatus.WARN), 5.0, "a warning").message
    chain.policy_lives, chain.model_id = True, "other"
    assert "model" in wait_until(status(DiagnosticStatus.ERROR), 5.0, "an error").message


def set_parameter(graph: Any, name: str, value: float | bool | str) -> Any:
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return graph.call(SetParameters, f"{NODE}/set_parameters", request).results[0]


def test_parameters_describe_themselves_and_refuse_what_would_loosen_them_while_active(
    process: Any, graph: Any
) -> None:
    request = DescribeParameters.Request(names=["proposal_timeout_s"])
    description = graph.call(DescribeParameters, f"{NODE}/describe_parameters", request).descriptors[0]
    assert "STOP when no new proposal" in description.description
    assert (description.floating_point_range[0].from_value, description.floating_point_range[0].to_value) == (0.02, 1)
    assert set_parameter(graph, "proposal_timeout_s", 0.08).successful
    refused = set_parameter(graph, "proposal_timeout_s", 0.09)
    assert not refused.successful
    assert "stricter" in refused.reason
    assert not set_parameter(graph, "proposal_timeout_s", 0.0).successful, "0 never means disabled"
    assert graph.transition(NODE, Transition.TRANSITION_DEACTIVATE)
    assert set_parameter(graph, "proposal_timeout_s", 0.09).successful


def test_the_gate_cannot_be_switched_off_at_run_time_nor_the_clock_changed_while_active(
    process: Any, graph: Any
) -> None:
    for transition in (None, Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert transition is None or graph.transition(NODE, transition)
        refused = set_parameter(graph, "shadow", SHADOW_PHRASE)
        assert not refused.successful
        assert "read-only" in refused.reason
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert graph.transition(NODE, transition)
    refused = set_parameter(graph, "use_sim_time", True)
    assert not refused.successful
    assert "use_sim_time can only be changed while inactive" in refused.reason
    assert graph.transition(NODE, Transition.TRANSITION_DEACTIVATE)
    assert set_parameter(graph, "use_sim_time", True).successful


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("proposal_timout_s:=0.2", "unknown parameter 'proposal_timout_s' of safety_monitor_node; allowed: bundle,"),
        ("shadow:=yes_please", "parameter 'shadow' must be empty or 'i_accept_that_nothing_is_gated'"),
        ("proposal_timeout_s:=0.0", "parameter 'proposal_timeout_s' must be in [0.02, 1] s"),
        ("veto_latch_count:=1", "parameter 'veto_latch_count' must be a whole number in [2, 1000] steps"),
        ("surprise_stop_count:=3", "surprise_recover_count <= surprise_stop_count"),
    ],
)
def test_a_parameter_out_of_range_ends_the_node_with_one_line_and_exit_code_2(
    start_node: Any, node_arguments: Any, wait_until: Any, argument: str, expected: str
) -> None:
    process = start_node(MODULE, *node_arguments[1], "-p", argument)
    wait_until(lambda: not process.running, 20.0, "its end")
    assert process.process.returncode == 2
    (line,) = process.log.splitlines()
    assert expected in line


def test_events_tell_the_operator_what_stopped_the_robot_and_late_joiners_see_them(
    chain: Chain, graph: Any, wait_until: Any
) -> None:
    assert graph.call(Trigger, f"{NODE}/estop", Trigger.Request()).success
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_ESTOP))
    wait_until(lambda: stands(chain), 2.0, "standstill")
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")
    events = graph.listen(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)

    def moves_after_the_reset() -> bool:  # the history arrives one by one, and holds the motion before the stop, too
        kinds = [event.kind for event in events]
        return SafetyEvent.RESET in kinds and SafetyEvent.MOVING in kinds[kinds.index(SafetyEvent.RESET) :]

    wait_until(moves_after_the_reset, 5.0, "the events so far")
    kinds = [event.kind for event in events]
    assert kinds[0] == SafetyEvent.ACTIVATED
    latched, granted = kinds.index(SafetyEvent.LATCHED), kinds.index(SafetyEvent.RESET)
    assert latched < granted
    assert SafetyEvent.MOVING not in kinds[latched:granted], "the reset comes before what it lets happen"
    assert events[latched].reason == SafetyVerdict.REASON_ESTOP
    assert "emergency stop service" in events[latched].text
    assert events[latched].model_id == chain.model_id


def test_markers_show_the_box_the_command_and_the_risk(chain: Chain, graph: Any, wait_until: Any) -> None:
    arrays = graph.listen(MarkerArray, topics.SAFETY_MARKERS, qos.STEP)
    box, arrow, label, _ = wait_until(
        lambda: next((array.markers for array in arrays if array.markers[2].text.startswith("PASS OK q_h 0.30")), None)
    )
    assert {marker.header.frame_id for marker in (box, arrow, label)} == {"base_link"}
    assert len(box.points) == 24
    assert arrow.points[1].x - arrow.points[0].x == pytest.approx(0.5 * 0.075)


def test_in_shadow_mode_a_vetoed_proposal_reaches_the_robot_and_all_that_is_said_says_so(
    bring_up: Any, graph: Any, node_arguments: Any, robot: RobotConfig, wait_until: Any
) -> None:
    model_id, arguments = node_arguments
    bring_up([*arguments, "-p", f"shadow:={SHADOW_PHRASE}"])
    chain = Chain(graph, robot, model_id)
    chain.actions = [DANGER]
    wait_until(lambda: chain.commands and components(chain.commands[-1])[0] == pytest.approx(0.225), 20.0, "motion")
    assert wait_until(decided(chain, SafetyVerdict.RECOVER, SafetyVerdict.REASON_NO_FEASIBLE)).shadow
    status = wait_until(lambda: chain.diagnostics and chain.diagnostics[-1].status[0])
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith("SHADOW")
    chain.policy_lives = False
    wait_until(lambda: stands(chain), 2.0, "standstill without proposals")
