"""The failure policy for an arm's own limits: joints, singularities, links and the tool's orientation, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AFTER_A_STOP, AGAIN, Failure, monitor_test

_BACK = "as soon as the policy asks for a way back, which is slow at first, once every check has held for {release_s}"

ARM_FAILURES: tuple[Failure, ...] = (
    Failure(
        "With `joints` in the robot file: what is asked for would bring a joint to the margin of its limit, an arm to "
        "the hard stop of a singularity, or a link nearer to another one or to a box than it may be; or a joint is "
        "measured to move faster than it may. This holds while a person drives, too.",
        Decision.STOP,
        (Reason.JOINT_LIMIT, Reason.SINGULARITY, Reason.COLLISION),
        "so early that the arm comes to rest there, by its `response_s`, `dead_time_s` and deceleration",
        _BACK,
        checks=("check_zones", "share_of_rooms", "singularity_share", "_too_fast"),
        faults=("an arm driven towards the margin of its elbow",),
        tests=(
            monitor_test("arm_properties", "no_wish_brings_a_joint_to_its_limit_whatever_the_lag"),
            monitor_test("arm_guard", "an_arm_is_slowed_towards_its_singularity_stops_there_and_comes_back"),
            monitor_test("arm_model", "an_arm_stops_in_front_of_a_box_and_of_itself_and_turns_back"),
        ),
    ),
    Failure(
        "The same, further away; or a joint would move faster than the URDF allows.",
        Decision.PASS,
        (Reason.JOINT_LIMIT, Reason.SINGULARITY, Reason.COLLISION, Reason.ORIENTATION_LIMIT),
        "the next command",
        "the speed is scaled while it lasts",
        checks=("check_zone_speed", "share_of_speeds"),
        tests=(
            monitor_test("arm_guard", "the_monitor_slows_and_stops_by_the_arms_own_limits"),
            monitor_test("arm_guard", "the_speed_of_the_joints_is_bounded_by_the_description"),
        ),
    ),
    Failure(
        "The joint states are late by the `timeout_s` of `joints`, stamped in the future, malformed, or lack a joint; "
        "no URDF came, or another one than before.",
        Decision.STOP,
        (Reason.JOINT_STATES,),
        "`timeout_s`; for a malformed message the next command",
        AGAIN,
        checks=("check_zones", "ArmGuard.judge", "readings"),
        faults=("joint states without the last joint", "joint states with fewer positions than names"),
        tests=(
            monitor_test("arm_guard", "joint_states_that_are_missing_late_or_of_the_future_leave_nothing"),
            monitor_test("arm_guard", "malformed_joint_states_are_refused"),
        ),
    ),
    Failure(
        "The measured pose of the commanded point is not where the joint states and the URDF put it, or their stamps "
        "are so far apart that they cannot be compared: another URDF, tool, calibration or order of joints, or one of "
        "the two repeats what is old.",
        Decision.STOP,
        (Reason.JOINT_STATES,),
        "the next joint states and pose of one moment; 0.5 s where there are none",
        AGAIN,
        checks=("mismatch",),
        faults=(
            "joint states frozen while the arm moves",
            "names of joint states in another order",
            "joint states in degrees",
            "the measured pose is not where the joints are",
        ),
        tests=(monitor_test("arm_guard", "joint_states_that_contradict_the_measured_pose_stop_the_arm"),),
    ),
    Failure(
        "Joint states that were heard stay silent for {stale_latch_s}.",
        Decision.LATCH,
        (Reason.JOINT_STATES,),
        AFTER_A_STOP,
        "reset, once they come again",
        checks=("check_zones",),
        tests=(monitor_test("arm_guard", "the_monitor_slows_and_stops_by_the_arms_own_limits"),),
    ),
    Failure(
        "With `orientation_limit`: the tool is at the edge of its cone and asked to go on, it is beyond it, or its "
        "orientation is not known.",
        Decision.STOP,
        (Reason.ORIENTATION_LIMIT,),
        "so early that it comes to rest there",
        _BACK,
        checks=("check_zones", "orientation_rooms"),
        faults=("the tool is tilted beyond its cone",),
        tests=(
            monitor_test("arm_properties", "no_wish_turns_the_tool_out_of_its_cone"),
            monitor_test("arm_orientation", "the_monitor_stops_at_the_edge_and_says_why"),
        ),
    ),
)
