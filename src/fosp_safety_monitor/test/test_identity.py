"""Who sends what: two emergency stops, a second publisher of an input, and commands that are not the monitor's own."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_safety_monitor.judge.identity import (
    COMMANDS_KEPT,
    LEASE_S,
    UNKNOWN_NODE,
    EmergencyStops,
    OwnCommands,
    Publishers,
    Restarts,
    allowed_publishers,
    foreign_command,
)
from fosp_safety_monitor.judge.monitor import CriticModel, SafetyMonitor
from fosp_safety_monitor.operator.operator_guard import OperatorGuard
from fosp_safety_monitor.parameters import MonitorParameters

STANDSTILL = (0.0, 0.0, 0.0)
POSE, STATE = "/tool_pose", "/joint_states"
HALF_SPEED = pytest.approx([0.125] * 3)


def outcome(finding):
    return finding.decision, finding.reason


# -- emergency stops ---------------------------------------------------------------------------------------
def test_one_emergency_stop_that_is_released_does_not_overrule_another_that_is_pressed():
    stops = EmergencyStops(["a", "b"])
    assert stops.heard("a", True, 1.0).pressed
    worst = stops.heard("b", False, 1.1)
    assert (worst.topic, worst.pressed) == ("a", True)
    assert not stops.heard("a", False, 1.2).pressed


def test_each_emergency_stop_must_be_heard_and_the_one_silent_for_longest_counts():
    stops = EmergencyStops(["a", "b"])
    assert stops.heard("a", False, 1.0).receipt_s is None, "b was never heard"
    assert stops.heard("b", False, 2.0).receipt_s == 1.0
    for second in (3.0, 4.0, 5.0):
        worst = stops.heard("b", False, second)
    assert (worst.topic, worst.receipt_s) == ("a", 1.0)


def test_the_monitor_refuses_a_reset_while_either_of_two_emergency_stops_is_pressed_or_silent(arm, judged):
    monitor, clock = judged(arm.model_copy(update={"estop_topics": ("a", "b")}))
    monitor.receive_estop(True, clock.s, "a")
    monitor.receive_estop(False, clock.s, "b")
    assert outcome(monitor.tick().finding) == (Decision.LATCH, Reason.ESTOP)
    assert "pressed (a)" in monitor.reset()
    monitor.receive_estop(False, clock.s, "a")
    assert "pressed" not in monitor.reset()
    clock.s += 0.5
    monitor.receive_estop(False, clock.s, "b")
    assert "silent, which counts as pressed (a)" in monitor.reset()


# -- publishers ----------------------------------------------------------------------------------------------
def test_a_second_publisher_of_an_input_is_a_stranger_and_named_until_it_is_gone():
    publishers = Publishers({POSE: 1})
    publishers.look(POSE, ["/driver"])
    assert publishers.strangers == ()
    assert publishers.to_look_at({POSE: 2}) == (POSE,)
    publishers.look(POSE, ["/driver", "/rogue"])
    assert publishers.strangers == ("/tool_pose is published by /driver, /rogue, and only one may",)
    publishers.look(POSE, ["/driver"])
    assert publishers.strangers == ()


def test_a_second_publisher_of_the_same_node_name_is_a_stranger_too():
    publishers = Publishers({POSE: 1})
    publishers.look(POSE, ["/driver", "/driver"])
    assert publishers.strangers


def test_another_node_that_takes_the_place_of_the_one_that_came_first_is_a_stranger():
    publishers = Publishers({POSE: 1})
    publishers.look(POSE, ["/driver"])
    publishers.look(POSE, [])
    assert publishers.strangers == (), "its silence is for others to judge"
    publishers.look(POSE, ["/rogue"])
    assert publishers.strangers == ("/tool_pose is published by /rogue, and came from /driver before",)
    publishers.look(POSE, ["/driver"])
    assert publishers.strangers == ()


def test_a_publisher_whose_node_has_no_name_yet_is_counted_and_not_remembered():
    publishers = Publishers({POSE: 1})
    publishers.look(POSE, [f"/{UNKNOWN_NODE}"])
    publishers.look(POSE, ["/driver"])
    assert publishers.strangers == ()
    publishers.look(POSE, ["/driver", f"/{UNKNOWN_NODE}"])
    assert publishers.strangers == (
        "/tool_pose is published by /driver, a node whose name is not known yet, and only one may",
    )


def test_as_many_publishers_as_the_robot_file_declares_are_none_too_many():
    publishers = Publishers({STATE: 2})
    publishers.look(STATE, ["/arm", "/gripper"])
    assert publishers.strangers == ()
    publishers.look(STATE, ["/arm", "/gripper", "/rogue"])
    assert publishers.strangers


def test_a_publisher_of_a_process_that_died_is_excused_once_for_as_long_as_the_discovery_may_count_it():
    restarts = Restarts()
    restarts.heard("/policy_node", 1, 0.0)
    two = ["/policy_node", "/policy_node"]
    assert restarts.without_dead(two, 0.0) == two, "both live, as far as anybody knows"
    restarts.heard("/policy_node", 2, 5.0)
    assert restarts.without_dead(two, 6.0) == ["/policy_node"]
    assert restarts.without_dead([*two, "/policy_node"], 6.0) == two, "one died, and there are three"
    assert restarts.without_dead(["/policy_node"], 6.0) == ["/policy_node"]
    assert restarts.without_dead([*two, "/rogue"], 6.0) == ["/policy_node", "/rogue"]
    assert restarts.without_dead(two, 5.0 + LEASE_S) == two


def test_names_are_looked_up_when_a_number_changes_in_turn_and_while_there_is_a_stranger():
    publishers = Publishers({POSE: 1, STATE: 1})
    counts = {POSE: 1, STATE: 1}
    assert set(publishers.to_look_at(counts)) == {POSE, STATE}, "nothing is known yet"
    publishers.look(POSE, ["/driver"])
    publishers.look(STATE, ["/driver"])
    seen = [publishers.to_look_at(counts) for _ in range(2)]
    assert set(seen) == {(POSE,), (STATE,)}, "one in turn"
    assert POSE in publishers.to_look_at({**counts, POSE: 2})
    publishers.look(POSE, ["/driver", "/rogue"])
    for _ in range(2):
        assert POSE in publishers.to_look_at({**counts, POSE: 2})


def test_a_stranger_latches_a_robot_that_moved_and_refuses_the_reset_while_it_is_there(moving):
    moving.robot = replace(moving.robot, strangers=("/tool_pose is published by /driver, /rogue, and only one may",))
    tick = moving.tick()
    assert outcome(tick.finding) == (Decision.LATCH, Reason.FOREIGN_INPUT)
    assert "/rogue" in tick.finding.text
    assert moving.drive(0.2)[-1].command == STANDSTILL
    assert "/rogue" in moving.reset()
    moving.robot = replace(moving.robot, strangers=())
    moving.drive(0.3)
    assert moving.reset() == ""


def test_before_the_first_motion_a_stranger_only_stops(scene):
    scene.robot = replace(scene.robot, strangers=("/fosp/latent is published by two",))
    assert outcome(scene.judge()) == (Decision.STOP, Reason.FOREIGN_INPUT)
    assert scene.drive(1.0)[-1].command == STANDSTILL
    assert scene.state.latched is None
    scene.robot = replace(scene.robot, strangers=())
    assert scene.drive(1.0)[-1].command == HALF_SPEED


def test_a_stranger_stops_in_shadow_mode_too(make_scene):
    shadow = make_scene(shadow=True)
    shadow.drive(1.0)
    shadow.robot = replace(shadow.robot, strangers=("/tool_pose",))
    assert shadow.drive(0.3)[-1].command == STANDSTILL


# -- commands ------------------------------------------------------------------------------------------------
def test_every_command_that_was_sent_is_heard_once_as_our_own():
    own = OwnCommands()
    own.sending(b"1")
    own.sending(b"2")
    assert own.hear(b"1")
    assert own.hear(b"2")
    assert not own.hear(b"2"), "somebody repeats it"
    assert not own.hear(b"3"), "somebody else's"


def test_commands_without_a_stamp_are_counted():
    """A plain Twist at standstill is always the same."""
    own = OwnCommands()
    for _ in range(3):
        own.sending(b"zero")
    assert [own.hear(b"zero") for _ in range(4)] == [True, True, True, False]


def test_a_command_that_was_lost_on_the_way_makes_no_later_one_foreign():
    own = OwnCommands()
    for command in (b"1", b"2", b"3"):
        own.sending(command)
    assert own.hear(b"3")
    assert not own.hear(b"1"), "a topic delivers in order"


def test_a_stream_that_nobody_hears_fills_no_memory_and_the_newest_commands_are_known():
    own = OwnCommands()
    for number in range(3 * COMMANDS_KEPT):
        own.sending(b"%d" % number)
    newest = range(3 * COMMANDS_KEPT - 50, 3 * COMMANDS_KEPT)
    assert all(own.hear(b"%d" % number) for number in newest)


def test_one_thread_may_send_while_another_hears():
    own, foreign = OwnCommands(), []
    ready = threading.Semaphore(0)

    def send() -> None:
        for number in range(5000):
            own.sending(b"%d" % number)
            ready.release()

    sender = threading.Thread(target=send)
    sender.start()
    for number in range(5000):
        ready.acquire()
        # Only those that the stream keeps are known; a real subscription drops the older ones, too.
        if not own.hear(b"%d" % number):
            foreign.append(number)
    sender.join()
    assert all(number < 5000 - COMMANDS_KEPT for number in foreign)


@pytest.fixture
def judged(tmp_path, arm):
    """`judged(robot)`: a monitor of a tiny bundle, and its clock."""
    from tiny_bundle import write_tiny_bundle

    from fosp_core.bundle.bundle import load_bundle

    class Clock:
        s = 100.0

        def __call__(self) -> Now:
            return Now(self.s, self.s)

    def make(robot):
        write_tiny_bundle(tmp_path / "bundle", robot)
        clock = Clock()
        bundle = load_bundle(tmp_path / "bundle", robot, "cpu")
        return SafetyMonitor(CriticModel.of(bundle), robot, MonitorParameters(), clock), clock

    return make


def test_one_foreign_command_latches_the_monitor_with_the_nodes_that_can_have_sent_it(arm, judged):
    monitor, _ = judged(arm)
    monitor.receive_foreign_command(("/rogue",))
    finding = monitor.tick().finding
    assert outcome(finding) == (Decision.LATCH, Reason.FOREIGN_COMMAND)
    assert "/rogue" in finding.text
    assert "gone already" in foreign_command(()).text


def test_one_foreign_command_makes_the_operator_let_go_of_the_controls(arm):
    now = Now(100.0, 100.0)
    guard = OperatorGuard(arm, lambda: now)
    guard.receive_robot_state(Received(now.ros_s, now.monotonic_s))
    guard.receive_pose(Received(now.ros_s, now.monotonic_s), (0.5, 0.0, 0.2))
    guard.receive_foreign_command(())
    assert "did not send" in guard.tick().held
    assert "did not send" not in guard.tick().held


def test_a_stranger_holds_the_operators_robot(arm):
    now = Now(100.0, 100.0)
    guard = OperatorGuard(arm, lambda: now)
    guard.receive_robot_state(Received(now.ros_s, now.monotonic_s))
    guard.receive_pose(Received(now.ros_s, now.monotonic_s), (0.5, 0.0, 0.2))
    guard.receive_strangers(("/tool_pose is published by two",))
    assert "/tool_pose" in guard.tick().held


def test_every_input_of_the_robot_has_one_publisher_but_for_the_state_where_the_file_says_so(arm):
    enabling = EnablingConfig(topic="joy", type="Joy", button=4)
    ready = (ReadyConfig(kind="bool", topic="running", transient_local=True),)
    more = {"enabling": enabling, "ready": ready, "wrench_topic": "wrench", "state_publishers": 2}
    robot = arm.model_copy(update={**more, "estop_topics": ("left", "right")})
    one = dict.fromkeys(("tool_pose", "wrench", "left", "right", "running", "joy", "fosp/latent"), 1)
    assert allowed_publishers(robot, ["fosp/latent"]) == {"joint_states": 2, **one}
