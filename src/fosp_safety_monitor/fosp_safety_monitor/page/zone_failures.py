"""The failure policy for protective zones and their sensors, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AFTER_A_STOP, AGAIN, Failure, monitor_test

ZONE_FAILURES: tuple[Failure, ...] = (
    Failure(
        "Something is in a stop zone of the robot file, or in the way that the zone sweeps within its `grow_s`; or "
        "nothing of the speed is left by an approach or keep-out zone. This holds while a person drives, too.",
        Decision.STOP,
        (Reason.PROTECTIVE_ZONE,),
        "the next command after the message is read",
        f"{AGAIN}; in an approach zone also as soon as the policy asks for another direction",
        checks=("check_zones", "ConvexPolygon.contains"),
        faults=(
            "something in the stop zone of a base",
            "a hand in the cell of an arm",
            "a hand in the cell of an arm, in metres",
        ),
        tests=(
            monitor_test(
                "decision_on_zones",
                "something_in_a_stop_zone_stops_at_the_next_tick_and_motion_resumes_once_it_is_away",
            ),
            monitor_test("zones_properties", "no_arrangement_of_points_inside_a_stop_zone_passes"),
        ),
    ),
    Failure(
        "Something is in a slow zone, or nearer than an approach or keep-out zone keeps by its `time_s` at the "
        "velocity that is asked for.",
        Decision.PASS,
        (Reason.PROTECTIVE_ZONE,),
        "the next command",
        "the speed is scaled while it lasts",
        checks=("check_zone_speed", "zones_on"),
        faults=("something in front of a base",),
        tests=(
            monitor_test(
                "decision_on_zones",
                "a_slow_zone_slows_between_two_proposals_and_the_verdict_says_by_how_much",
            ),
        ),
    ),
    Failure(
        "A sensor of the zones is silent or late by its `timeout_s`, stamped in the future, malformed, empty, in "
        "another frame or unit, or blind (more than its `unknown_share` of readings without a distance); or the "
        "`camera_info` of a depth camera is not sound, of another size, of another lens or camera than the first one, "
        "or of a lens whose distortion is not undone.",
        Decision.STOP,
        (Reason.PROTECTIVE_ZONE,),
        "its `timeout_s`; for a wrong message the next command",
        AGAIN,
        checks=("check_zones", "ProtectiveField.judge", "SourceDecoder.read"),
        faults=(
            "scans dropped",
            "scans delayed by 300 ms",
            "scans of NaN",
            "scans without ranges",
            "scans in another frame",
            "scans nearer than the scanner can tell",
            "depth images dropped",
            "depth images delayed by 300 ms",
            "depth images under their old stamp",
            "depth images of zeros",
            "depth images of NaN",
            "depth images cut off",
            "depth images of another size than their camera_info",
            "depth images in another frame",
            "depth images that are pictures",
            "camera_info without focal lengths",
            "camera_info of a fisheye lens",
        ),
        tests=(monitor_test("zones", "a_source_that_is_late_or_missing_or_from_the_future_leaves_nothing"),),
    ),
    Failure(
        "A sensor of the zones that was heard stays silent for {stale_latch_s}.",
        Decision.LATCH,
        (Reason.PROTECTIVE_ZONE,),
        AFTER_A_STOP,
        "reset, once it sends again",
        checks=("check_zones",),
        faults=("scans stop for good",),
        tests=(
            monitor_test(
                "decision_on_zones",
                "a_silent_scanner_stops_within_its_time_out_and_latches_when_it_stays_away",
            ),
        ),
    ),
)
