"""The failure policy for a robot that hangs and goes back along its own trail, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import Failure, OtherFailure, monitor_test

_TRAIL = "src/fosp_core/test/test_trail.py::test_"
_AS_WITHOUT = "the robot is braked as without `retreat`, and hangs again after {hang_window_s}"

RETREAT_FAILURES: tuple[Failure, ...] = (
    Failure(
        "With `retreat`: no candidate is feasible, the risk of the state does not fall, and the measured robot got no "
        "further within {hang_window_s} than a sixth of what it could have gone (2.5 cm at 0.25 m/s).",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once, at {recover_scale} of full speed at most; everything that stops a robot stops this one",
        "it goes back along its own trail, whatever the critic says of that: to where it was measured within "
        "{trail_age_s} and what drove it was feasible, {retreat_length_s} at full speed far. While a candidate is "
        "feasible the policy drives",
        checks=("WayBack.wish", "Trail.back"),
        tests=(
            monitor_test("retreat", "a_robot_that_hangs_goes_back_along_its_trail_slowly_and_says_so"),
            monitor_test("retreat", "it_never_goes_back_faster_than_recover_scale_nor_off_its_trail"),
            monitor_test("retreat", "there_is_no_way_back_over_places_where_nothing_was_feasible"),
            f"{_TRAIL}the_way_back_stays_on_the_trail_and_within_its_speed_and_comes_to_the_trails_end",
        ),
    ),
    Failure(
        "On the way back the trail is older than {trail_age_s}, the robot is off it by more than 0.05 s at full speed "
        "(at least 1 cm: it slips, is pushed, or casters swing), the risk of the state rises by {retreat_risk_rise}, "
        "or it takes twice as long as it should.",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once",
        _AS_WITHOUT,
        checks=("_too_old", "_off_trail", "_riskier", "_too_long"),
        tests=(
            monitor_test("retreat", "a_way_back_ends_when_its_places_are_too_old"),
            monitor_test("retreat", "a_robot_off_its_trail_goes_back_no_further"),
            monitor_test("retreat", "a_rising_risk_ends_the_way_back"),
            monitor_test("retreat", "a_robot_that_is_held_up_on_its_way_back_gives_it_up"),
        ),
    ),
    Failure(
        "Anything stopped the robot, decisions paused for 0.3 s (a person drove, a message was lost), the measured "
        "place jumped, or the gripper moved, so that the robot may carry something: what was free then may not be now.",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once",
        f"the trail begins anew; {_AS_WITHOUT}",
        checks=("kept", "_lost"),
        tests=(
            monitor_test("retreat", "whatever_stops_the_robot_takes_its_trail_away"),
            monitor_test("retreat", "after_a_pause_of_the_decisions_the_trail_is_gone"),
            monitor_test("retreat", "who_has_gripped_something_since_does_not_go_back"),
            f"{_TRAIL}after_a_gap_a_step_back_in_time_or_a_jump_the_trail_begins_anew",
        ),
    ),
    Failure(
        "With `retreat`: the robot hangs in the same place more than {retreat_tries} times in a row, also where its "
        "actions are feasible and lead nowhere. It asks for help.",
        Decision.LATCH,
        (Reason.VETOES,),
        "at the end of its last way back, else at once",
        "a person frees the robot or the scene; reset",
        checks=("check_hang",),
        tests=(
            monitor_test("retreat", "a_robot_that_gets_nowhere_again_and_again_stops_and_asks_for_help"),
            monitor_test(
                "retreat", "a_robot_that_is_hindered_though_its_actions_are_feasible_asks_for_help_and_does_not_go_back"
            ),
        ),
    ),
)
RETREAT_LIMITS: tuple[OtherFailure, ...] = (
    OtherFailure(
        "With `retreat`: something moved onto the trail within the last seconds and the critic does not see the risk "
        "rise, a base slips so that its odometry does not show it, or what the robot holds hangs out differently than "
        "before.",
        "it is not noticed here: only zones, the protective force and the robot's own controller hold the robot, at "
        "`recover_scale` of its speed",
        "",
        "leave `retreat` off where things move, on floors that slip, and while something is carried",
        moves_on=True,
        tests=(monitor_test("retreat", "it_is_off_unless_asked_for"),),
    ),
)
