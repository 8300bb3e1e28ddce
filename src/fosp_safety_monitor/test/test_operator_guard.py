"""Commands while a person drives: within the limits, and none on inputs that cannot be trusted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fosp_core.clock import Now, Received
from fosp_core.decisions import Reason
from fosp_core.robot.config import RobotConfig, TargetLead, read_robot
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_safety_monitor.judge.consent_inputs import FeedbackStep
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.motion_model import Lead
from fosp_safety_monitor.operator.operator_guard import OperatorGuard

ROBOT = read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")
TICK_S = 0.01
CENTRE = (0.5, 0.0, 0.2)
TREADMILL_M = 0.05
"""Distance at which the robot of a test jumps back to its start, as a simulated one does for an episode."""


def proposal(action: tuple[float, ...], received: Received) -> ProposalInput:
    frame = FrameStamp(round(received.stamp_s * 1e9))
    return ProposalInput(0, "", frame, received.receipt_s, np.array([action], np.float32), 0)


class Driven:
    """A guard whose robot speaks at every tick; the operator wants `action` (None: says nothing)."""

    def __init__(self, robot: RobotConfig = ROBOT, speed_cap: float = 1.0) -> None:
        self.now = Now(1000.0, 10.0)
        self.guard = OperatorGuard(robot, lambda: self.now, speed_cap)
        self.action: tuple[float, ...] | None = (0.0, 0.0, 0.0)
        self.position = CENTRE
        self.start = CENTRE
        self.gain = 1.0
        """Share of its command that the robot moves; with 0 the test places it."""
        self.state = self.pose = True

    def tick(self, times: int = 1) -> tuple[float, ...]:
        """Let time pass; the last command."""
        command: tuple[float, ...] = ()
        for _ in range(times):
            self.now = Now(self.now.ros_s + TICK_S, self.now.monotonic_s + TICK_S)
            received = Received(self.now.ros_s, self.now.monotonic_s)
            if self.action is not None:
                self.guard.receive_proposal(proposal(self.action, received))
            if self.state:
                self.guard.receive_robot_state(received)
            if self.pose:
                self.guard.receive_pose(received, self.position)
            tick = self.guard.tick()
            command, self.held, self.reason = tick.command, tick.held, tick.reason
            if not self.gain:
                continue
            x, y, z = (at + TICK_S * self.gain * speed for at, speed in zip(self.position, command[:3], strict=False))
            self.position = CENTRE if TREADMILL_M < math.dist((x, y, z), self.start) < 0.1 else (x, y, z)
        return command


@pytest.fixture
def driven() -> Driven:
    """Ready to move."""
    driven = Driven()
    driven.tick(2)
    assert driven.held == ""
    return driven


def test_the_operator_drives_within_speed_and_acceleration(driven: Driven) -> None:
    driven.action = (1.0, 0.0, 0.0)
    first = driven.tick()
    assert first[0] == pytest.approx(ROBOT.limits["linear.x"].acceleration * TICK_S)
    assert driven.tick(50) == pytest.approx((0.25, 0.0, 0.0))


def test_while_hazards_are_shown_the_robot_moves_in_episodes_alone_and_stops_where_one_ends() -> None:
    driven = Driven()
    driven.guard = OperatorGuard(ROBOT, lambda: driven.now, 0.25, in_episodes=True)

    def hear(is_first: bool = False, is_last: bool = False, cost: float = 0.0, times: int = 1) -> None:
        for _ in range(times):
            received = Received(driven.now.ros_s, driven.now.monotonic_s)
            driven.guard.receive_feedback(FeedbackStep(7, is_first, is_last, 0.0, cost, False, received))
            driven.tick()

    driven.tick(2)
    assert driven.reason == Reason.NO_EPISODE
    hear(is_first=True)
    hear(times=2)
    driven.action = (1.0, 0.0, 0.0)
    hear(times=60)
    assert driven.held == ""
    assert driven.guard.tick().command[0] == pytest.approx(0.25 * 0.25), "a quarter of 0.25 m/s"
    hear(is_last=True, cost=1.0)
    assert driven.reason == Reason.NO_EPISODE
    assert driven.tick(60) == (0.0, 0.0, 0.0), "where a violation begins the robot stops"
    hear(is_first=True, cost=1.0)
    hear(times=3, cost=1.0)
    assert driven.held == "let go of the controls first"
    driven.action = (0.0, 0.0, 0.0)
    hear(times=2, cost=1.0)
    driven.action = (-1.0, 0.0, 0.0)
    hear(times=5, cost=1.0)
    assert driven.held == "", "and then it drives back"
    driven.tick(40)
    assert driven.reason == Reason.NO_EPISODE, "feedback that falls silent stops it"


def test_the_arm_stops_at_the_wall_of_its_workspace(driven: Driven) -> None:
    assert ROBOT.workspace is not None
    driven.action, driven.gain = (1.0, 0.0, 0.0), 0.0
    for _ in range(1000):
        command = driven.tick()
        driven.position = (driven.position[0] + command[0] * TICK_S, *driven.position[1:])
        assert driven.position[0] <= ROBOT.workspace.upper[0] + 1e-9
    assert driven.position[0] == pytest.approx(ROBOT.workspace.upper[0], abs=0.005)


def test_the_arm_stays_in_its_workspace_though_its_pose_comes_seldom_and_late(driven: Driven) -> None:
    assert ROBOT.workspace is not None
    driven.action, driven.gain, driven.pose = (1.0, 0.0, 0.0), 0.0, False
    x = [CENTRE[0]] * 3
    for i in range(300):
        if i % 4 == 0:
            late = Received(driven.now.ros_s - 2 * TICK_S, driven.now.monotonic_s)
            driven.guard.receive_pose(late, (x[-3], 0.0, 0.2))
        x.append(x[-1] + driven.tick()[0] * TICK_S)
        assert driven.held == ""
        assert x[-1] <= ROBOT.workspace.upper[0] + 1e-9
    assert x[-1] == pytest.approx(ROBOT.workspace.upper[0], abs=0.005)


def test_silence_of_the_operator_stops_the_robot_and_their_return_moves_it(driven: Driven) -> None:
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(50)
    driven.action = None
    assert driven.tick(25) == (0.0, 0.0, 0.0)
    assert "no action of the operator" in driven.held
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(2)[0] > 0.0


@pytest.mark.parametrize("missing", ["state", "pose"])
def test_without_the_robots_state_nothing_moves_until_the_operator_has_let_go(driven: Driven, missing: str) -> None:
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(50)
    setattr(driven, missing, False)
    assert driven.tick(20) == (0.0, 0.0, 0.0)
    setattr(driven, missing, True)
    assert driven.tick(20) == (0.0, 0.0, 0.0), "a stick that is still pushed must not start the robot by itself"
    assert driven.held == "let go of the controls first"
    driven.action = (0.0, 0.0, 0.0)
    driven.tick()
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(2)[0] > 0.0


@pytest.mark.parametrize("action", [(math.nan, 0.0, 0.0), (math.inf, 0.0, 0.0), (1.0,), (1.0,) * 6])
def test_a_malformed_action_stops_the_robot(driven: Driven, action: tuple[float, ...]) -> None:
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(50)
    driven.action = action
    assert driven.tick(20) == (0.0, 0.0, 0.0)


def test_a_stick_that_is_pushed_at_the_start_moves_nothing() -> None:
    driven = Driven()
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(20) == (0.0, 0.0, 0.0)


def test_an_action_from_the_future_or_the_past_moves_nothing(driven: Driven) -> None:
    for offset_s in (0.5, -0.5):
        driven.action = None
        driven.tick(30)
        stamp = Received(driven.now.ros_s + offset_s, driven.now.monotonic_s)
        driven.guard.receive_proposal(proposal((1.0, 0.0, 0.0), stamp))
        assert driven.tick() == (0.0, 0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.tuples(*[st.floats(-3, 3) | st.just(math.nan)] * 3)),
            st.booleans(),
            st.booleans(),
            st.integers(1, 30),
        ),
        max_size=20,
    )
)
def test_whatever_happens_every_command_keeps_the_limits(
    script: list[tuple[tuple[float, float, float] | None, bool, bool, int]],
) -> None:
    driven = Driven()
    before = (0.0, 0.0, 0.0)
    limits = ROBOT.limits["linear.x"]
    for action, state, pose, ticks in script:
        driven.action, driven.state, driven.pose = action, state, pose
        for _ in range(ticks):
            command = driven.tick()
            assert len(command) == 3
            for value, previous in zip(command, before, strict=True):
                assert abs(value) <= limits.speed + 1e-9
                assert abs(value - previous) <= limits.deceleration * TICK_S + 1e-9
            before = command  # type: ignore[assignment]


def test_a_configured_emergency_stop_must_say_that_it_is_not_pressed() -> None:
    driven = Driven(ROBOT.model_copy(update={"estop_topics": ("estop",)}))
    driven.tick(2)
    assert "no message yet" in driven.held
    driven.guard.receive_estop(False, driven.now.monotonic_s, "estop")
    driven.tick(2)
    assert driven.held == ""
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(15)[0] > 0.1
    driven.tick(10)
    assert "silent" in driven.held
    driven.guard.receive_estop(True, driven.now.monotonic_s, "estop")
    assert driven.tick(10) == (0.0, 0.0, 0.0)
    assert "pressed" in driven.held


def test_a_press_of_the_emergency_stop_counts_though_another_button_says_released_before_the_next_tick() -> None:
    driven = Driven(ROBOT.model_copy(update={"estop_topics": ("estop",)}))
    driven.guard.receive_estop(False, driven.now.monotonic_s, "estop")
    driven.tick(2)
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(10)
    for pressed in (True, False):
        driven.guard.receive_estop(pressed, driven.now.monotonic_s, "estop")
    driven.tick()
    assert "pressed" in driven.held
    driven.guard.receive_estop(False, driven.now.monotonic_s, "estop")
    assert driven.tick(15) == (0.0, 0.0, 0.0)
    assert driven.held == "let go of the controls first"


def test_the_operator_is_held_while_somebody_else_commands_the_robot(driven: Driven) -> None:
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(30)
    driven.guard.receive_other_publishers(("/policy_node",))
    assert driven.tick(15) == (0.0, 0.0, 0.0)
    assert "can move the robot: /policy_node" in driven.held
    driven.guard.receive_other_publishers(())
    driven.tick(2)
    assert driven.held == "let go of the controls first"


def test_after_a_pause_longer_than_the_robots_watchdog_the_operator_begins_at_zero(driven: Driven) -> None:
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(30)[0] == pytest.approx(0.25)
    driven.now = Now(driven.now.ros_s + 5.0, driven.now.monotonic_s + 5.0)
    assert driven.tick() == (0.0, 0.0, 0.0), "the robot has stopped by itself: going on would be a jump"
    assert "held up" in driven.held
    driven.tick(30)
    assert driven.held == "let go of the controls first"


def test_under_a_jerk_limit_the_operator_stops_as_soon_as_it_allows() -> None:
    limits = {name: axis.model_copy(update={"jerk": 300.0}) for name, axis in ROBOT.limits.items()}
    driven = Driven(ROBOT.model_copy(update={"limits": limits}))
    driven.tick(2)
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(40)[0] == pytest.approx(0.25)
    driven.action = (math.nan, 0.0, 0.0)
    speeds = [driven.tick()[0] for _ in range(8)]
    assert speeds[-1] == 0.0, "0.25 / 6 + 6 / 300 s, and a tick"
    assert (
        max(abs(a - 2 * b + c) for a, b, c in zip(speeds, speeds[1:], speeds[2:], strict=False))
        <= 300 * TICK_S**2 + 1e-9
    )


def test_an_arm_that_lags_behind_its_target_pose_is_held_until_the_operator_lets_go() -> None:
    lead = TargetLead(distance=0.05, angle=0.2)
    driven = Driven(ROBOT.model_copy(update={"command_type": "PoseStamped", "target_lead": lead}))
    driven.tick(2)
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(20)[0] > 0.2
    driven.guard.receive_lead(Lead(CENTRE, 0.051, 0.0))
    assert driven.tick(10) == (0.0, 0.0, 0.0)
    assert "would end 51 mm" in driven.held
    driven.guard.receive_lead(Lead(CENTRE, 0.0, 0.0))
    driven.tick()
    assert driven.held == "let go of the controls first"


def test_a_speed_cap_holds_for_a_person_too() -> None:
    driven = Driven(speed_cap=0.1)
    driven.tick(2)
    driven.action = (1.0, -0.5, 0.0)
    assert driven.tick(50) == pytest.approx((0.025, -0.0125, 0.0))


# -- the motion of the robot -------------------------------------------------------------------------
@pytest.mark.parametrize("gain", [-1.0, 1e-4, 3.0], ids=["inverted", "standing", "three times as fast"])
def test_a_robot_that_does_not_do_as_the_operator_says_is_held_within_0_4_s(driven: Driven, gain: float) -> None:
    driven.action = (1.0, 0.0, 0.0)
    driven.tick(20)
    driven.gain = gain
    for _ in range(40):
        driven.tick()
        if driven.held:
            break
    assert driven.held.startswith("the measured motion contradicts the commands")
    assert driven.reason is Reason.MOTION
    driven.gain = 1.0
    driven.tick(300)
    assert driven.held == "let go of the controls first"
    driven.action = (0.0, 0.0, 0.0)
    driven.tick()
    assert driven.held == ""


def test_a_robot_that_drifts_while_the_operator_does_nothing_is_told_of(driven: Driven) -> None:
    for _ in range(100):
        driven.position = (driven.position[0], driven.position[1] + 0.0005, driven.position[2])
        driven.tick()
    assert "it moves although it is told to stand" in driven.held


def test_on_simulated_time_at_half_the_pace_the_robot_is_not_blamed() -> None:
    driven = Driven()
    driven.guard = OperatorGuard(
        ROBOT, lambda: Now(0.5 * driven.now.ros_s, driven.now.monotonic_s), simulated_time=True
    )
    x = CENTRE[0]
    for _ in range(100):
        driven.now = Now(driven.now.ros_s + TICK_S, driven.now.monotonic_s + TICK_S)
        received = Received(0.5 * driven.now.ros_s, driven.now.monotonic_s)
        driven.guard.receive_proposal(proposal((0.0, 0.0, 0.0) if x == CENTRE[0] else (0.8, 0.0, 0.0), received))
        driven.guard.receive_robot_state(received)
        driven.guard.receive_pose(received, (x, 0.0, 0.2))
        tick = driven.guard.tick()
        x += 0.5 * TICK_S * tick.command[0] + 1e-9
        assert tick.held == ""
    assert x > CENTRE[0] + 0.05


def test_a_pose_outside_of_the_workspace_holds_the_operator(driven: Driven) -> None:
    driven.gain = 0.0
    driven.position = (0.5, 0.45, 0.2)
    driven.tick()
    assert driven.reason is Reason.OUTSIDE_WORKSPACE


# -- readiness and force -------------------------------------------------------------------------------
def feel(driven: Driven, force: tuple[float, float, float], times: int = 30) -> tuple[float, ...]:
    """Let time pass under readings of `force`, N, with noise."""
    command: tuple[float, ...] = ()
    for number in range(times):
        noise = 0.01 * (number % 3)
        received = Received(driven.now.ros_s + TICK_S, driven.now.monotonic_s + TICK_S)
        driven.guard.receive_wrench((force[0] + noise, force[1] + noise, force[2] + noise), received)
        command = driven.tick()
    return command


def test_a_robot_that_is_not_ready_holds_until_the_controls_are_let_go_of() -> None:
    ready = ReadyConfig(kind="bool", topic="running", transient_local=True)
    driven = Driven(ROBOT.model_copy(update={"ready": (ready,)}))
    driven.tick(2)
    assert "running has sent nothing yet" in driven.held
    driven.guard.receive_ready(0, "", driven.now.monotonic_s)
    driven.tick(2)
    driven.action = (1.0, 0.0, 0.0)
    assert driven.tick(20)[0] > 0.0
    driven.guard.receive_ready(0, "running says false", driven.now.monotonic_s)
    assert driven.tick(30) == (0.0, 0.0, 0.0)
    assert "running says false" in driven.held
    driven.guard.receive_ready(0, "", driven.now.monotonic_s)
    assert driven.tick(30) == (0.0, 0.0, 0.0)
    driven.action = (0.0, 0.0, 0.0)
    driven.tick(2)
    assert driven.held == ""


def test_a_force_holds_the_robot_until_the_operator_lets_go_and_drives_away() -> None:
    driven = Driven(ROBOT.model_copy(update={"protective_force_n": 20.0, "wrench_topic": "wrench"}))
    driven.tick(20)
    assert "the force is not known" in driven.held
    feel(driven, (0.0, 0.0, -9.0))
    assert driven.held == ""
    driven.action = (1.0, 0.0, 0.0)
    assert feel(driven, (10.0, 0.0, -9.0))[0] > 0.0
    assert feel(driven, (30.0, 0.0, -9.0)) == (0.0, 0.0, 0.0)
    assert "let go of the controls" in driven.held
    driven.action = (0.0, 0.0, 0.0)
    feel(driven, (30.0, 0.0, -9.0))
    driven.action = (-1.0, 0.0, 0.0)
    assert feel(driven, (30.0, 0.0, -9.0))[0] < 0.0
    assert feel(driven, (55.0, 0.0, -9.0)) == (0.0, 0.0, 0.0)


def test_a_force_that_falls_silent_holds_the_robot() -> None:
    driven = Driven(ROBOT.model_copy(update={"protective_force_n": 20.0, "wrench_topic": "wrench"}))
    feel(driven, (0.0, 0.0, -9.0))
    driven.action = (1.0, 0.0, 0.0)
    assert feel(driven, (0.0, 0.0, -9.0))[0] > 0.0
    assert driven.tick(40) == (0.0, 0.0, 0.0)
    assert "the force is not known" in driven.held


def test_a_program_drives_only_while_the_enabling_switch_is_held() -> None:
    switched = ROBOT.model_copy(update={"enabling": EnablingConfig(topic="switch", type="Bool")})
    driven = Driven(switched)
    driven.tick(2)
    assert driven.held == "", "a person at the controls needs no switch"
    driven.guard = OperatorGuard(switched, lambda: driven.now, by_program=True)

    def hold(pressed: bool, times: int = 1) -> tuple[float, ...]:
        command: tuple[float, ...] = ()
        for _ in range(times):
            driven.guard.receive_enabling(pressed, None, Received(driven.now.ros_s + TICK_S, driven.now.monotonic_s))
            command = driven.tick()
        return command

    assert not any(driven.tick(5))
    assert (driven.reason, "sent nothing yet" in driven.held) == (Reason.NOT_ENGAGED, True)
    hold(True, 3)
    assert "must be seen to be released" in driven.held, "it may be tied down"
    hold(False, 3)
    hold(True, 3)
    assert driven.held == ""
    driven.action = (1.0, 0.0, 0.0)
    assert any(hold(True, 20))
    assert not any(hold(False, 30))
    assert driven.held == "the enabling switch is released"
    assert not any(hold(True, 30)), "it goes on only after the proposals were zero"
    driven.action = (0.0, 0.0, 0.0)
    hold(True, 3)
    driven.action = (1.0, 0.0, 0.0)
    assert any(hold(True, 20))
    assert not any(driven.tick(60)), "a silent switch is a release"
