"""Names of topics and namespaces: which ROS allows, and which are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.topics import are_one, checked_namespace, is_in_bag, resolve, topic_name

ARM = Path(__file__).parents[3] / "config/robots/sim_arm.yaml"


@pytest.mark.parametrize("name", ["odom", "/odom", "left/arm/twist_command", "_a/b2", "a__b"])
def test_names_that_ros_allows(name: str) -> None:
    assert topic_name(name) == name


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("", "empty"),
        ("/", "empty"),
        ("left-arm", "'-' is not allowed"),
        ("a b", "a space is not allowed"),
        ("a\n", "a space is not allowed"),
        ("größe", "'ö' is not allowed"),
        ("a//b", "'//'"),
        ("a/", "ends with '/'"),
        ("2nd/arm", "'2nd' begins with a digit"),
        ("arm/2nd", "'2nd' begins with a digit"),
        ("~/x", "'~' is not allowed"),
        ("{node}", "'{' is not allowed"),
        ("a" * 248, "has 248 characters"),
    ],
)
def test_names_that_ros_refuses(name: str, because: str) -> None:
    with pytest.raises(ValueError, match=because):
        topic_name(name)


@pytest.mark.parametrize("namespace", ["left-arm", "2", "a//b", "left arm", "a//", "~", "a" * 250])
def test_a_namespace_that_ros_refuses_is_refused_in_one_line(namespace: str) -> None:
    with pytest.raises(UserError, match="is no name that ROS allows") as error:
        checked_namespace(namespace)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("given", "bare"), [("", ""), ("/", ""), ("left", "left"), ("/left/arm/", "left/arm")])
def test_a_namespace_may_be_given_with_its_slashes(given: str, bare: str) -> None:
    assert checked_namespace(given) == bare


def test_our_rules_are_those_of_rclpy() -> None:
    validate = pytest.importorskip("rclpy.validate_topic_name").validate_topic_name
    invalid = pytest.importorskip("rclpy.exceptions").InvalidTopicNameException
    for name in ("odom", "/odom", "a__b", "_x", "left-arm", "a b", "a//b", "a/", "2nd", "arm/2nd", ""):
        try:
            topic_name(name)
            ours = True
        except ValueError:
            ours = False
        try:
            validate(name)
            theirs = "//" not in name  # which rclpy refuses once the name is expanded
        except invalid:
            theirs = False
        assert ours == theirs, name


def test_names_are_compared_as_ros_resolves_them() -> None:
    assert resolve("odom", "left") == resolve("/left/odom", "left") == resolve("odom", "/left/") == "/left/odom"
    assert resolve("~/reset", "left", "monitor") == "/left/monitor/reset"
    assert are_one("/odom", "odom")
    assert not are_one("/odom", "odom", "left")
    assert is_in_bag("/left/arm/twist_command", "arm/twist_command")
    assert is_in_bag("/arm/twist_command", "/arm/twist_command")
    assert not is_in_bag("/other_arm/twist_command", "arm/twist_command")


def test_a_driver_stands_for_the_topic_of_a_bundle_with_or_without_a_slash() -> None:
    drivers = {"/camera/color/image_raw": "/front/image_raw"}
    robot = RobotConfig.model_validate({**read_robot(ARM).model_dump(), "camera_topics": drivers})
    assert robot.image_topic("camera/color/image_raw") == "/front/image_raw"
    assert robot.image_topic("/camera/color/image_raw") == "/front/image_raw"
    assert robot.image_topic("other") == "other"
