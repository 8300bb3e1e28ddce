"""The failure policy as data: for every failure the robot's reaction, its time limit, and how motion resumes.

safety_page.py writes docs/safety.md from this table. Each row names what makes it so and what shows it (failure.py).
"""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.arm_failures import ARM_FAILURES
from fosp_safety_monitor.page.consent_failures import CONSENT_FAILURES
from fosp_safety_monitor.page.failure import AGAIN, Failure, monitor_test
from fosp_safety_monitor.page.home_failures import HOME_FAILURES, RUN_FAILURES
from fosp_safety_monitor.page.input_failures import INPUT_FAILURES
from fosp_safety_monitor.page.retreat_failures import RETREAT_FAILURES
from fosp_safety_monitor.page.robot_failures import ROBOT_FAILURES
from fosp_safety_monitor.page.takeover_failures import TAKEOVER_FAILURES
from fosp_safety_monitor.page.zone_failures import ZONE_FAILURES

FAILURES: tuple[Failure, ...] = (
    *INPUT_FAILURES,
    *RETREAT_FAILURES,
    # -- clocks
    Failure(
        "The ROS clock jumps by {clock_jump_s} in either direction (an NTP step, a suspended machine).",
        Decision.STOP,
        (Reason.CLOCK,),
        "the next command",
        f"{AGAIN}, with stamps of the new time",
        checks=("check_clock",),
        tests=(
            monitor_test("decision_on_surroundings", "a_clock_that_jumps_stops_and_is_named"),
            monitor_test(
                "decision_on_surroundings",
                "after_a_jump_of_the_clock_the_robot_goes_on_when_all_stamps_are_of_the_new_time",
            ),
        ),
    ),
    Failure(
        "Simulated time stands still.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_LATENT, Reason.STALE_ROBOT_STATE),
        "{proposal_timeout_s}, on the monotonic clock",
        AGAIN,
        checks=(
            "check_proposal_age",
            "check_robot_state",
        ),
        faults=("simulated time stands still",),
        tests=(
            monitor_test("decision_on_surroundings", "a_paused_simulation_stops_the_robot_although_no_stamp_grows_old"),
        ),
    ),
    Failure(
        "Simulated time runs backwards by {clock_jump_s}.",
        Decision.STOP,
        (Reason.CLOCK, Reason.STALE_IMAGE, Reason.STALE_ROBOT_STATE),
        "the next command",
        f"{AGAIN}, with stamps of the new time",
        checks=(
            "check_clock",
            "check_image",
            "check_robot_state",
        ),
        faults=("clock jumps back by 0.5 s",),
    ),
    Failure(
        "Simulated time jumps ahead by more than the timeout of the image, the robot state or the pose.",
        Decision.STOP,
        (Reason.STALE_IMAGE, Reason.STALE_ROBOT_STATE),
        "the next command; a smaller jump is allowed, because simulated time may come in steps",
        f"{AGAIN}, with stamps of the new time",
        checks=(
            "check_image",
            "check_robot_state",
        ),
        faults=("clock jumps ahead by 0.5 s",),
    ),
    # -- the computer and the network
    Failure(
        "The processor is overloaded: the nodes or the command thread come late.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.HELD_UP),
        "{proposal_timeout_s} after the last proposal; the robot's `command_timeout_s` after the last command. Late "
        "ticks are a warning on `/diagnostics` before that",
        AGAIN,
        checks=(
            "check_proposal_age",
            "check_stream",
        ),
        faults=("cpu starvation: 6 busy processes",),
    ),
    Failure(
        "The network fails between the monitor and the other nodes, or between the monitor and the robot.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_LATENT, Reason.STALE_ROBOT_STATE),
        "the limit of the first input that is missing; a robot that receives no commands stops by its own "
        "`command_timeout_s`",
        f"{AGAIN}; a node whose heartbeats were away for {{heartbeat_gap_s}} latches when it is back",
        checks=(
            "check_proposal_age",
            "check_robot_state",
        ),
        faults=(
            "proposals dropped",
            "latents dropped",
            "joint states dropped",
        ),
    ),
    Failure(
        "The network fails between the monitor and an emergency stop.",
        Decision.LATCH,
        (Reason.ESTOP,),
        "{estop_timeout_s}",
        "reset, once the emergency stop sends again and is released",
        checks=("check_estop",),
        faults=("network down for 0.5 s",),
    ),
    *ROBOT_FAILURES,
    *CONSENT_FAILURES,
    *HOME_FAILURES,
    *RUN_FAILURES,
    *ZONE_FAILURES,
    *ARM_FAILURES,
    *TAKEOVER_FAILURES,
    # -- the monitor
    Failure(
        "The monitor is active, but nothing was judged yet, or the emergency stop has never sent anything.",
        Decision.STOP,
        (Reason.NOT_READY, Reason.ESTOP),
        "the robot has not moved yet",
        "motion begins when the inputs are there; this stop does not latch",
        checks=("check_estop",),
        tests=(
            monitor_test("decision_on_ticks", "nothing_moves_before_the_first_verdict"),
            monitor_test(
                "decision_on_surroundings", "a_configured_emergency_stop_that_was_never_heard_of_stops_without_a_latch"
            ),
        ),
    ),
    Failure(
        "The command stream is held up for longer than the robot's `command_timeout_s`.",
        Decision.STOP,
        (Reason.HELD_UP,),
        "the robot's own watchdog",
        "commands begin at zero, and " + AGAIN,
        checks=("check_stream",),
        faults=("sigstop safety_monitor_node 0.15 s",),
    ),
    Failure(
        "The critic's session does not give its golden outputs any more (memory or provider are at fault), or its "
        "self-test does not come to its end for 15 s.",
        Decision.LATCH,
        (Reason.SELF_TEST,),
        "every loaded critic is tested in turn, one every 2 s",
        "deactivate, clean up and configure the monitor, which loads the model anew, then reset; check the computer "
        "first. A self-test that was only late: reset, once it has come to its end",
        checks=(
            "check_self_test",
            "failure_of",
            "SelfTest.fault",
        ),
        faults=(
            "the critic goes wrong in memory",
            "the critic's self-test hangs",
        ),
    ),
    Failure(
        "The session of the encoder or of the policy does not give its golden outputs any more, or its self-test does "
        "not come to its end for 15 s: the node falls silent, and `/diagnostics` shows ERROR.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_LATENT),
        "{proposal_timeout_s} after the last proposal",
        "configure that node anew; after {stale_latch_s} reset as well",
        checks=(
            "check_proposal_age",
            "failure_of",
            "SelfTest.fault",
        ),
        faults=(
            "the encoder's network goes wrong in memory",
            "the policy's network goes wrong in memory",
        ),
    ),
)
