"""Whatever is asked for: no joint passes its limit, and no tool leaves its cone, on arms that lag behind commands."""

from __future__ import annotations

import math

import arm_parts
import numpy as np
from arm_parts import ArmUnderTest, robot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.clock import Now, Received
from fosp_core.executed import rotated
from fosp_core.robot.limits import CommandLimits
from fosp_core.robot.urdf import quaternion_of
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmMeasured
from fosp_safety_monitor.arm.kinematics import conditioning, decomposed, joint_motion
from fosp_safety_monitor.arm.orientation import SLACK_RAD, orientation_rooms

common = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
wishes = st.tuples(*[st.sampled_from((-1.0, -0.3, 0.0, 0.5, 1.0))] * 6)
starts = st.tuples(
    *[st.floats(low + 0.15, high - 0.15) for low, high in zip(arm_parts.LOWER, arm_parts.UPPER, strict=True)]
)
SLOW = {"response_s": 0.1, "dead_time_s": 0.05}
NOW = Now(1000.0, 50.0)
DOWN = quaternion_of(math.pi, 0.0, 0.0)


def condition(arm: ArmUnderTest) -> float:
    jacobian = arm_parts.kinematics(arm.positions).jacobian
    svd = decomposed(jacobian, True)
    return conditioning(jacobian, joint_motion(svd, arm_parts.AXES), svd).number


@common
@given(starts, st.lists(wishes, min_size=1, max_size=2), st.booleans())
def test_no_wish_brings_a_joint_to_its_limit_whatever_the_lag(start, wanted, slow):
    config = robot(holds_orientation=True)
    arm = ArmUnderTest(config.model_copy(update=SLOW) if slow else config, start)
    margin = config.joints.margin("joint1")
    for wish in wanted:
        for _ in range(50):
            arm.step(wish)
            assert 0.0 <= arm.last.share <= 1.0
            # The arm is one that divides by its singular values: beyond the hard stop it may jerk, but is not driven.
            if condition(arm) < 40.0:
                assert (arm.positions > np.array(arm_parts.LOWER) + 0.3 * margin).all()
                assert (arm.positions < np.array(arm_parts.UPPER) - 0.3 * margin).all()
                assert (np.abs(arm.speeds) < 1.25 * np.array(arm_parts.SPEED)).all()


@common
@given(
    wish=st.tuples(*[st.floats(-1, 1)] * 6),
    about=st.tuples(*[st.floats(0.1, 1.0)] * 3),
    angle=st.floats(0.0, 0.29),
)
def test_no_wish_turns_the_tool_out_of_its_cone(wish, about, angle):
    limit = {"angle": 0.3, "rotation": [math.pi, 0.0, 0.0]}
    config = robot(orientation_limit=limit).model_copy(update={"joints": None})
    guard, here = ArmGuard(config), rotated(np.array(DOWN), np.array(about) / np.linalg.norm(about) * angle)
    command, acceleration, period = np.zeros(6), np.zeros(6), 0.01
    limits = CommandLimits(config)
    for _ in range(80):
        measured = ArmMeasured(Received(NOW.ros_s, NOW.monotonic_s), tuple(here), ArmInputs())
        found = guard.judge(measured, wish, tuple(command.tolist()), NOW)
        target = found.share * np.array(wish)
        after = limits.follow(target, command, period, np.array([0.5, 0.0, 0.2]), acceleration).command
        acceleration, command = (after - command) / period, after
        here = rotated(here, period * command[3:])
        room = orientation_rooms(config.orientation_limit, tuple(here), None, (None, None, None, 0, 1, 2)).values[0]
        assert room > -SLACK_RAD
