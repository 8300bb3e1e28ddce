"""safety_monitor_node as a process of its own, over real DDS: what reaches the robot."""

from __future__ import annotations

import itertools
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import Point, Pose, Twist, TwistStamped
from lifecycle_msgs.msg import State, Transition
from monitored_chain import (
    DANGER,
    FORWARD,
    MODULE,
    MOVES_UNASKED,
    NODE,
    ROBOT_FILE,
    Chain,
    braking_was_smooth,
    components,
    decided,
    moves,
    reset,
    stands,
)
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Heartbeat, SafetyVerdict

STOP_LIMIT_S = 0.2


def test_safe_proposals_move_the_robot_at_the_command_rate(chain: Chain, wait_until: Any) -> None:
    first = len(chain.commands)
    wait_until(lambda: len(chain.commands) > first + 100, 5.0, "a second of commands")
    commands = chain.commands[first : first + 101]
    stamps = [seconds(command.header.stamp) for command in commands]
    assert all(early < late for early, late in itertools.pairwise(stamps))
    assert stamps[-1] - stamps[0] == pytest.approx(100 / 120, abs=0.2), "100 ticks and 20 verdicts per second"
    assert {command.header.frame_id for command in commands} == {"base_link"}
    verdict = wait_until(decided(chain, SafetyVerdict.PASS, SafetyVerdict.REASON_OK))
    assert verdict.action_in.tolist() == verdict.action_out.tolist() == np.float32(FORWARD).tolist()
    assert (verdict.q_h, verdict.v_h) == pytest.approx((0.3, 0.25))
    assert verdict.model_id == chain.model_id
    assert verdict.header.frame_id == "camera"


def test_a_command_goes_out_with_each_verdict_and_the_ticks_of_the_stream_go_on(
    bring_up: Any, graph: Any, node_arguments: Any, tmp_path: Path, wait_until: Any
) -> None:
    """At 50 Hz a tick of the stream would be 10 to 20 ms after every other verdict."""
    file = tmp_path / "slow.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(ROBOT_FILE.read_text()) | {"command_rate_hz": 50.0}))
    model_id, arguments = node_arguments
    bring_up([*arguments[:2], "-p", f"robot:={file}", *MOVES_UNASKED])
    chain = Chain(graph, read_robot(file), model_id)
    wait_until(lambda: moves(chain), 20.0, "motion")
    first = len(chain.verdicts)
    wait_until(lambda: len(chain.verdicts) > first + 60, 20.0, "three seconds of verdicts")
    stamps = np.array([seconds(command.header.stamp) for command in chain.commands])
    decided_s = np.array([seconds(verdict.decided) for verdict in chain.verdicts[first : first + 50]])
    assert np.percentile(stamps[np.searchsorted(stamps, decided_s)] - decided_s, 75) < 0.005
    gaps = np.diff(stamps[stamps > decided_s[0]])
    assert (gaps > 0.0).all()
    assert np.percentile(gaps, 90) < 0.022, "no gap is longer than a period"


def test_a_proposal_that_the_monitors_own_critic_finds_risky_does_not_reach_the_robot(
    chain: Chain, wait_until: Any
) -> None:
    chain.actions = [DANGER, [-0.2, 0.1, 0.0], [-0.2, 0.4, 0.0]]
    substitute = wait_until(decided(chain, SafetyVerdict.SUBSTITUTE, SafetyVerdict.REASON_INFEASIBLE))
    assert substitute.candidate == 2
    wait_until(lambda: components(chain.commands[-1]) == pytest.approx([-0.05, 0.1, 0.0]))
    chain.actions = [DANGER, [0.8, 0.0, 0.0]]
    wait_until(decided(chain, SafetyVerdict.RECOVER, SafetyVerdict.REASON_NO_FEASIBLE))
    wait_until(lambda: components(chain.commands[-1]) == pytest.approx([0.25 * 0.126 * 0.8, 0.0, 0.0]))


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
    bring_up([*arguments[:2], "-p", f"robot:={file}", *MOVES_UNASKED])
    chain = Chain(graph, read_robot(file), model_id)
    wait_until(lambda: moves(chain), 20.0, "motion")
    assert isinstance(chain.commands[-1], Twist)


def test_an_arm_that_takes_poses_is_led_held_and_not_left_behind(
    bring_up: Any, graph: Any, node_arguments: Any, tmp_path: Path, wait_until: Any
) -> None:
    lead = {"distance": 0.05, "angle": 0.2}
    change = {"command_type": "PoseStamped", "command_topic": "arm/target_pose", "target_lead": lead}
    file = tmp_path / "poses.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(ROBOT_FILE.read_text()) | change))
    model_id, arguments = node_arguments
    bring_up([*arguments[:2], "-p", f"robot:={file}", *MOVES_UNASKED])
    chain = Chain(graph, read_robot(file), model_id)
    chain.policy_lives, chain.pose_noise_m = False, 0.0
    first = wait_until(lambda: chain.commands and chain.commands[0], 20.0, "a target")
    assert (first.header.frame_id, first.pose) == ("base_link", Pose(position=Point(x=0.5, z=0.2)))
    chain.policy_lives = True
    wait_until(lambda: chain.commands[-1].pose.position.x > 0.51, 20.0, "motion")

    chain.policy_lives = False
    wait_until(lambda: len({held.pose.position.x for held in chain.commands[-20:]}) == 1, 5.0, "a target that is held")
    chain.policy_lives = True
    goal = chain.commands[-1].pose.position.x + 0.01
    wait_until(lambda: chain.commands[-1].pose.position.x > goal, 20.0, "motion again")

    chain.obeys = False
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_MOTION))
    wait_until(lambda: len({held.pose.position.x for held in chain.commands[-20:]}) == 1, 5.0, "a target that is held")
    blocked, target = chain.pose.position, chain.commands[-1].pose.position
    assert 0.03 < math.dist((blocked.x, blocked.y, blocked.z), (target.x, target.y, target.z)) <= 0.05 + 1e-9
    assert not graph.call(Trigger, f"{NODE}/reset", Trigger.Request()).success
    chain.policy_lives = False
    assert graph.transition(NODE, Transition.TRANSITION_DEACTIVATE)
    assert graph.transition(NODE, Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: chain.commands[-1].pose.position == blocked, 20.0, "a target that begins where the robot is")


def test_a_pose_driver_that_repeats_itself_under_new_stamps_latches(chain: Chain, wait_until: Any) -> None:
    chain.pose_noise_m, chain.obeys = 0.0, False
    latched = wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_NOT_FOLLOWING))
    assert "pose of the commanded point is frozen" in latched.reason_text
    wait_until(lambda: stands(chain), 2.0, "standstill")


def refused_reset(graph: Any) -> str:
    """Ask the monitor for a reset that it has to refuse, and return its words."""
    answer = graph.call(Trigger, f"{NODE}/reset", Trigger.Request())
    assert not answer.success
    return str(answer.message)


def test_somebody_else_on_the_command_topic_latches_until_it_is_gone(chain: Chain, graph: Any, wait_until: Any) -> None:
    rogue = graph.node.create_publisher(TwistStamped, "arm/twist_command", 1)
    latched = wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_FOREIGN_COMMAND))
    wait_until(lambda: stands(chain), 2.0, "standstill")
    assert "other nodes publish on the command topic" in latched.reason_text
    # ROS may learn of a publisher before it learns the name of its node; the refusal names it as soon as it is known.
    wait_until(lambda: "can move the robot: /probe;" in refused_reset(graph), 10.0, "its name in the refusal")
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
        heartbeats.publish(Heartbeat(node="/policy_node", pid=pid, state=State.PRIMARY_STATE_ACTIVE, stamp=stamp))
    wait_until(decided(chain, SafetyVerdict.LATCH, SafetyVerdict.REASON_NODE_RESTARTED))
    wait_until(lambda: stands(chain), 2.0, "standstill")
