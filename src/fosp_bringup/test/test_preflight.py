"""What the pre-flight check says of good and bad streams, clocks and disks."""

from __future__ import annotations

import math

import pytest

from fosp_bringup.keyboard import HOLD_S, KeyboardDevice
from fosp_bringup.paths import robot_path
from fosp_bringup.preflight import (
    Expected,
    Finding,
    Observed,
    check_commander,
    check_disk,
    check_exposure,
    check_goal,
    check_stream,
)
from fosp_core.specs import read_robot
from fosp_learner.feedback_rules import GoalRule

CAMERA = Expected("camera/color/image_raw", 30.0, "start the camera")


def stream(rate_hz: float = 30.0, age_s: float = 0.02) -> Observed:
    return Observed(2.0, 1, [age_s] * int(2 * rate_hz))


def test_a_stream_as_it_should_be_passes_with_its_figures() -> None:
    assert check_stream(CAMERA, stream()) == Finding(True, "camera/color/image_raw: 30.0 Hz, 20 ms old")


@pytest.mark.parametrize(
    ("observed", "text", "remedy"),
    [
        (Observed(2.0), "nobody publishes it", "start the camera"),
        (Observed(2.0, 1), "0 messages in 2 s", "ROS_DOMAIN_ID"),
        (stream(15.0), "15.0 Hz instead of 30", "USB 3"),
        (stream(age_s=-1.5), "1500 ms in the future", "chrony"),
        (stream(age_s=2.0), "2.00 s old", "chrony"),
        (stream(age_s=1.7e9), "old by its stamp", "fill in stamps"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_with_its_remedy(observed: Observed, text: str, remedy: str) -> None:
    finding = check_stream(CAMERA, observed)
    assert not finding.ok
    assert text in finding.text
    assert remedy in finding.remedy


def test_a_goal_outside_of_the_workspace_is_found_before_anybody_drives_there() -> None:
    arm = read_robot(robot_path("ur5e"))
    near = GoalRule(kind="goal", topic=arm.pose_topic, goal=(-0.45, 0.1, 0.2), within_m=0.03, success=True)
    assert check_goal(near, arm).ok
    far = near.model_copy(update={"goal": (0.55, 0.0, 0.2)})
    finding = check_goal(far, arm)
    assert not finding.ok
    assert finding.text == "the goal (0.55, 0, 0.2) lies outside of the workspace of ur5e"
    assert check_goal(far.model_copy(update={"topic": "cube_pose"}), arm).ok, "of something else"


def test_messages_without_a_header_have_a_rate_only() -> None:
    assert check_stream(Expected("joy", 10.0, ""), stream(20.0, math.nan)) == Finding(True, "joy: 20.0 Hz")


def test_one_publisher_commands_the_robot_and_no_other() -> None:
    assert check_commander("cmd_vel", 1).ok
    assert "stop whatever else" in check_commander("cmd_vel", 2).remedy
    assert not check_commander("cmd_vel", 0).ok


def test_a_disk_needs_room_for_the_recording_and_some_to_spare() -> None:
    assert check_disk(10 * 10**9, 5 * 10**9).ok
    finding = check_disk(5 * 10**9, 5 * 10**9)
    assert not finding.ok
    assert "free 2.0 GB" in finding.remedy


def test_an_exposure_that_has_not_settled_is_said() -> None:
    assert check_exposure(True).ok
    assert "steady the light" in check_exposure(False).remedy


def test_a_key_is_held_for_a_moment_and_holds_the_deadman_button() -> None:
    device = KeyboardDevice()
    device.press("w", 10.0)
    axes, buttons = device.state(10.1)
    assert (axes[1], buttons[5]) == (1.0, 1)
    assert device.state(10.0 + HOLD_S + 0.01) == ([0.0] * 6, [0] * 8)


def test_space_halts_and_other_keys_press_buttons_without_moving_anything() -> None:
    device = KeyboardDevice()
    device.press("w", 10.0)
    device.press(" ", 10.01)
    device.press("n", 10.02)
    device.press("?", 10.02)
    axes, buttons = device.state(10.05)
    assert axes == [0.0] * 6
    assert buttons == [0, 0, 0, 0, 0, 0, 0, 1]
