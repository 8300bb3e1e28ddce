"""Differences between a bundle and a robot that it was not made for, and the soundness of every shipped robot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import tiny_manifest

from fosp_core.bundle.bundle import differences, uneven_decisions
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.limits import CommandLimits
from fosp_core.specs import CameraSpec, ObservationSpec

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
SHIPPED = sorted(path.stem for path in ROBOTS.glob("*.yaml") if "." not in path.stem)


def robot(base: str, **changed: object) -> RobotConfig:
    content = read_robot(ROBOTS / f"{base}.yaml").model_dump()
    return RobotConfig.model_validate({**content, **changed})


def test_the_robots_that_the_documentation_names_are_shipped() -> None:
    assert {"diff_drive", "franka_fr3", "sim_arm", "sim_base", "ur5e"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_robot_is_sound_and_takes_a_bundle_of_its_own(name: str) -> None:
    shipped = read_robot(ROBOTS / f"{name}.yaml")
    assert shipped.name == name
    assert (
        differences(tiny_manifest(shipped, decision_period_s=max(0.05, 1 / shipped.camera_frame_rate_hz)), shipped)
        == []
    )
    limits = CommandLimits(shipped)
    assert (limits.speed >= limits.scale).all()
    assert max(axis.speed / axis.deceleration for axis in shipped.limits.values()) <= 0.2, "s to a standstill"


def test_every_difference_is_named_with_both_values() -> None:
    ours = robot("ur5e", name="sim_arm")
    found = differences(tiny_manifest(robot("sim_arm")), ours)
    assert found == [
        "scale of linear.x: bundle 0.25 m/s, robot 0.15 m/s",
        "scale of linear.y: bundle 0.25 m/s, robot 0.15 m/s",
        "scale of linear.z: bundle 0.25 m/s, robot 0.15 m/s",
        "action frame: bundle 'base_link', robot 'base'",
    ]
    assert differences(tiny_manifest(robot("sim_arm")), robot("sim_base")) == [
        "bundle is for robot 'sim_arm', not 'sim_base'",
        "action axes: bundle linear.x, linear.y, linear.z; robot linear.x, angular.z",
    ]


def test_a_camera_that_the_robot_lacks_is_named_and_a_mapped_topic_is_one_that_it_has() -> None:
    ours = robot("sim_arm")
    wrist = CameraSpec(name="wrist", topic="wrist/color/image_raw")
    manifest = tiny_manifest(ours).model_copy(update={"observation": ObservationSpec(cameras=(CameraSpec(), wrist))})
    (found,) = differences(manifest, ours)
    assert found == ("camera 'wrist': the bundle expects wrist/color/image_raw; the robot has camera/color/image_raw")
    mapped = robot("sim_arm", camera_topics={"wrist/color/image_raw": "/zed/left/image/compressed"})
    assert differences(manifest, mapped) == []
    assert mapped.is_compressed("wrist/color/image_raw")


def test_a_camera_slower_than_the_decisions_is_named() -> None:
    slow = robot("sim_arm", camera_frame_rate_hz=15.0)
    (found,) = differences(tiny_manifest(slow), slow)
    assert found == "the bundle decides 20 times per second, the camera gives 15 frames"


@pytest.mark.parametrize(("rate", "fits"), [(20.0, True), (40.0, True), (60.0, True), (30.0, False), (15.0, False)])
def test_a_decision_takes_a_whole_number_of_frames(rate, fits):
    said = uneven_decisions(0.05, rate)
    assert (said == "") == fits
    assert fits or "multiple of 20 Hz" in said
