import re
from pathlib import Path

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import Spec, parse_spec, parse_yaml, read_yaml

REPOSITORY = Path(__file__).parents[3]
ROBOTS = sorted(path for path in (REPOSITORY / "config/robots").glob("*.yaml") if "." not in path.stem)


def sim_arm() -> dict:
    return read_yaml(REPOSITORY / "config/robots/sim_arm.yaml")


@pytest.mark.parametrize("path", ROBOTS, ids=lambda p: p.stem)
def test_every_shipped_robot_file_is_valid_and_named_after_its_robot(path):
    assert read_robot(path).name == path.stem


def test_an_unknown_key_is_named_with_the_allowed_ones():
    with pytest.raises(UserError, match=r"robot.yaml: unknown key 'colour'; allowed: name, kind, action.*") as error:
        parse_spec(RobotConfig, {**sim_arm(), "colour": 1}, "robot.yaml")
    assert "\n" not in str(error.value)


def test_an_unknown_nested_key_is_named_with_those_allowed_beside_it():
    class Inner(Spec):
        count: int = 0

    class Outer(Spec):
        inner: Inner | None = None

    with pytest.raises(UserError, match=r"unknown key 'inner.cuont' \(did you mean 'count'\?\); allowed: count$"):
        parse_spec(Outer, {"inner": {"cuont": 1}}, "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command_rate_hz": 0}, "greater than 0"),
        ({"command_rate_hz": float("nan")}, "finite"),
        ({"command_rate_hz": 10}, r"command_timeout_s of 0.1 is less than 3 periods of command_rate_hz 10 \(0.3 s\)"),
        ({"workspace": None}, "an arm needs workspace"),
        ({"limits": {}}, "limits are missing for linear.x"),
        ({"response_s": 0}, "response_s: Input should be greater than 0"),
        ({"dead_time_s": 0.6}, "dead_time_s: Input should be less than or equal to 0.5"),
        ({"linear_speed": 0.2}, r"speed limit of linear\.x is below its action scale 0.25"),
        ({"command_topic": "arm/twist-command"}, "command_topic: 'arm/twist-command' is no name of a ROS topic"),
        (
            {"command_topic": "/joint_states", "state_topic": "joint_states"},
            "state_topic must not be the command_topic",
        ),
        ({"estop_topics": ["stop", "/stop"]}, "each emergency stop needs a topic of its own"),
        ({"camera_topics": {"a": "x", "/a": "y"}}, "each topic of a bundle may stand once"),
        ({"ready": [{"topic": "2nd", "kind": "bool"}]}, "'2nd' begins with a digit"),
        ({"linear_speed": 20}, "linear_speed: Input should be less than or equal to 10"),
        ({"workspace": {"lower": [1, 0, 0], "upper": [0, 1, 1]}}, "lower must be below upper"),
    ],
)
def test_a_dangerous_robot_file_is_refused_in_one_line(change, said):
    with pytest.raises(UserError, match=said) as error:
        parse_spec(RobotConfig, {**sim_arm(), **change}, "robot.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rate_hz", "timeout_s"), [(30.0, 0.1), (10, 0.3), (1000, 0.003)])
def test_a_watchdog_that_waits_three_commands_is_accepted(rate_hz, timeout_s):
    change = {"command_rate_hz": rate_hz, "command_timeout_s": timeout_s}
    assert parse_spec(RobotConfig, {**sim_arm(), **change}, "robot.yaml").command_timeout_s == timeout_s


LEAD = {"distance": 0.05, "angle": 0.2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command_type": "PoseStamped"}, "PoseStamped needs target_lead"),
        ({"target_lead": LEAD}, "no other command_type has one"),
        ({"command_type": "PoseStamped", "target_lead": {"distance": 0.0, "angle": 0.2}}, "greater than 0"),
        ({"command_type": "PoseStamped", "target_lead": {"distance": 0.01, "angle": 0.2}}, "that stopping takes"),
        (
            {"command_type": "PoseStamped", "target_lead": LEAD, "command_topic": "tool_pose"},
            "is not its command_topic",
        ),
        ({"command_type": "PoseStamped", "target_lead": LEAD, "kind": "base"}, "is for an arm"),
    ],
)
def test_a_position_controlled_arm_whose_target_could_run_away_is_refused(change, said):
    with pytest.raises(UserError, match=said) as error:
        parse_spec(RobotConfig, {**sim_arm(), **change}, "robot.yaml")
    assert "\n" not in str(error.value)


def test_a_position_controlled_arm_needs_no_more_than_its_lead():
    robot = parse_spec(RobotConfig, {**sim_arm(), "command_type": "PoseStamped", "target_lead": LEAD}, "robot.yaml")
    assert robot.target_lead.distance == 0.05


def test_a_speed_limit_below_the_action_scale_is_refused():
    robot = sim_arm()
    robot["limits"]["linear.x"]["speed"] = 0.1
    with pytest.raises(UserError, match=r"speed limit of linear\.x is below its action scale"):
        parse_spec(RobotConfig, robot, "robot.yaml")


@pytest.mark.parametrize(
    ("key", "value"), [("speed", 20.0), ("acceleration", 1000.0), ("deceleration", 1000.0), ("jerk", 1e6)]
)
def test_limits_that_no_robot_has_are_refused_in_one_line(key, value):
    robot = sim_arm()
    robot["limits"]["linear.x"][key] = value
    with pytest.raises(UserError, match=rf"limits\.linear\.x\.{key}: Input should be less than or equal to") as error:
        parse_spec(RobotConfig, robot, "robot.yaml")
    assert "\n" not in str(error.value)


def test_the_lead_of_a_target_leaves_room_for_the_lag_of_the_robot():
    late = {**sim_arm(), "command_type": "PoseStamped", "target_lead": LEAD, "response_s": 0.2}
    with pytest.raises(UserError, match=r"target_lead of 0\.05 is no more than the 0\.\d+ that stopping takes"):
        parse_spec(RobotConfig, late, "robot.yaml")


def test_malformed_yaml_is_told_with_its_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("a: 1\nb: [1,\n")
    with pytest.raises(UserError, match=r"bad.yaml: not valid YAML at line 3"):
        read_yaml(path)


def test_a_missing_file_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"estop_topics": None},
            "estop_topics .emergency stops. is missing: write estop_topics: .*or estop_topics: \\[\\] for none",
        ),
        ({"estop_topic": "estop"}, "estop_topic is a list now: write estop_topics: \\[estop\\]"),
        ({"estop_topics": "estop"}, "estop_topics: Input should be a valid tuple"),
        ({"estop_topics": ["a", "a"]}, "each emergency stop needs a topic of its own"),
        ({"state_publishers": 0}, "greater than or equal to 1"),
    ],
)
def test_a_robot_file_says_in_words_which_emergency_stops_there_are(change, said):
    robot = {key: value for key, value in {**sim_arm(), **change}.items() if value is not None}
    with pytest.raises(UserError, match=said) as error:
        parse_spec(RobotConfig, robot, "robot.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands twice, first at line 1"),
        ("limits:\n  linear.x: {speed: 0.26}\n  linear.x: {speed: 0.30}\n", "line 3: key 'linear.x' stands twice"),
        ("a: [{b: 1, c: {d: 1, d: 1}}]\n", "key 'd' stands twice"),
        ("'a': 1\na: 2\n", "line 2: key 'a' stands twice"),
        ("1: a\ntrue: b\n", "stands twice"),
        ("base: &base {a: 1}\nb:\n  <<: *base\n  <<: *base\n", "line 4: key '<<' stands twice"),
        ("? [1, 2]\n: 3\n", "a key is a list or a mapping"),
        ("a: !!python/name:os.system\n", "line 1"),
        ("a: 2026-13-45\n", "month must be in 1..12"),
        ("a: &a [*a]\n", "line 1"),
    ],
)
def test_an_ambiguous_yaml_is_refused_in_one_line(text, said, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_merged_keys_may_be_overridden_and_a_byte_order_mark_is_none_of_them(tmp_path):
    assert parse_yaml("base: &base {a: 1, b: 2}\nc:\n  <<: *base\n  a: 3\n", "x")["c"] == {"a": 3, "b": 2}
    path = tmp_path / "robot.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\n")
    assert read_yaml(path) == {"name": "a"}


def test_every_yaml_of_the_repository_is_unambiguous():
    for path in sorted(REPOSITORY.glob("config/**/*.yaml")):
        assert read_yaml(path) is not None, path
