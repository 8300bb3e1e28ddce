"""safety_monitor_node as a process of its own, over real DDS: what reaches the robot."""

from __future__ import annotations

import array
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import RobotConfig, read_robot
from fosp_core.testing import DETER, STOCH, write_tiny_bundle
from fosp_msgs.msg import ActionCandidate, ActionProposal, Heartbeat, Latent, SafetyEvent, SafetyVerdict
from fosp_safety_monitor.parameters import SHADOW_PHRASE

MODULE = "fosp_safety_monitor.safety_monitor_node"
NODE = "/safety_monitor_node"
ROBOT_FILE = Path(__file__).resolve().parents[1] / "config" / "robots" / "sim_arm.yaml"
FORWARD = [0.3, 0.2, 0.0]
DANGER = [0.9, 0.0, 0.0]
STOP_LIMIT_S = 0.2
BRAKING_STEP = 6.0 * 0.03
"""m/s: what the deceleration limit allows in a tick that is late by two."""


class Chain:
    """Stands for the robot, the encoder and the policy: joint states and poses at 100 Hz, decisions at 20 Hz."""

    def __init__(self, graph: Any, robot: RobotConfig, model_id: str) -> None:
        self.node = graph.node
        self.model_id = model_id
        self.actions: list[list[float]] = [FORWARD]
        self.robot_lives = True
        self.encoder_lives = True
        self.policy_lives = True
        self.step = 0
        create = self.node.create_publisher
        self.states = create(JointState, robot.state_topic, qos.STEP)
        self.poses = create(PoseStamped, robot.pose_topic, qos.STEP)
        self.latents = create(Latent, topics.LATENT, qos.STEP)
        self.proposals = create(ActionProposal, topics.PROPOSAL, qos.STEP)
        self.frame_id = robot.action.frame_id
        command_type = TwistStamped if robot.command_type == "TwistStamped" else Twist
        self.commands = graph.listen(command_type, robot.command_topic, qos.RECORD)
        self.verdicts = graph.listen(SafetyVerdict, topics.VERDICT, qos.RECORD)
        self.diagnostics = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.RECORD)
        self.node.create_timer(0.01, self.robot)
        self.node.create_timer(0.05, self.decide)

    def robot(self) -> None:
        if not self.robot_lives:
            return
        state, pose = JointState(name=["joint"], position=[0.0]), PoseStamped()
        state.header.stamp = pose.header.stamp = self.node.get_clock().now().to_msg()
        pose.header.frame_id = self.frame_id
        pose.pose.position.x, pose.pose.position.z = 0.5, 0.2
        self.states.publish(state)
        self.poses.publish(pose)

    def decide(self) -> None:
        latent = Latent(
            step=self.step,
            model_id=self.model_id,
            deter=array.array("f", [0.25] * DETER),
            stoch=array.array("f", [0.0] * STOCH),
            surprise=0.1,
            contrast=0.2,
        )
        latent.header.stamp = self.node.get_clock().now().to_msg()
        latent.header.frame_id = "camera"
        if self.encoder_lives:
            self.latents.publish(latent)
        if self.policy_lives:
            candidates = [ActionCandidate(action=array.array("f", action)) for action in self.actions]
            proposal = ActionProposal(header=latent.header, step=self.step, model_id=self.model_id)
            proposal.candidates = candidates
            self.proposals.publish(proposal)
        self.step += 1


def components(command: Any) -> list[float]:
    linear = (command.twist if isinstance(command, TwistStamped) else command).linear
    return [linear.x, linear.y, linear.z]


@pytest.fixture
def robot() -> RobotConfig:
    return read_robot(ROBOT_FILE)


@pytest.fixture
def node_arguments(tmp_path: Path, robot: RobotConfig) -> tuple[str, list[str]]:
    """Id of a tiny bundle, and the arguments of a node that runs it."""
    manifest = write_tiny_bundle(tmp_path / "bundle", robot)
    return manifest.id, ["-p", f"bundle:={tmp_path / 'bundle'}", "-p", f"robot:={ROBOT_FILE}"]


@pytest.fixture
def bring_up(start_node: Callable[..., Any], graph: Any) -> Callable[..., Any]:
    """`bring_up(arguments)`: a monitor node, configured and active."""

    def bring(arguments: list[str]) -> Any:
        process = start_node(MODULE, *arguments)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert graph.transition(NODE, transition), process.log
        return process

    return bring


@pytest.fixture
def process(bring_up: Callable[..., Any], node_arguments: tuple[str, list[str]]) -> Any:
    return bring_up(node_arguments[1])


@pytest.fixture
def chain(graph: Any, robot: RobotConfig, process: Any, node_arguments: Any, wait_until: Any) -> Iterator[Chain]:
    """The arm, moving forward under verdicts that pass."""
    chain = Chain(graph, robot, node_arguments[0])
    wait_until(lambda: chain.verdicts and chain.verdicts[-1].decision == SafetyVerdict.PASS, 20.0, "a PASS")
    wait_until(lambda: moves(chain), 5.0, "motion")
    yield chain
    chain.policy_lives = chain.encoder_lives = chain.robot_lives = False


def moves(chain: Chain) -> bool:
    return bool(chain.commands) and components(chain.commands[-1]) == pytest.approx([0.075, 0.05, 0.0])


def stands(chain: Chain) -> bool:
    return bool(chain.commands) and components(chain.commands[-1]) == [0.0, 0.0, 0.0]


def decided(chain: Chain, decision: int, reason: int) -> Callable[[], bool]:
    return lambda: (chain.verdicts[-1].decision, chain.verdicts[-1].reason) == (decision, reason)


def reset(graph: Any, wait_until: Callable[..., Any]) -> None:
    """Until it is granted: every check must have held for release_s."""
    wait_until(lambda: graph.call(Trigger, f"{NODE}/reset", Trigger.Request()).success, 5.0, "a granted reset")


def braking_was_smooth(commands: list[Any]) -> bool:
    speeds = np.array([components(command) for command in commands])
    return bool((np.abs(np.diff(speeds, axis=0)) <= BRAKING_STEP).all())


def test_safe_proposals_move_the_robot_at_the_command_rate(chain: Chain, wait_until: Any) -> None:
    first = len(chain.commands)
    wait_until(lambda: len(chain.commands) > first + 100, 5.0, "a second of commands")
    commands = chain.commands[first : first + 101]
    stamps = [seconds(command.header.stamp) for command in commands]
    assert all(early < late for early, late in itertools.pairwise(stamps))
    assert stamps[-1] - stamps[0] == pytest.approx(1.0, abs=0.2)
    assert {command.header.frame_id for command in commands} == {"base_link"}
    verdict = chain.verdicts[-1]
    assert verdict.action_in.tolist() == verdict.action_out.tolist() == np.float32(FORWARD).tolist()
    assert (verdict.q_h, verdict.v_h) == pytest.approx((0.3, 0.25))
    assert verdict.model_id == chain.model_id
    assert verdict.header.frame_id == "camera"


def test_a_proposal_that_the_monitors_own_critic_finds_risky_does_not_reach_the_robot(
    chain: Chain, wait_until: Any
) -> None:
    chain.actions = [DANGER, [-0.2, 0.1, 0.0], [-0.2, 0.4, 0.0]]
    wait_until(decided(chain, SafetyVerdict.SUBSTITUTE, SafetyVerdict.REASON_INFEASIBLE))
    assert chain.verdicts[-1].candidate == 2
    wait_until(lambda: components(chain.commands[-1]) == pytest.approx([-0.05, 0.1, 0.0]))
    chain.actions = [DANGER, [0.8, 0.0, 0.0]]
    wait_until(decided(chain, SafetyVerdict.RECOVER, SafetyVerdict.REASON_NO_FEASIBLE))
    wait_until(lambda: components(chain.commands[-1]) == pytest.approx([0.25 * 0.18 * 0.8, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("victim", "reason"),
    [
        ("policy_lives", SafetyVerdict.REASON_DEADLINE),
        ("encoder_lives", SafetyVerdict.REASON_STALE_LATENT),
        ("robot_lives", SafetyVerdict.REASON_STALE_ROBOT_STATE),
    ],
)
def test_the_robot_stands_still_within_200_ms_when_an_input_dies_and_goes_on_when_it_returns(
    chain: Chain, wait_until: Any, victim: str, reason: int
) -> None:
    first = len(chain.commands)
    setattr(chain, victim, False)
    died_s = chain.node.get_clock().now().nanoseconds * 1e-9
    wait_until(lambda: stands(chain), 2.0, "standstill")
    first_zero = next(command for command in chain.commands[first:] if components(command) == [0.0, 0.0, 0.0])
    assert seconds(first_zero.header.stamp) - died_s < STOP_LIMIT_S
    assert braking_was_smooth(chain.commands[first - 1 :])
    wait_until(decided(chain, SafetyVerdict.STOP, reason))
    setattr(chain, victim, True)
    wait_until(lambda: moves(chain), 5.0, "motion again")


def test_a_broken_proposal_latches_until_a_reset_after_its_end(chain: Chain, graph: Any, wait_until: Any) -> None:
    chain.actions = [[float("nan"), 0.0, 0.0]]
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_NOT_FINITE))
    wait_until(lambda: stands(chain), 2.0, "standstill")
    refused = graph.call(Trigger, f"{NODE}/reset", Trigger.Request())
    assert not refused.success
    assert "NaN" in refused.message
    chain.actions = [FORWARD]
    wait_until(lambda: chain.verdicts[-1].action_in.tolist() == np.float32(FORWARD).tolist())
    assert chain.verdicts[-1].decision == SafetyVerdict.LATCH
    assert stands(chain)
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")


def test_a_latch_is_not_left_by_deactivating_and_configuring_again(chain: Chain, graph: Any, wait_until: Any) -> None:
    chain.model_id, known = "other", chain.model_id
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_MODEL_ID))
    chain.model_id = known
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert graph.transition(NODE, transition)
    count = len(chain.verdicts)
    wait_until(lambda: len(chain.verdicts) > count + 20)
    assert {verdict.decision for verdict in chain.verdicts[count + 1 :]} == {SafetyVerdict.LATCH}
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")


def test_deactivation_brakes_before_the_stream_falls_silent(chain: Chain, graph: Any, wait_until: Any) -> None:
    first = len(chain.commands)
    assert graph.transition(NODE, Transition.TRANSITION_DEACTIVATE)
    wait_until(lambda: [components(command) for command in chain.commands[-5:]] == [[0.0] * 3] * 5, 2.0, "zeros")
    assert braking_was_smooth(chain.commands[first - 1 :])
    silent_since, count = time.monotonic(), len(chain.commands)
    wait_until(lambda: time.monotonic() - silent_since > 0.3)
    assert len(chain.commands) == count
    answer = graph.call(Trigger, f"{NODE}/reset", Trigger.Request())
    assert not answer.success
    assert "not active" in answer.message
    assert graph.transition(NODE, Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: moves(chain), 5.0, "motion again")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_brakes_before_the_process_ends(chain: Chain, process: Any, wait_until: Any, signum: int) -> None:
    first = len(chain.commands)
    assert process.stop(signum) == 0
    wait_until(lambda: stands(chain), 2.0, "standstill")
    assert braking_was_smooth(chain.commands[first - 1 :])
    assert "Traceback" not in process.log


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
    assert values["emergency stop"] == "never heard of"
    assert values["others on the command topic"] == "none"
    assert "SCHED_FIFO" in values["scheduling"]
    assert "late ticks" in values
    chain.policy_lives = False
    assert "proposal" in wait_until(status(DiagnosticStatus.WARN), 5.0, "a warning").message
    chain.policy_lives, chain.model_id = True, "other"
    assert "model" in wait_until(status(DiagnosticStatus.ERROR), 5.0, "an error").message


def set_parameter(graph: Any, name: str, value: float) -> Any:
    parameter = Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))
    return graph.call(SetParameters, f"{NODE}/set_parameters", SetParameters.Request(parameters=[parameter])).results[0]


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


def test_a_damaged_bundle_is_refused_before_anything_is_sent(
    start_node: Any, graph: Any, node_arguments: Any, tmp_path: Path, robot: RobotConfig
) -> None:
    critic = tmp_path / "bundle" / "critic.onnx"
    content = bytearray(critic.read_bytes())
    content[len(content) // 2] ^= 1
    critic.write_bytes(content)
    process = start_node(MODULE, *node_arguments[1])
    assert not graph.transition(NODE, Transition.TRANSITION_CONFIGURE)
    assert "critic.onnx is damaged" in process.log
    assert graph.node.count_publishers(f"/{robot.command_topic}") == 0


def test_a_robot_that_takes_plain_twists_gets_them(
    bring_up: Any, graph: Any, node_arguments: Any, tmp_path: Path, wait_until: Any
) -> None:
    content = yaml.safe_load(ROBOT_FILE.read_text()) | {"command_type": "Twist"}
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(content))
    model_id, arguments = node_arguments
    bring_up([*arguments[:2], "-p", f"robot:={file}"])
    chain = Chain(graph, read_robot(file), model_id)
    wait_until(lambda: moves(chain), 20.0, "motion")
    assert isinstance(chain.commands[-1], Twist)


def test_events_tell_the_operator_what_stopped_the_robot_and_late_joiners_see_them(
    chain: Chain, graph: Any, wait_until: Any
) -> None:
    assert graph.call(Trigger, f"{NODE}/estop", Trigger.Request()).success
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_ESTOP))
    wait_until(lambda: stands(chain), 2.0, "standstill")
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")
    events = graph.listen(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
    wait_until(lambda: events and events[-1].kind == SafetyEvent.MOVING, 5.0, "the events so far")
    kinds = [event.kind for event in events]
    assert kinds[0] == SafetyEvent.ACTIVATED
    latched, granted = kinds.index(SafetyEvent.LATCHED), kinds.index(SafetyEvent.RESET)
    assert latched < granted < len(kinds) - 1
    assert events[latched].reason == SafetyVerdict.REASON_ESTOP
    assert "emergency stop service" in events[latched].text
    assert events[latched].model_id == chain.model_id


def test_somebody_else_on_the_command_topic_latches_until_it_is_gone(chain: Chain, graph: Any, wait_until: Any) -> None:
    rogue = graph.node.create_publisher(TwistStamped, "arm/twist_command", 1)
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_FOREIGN_COMMAND))
    wait_until(lambda: stands(chain), 2.0, "standstill")
    assert "/probe" in chain.verdicts[-1].reason_text
    assert not graph.call(Trigger, f"{NODE}/reset", Trigger.Request()).success
    graph.node.destroy_publisher(rogue)
    reset(graph, wait_until)
    wait_until(lambda: moves(chain), 5.0, "motion again")


def test_a_node_that_comes_back_as_another_process_leaves_the_robot_stopped(
    chain: Chain, graph: Any, wait_until: Any
) -> None:
    heartbeats = graph.node.create_publisher(Heartbeat, topics.HEARTBEAT, qos.STEP)
    for pid in (100, 200):
        stamp = graph.node.get_clock().now().to_msg()
        wait_until(lambda: heartbeats.get_subscription_count() > 0)
        heartbeats.publish(Heartbeat(node="/policy_node", pid=pid, state=3, stamp=stamp))
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_NODE_RESTARTED))
    wait_until(lambda: stands(chain), 2.0, "standstill")


def test_markers_show_the_box_the_command_and_the_risk(chain: Chain, graph: Any, wait_until: Any) -> None:
    arrays = graph.listen(MarkerArray, topics.SAFETY_MARKERS, qos.STEP)
    box, arrow, label = wait_until(lambda: arrays and arrays[-1].markers)
    assert {marker.header.frame_id for marker in (box, arrow, label)} == {"base_link"}
    assert len(box.points) == 24
    assert arrow.points[1].x - arrow.points[0].x == pytest.approx(0.5 * 0.075)
    assert label.text.startswith("PASS OK q_h 0.30")


def test_in_shadow_mode_a_vetoed_proposal_reaches_the_robot_and_all_that_is_said_says_so(
    bring_up: Any, graph: Any, node_arguments: Any, robot: RobotConfig, wait_until: Any
) -> None:
    model_id, arguments = node_arguments
    bring_up([*arguments, "-p", f"shadow:={SHADOW_PHRASE}"])
    chain = Chain(graph, robot, model_id)
    chain.actions = [DANGER]
    wait_until(lambda: chain.commands and components(chain.commands[-1])[0] == pytest.approx(0.225), 20.0, "motion")
    assert chain.verdicts[-1].shadow
    assert chain.verdicts[-1].decision == SafetyVerdict.RECOVER
    status = wait_until(lambda: chain.diagnostics and chain.diagnostics[-1].status[0])
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith("SHADOW")
    chain.policy_lives = False
    wait_until(lambda: stands(chain), 2.0, "standstill without proposals")
