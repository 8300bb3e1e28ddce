"""The table of adapters, held against messages of the vendors' shapes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.consent_inputs import READY_KINDS, ReadyConfig
from fosp_core.specs import parse_spec

READY = {
    "bool": {"data": (True,)},
    "ur_robot_mode": {"mode": (7,)},
    "ur_safety_mode": {"mode": (1, 2)},
    "franka_robot_mode": {"robot_mode": (2,)},
    "servo_status": {"code": (0, 1, 3, 4)},
}


def adapter(kind: str, **changes: object) -> ReadyConfig:
    return ReadyConfig.model_validate({"kind": kind, "topic": "t", "timeout_s": 0.5, **changes})


def test_every_kind_is_under_test():
    assert set(READY) == set(READY_KINDS)


@pytest.mark.parametrize("kind", READY)
def test_the_modes_in_which_a_robot_obeys_are_ready_and_all_others_are_not(kind):
    ((field, ready),) = READY[kind].items()
    for value in range(-1, 256) if kind != "bool" else (True, False):
        said = adapter(kind).why_not(SimpleNamespace(**{field: value}))
        assert (said == "") == (value in ready), (value, said)


def test_a_mode_is_told_by_its_name():
    said = adapter("ur_safety_mode").why_not(SimpleNamespace(mode=3))
    assert said == "t says PROTECTIVE_STOP (3), needed is NORMAL or REDUCED"
    assert "HALT_FOR_COLLISION (5)" in adapter("servo_status").why_not(SimpleNamespace(code=5))
    assert "unknown (99)" in adapter("franka_robot_mode").why_not(SimpleNamespace(robot_mode=99))


@pytest.mark.parametrize("kind", READY)
@pytest.mark.parametrize("message", [SimpleNamespace(), SimpleNamespace(mode=None, code="x", robot_mode=[], other=1)])
def test_a_message_of_another_shape_is_not_ready(kind, message):
    assert "without the field" in adapter(kind).why_not(message)


def test_the_polarity_of_a_bool_is_a_setting():
    fault = adapter("bool", ready_when=False)
    assert fault.why_not(SimpleNamespace(data=False)) == ""
    assert fault.why_not(SimpleNamespace(data=True)) == "t says true"


def test_only_a_topic_whose_last_message_is_kept_may_be_silent():
    with pytest.raises(ValueError, match="timeout_s is missing"):
        ReadyConfig(kind="bool", topic="t")
    assert ReadyConfig(kind="bool", topic="t", transient_local=True).limit_s is None
    program = ReadyConfig(kind="ur_robot_mode", topic="t")
    assert (program.latched, program.limit_s) == (True, None)
    with pytest.raises(ValueError, match="timeout_s is missing"):
        ReadyConfig(kind="ur_robot_mode", topic="t", transient_local=False)
    assert ReadyConfig(kind="servo_status", topic="t").limit_s == 0.5


def test_a_package_that_is_not_installed_is_named():
    assert adapter("bool").message_class().__name__ == "Bool"
    missing = ReadyConfig(kind="franka_robot_mode", topic="t")
    with pytest.raises(UserError, match="install the package franka_msgs"):
        missing.message_class()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"ready": [{"kind": "abb_mode", "topic": "t"}]}, "ready.0.kind"),
        ({"ready": [{"kind": "bool", "topic": "t"}]}, "timeout_s is missing"),
        ({"enabling": {"topic": "joy", "type": "Joy"}}, "needs the index of its button"),
        (
            {"enabling": {"topic": "joy", "type": "Bool", "buton": 1}},
            "'enabling.buton' (did you mean 'button'?); allowed: topic",
        ),
        ({"enabling": {"topic": "joy", "type": "Bool", "timeout_s": 0}}, "greater than 0"),
        ({"protective_force_n": 0, "wrench_topic": "w"}, "greater than 0"),
        ({"protective_force_n": 10.0}, "go together"),
        ({"wrench_topic": "wrench"}, "go together"),
    ],
)
def test_a_wrong_key_of_a_robot_file_is_refused_in_one_line(line, said):
    robot = {
        "name": "r",
        "kind": "base",
        "action": {"frame_id": "b", "axes": [{"name": "linear.x", "scale": 0.5}]},
        "limits": {"linear.x": {"speed": 0.6, "acceleration": 1.0, "deceleration": 2.0}},
        "command_topic": "c",
        "state_topic": "s",
        "state_type": "Odometry",
        "estop_topics": [],
    }
    parse_spec(RobotConfig, robot, "robot.yaml")
    with pytest.raises(UserError) as error:
        parse_spec(RobotConfig, robot | line, "robot.yaml")
    assert said in str(error.value)
