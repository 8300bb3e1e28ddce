"""The failure policy for the way home between episodes, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import Failure, monitor_test

_ANEW = "an operator sends it home anew; nothing else begins the way again"

RUN_FAILURES: tuple[Failure, ...] = (
    Failure(
        "A program drives in the place of a person (`fosp run`), and the robot's enabling switch is not held, is "
        "silent, or was never seen to be released.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command",
        "the program ends, and has to be started anew",
        checks=("check_held",),
        tests=(monitor_test("operator_guard", "a_program_drives_only_while_the_enabling_switch_is_held"),),
    ),
)
HOME_FAILURES: tuple[Failure, ...] = (
    Failure(
        "The robot is sent home (`~/home`, `fosp home`) while nobody has engaged, an episode runs, or it moves or is "
        "latched, in shadow mode, without a home in its file or a fresh pose, or along an axis that it lacks.",
        Decision.STOP,
        (Reason.NOT_ENGAGED, Reason.NO_EPISODE),
        "the order is refused; the robot does not move unasked",
        _ANEW,
        checks=("check_order_home", "HomeDrive.unreachable"),
        tests=(
            monitor_test("homing", "nothing_moves_home_by_itself"),
            monitor_test("homing", "who_has_not_engaged_sends_no_robot_home"),
            monitor_test("homing", "during_an_episode_and_without_episodes_the_order_is_refused"),
            monitor_test("homing", "without_a_home_or_out_of_reach_the_order_is_refused"),
        ),
    ),
    Failure(
        "On the way home the pose or the robot's state falls silent, or the clock jumps.",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE, Reason.CLOCK),
        "{robot_state_timeout_s}; a jump of the clock: the next command",
        _ANEW,
        checks=("checks_on_homing", "stopped"),
        faults=("pose silent on the way home",),
        tests=(monitor_test("homing", "a_jump_of_the_clock_ends_the_way"),),
    ),
    Failure(
        "On the way home the operator disengages, the enabling switch is released, the robot is not ready, or a zone "
        "leaves nothing of its speed.",
        Decision.STOP,
        (Reason.NOT_ENGAGED, Reason.ROBOT_NOT_READY, Reason.PROTECTIVE_ZONE),
        "the next command",
        f"engage, where the consent has ended; then {_ANEW}",
        checks=("check_engaged", "permission_on_tick", "checks_on_homing"),
        faults=("disengaged on the way home",),
        tests=(monitor_test("homing", "whatever_stops_a_robot_without_a_model_ends_the_way"),),
    ),
    Failure(
        "The robot is not at home after the `timeout_s` of its home, or an episode begins on the way.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "the next command",
        f"{_ANEW}; an episode that began goes on after a second",
        checks=("after_tick", "on_tick", "check_homing"),
        tests=(
            monitor_test("homing", "the_way_is_given_up_after_its_time"),
            monitor_test("homing", "proposals_are_not_followed_on_the_way_nor_in_the_moment_after_it"),
        ),
    ),
    Failure(
        "A policy proposes while the robot is on its way home.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "such a proposal is never followed; the way goes on",
        "an episode begins",
        checks=("permission_of_proposals",),
        tests=(monitor_test("homing", "proposals_are_not_followed_on_the_way_nor_in_the_moment_after_it"),),
    ),
    Failure(
        "The robot is on its way home.",
        Decision.PASS,
        (Reason.SLOW_DOWN,),
        "no faster than the `speed` of its home: a share of the speed at action 1, in a straight line",
        "it stands at home, and waits for an episode",
        checks=("HomeDrive.wish", "home_fault"),
        tests=(
            monitor_test("homing", "an_engaged_operator_sends_the_robot_home_slowly_and_in_a_straight_line"),
            "src/fosp_core/test/test_home.py::test_a_home_that_cannot_be_is_refused",
        ),
    ),
)
