"""The guard of an arm's limits: on an arm that lags behind its commands, and on joint states that are wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import arm_parts
import numpy as np
import pytest
from arm_parts import NAMES, READY, ArmUnderTest, SevenJoints, robot

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.home import HomeConfig
from fosp_core.specs import parse_spec
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmMeasured
from fosp_safety_monitor.arm.kinematics import Conditioning, conditioning, decomposed, joint_motion
from fosp_safety_monitor.arm.sharing import LEAVING_SHARE
from fosp_safety_monitor.arm.view import ArmObserver, MeasuredPose
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.operator.operator_guard import GuardTick, OperatorGuard

REST = (0.0,) * 6


def condition(arm: ArmUnderTest) -> float:
    jacobian = arm_parts.kinematics(arm.positions).jacobian
    svd = decomposed(jacobian, True)
    return conditioning(jacobian, joint_motion(svd, arm_parts.AXES), svd).number


def judged(arm: ArmUnderTest, wish=(1.0, 0, 0, 0, 0, 0), **view) -> object:
    """The judgement on a wish where the view of the joint states is changed like this."""
    inputs = arm.inputs()
    changed = replace(inputs, inputs=ArmInputs(None, replace(inputs.inputs.view, **view)))
    return arm.guard.judge(changed, wish, REST, arm.now)


# -- driving to limits -------------------------------------------------------------------------------
def test_a_joint_slows_down_and_stops_at_its_margin_and_leaves_it_again():
    arm = ArmUnderTest(robot(), (*READY[:6], 2.6))
    for _ in range(200):
        arm.step((0, 0, 0, 0, 0, -1.0))
    assert arm.last.share == 0.0
    assert arm.last.reason is Reason.JOINT_LIMIT
    assert "limit" in arm.last.text
    assert not arm.command.any()
    room = np.minimum(np.array(arm_parts.UPPER) - arm.positions, arm.positions - np.array(arm_parts.LOWER)).min()
    assert 0.05 < room < 0.12
    for _ in range(60):
        arm.step((0, 0, 0, 0, 0, 1.0))
    assert arm.last.share == 1.0
    assert arm.command[5] == pytest.approx(0.5)


def test_an_arm_is_slowed_towards_its_singularity_stops_there_and_comes_back():
    arm = ArmUnderTest(robot(joint_limit_margins=0.01), (0.0, 0.4, 0.0, -1.1, 0.0, 1.5, 0.785))
    shares = []
    for _ in range(250):
        arm.step((1.0, 0, 0.3, 0, 0, 0))
        shares.append(arm.last.share)
    assert (arm.last.share, arm.last.reason) == (0.0, Reason.SINGULARITY)
    assert condition(arm) < 33.0
    assert any(0.1 < share < 0.9 for share in shares)
    for _ in range(150):
        arm.step((-1.0, 0, -0.3, 0, 0, 0))
        if condition(arm) < 16.0:
            break
    assert condition(arm) < 17.0
    assert arm.last.share == 1.0


def test_near_a_singularity_the_speed_is_that_of_servo_also_where_a_stop_is_far():
    arm = ArmUnderTest(robot(), READY)
    between = Conditioning(23.5, np.array([0.01, 0, 0, 0, 0, 0]))
    found = judged(arm, conditioning=between)
    assert (found.share, found.reason) == (pytest.approx(0.5), Reason.SINGULARITY)
    assert judged(arm, (-1.0, 0, 0, 0, 0, 0), conditioning=between).share == pytest.approx(0.75)


def test_out_of_a_singularity_itself_every_motion_leads_and_is_allowed_slowly():
    arm = ArmUnderTest(robot(), READY)
    for wish in ((1.0, 0, 0, 0, 0, 0), (-1.0, 0, 0, 0, 0, 0)):
        assert judged(arm, wish, conditioning=Conditioning(math.inf, np.zeros(6))).share == LEAVING_SHARE
    towards = Conditioning(200.0, np.array([1.0, 0, 0, 0, 0, 0]))
    assert judged(arm, (1.0, 0, 0, 0, 0, 0), conditioning=towards).share == 0.0
    assert judged(arm, (-1.0, 0, 0, 0, 0, 0), conditioning=towards).share == LEAVING_SHARE
    assert judged(arm, (0.0, 1.0, 0, 0, 0, 0), conditioning=towards).share == 0.0, "along the singularity is no way out"


def test_the_speed_of_the_joints_is_bounded_by_the_description():
    model = SevenJoints()
    model.speed = np.full(7, 0.2)
    arm = ArmUnderTest(robot(), READY, model)
    for _ in range(50):
        arm.step((0, 0, 0, 0, 0, 1.0))
    assert arm.last.reason is Reason.JOINT_LIMIT
    assert "would move at" in arm.last.text
    assert np.abs(arm.speeds).max() == pytest.approx(0.2, rel=0.05)


# -- joint states that are wrong ---------------------------------------------------------------------
def test_joint_states_that_are_missing_late_or_of_the_future_leave_nothing():
    arm = ArmUnderTest(robot(), READY)
    inputs = arm.inputs()
    assert arm.guard.judge(inputs, (1.0, *REST[1:]), REST, arm.now).share == 1.0
    for age_s in (0.15, -0.5):
        late = arm.guard.judge(inputs, REST, REST, Now(arm.time_s + age_s, arm.time_s + max(age_s, 0.0)))
        assert (late.share, late.reason) == (0.0, Reason.JOINT_STATES)
    silent = arm.guard.judge(inputs, REST, REST, Now(arm.time_s + 3.0, arm.time_s + 3.0))
    assert silent.silent_s == pytest.approx(3.0)
    never = arm.guard.judge(ArmMeasured(), REST, REST, arm.now)
    assert (never.share, never.silent_s) == (0.0, 0.0)


def test_the_order_of_the_names_does_not_matter_and_a_missing_joint_does():
    arm, now = ArmUnderTest(robot(), READY), Received(1000.0, 1000.0)
    mixed = [3, 6, 0, 2, 5, 1, 4]
    arm.observer.hear([NAMES[i] for i in mixed], [READY[i] for i in mixed], [], now)
    assert arm.observer.view(None).joints.values == pytest.approx(arm.inputs().inputs.view.joints.values)
    fresh = ArmObserver(robot(), SevenJoints())
    fresh.hear(NAMES[:6], READY[:6], [], now)
    assert "no joint 'joint7'" in fresh.view(None).fault
    fresh.hear(["gripper"], [0.04], [], now)
    assert "no joint 'joint7'" in fresh.view(None).fault
    fresh.hear(["joint7"], READY[6:], [], Received(1000.2, 1000.2))
    assert fresh.view(None).fault == ""
    assert fresh.view(None).received.stamp_s == 1000.0, "as old as the joint that was heard of least recently"


@pytest.mark.parametrize(
    ("names", "positions", "velocities"),
    [
        (NAMES, READY[:6], ()),
        (("joint1",) * 7, READY, ()),
        (NAMES, (*READY[:6], math.nan), ()),
        (NAMES, READY, (math.inf,) * 7),
        (NAMES, READY, (0.0,) * 3),
    ],
)
def test_malformed_joint_states_are_refused(names, positions, velocities):
    with pytest.raises(UserError, match="joint states with"):
        ArmObserver(robot(), SevenJoints()).hear(names, positions, velocities, Received(1000.0, 1000.0))


@pytest.mark.parametrize("wrong", ["frozen", "degrees", "swapped", "tool", "turned"])
def test_joint_states_that_contradict_the_measured_pose_stop_the_arm(wrong):
    arm = ArmUnderTest(robot(), READY)
    said, place = list(READY), arm_parts.kinematics(READY)
    position, orientation = place.position, place.orientation
    if wrong == "frozen":
        position = position + np.array([0.03, 0.0, 0.0])
    if wrong == "degrees":
        said = [math.degrees(value) for value in READY]
    if wrong == "swapped":
        said[5], said[6] = said[6], said[5]
    if wrong == "tool":
        position = position + np.array([0.0, 0.0, -0.12])
    if wrong == "turned":
        orientation = (0.0, 0.0, 0.0, 1.0)
    received = Received(arm.time_s, arm.time_s)
    arm.observer.hear(NAMES, said, [0.0] * 7, received)
    view = arm.observer.view(MeasuredPose(received, tuple(position.tolist()), orientation))
    found = arm.guard.judge(ArmMeasured(received, orientation, ArmInputs(None, view)), REST, REST, arm.now)
    assert (found.share, found.reason) == (0.0, Reason.JOINT_STATES)
    assert "by the joint states" in found.text


def test_a_pose_is_compared_with_the_joint_states_of_its_own_moment():
    arm = ArmUnderTest(robot(), READY)
    where = []
    for _ in range(100):
        where.append((arm.time_s, arm_parts.kinematics(arm.positions)))
        arm.step((0.0, 1.0, 0, 0, 0, 0))
    stamp_s, place = where[-12]
    late = MeasuredPose(Received(stamp_s, arm.time_s), tuple(place.position.tolist()), place.orientation)
    view = arm.observer.view(late)
    assert view.mismatch == ""
    assert view.compared_s == arm.time_s


def test_a_pose_whose_stamps_fit_no_joint_states_stops_the_arm_after_a_while():
    arm = ArmUnderTest(robot(), READY)
    assert judged(arm, compared_s=arm.time_s - 0.4).share == 1.0
    found = judged(arm, compared_s=arm.time_s - 0.6)
    assert (found.share, found.reason) == (0.0, Reason.JOINT_STATES)
    assert "cannot be compared" in found.text
    assert judged(arm, compared_s=-math.inf).share == 0.0


def test_a_joint_that_is_measured_to_move_too_fast_stops_the_arm():
    arm = ArmUnderTest(robot(), READY)
    arm.speeds = np.array([0, 0, 0, 4.0, 0, 0, 0])
    found = arm.guard.judge(arm.inputs(), REST, REST, arm.now)
    assert (found.share, found.reason) == (0.0, Reason.JOINT_LIMIT)
    assert "joint4 moves at 4.00" in found.text


def test_a_controller_that_carries_a_joint_beyond_its_margin_is_stopped_though_no_twist_asks_for_it():
    positions = list(READY)
    positions[2] = arm_parts.UPPER[2] - 0.04
    arm = ArmUnderTest(robot(), positions)
    arm.speeds = np.array([0, 0, 0.2, 0, 0, 0, 0])
    found = arm.guard.judge(arm.inputs(), (0, 0, 0, 0, 0, 0.01), REST, arm.now)
    assert (found.share, found.reason) == (0.0, Reason.JOINT_LIMIT)
    assert "moving on" in found.text


def test_speeds_that_no_message_tells_are_those_of_the_positions():
    observer = ArmObserver(robot(), SevenJoints())
    observer.hear(NAMES, READY, [], Received(1000.0, 1000.0))
    observer.hear(NAMES, [value + 0.1 for value in READY], [], Received(1000.02, 1000.02))
    assert "limit 2.62" in observer.view(None).too_fast


# -- the monitor -------------------------------------------------------------------------------------
def test_the_monitor_slows_and_stops_by_the_arms_own_limits(make_scene):
    config = arm_parts.robot(("linear.x", "linear.y", "linear.z"))
    scene = make_scene("arm", robot={"joints": config.joints}, stale_latch_s=1.0)
    never = scene.drive(2.0)[-1]
    assert (never.finding.decision, never.finding.reason) == (Decision.STOP, Reason.JOINT_STATES)
    assert scene.state.latched is None
    arm = ArmUnderTest(config, READY)

    def see(seconds, **view):
        ticks = []
        for _ in range(round(seconds / 0.05)):
            inputs = arm.inputs().inputs
            fresh = Received(scene.ros_s, scene.monotonic_s)
            made = {"received": fresh, "compared_s": scene.monotonic_s, **view}
            scene.robot = replace(scene.robot, arm=replace(inputs, view=replace(inputs.view, **made)))
            ticks += scene.drive(0.05)
        return ticks[-1]

    assert any(see(1.0).command)
    slow = see(0.5, speeds=np.full(7, 0.1))
    assert 0.0 < abs(slow.command[0]) < 0.125
    scene.wait(0.01)
    verdict = scene.judge()
    assert (verdict.decision, verdict.reason) == (Decision.PASS, Reason.JOINT_LIMIT)
    assert "the speed is scaled by" in verdict.reason_text
    stopped = see(0.5, fault="joint states with NaN")
    assert (stopped.finding.decision, stopped.finding.reason) == (Decision.STOP, Reason.JOINT_STATES)
    assert not any(stopped.command)
    assert any(see(1.0).command)
    scene.drive(1.5)
    assert scene.state.latched.reason is Reason.JOINT_STATES


def driven(arm: ArmUnderTest, guard: OperatorGuard, seconds: float, wish) -> GuardTick:
    """The last tick of a person's driving for so long."""
    for step in range(round(seconds / 0.01)):
        inputs = arm.inputs()
        guard.receive_robot_state(inputs.pose)
        guard.receive_arm_view(inputs.inputs.view)
        place = arm_parts.kinematics(arm.positions)
        guard.receive_pose(inputs.pose, tuple(place.position.tolist()), place.orientation)
        stamp = FrameStamp(round(arm.time_s * 1e9))
        guard.receive_proposal(ProposalInput(step, "", stamp, arm.time_s, np.array([wish], np.float32), 0))
        tick = guard.tick()
        arm.follow(tick.command)
    return tick


def test_a_person_who_drives_is_slowed_stopped_and_let_back_by_the_arms_own_limits():
    arm = ArmUnderTest(robot(), (*READY[:6], 2.6))
    guard = OperatorGuard(arm.robot, lambda: arm.now)
    assert driven(arm, guard, 0.1, REST).held == ""
    assert driven(arm, guard, 0.3, (0, 0, 0, 0, 0, -1.0)).note == ""
    at_limit = driven(arm, guard, 1.8, (0, 0, 0, 0, 0, -1.0))
    assert at_limit.held == ""
    assert not any(at_limit.command)
    assert "joint7" in at_limit.note
    assert arm.positions[6] < arm_parts.UPPER[6] - 0.05
    assert driven(arm, guard, 0.5, (0, 0, 0, 0, 0, 1.0)).command[5] == pytest.approx(0.5)
    guard.receive_arm_view(replace(arm.inputs().inputs.view, fault="joint states with NaN"))
    assert guard.tick().reason is Reason.JOINT_STATES


def test_the_way_home_stops_at_the_arms_own_limits():
    start = (0.0, 0.4, 0.0, -1.1, 0.0, 1.5, 0.785)
    x, y, z = arm_parts.kinematics(start).position
    far = HomeConfig(position=(x + 0.2, y, z), speed=0.5)
    arm = ArmUnderTest(robot(("linear.x", "linear.y", "linear.z")).model_copy(update={"home": far}), start)
    guard = OperatorGuard(arm.robot, lambda: arm.now)
    driven(arm, guard, 0.1, (0.0, 0.0, 0.0))
    assert guard.home() == ""
    last = driven(arm, guard, 2.5, (0.0, 0.0, 0.0))
    assert not any(last.command)
    assert "stop at 30" in last.note
    assert condition(arm) < 33.0
    assert arm_parts.kinematics(arm.positions).position[0] < x + 0.15


def test_diagnostics_tell_how_near_the_limits_are():
    arm = ArmUnderTest(robot(), READY)
    said = arm.guard.describe(arm.inputs().inputs, arm.now)
    assert said["joint states"] == "fresh"
    assert float(said["condition number"]) > 1.0
    assert "with a margin of 0.1" in said["nearest joint limit"]
    late = Now(arm.time_s + 1.0, arm.time_s + 1.0)
    assert "limit 100 ms" in arm.guard.describe(arm.inputs().inputs, late)["joint states"]


# -- the robot file ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("joints", "why"),
    [
        ({"lower_singularity_threshold": 40.0}, "must be below"),
        ({"joint_limit_margins": {"joint1": 2.0}}, "must be within"),
        ({"joint_limit_margins": 0.0}, "must be within"),
        ({"boxes": [{"name": "a", "size": [1, 1, 0], "position": [0, 0, 0]}]}, "must be positive"),
        ({"boxes": [{"name": "a", "size": [1, 1, 1], "position": [0, 0, 0]}] * 2}, "a name of its own"),
        ({"tip": "hand"}, "unknown key"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(joints, why):
    with pytest.raises(UserError, match=why):
        robot(**joints)


def test_a_base_has_no_joints_to_limit(base):
    content = base.model_dump() | {"joints": {"tip_link": "hand"}}
    with pytest.raises(UserError, match="are for an arm"):
        parse_spec(RobotConfig, content, "robot")


def test_a_robot_without_such_limits_has_no_guard(arm):
    assert ArmGuard.of(arm) is None
