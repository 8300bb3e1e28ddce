"""The rows of the failure policy whose answer is no verdict: limits, processes, robot files, bundles and requests."""

from __future__ import annotations

from fosp_safety_monitor.page.failure import OtherFailure, monitor_test
from fosp_safety_monitor.page.retreat_failures import RETREAT_LIMITS

OTHER_FAILURES: tuple[OtherFailure, ...] = (
    OtherFailure(
        "A command would exceed a hard limit.",
        "as judged; the verdict has `limited` set",
        "at once",
        "the command is clamped to the limit",
        moves_on=True,
        checks=(
            "next_command",
            "approach_speed",
            "smooth_approach_speed",
            "longest_tick_s",
            "speed_norms",
            "CommandHistory.outstanding",
            "ramp",
            "smooth_ramp",
            "brake",
            "CommandStream._keep_apart",
            "threading",
        ),
        faults=("proposals of 1e6 where no critic minds: the limits hold", "tool pose at the wall of the workspace"),
    ),
    OtherFailure(
        "The node is deactivated, or receives SIGINT or SIGTERM.",
        "it decelerates, sends five zero commands, and falls silent",
        "at once",
        "activate it; after a signal, start the stack again",
        moves_on=False,
        checks=("CommandStream.close",),
        tests=(
            "tests/monitor/test_monitor_node.py::test_deactivation_brakes_before_the_stream_falls_silent",
            "tests/monitor/test_monitor_node.py::test_a_signal_brakes_before_the_process_ends",
        ),
    ),
    OtherFailure(
        "The node is killed, or hangs.",
        "silence",
        "the robot's own `command_timeout_s`",
        "the black box is written; a killed node is never restarted by itself, and the commands of one that is back "
        "begin at zero",
        moves_on=False,
        faults=("sigkill safety_monitor_node: the robot's watchdog", "sigstop safety_monitor_node 0.15 s"),
        tests=(
            "tests/monitor/test_monitor_death.py::test_a_monitor_that_is_killed_leaves_a_black_box_of_its_last_seconds",
        ),
    ),
    OtherFailure(
        "The node's command thread fails.",
        "silence; an event LATCHED names the cause, and exit code 1 ends the stack",
        "the robot's own `command_timeout_s`",
        "the node is never restarted by itself",
        moves_on=False,
        tests=(
            "tests/monitor/test_monitor_death.py::test_a_monitor_whose_command_thread_fails_says_so_and_ends_with_exit_code_1",
        ),
    ),
    OtherFailure(
        "Another process of the stack is killed.",
        "`fosp up` and the launch files end the stack, or restart the process with `use_respawn`",
        "the limits above",
        "reset, if the process was restarted",
        moves_on=False,
        faults=(
            "sigkill lifecycle_manager: all goes down",
            "sigkill policy_node, started anew",
            "sigkill encoder_node, started anew",
        ),
        tests=(
            "tests/test_kill.py::test_the_commanded_velocity_is_zero_200_ms_after_any_process_was_killed",
            "src/fosp_bringup/test/test_supervisor.py::test_a_process_that_dies_ends_all_and_gives_one",
        ),
    ),
    OtherFailure(
        "The black box is killed, with `use_respawn`.",
        "the robot moves on",
        "",
        "it is started anew, and writes bags again",
        moves_on=True,
        faults=("sigkill black_box_node",),
    ),
    OtherFailure(
        "The recorder pauses, for a slow disk or because it hangs, or it dies.",
        "the robot moves on; what the disk could not take is not recorded, and the bag tells how much it lacks",
        "",
        "a recorder that died is started anew up to five times, and records the next episode",
        moves_on=True,
        tests=(
            monitor_test("heartbeats", "a_recorder_that_pauses_or_dies_is_nothing_to_the_robot"),
            "src/fosp_bringup/test/test_bringup_sequence.py::"
            "test_the_graph_goes_on_while_a_dispensable_node_pauses_and_tells_it_once",
            "tests/test_kill.py::test_the_robot_goes_on_when_the_recorder_was_killed_and_the_recorder_comes_back",
        ),
    ),
    OtherFailure(
        "The lifecycle manager hangs.",
        "the robot moves on, but no node is brought up or restarted",
        "",
        "use the emergency stop: `fosp up` waits 6 s for the manager before it interrupts the nodes",
        moves_on=True,
        faults=("sigstop lifecycle_manager 0.3 s",),
    ),
    OtherFailure(
        "The disk of the black box is full.",
        "the robot moves on; `/diagnostics` shows ERROR",
        "",
        "this stop leaves no bag, and the next one tries again",
        moves_on=True,
        checks=("make_room",),
        faults=("disk full",),
    ),
    OtherFailure(
        "A real robot is started, by a launch file or `fosp up`, without a passed [commissioning](commissioning.md) "
        "record that fits its robot file.",
        "every speed is at most a tenth of its limit (`speed_cap`); a warning at every start and on `/diagnostics`",
        "from the first command",
        "run `fosp commission`, and start again",
        moves_on=False,
        checks=("capped", "uncommissioned_because", "robot_hash"),
        tests=(
            "src/fosp_bringup/test/test_commissioning_record.py"
            "::test_a_real_robot_is_capped_and_warned_of_until_it_was_commissioned",
        ),
    ),
    OtherFailure(
        "The bundle is damaged, is not signed although keys are set, or is for another robot; its eps is above the "
        "robot's `eps_ceiling`; its calibration used no episode, or is unsupported and nobody accepted that "
        "(`unsupported`); a parameter is unknown or out of range.",
        "the node refuses to start",
        "nothing is ever sent",
        "correct the cause",
        moves_on=False,
        checks=(
            "file_hash",
            "_check_golden",
            "require_signature",
            "differences",
            "calibration_faults",
            "unsupported_because",
            "require_supported",
            "_check",
        ),
        tests=(
            "tests/monitor/test_monitor_node.py::test_a_damaged_bundle_is_refused_before_anything_is_sent",
            "tests/test_new_judges.py"
            "::test_the_monitor_starts_with_no_judge_that_is_no_good_and_in_words_alone_with_an_unsupported_one",
        ),
    ),
    OtherFailure(
        "A bundle is announced whose judge [disagrees](finetuning.md#a-new-judge-must-earn-it) with that of the "
        "start, or with one of these faults.",
        "it is refused, and the robot goes on under the running judge",
        "",
        "correct the cause",
        moves_on=True,
        checks=("calibration_faults", "require_supported", "require_agreement", "disagreements"),
        faults=(
            "offered in motion: a critic that says 0",
            "offered in motion: a critic that is inverted",
            "offered in motion: a critic that says 0.5",
            "offered in motion: a critic that vetoes everything",
            "offered in motion: eps of 0.999",
            "offered in motion: a calibration that is unsupported",
            "offered in motion: a calibration on no episode",
            "offered in motion: support claimed with 3 violations",
            "offered in motion: probes cut off",
        ),
    ),
    OtherFailure(
        "While the node is active, a parameter is to be made less strict, or a read-only one is to be set.",
        "it is refused, and the old value stays in force",
        "",
        "deactivate the node; for a read-only one start it again",
        moves_on=True,
        checks=("loosened", "_check"),
        faults=(
            "'robot' of the monitor set at run time",
            "'bundle' of the monitor set at run time",
            "'provider' of the monitor set at run time",
        ),
        tests=(
            "tests/monitor/test_monitor_operator.py"
            "::test_parameters_describe_themselves_and_refuse_what_would_loosen_them_while_active",
        ),
    ),
    OtherFailure(
        "A reset or engaging is asked for while something still stops the robot.",
        "it is refused, with the cause; no reset engages, and only a new proposal moves the robot",
        "the robot stands already",
        "remove the cause, and ask again",
        moves_on=False,
        checks=("reset", "checks_on_engage", "LEAD_AT_RESET", "_at_rest", "after_reset"),
        faults=("engaged while the emergency stop is pressed", "reset without engaging"),
    ),
    OtherFailure(
        "[Shadow mode](#shadow-mode) was left on.",
        "the proposed action is executed, whatever the models say of it; every verdict, event and diagnostic message "
        "says so",
        "",
        "the stops that shadow mode keeps are listed below",
        moves_on=True,
        checks=("gates",),
        tests=(
            monitor_test(
                "decision_on_surroundings",
                "in_shadow_mode_too_the_robot_stops_where_nothing_can_be_followed_or_a_person_wants_it",
            ),
            "tests/monitor/test_monitor_operator.py"
            "::test_in_shadow_mode_a_vetoed_proposal_reaches_the_robot_and_all_that_is_said_says_so",
        ),
    ),
    OtherFailure(
        "Anything stops a robot with a gripper, or its monitor is deactivated.",
        "the gripper holds what it was told last, and never opens by a stop; before it was told anything it is left "
        "alone",
        "at once",
        "the next verdict, or the person who drives, moves it",
        moves_on=False,
        checks=("next_setpoint",),
        faults=(
            "the policy falls silent while the gripper closes",
            "an emergency stop while the gripper closes",
            "a person lets go of an arm with a half closed gripper",
        ),
        tests=(
            monitor_test("gripper", "no_stop_moves_the_gripper"),
            monitor_test("gripper", "a_latch_and_its_reset_do_not_move_the_gripper"),
            monitor_test("gripper", "a_halt_for_deactivation_holds_the_gripper"),
        ),
    ),
    OtherFailure(
        "The wanted position of a gripper jumps.",
        "as judged",
        "at once",
        "the gripper goes there at no more than the `max_rate` of the robot file",
        moves_on=True,
        checks=("GripperLimits.follow",),
        faults=("a gripper command that jumps from open to closed", "a gripper command beyond its end"),
        tests=(monitor_test("gripper", "a_jump_of_the_wish_is_limited_in_rate"),),
    ),
    OtherFailure(
        "The measured position of a gripper is wrong but within its stroke, or frozen while the gripper closes: it may "
        "stand on what it holds.",
        "it is not noticed; the gripper is told what it would be told otherwise, since nothing but its first way "
        "begins at the measured position",
        "",
        "",
        moves_on=True,
        faults=("the position of the gripper is frozen while it closes",),
    ),
    OtherFailure(
        "An arm whose robot file has no [`joints`](arms.md) comes near a limit of a joint, a singularity, itself or "
        "the cell beside its commanded point; or, without `orientation_limit`, its tool tilts.",
        "it is not noticed here: only the workspace of the commanded point and the robot's own controller hold it",
        "",
        "add `joints` with the arm's URDF to the robot file",
        moves_on=True,
        tests=(monitor_test("arm_guard", "a_robot_without_such_limits_has_no_guard"),),
    ),
    *RETREAT_LIMITS,
)
