"""The failure policy for a person who takes the robot over from the policy, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AFTER_A_STOP, RESET, Failure, monitor_test

DEVICE_TESTS = "src/fosp_policy/test/test_teleoperation.py"
TAKEOVER_FAILURES: tuple[Failure, ...] = (
    Failure(
        "A person holds the dead-man's button of their device: they drive, whatever the policy proposes, also when the "
        "policy or the encoder dies. The critic tells their risk, and gates it with `gate_operator` only.",
        Decision.PASS,
        (Reason.TAKEN_OVER,),
        "the next command",
        "they drive until they let go",
        checks=("check_judged",),
        faults=("taken over", "proposals dropped while a person drives", "taken over while the gripper closes"),
        tests=(monitor_test("takeover", "a_person_drives_on_when_policy_and_encoder_die"),),
    ),
    Failure(
        "A person lets go of the robot that they had taken over, or holds a button that was never seen to be let go "
        "or was held through a latch or a fault of the device.",
        Decision.STOP,
        (Reason.TAKEN_OVER,),
        "the next command",
        "the policy drives when the button was seen to be let go for {release_s} and a proposal passes whose frame was "
        "taken after that, at a speed that grows from a fifth in {ramp_in_s}",
        checks=("check_hand_back", "handed_back", "check_ramp_back", "OperatorInput.after"),
        faults=("a person lets go", "a person lets go of an arm with a half closed gripper"),
        tests=(
            monitor_test("takeover", "a_release_stops_and_hands_back_after_a_while_with_a_ramp"),
            monitor_test("takeover", "a_proposal_from_before_the_release_does_not_get_the_robot_back"),
        ),
    ),
    Failure(
        "The device of a person who drives is silent for {operator_timeout_s}, or says what cannot be followed: NaN, "
        "an axis or a button is missing, the same for `repeat_s`, old messages by their stamps, another number of axes "
        "or buttons than at first (another device was plugged in), a stick that is stuck off its centre while the "
        "button is let go; or two nodes publish for it.",
        Decision.STOP,
        (Reason.OPERATOR_SILENT,),
        "{operator_timeout_s}; for a fault that teleop_node tells the next command, for a device that is silent behind "
        "it 0.3 s",
        "the button is seen to be let go and pressed anew; the robot is not handed back before",
        checks=("check_device", "device_silence", "device_fault", "Repetition.after", "DeviceHistory.after"),
        faults=(
            "the operator's messages stop",
            "the operator's messages are late by 300 ms",
            "the operator's messages under their old stamp",
            "the gamepad is pulled out while it drives",
            "the gamepad hangs while it drives",
            "the gamepad says NaN",
            "the gamepad lacks an axis",
            "two gamepads",
        ),
        tests=(
            monitor_test("takeover", "a_device_that_falls_silent_stops_the_robot_and_keeps_it"),
            f"{DEVICE_TESTS}::test_a_gamepad_that_comes_back_with_other_controls_is_not_followed_until_the_first_one_is_back",
            f"{DEVICE_TESTS}::test_a_stick_that_stays_off_its_centre_while_the_button_is_let_go_drives_nothing",
            f"{DEVICE_TESTS}::test_messages_that_are_late_or_of_two_devices_are_not_followed",
        ),
    ),
    Failure(
        "The device of a person who drives stays silent for {stale_latch_s}, or no proposal comes for so long after "
        "they let go.",
        Decision.LATCH,
        (Reason.STALE_TOO_LONG,),
        AFTER_A_STOP,
        "reset, which gives the robot to the policy",
        checks=("check_proposals_after",),
        faults=("a person lets go, and no proposal comes",),
        tests=(
            monitor_test("takeover", "a_device_that_stays_silent_latches_and_a_reset_gives_the_robot_to_the_policy"),
            monitor_test("takeover", "a_policy_that_stays_away_after_the_release_latches"),
        ),
    ),
    Failure(
        "The action of a person who drives has another size than the robot's, or is not finite.",
        Decision.LATCH,
        (Reason.WRONG_SHAPE, Reason.NOT_FINITE),
        "the next command",
        RESET,
        checks=("check_operator_action",),
        faults=(
            "the operator's action with NaN",
            "the operator's action of another size",
            "the operator's gripper value is NaN",
        ),
        tests=(monitor_test("takeover", "an_action_of_a_person_that_is_malformed_latches"),),
    ),
)
