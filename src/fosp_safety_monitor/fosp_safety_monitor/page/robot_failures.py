"""The failure policy for emergency stops, other nodes and the motion of the robot, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import Failure, monitor_test

ROBOT_FAILURES: tuple[Failure, ...] = (
    # -- people and other nodes
    Failure(
        "The emergency stop is pressed (any of the robot's `estop_topics`), or `~/estop` is called.",
        Decision.LATCH,
        (Reason.ESTOP,),
        "the next command",
        "reset, once the emergency stop is released",
        checks=(
            "check_estop",
            "_worst_first",
            "EmergencyStops.heard",
            "latch",
        ),
        faults=(
            "emergency stop pressed",
            "an emergency stop while the gripper closes",
            "emergency stop by service",
            "the second of two emergency stops pressed",
            "emergency stop pressed, a second publisher releases it",
            "engaged while the emergency stop is pressed",
            "reset without engaging",
        ),
    ),
    Failure(
        "One of the emergency stops falls silent.",
        Decision.LATCH,
        (Reason.ESTOP,),
        "{estop_timeout_s}",
        "reset, once the emergency stop sends again and is released",
        checks=(
            "check_estop",
            "_worst_first",
        ),
        faults=(
            "emergency stop silent",
            "the second of two emergency stops silent",
        ),
    ),
    Failure(
        "Another node publishes on the command topic, such as a second monitor.",
        Decision.LATCH,
        (Reason.FOREIGN_COMMAND,),
        "0.05 s after its discovery",
        "reset, once the other node is gone; before the first motion it is a STOP. **The monitor cannot "
        "silence the other node**: both publish, and most robots obey the last command. Keep it out by access"
        " control (SROS 2) or on the robot",
        checks=("check_other_publishers",),
        faults=(
            "a rogue publisher of commands",
            "a second safety monitor",
            "an echo of the monitor's commands",
        ),
    ),
    Failure(
        "A command that the monitor did not send arrives on the command topic, from a node that may be gone again.",
        Decision.LATCH,
        (Reason.FOREIGN_COMMAND,),
        "the next command after its receipt",
        "reset, once the other node is gone. A command that reaches the robot before the other node and the monitor "
        "have discovered each other is not heard, nor is a plain Twist that equals a lost command of the monitor",
        checks=(
            "OwnCommands.hear",
            "SafetyMonitor._on_foreign_command",
            "OperatorGuard._on_foreign_command",
        ),
        faults=(
            "a rogue of one command",
            "a rogue commander of 46 ms",
            "an echo of the monitor's commands",
        ),
    ),
    Failure(
        "A second node publishes the robot state, the pose, an emergency stop, the enabling switch, a topic of "
        "`ready`, the wrench, the gripper's position, latents, proposals, feedback or images; or another node takes "
        "the place of the one that published them.",
        Decision.LATCH,
        (Reason.FOREIGN_INPUT,),
        "0.05 s after its discovery; 0.5 s if the number of publishers stays the same",
        "reset, once it is gone; before the first motion it is a STOP. A driver that was killed counts until the "
        "discovery drops it, up to 20 s; a node with heartbeats does not. The nodes that publish when the monitor is "
        "activated are those that may; `state_publishers` of the robot file allows more than one for the robot state",
        checks=(
            "check_strangers",
            "Publishers.look",
            "Restarts.without_dead",
        ),
        faults=(
            "a second pose source, inside the box",
            "a second source of joint states",
            "a second source of gripper positions",
            "a second camera driver",
            "a second source of feedback",
            "a second encoder under another name",
            "a second policy under another name",
            "a second source of operator actions",
            "emergency stop pressed, a second publisher releases it",
        ),
    ),
    # -- the robot
    Failure(
        "A robot that takes target poses does not follow: it is blocked, switched off, or pushed beyond `target_lead`.",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "at once; the target ends within `target_lead` of the robot",
        "reset, once the robot is back at the target; or deactivate, activate and reset, and the target begins at the "
        "robot",
        checks=(
            "check_lead",
            "LEAD_AT_RESET",
            "_distance",
            "_angle",
        ),
        tests=(
            monitor_test(
                "pose_target", "a_blocked_arm_latches_before_its_target_has_left_it_behind_and_the_target_is_held"
            ),
            "tests/monitor/test_monitor_node.py::test_an_arm_that_takes_poses_is_led_held_and_not_left_behind",
        ),
    ),
    Failure(
        "The pose of an arm that takes twists stays the same to the last bit for {frozen_pose_s} while the arm is "
        "commanded to move more than 10 mm: its driver froze, or the robot is blocked.",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "{frozen_pose_s}",
        "reset; if the pose is still frozen, the next motion latches again",
        checks=("check_pose_changes",),
        faults=("tool pose frozen, with new stamps",),
    ),
    Failure(
        "The measured motion contradicts the commands by more than {motion_tolerance_s} at the speed limit (at least "
        "10 mm or 0.05 rad) and {motion_tolerance_share} of the commanded distance, for every lag that the robot's "
        "`response_s` and `dead_time_s` allow: the robot goes the wrong way, along other axes, too fast, too late or "
        "not at all. A contact that holds it up is one of these.",
        Decision.LATCH,
        (Reason.MOTION,),
        "0.4 s at full speed; windows of 0.15, 0.5 and 2 s see slower motion later",
        "reset, once it has not moved against its commands for a second",
        checks=(
            "check_motion",
            "WINDOWS_S",
            "_jumps",
        ),
        faults=(
            "robot goes the opposite way",
            "robot with y for x and x for y",
            "robot with z for y",
            "robot turned by 90 degrees",
            "robot three times as fast",
            "robot at a quarter of its speed",
            "robot goes aside, too",
            "robot stands, with noise of 10 um",
            "robot 300 ms late, and told to go up",
            "robot with a lag of 0.8 s, and told to go up",
            "base drives backwards for forwards",
            "base turns the wrong way",
            "base drives as it should turn, and turns as it should drive",
            "base three times as fast",
            "base stands",
            "odometry frozen, with new stamps",
        ),
    ),
    Failure(
        "The robot moves although it is told to stand. While it is latched, every verdict and `/diagnostics` (ERROR) "
        "say that it moves although it is latched.",
        Decision.LATCH,
        (Reason.MOTION,),
        "0.5 s at 5 cm/s; a drift of less than the tolerance in 10 s is not seen. **The monitor cannot stop a robot "
        "that moves without being told to**: use the emergency stop",
        "reset, once it has not moved against its commands for a second",
        checks=(
            "check_motion",
            "_drift",
        ),
        faults=(
            "robot moves although the policy tells it to stand",
            "robot moves although it is latched",
            "base drives although the policy tells it to stand",
            "base turns although it is latched",
        ),
    ),
    Failure(
        "The measured pose is outside of the workspace by more than {workspace_margin_m}. A robot that begins outside "
        "may come in, but go no further out.",
        Decision.LATCH,
        (Reason.OUTSIDE_WORKSPACE,),
        "the next command",
        "reset, once the robot is back; or deactivate, activate and reset, to come in from where the robot is",
        checks=(
            "check_outside",
            "_outside",
        ),
        faults=("tool pose outside of the workspace",),
    ),
    # -- the gripper
    Failure(
        "The position of a gripper is missing or too old. The gripper holds what it was told last, as in every stop.",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE,),
        "the `timeout_s` of the section `gripper` of the robot file",
        "motion resumes when every check has held for {release_s}",
        checks=("check_gripper",),
        faults=(
            "the position of the gripper is silent",
            "the position of the gripper is late by 400 ms",
            "the position of the gripper under its old stamp",
            "the position of another joint",
        ),
        tests=(
            monitor_test("gripper", "the_lost_position_stops_the_robot_and_latches_when_it_lasts"),
            monitor_test("gripper", "the_guard_holds_without_a_button_and_after_the_position_is_lost"),
        ),
    ),
    Failure(
        "The measured position of a gripper lies far outside of closed to open: another joint, or another unit.",
        Decision.STOP,
        (Reason.ROBOT_NOT_READY,),
        "the next command",
        "motion resumes when every check has held for {release_s}",
        checks=(
            "check_gripper",
            "position_fault",
        ),
        faults=(
            "the position of the gripper is NaN",
            "the position of the gripper in millimetres",
            "the gripper's joint has no position",
        ),
        tests=(
            monitor_test("gripper", "a_position_that_cannot_be_the_grippers_stops_the_robot"),
            "src/fosp_core/test/test_gripper.py::test_a_position_of_another_unit_or_joint_is_seen",
        ),
    ),
    Failure(
        "The driver of a gripper is missing, refuses a goal or does not answer it. The gripper holds what it has.",
        Decision.STOP,
        (Reason.ROBOT_NOT_READY,),
        "0.1 s after its discovery or its refusal; 0.5 s without an answer",
        "motion resumes when it takes the setpoint, which is sent again every second, and every check has held for "
        "{release_s}",
        checks=("check_gripper", "driver_fault"),
        faults=(
            "the gripper's driver ends",
            "the gripper's driver refuses goals",
            "the gripper's driver hangs",
        ),
        tests=(monitor_test("gripper", "a_driver_that_does_not_take_what_it_is_told_stops_the_robot"),),
    ),
    Failure(
        "A gripper that is told to open by a quarter of its stroke or more stands still: it is stuck, or its position "
        "is frozen.",
        Decision.STOP,
        (Reason.ROBOT_NOT_READY,),
        "1 s",
        "motion resumes when the gripper opens, or when the monitor was deactivated and activated: then the gripper is "
        "left alone",
        checks=("check_gripper", "OpeningWatch.fault"),
        faults=("the position of the gripper stays closed while it opens",),
        tests=("src/fosp_core/test/test_gripper.py::test_a_gripper_that_does_not_open_is_found_after_a_second",),
    ),
)
