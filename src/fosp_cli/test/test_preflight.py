"""The pre-flight check of good and bad streams, clocks and disks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fosp_bringup.paths import robot_path
from fosp_bringup.stack import Stack
from fosp_cli.demonstration.graph_watch import CameraHealth
from fosp_cli.demonstration.keyboard import HOLD_S, KeyboardDevice
from fosp_cli.demonstration.preflight import (
    Brightness,
    CheckResult,
    Expected,
    Observed,
    check_commander,
    check_device,
    check_disk,
    check_exposure,
    check_goal,
    check_images,
    check_publisher,
    check_stream,
    recorded_bytes_per_s,
)
from fosp_cli.demonstration.session import Session, judge, watched
from fosp_core.robot.config import CameraConfig, RobotConfig, read_robot
from fosp_core.specs import parse_spec
from fosp_recording.feedback_rules import FeedbackConfig, GoalRule
from fosp_recording.recorded_topics import image_topics

CAMERA = Expected("camera/color/image_raw", 30.0, "start the camera")


def stream(rate_hz: float = 30.0, age_s: float = 0.02) -> Observed:
    return Observed(2.0, 1, [age_s] * int(2 * rate_hz))


def test_a_stream_as_it_should_be_passes_with_its_figures() -> None:
    assert check_stream(CAMERA, stream()) == CheckResult(True, "camera/color/image_raw: 30.0 Hz, 20 ms old")


@pytest.mark.parametrize(
    ("observed", "text", "remedy"),
    [
        (Observed(2.0), "nobody publishes it", "start the camera"),
        (Observed(2.0, 1), "0 messages in 2 s", "ROS_DOMAIN_ID"),
        (stream(15.0), "15.0 Hz instead of 30", "USB 3"),
        (stream(age_s=-1.5), "1500 ms in the future", "chrony"),
        (stream(age_s=2.0), "2.00 s old", "chrony"),
        (stream(age_s=1.7e9), "old by its stamp", "fills in stamps"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_with_its_remedy(observed: Observed, text: str, remedy: str) -> None:
    finding = check_stream(CAMERA, observed)
    assert not finding.ok
    assert text in finding.text
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("images", "text", "remedy"),
    [
        (
            Observed(2.0, 0),
            "no image in 2 s, although its camera_info comes",
            "correct camera_topics",
        ),
        (Observed(2.0, 1), "no image in 2 s, although its camera_info comes", "larger socket buffers"),
        (Observed(2.0, 1, [0.02]), "1 messages in 2 s", "DDS settings"),
        (stream(12.0), "12.0 Hz instead of 30", "larger socket buffers"),
        (stream(age_s=-1.5), "1500 ms in the future", "chrony"),
    ],
)
def test_images_that_do_not_come_are_found_although_their_camera_info_does(
    images: Observed, text: str, remedy: str
) -> None:
    finding = check_images(CAMERA, images, stream())
    assert not finding.ok
    assert finding.text.startswith("camera/color/image_raw: ")
    assert text in finding.text
    assert remedy in finding.remedy


def test_a_camera_that_says_nothing_at_all_is_not_started() -> None:
    assert check_images(CAMERA, Observed(2.0), Observed(2.0)).remedy == "start the camera"
    assert check_images(CAMERA, stream(), stream()) == check_stream(CAMERA, stream())


def test_a_topic_that_speaks_only_when_something_changes_needs_somebody_to_speak() -> None:
    assert check_publisher("bumper", 1, "start it") == CheckResult(True, "bumper: 1 publisher")
    assert check_publisher("bumper", 0, "start it") == CheckResult(False, "bumper: nobody publishes it", "start it")


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
    assert check_stream(Expected("joy", 10.0, ""), stream(20.0, math.nan)) == CheckResult(True, "joy: 20.0 Hz")


def test_one_publisher_commands_the_robot_and_no_other() -> None:
    assert check_commander("cmd_vel", 1).ok
    assert "stop whatever else" in check_commander("cmd_vel", 2).remedy
    assert not check_commander("cmd_vel", 0).ok


def test_a_disk_needs_room_for_the_recording_and_some_to_spare() -> None:
    assert check_disk(10 * 10**9, 5 * 10**9).ok
    finding = check_disk(5 * 10**9, 5 * 10**9)
    assert not finding.ok
    assert "free 2.0 GB" in finding.remedy


@pytest.mark.parametrize(
    ("seen", "text", "remedy"),
    [
        (Brightness(60), "brightness of the images changes", "steady the light"),
        (Brightness(3), "3 images are too few", "warmed up"),
        (Brightness(60, unreadable="no such encoding"), "no such encoding", "rgb8"),
    ],
)
def test_an_exposure_that_cannot_be_told_to_have_settled_is_said(seen: Brightness, text: str, remedy: str) -> None:
    assert check_exposure("camera/color/image_raw", Brightness(8, settled=True)).ok
    finding = check_exposure("camera/color/image_raw", seen)
    assert not finding.ok
    assert text in finding.text
    assert remedy in finding.remedy


def test_a_healthy_camera_does_not_hide_a_broken_one() -> None:
    cameras = CameraHealth()
    assert (cameras.dropped, cameras.trouble) == (0, "")
    cameras.report("wrist_node", 3, "unplugged")
    cameras.report("camera_node", 2, "")
    assert (cameras.dropped, cameras.trouble) == (5, "wrist_node: unplugged")
    cameras.report("camera_node", 4, "12.0 Hz instead of 30")
    assert (cameras.dropped, cameras.trouble) == (7, "camera_node: 12.0 Hz instead of 30; wrist_node: unplugged")
    cameras.report("wrist_node", 3, "")
    assert cameras.trouble == "camera_node: 12.0 Hz instead of 30"


def session(tmp_path: Path, robot: RobotConfig, *rules: dict[str, Any], **options: Any) -> Session:
    config = parse_spec(FeedbackConfig, {"time_limit_s": 10.0, "rules": rules}, "rules")
    return Session(Stack(()), robot, tmp_path, 1, options.pop("device", "joy"), rules=config, **options)


ARM = read_robot(robot_path("sim_arm"))
BUMPER = {"kind": "bumper", "topic": "bumper", "cost": 1.0}
BUTTON = {"kind": "button", "button": 1, "cost": 1.0}


def refused(made: Session, observed: dict[str, Observed]) -> list[str]:
    """Topics that are found wanting, of what was observed; all others are as they should be."""
    listened = [*watched(made), *image_topics(made.robot)]
    good = {topic: Observed(2.0, 1, [0.02] * 400) for topic in listened}
    seen = {topic: Brightness(60, settled=True) for topic in image_topics(made.robot)}
    findings = judge(made, {**good, **observed}, seen)
    return [finding.text.partition(":")[0] for finding in findings if not finding.ok]


def test_bumper_and_button_need_a_publisher_but_no_rate(tmp_path: Path) -> None:
    made = session(tmp_path, ARM, BUMPER, {**BUTTON, "topic": "pendant"})
    silent = {"bumper": Observed(2.0, 1), "pendant": Observed(2.0, 1)}
    assert refused(made, silent) == []
    assert refused(made, {"bumper": Observed(2.0), "pendant": Observed(2.0)}) == ["bumper", "pendant"]


def test_a_device_with_a_button_to_hold_repeats_itself_and_a_cap_on_a_spring_may_be_silent(tmp_path: Path) -> None:
    gamepad = session(tmp_path, ARM, BUTTON)
    assert refused(gamepad, {"joy": Observed(2.0, 1)}) == ["joy"]
    cap = session(tmp_path, ARM, BUTTON, device="spacenav/joy", device_repeats=False)
    assert refused(cap, {"spacenav/joy": Observed(2.0, 1), "joy": Observed(2.0, 1)}) == []
    assert refused(cap, {"spacenav/joy": Observed(2.0), "joy": Observed(2.0)}) == ["spacenav/joy", "joy"]
    keyboard = session(tmp_path, ARM, BUTTON, keyboard=True)
    assert refused(keyboard, {"joy": Observed(2.0)}) == [], "it is ours"


def test_the_images_of_every_camera_are_counted_depth_too_where_it_is_asked_for(tmp_path: Path) -> None:
    cameras = (CameraConfig(serial="1", depth=True), CameraConfig(name="wrist", serial="2"))
    made = session(tmp_path, ARM.model_copy(update={"cameras": cameras}), BUMPER)
    images = ["camera/color/image_raw", "camera/aligned_depth_to_color/image_raw", "wrist/color/image_raw"]
    for image in images:
        assert refused(made, {image: Observed(2.0, 1)}) == [image]
        assert refused(made, {image: stream(20.0)}) == [image]
    assert refused(session(tmp_path, ARM, BUMPER), {images[1]: Observed(2.0)}) == []


def test_a_key_is_held_for_a_moment_and_holds_the_deadman_button() -> None:
    device = KeyboardDevice()
    device.press("w", 10.0)
    axes, buttons = device.state(10.1)
    assert (axes[1], buttons[5]) == (1.0, 1)
    assert device.state(10.0 + HOLD_S + 0.01) == ([0.0] * 6, [0] * 10)


def test_space_halts_and_other_keys_press_buttons_without_moving_anything() -> None:
    device = KeyboardDevice()
    device.press("w", 10.0)
    device.press(" ", 10.01)
    device.press("n", 10.02)
    device.press("?", 10.02)
    axes, buttons = device.state(10.05)
    assert axes == [0.0] * 6
    assert buttons == [0, 0, 0, 0, 0, 1, 0, 1, 0, 0], "space holds the robot, and n begins an episode"


def test_the_space_of_a_recording_is_estimated_from_what_comes() -> None:
    recorded = {"camera/image": "sensor_msgs/msg/Image", "side/compressed": "sensor_msgs/msg/CompressedImage"}
    observed = {
        "camera/image": Observed(2.0, 1, [0.0] * 20, bytes=2_000_000),
        "side/compressed": Observed(2.0, 1, [0.0] * 20, bytes=400_000),
        "not/recorded": Observed(2.0, 1, [0.0] * 20, bytes=10**9),
    }
    assert recorded_bytes_per_s(observed, recorded) == pytest.approx(0.7 * 1e6 + 2e5)
    assert recorded_bytes_per_s({"camera/image": Observed()}, recorded) == 0.0


def test_a_device_that_lacks_a_control_of_its_mapping_is_a_finding() -> None:
    assert check_device("").ok
    finding = check_device("joy: the device has 2 axes, and the mapping wants axis 4: use another device")
    assert not finding.ok
    assert finding.text.endswith("wants axis 4")
    assert finding.remedy == "use another device"
