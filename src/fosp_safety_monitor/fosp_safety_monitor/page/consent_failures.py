"""The failure policy for the consents that motion needs, as data: operator, episode, readiness and force."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AGAIN, Failure, monitor_test

CONSENT_FAILURES: tuple[Failure, ...] = (
    Failure(
        "No operator has engaged since activation, since the last latch, or since a pause of the robot: the command "
        "stream was held up, the robot was not ready, or its state was missing for {robot_pause_s}.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "at once; the robot does not move unasked",
        "an operator calls `~/engage` (`fosp engage`), and the speed grows within {ramp_in_s}",
        checks=(
            "check_engaged",
            "on_tick",
            "loss",
            "checks_on_engage",
            "after_reset",
            "check_ramp",
            "ramp_scale",
        ),
        tests=(
            monitor_test("consent", "nothing_moves_before_an_operator_engages_even_inside_an_episode"),
            monitor_test("consent", "a_pause_of_the_robot_ends_the_consent"),
            "tests/monitor/test_monitor_consent.py::test_the_robot_moves_once_everybody_has_consented_and_not_before",
        ),
    ),
    Failure(
        "An operator calls `~/disengage` (`fosp disengage`).",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command",
        "engage",
        checks=(
            "check_engaged",
            "disengaged",
        ),
        faults=("disengaged in motion",),
    ),
    Failure(
        "An operator engaged at a page of the console, and the console died, hangs or is cut off, or the page was "
        "closed or has fallen silent: no beat on `fosp/operator_watch` for {operator_watch_timeout_s}.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command after the time; the console itself disengages when its page goes",
        "engage",
        checks=(
            "check_engaged",
            "loss",
            "watch_fault",
        ),
        faults=(
            "console killed while it had engaged",
            "console hung while it had engaged",
            "page closed that had engaged",
            "page silent that had engaged",
        ),
        tests=(monitor_test("consent", "the_consent_of_a_console_ends_with_its_beats"),),
    ),
    Failure(
        "The enabling switch (the robot's `enabling`) is released, silent for its `timeout_s`, malformed, of a device "
        "with other axes or buttons than the first one, or repeats one message for its `repeat_s`.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command after the message or the time",
        "press it again (after a silence, a repetition or another device: let go first), then engage",
        checks=(
            "check_engaged",
            "loss",
            "switch_fault",
        ),
        faults=(
            "enabling switch released",
            "enabling switch released for one message",
            "enabling switch silent",
            "enabling switch: one message for ever",
            "enabling switch under its old stamp",
            "enabling switch with NaN",
            "enabling switch without its button",
        ),
        tests=(monitor_test("consent", "a_device_with_other_controls_under_the_topic_of_the_switch_is_a_release"),),
    ),
    Failure(
        "No episode runs: before the first one, between two, and after one that ended, by a violation too.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "the next command",
        "`fosp/reset_episode` begins an episode; with `episodes: not_used` the robot moves without one",
        checks=("check_episode",),
        faults=(
            "episode over",
            "a violation ends the episode",
        ),
    ),
    Failure(
        "The feedback of the running episode falls silent, or holds NaN.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "{feedback_timeout_s}",
        "the feedback of the same episode comes again, or another episode begins",
        checks=("check_episode",),
        faults=(
            "feedback dropped",
            "feedback with NaN",
            "feedback stamped 1 s ago",
        ),
    ),
    Failure(
        "A topic of the robot's `ready` says that the robot cannot be commanded, is silent for its `timeout_s`, or has "
        "no publisher any more.",
        Decision.STOP,
        (Reason.ROBOT_NOT_READY,),
        "the next command; of a publisher that died, once it is gone from the graph (DDS takes up to 20 s)",
        "engage, once the robot is ready",
        checks=(
            "check_ready",
            "ready_fault",
            "loss",
        ),
        faults=(
            "robot says that it is not ready",
            "ready topic silent",
            "publisher of ready gone",
        ),
    ),
    Failure(
        "The force on `wrench_topic` has changed by more than `protective_force_n` since an operator engaged.",
        Decision.LATCH,
        (Reason.FORCE,),
        "the next command",
        "reset, once the force is gone, then engage",
        checks=(
            "check_force",
            "rest_force",
            "compared_bias",
            "REST_SHARE",
        ),
        faults=("a force above the limit",),
    ),
    Failure(
        "The wrench is missing, stale or NaN, or the same to the last bit for {frozen_force_s}: its sensor froze or is "
        "at the end of its range.",
        Decision.STOP,
        (Reason.FORCE,),
        "{robot_state_timeout_s}; NaN: the next command; a frozen one: {frozen_force_s}",
        AGAIN,
        checks=(
            "check_force",
            "force_fault",
        ),
        faults=(
            "force with NaN",
            "force silent",
            "force frozen, with new stamps",
            "force at the end of its range",
        ),
    ),
)
