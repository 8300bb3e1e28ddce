"""Limits of joints, speeds and singularities of an arm: the pure mathematics, on the chain of a seven-joint arm."""

from __future__ import annotations

import math

import arm_parts
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_safety_monitor.arm.kinematics import conditioning, decomposed, jacobian_derivative, joint_motion
from fosp_safety_monitor.arm.sharing import (
    LEAST_SHARE,
    LEAVING_SHARE,
    Rooms,
    Travel,
    share_of_rooms,
    share_of_speeds,
    singularity_share,
)

common = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
joint_positions = st.tuples(
    *[st.floats(low, high) for low, high in zip(arm_parts.LOWER, arm_parts.UPPER, strict=True)]
).map(np.array)
wishes = st.tuples(*[st.floats(-1, 1)] * 6).map(np.array)
AT_REST = Travel(np.zeros(6), np.zeros(6))


def travel(velocity, time_s=0.2) -> Travel:
    return Travel(np.array(velocity), time_s * np.array(velocity), 0.0, time_s)


def one_room(value, row, slack=0.05, drift=0.0, **others) -> Rooms:
    return Rooms(np.array([value]), np.array([row]), np.array([slack]), np.array([drift]), **others)


# -- the chain ---------------------------------------------------------------------------------------
@common
@given(joint_positions)
def test_the_derivative_of_the_jacobian_is_that_of_differences(q):
    change = jacobian_derivative(arm_parts.kinematics(q).jacobian)
    for joint in range(7):
        step = np.eye(7)[joint] * 1e-6
        differences = arm_parts.kinematics(q + step).jacobian - arm_parts.kinematics(q - step).jacobian
        assert change[joint] == pytest.approx(differences / 2e-6, abs=1e-7)


@common
@given(joint_positions)
def test_the_motion_of_the_joints_makes_the_wanted_twist_away_from_singularities(q):
    jacobian = arm_parts.kinematics(q).jacobian
    motion = joint_motion(decomposed(jacobian, True), arm_parts.AXES)
    if conditioning(jacobian, motion, decomposed(jacobian, True)).number < 30.0:
        assert jacobian @ motion == pytest.approx(np.eye(6), abs=0.01)


@common
@given(joint_positions, wishes)
def test_the_change_of_the_condition_number_is_that_a_moment_later(q, wish):
    jacobian = arm_parts.kinematics(q).jacobian
    motion = joint_motion(decomposed(jacobian, True), arm_parts.AXES)
    here = conditioning(jacobian, motion, decomposed(jacobian, True))
    values = np.linalg.svd(jacobian, compute_uv=False)
    if here.number > 200.0 or min(abs(np.diff(values))) < 0.02 or np.abs(motion @ wish).max() > 20.0:
        return  # where two singular values meet, the greatest and the least have no derivative
    later = arm_parts.kinematics(q + 1e-6 * motion @ wish).jacobian
    number = conditioning(later, motion, decomposed(later, True)).number
    assert here.rows @ wish == pytest.approx((math.log(number) - math.log(here.number)) / 1e-6, rel=1e-2, abs=1e-2)


def test_in_a_singularity_every_motion_leads_out():
    stretched = np.zeros(7)
    jacobian = arm_parts.kinematics(stretched).jacobian
    svd = decomposed(jacobian, True)
    found = conditioning(jacobian, joint_motion(svd, arm_parts.AXES), svd)
    assert found.number > 1e6 or found.number == math.inf
    assert np.isfinite(joint_motion(decomposed(jacobian, True), arm_parts.AXES)).all()


def test_an_arm_that_does_not_hold_its_orientation_needs_three_joints():
    jacobian = arm_parts.kinematics(arm_parts.READY).jacobian[:, :4]
    free = joint_motion(decomposed(jacobian, False), ("linear.x", "linear.y", "linear.z"))
    assert jacobian[:3] @ free == pytest.approx(np.eye(3), abs=0.01)
    held = joint_motion(decomposed(jacobian, True), ("linear.x",))
    assert abs(jacobian[:3] @ held[:, 0] - (1.0, 0.0, 0.0)).max() > 0.05, "four joints cannot hold it"


# -- shares ------------------------------------------------------------------------------------------
def test_the_share_falls_with_the_room_and_with_the_speed_and_is_a_stop_where_none_is_left():
    row = [-1.0, 0, 0, 0, 0, 0]
    ahead = travel([0.2, 0, 0, 0, 0, 0])
    shares = [share_of_rooms(one_room(room, row), ahead, AT_REST).value for room in (0.1, 0.03, 0.02, 0.01, 0.0, -0.1)]
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    assert share_of_rooms(one_room(0.001, row), ahead, AT_REST).value == 0.0, "no creeping below LEAST_SHARE"


def test_axes_that_make_up_for_each_other_take_no_room_while_the_robot_reacts():
    row, aside = [-1.0, 1.0, 0, 0, 0, 0], np.array([0.2, 0.19, 0, 0, 0, 0])
    slow = Travel(aside, 0.01 * aside, 0.3, 0.31)
    assert share_of_rooms(one_room(0.006, row), slow, AT_REST).value == 1.0
    assert share_of_rooms(one_room(0.0025, row), slow, AT_REST).value == pytest.approx(0.5)


def test_a_motion_away_from_a_limit_is_allowed_slowly():
    row, away = [-1.0, 0, 0, 0, 0, 0], travel([-0.2, 0, 0, 0, 0, 0])
    assert share_of_rooms(one_room(-0.2, row), away, AT_REST).value == LEAVING_SHARE
    assert share_of_rooms(one_room(0.1, row), away, AT_REST).value == 1.0
    aside = travel([0, 0.2, 0, 0, 0, 0])
    assert share_of_rooms(one_room(-0.01, row), aside, AT_REST).value == LEAVING_SHARE
    assert share_of_rooms(one_room(-0.2, row, only_back=True), aside, AT_REST).value == 0.0


def test_a_command_or_a_measured_motion_that_leads_beyond_the_slack_leaves_nothing():
    row, away, fast = [-1.0, 0, 0, 0, 0, 0], travel([-0.2, 0, 0, 0, 0, 0]), travel([1.0, 0, 0, 0, 0, 0])
    assert share_of_rooms(one_room(0.1, row), away, fast).value == 0.0
    assert share_of_rooms(one_room(0.1, row), away, travel([0.1, 0, 0, 0, 0, 0])).value == 1.0
    drifting = one_room(-0.06, row, drift=-0.1)
    assert share_of_rooms(drifting, away, AT_REST).value == 0.0
    assert share_of_rooms(one_room(-0.06, row, drift=-0.01), away, AT_REST).value == LEAVING_SHARE, "that is noise"


@common
@given(
    st.lists(st.tuples(st.floats(-0.5, 0.5), wishes, st.booleans()), min_size=1, max_size=6),
    wishes,
    wishes,
    st.floats(0.0, 1.0),
)
def test_the_share_only_scales_and_never_grows_with_the_speed_or_as_room_goes(limits, wish, told, less):
    def share(rooms, scale, smaller=0.0):
        values = np.array([room - smaller for room, _, _ in rooms])
        rows = np.array([row for _, row, _ in rooms])
        back = any(flag for _, _, flag in rooms)
        made = Rooms(values, rows, np.full(len(rooms), 0.05), np.zeros(len(rooms)), only_back=back)
        return share_of_rooms(made, travel(scale * wish), travel(0.2 * told)).value

    full = share(limits, 1.0)
    assert full == 0.0 or LEAST_SHARE <= full <= 1.0
    assert share(limits, 1.0, less) <= full + 1e-12
    if np.abs(wish).max() > 0.01 and less > 0.05:
        assert share(limits, less) >= full - 1e-12


def test_no_joint_exceeds_its_speed():
    assert share_of_speeds(np.array([0.5, -4.0]), np.array([1.0, 2.0])).value == pytest.approx(0.5)
    assert share_of_speeds(np.array([0.5, -1.0]), np.array([1.0, 2.0])).value == 1.0
    assert share_of_speeds(np.zeros(2), np.array([1.0, math.inf])).value == 1.0


def test_near_a_singularity_the_shares_are_those_of_servo_and_beyond_it_the_arm_may_leave():
    towards = [singularity_share(n, 1.0, 17.0, 30.0, 2.0) for n in (10.0, 17.0, 23.5, 29.9, 30.0, 90.0)]
    assert towards == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    away = [singularity_share(n, -1.0, 17.0, 30.0, 2.0) for n in (10.0, 23.5, 30.0, 90.0, math.inf)]
    assert away == pytest.approx([1.0, 0.75, 0.5, LEAVING_SHARE, LEAVING_SHARE])
