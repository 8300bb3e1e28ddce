"""The gripper of a robot file: one more value of the action, a position of limited rate that never springs back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fosp_core.errors import UserError
from fosp_core.executed import executed_action, mean_command, normalised_action
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.gripper import GripperLimits, GripperSetpoint, OpeningWatch, position_fault
from fosp_core.robot.limits import CommandLimits, capped
from fosp_core.specs import ActionSpec, GripperAxis

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
LIMITS = GripperLimits(rate=4.0, opens_and_closes=False)
SWITCH = GripperLimits(rate=4.0, opens_and_closes=True)


@pytest.fixture
def pick() -> RobotConfig:
    return read_robot(ROBOTS / "sim_pick.yaml")


def changed(tmp_path: Path, **gripper: Any) -> RobotConfig:
    content = yaml.safe_load((ROBOTS / "sim_pick.yaml").read_text())
    content["gripper"] |= gripper
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_robot(path)


def test_a_gripper_adds_one_value_to_the_action_and_none_to_the_twist(pick: RobotConfig) -> None:
    assert (pick.action.size, pick.action.twist_size, len(pick.action.scale)) == (4, 3, 3)
    assert pick.action.gripper == GripperAxis(closed=0.0, open=0.1)
    assert CommandLimits(pick).gripper == GripperLimits(pytest.approx(4.0), False)


def test_a_robot_without_a_gripper_is_written_as_it_always_was() -> None:
    arm = read_robot(ROBOTS / "sim_arm.yaml")
    assert "gripper" not in arm.action.model_dump(mode="json")
    assert "gripper" not in json.loads(arm.action.model_dump_json())
    assert ActionSpec.model_validate(arm.action.model_dump()) == arm.action


def test_a_robot_that_was_written_down_whole_is_read_again(pick: RobotConfig) -> None:
    assert RobotConfig.model_validate(pick.model_dump(mode="json")) == pick


@pytest.mark.parametrize(
    ("gripper", "said"),
    [
        ({"open": 0.0}, "open and closed must differ"),
        ({"max_rate": 0.0}, "max_rate"),
        ({"max_rate": 200.0}, "less than 0.02 s, which limits nothing: is it in m/s"),
        ({"open": 80.0, "max_rate": 85.0}, "lie within 1 m: not in mm or degrees"),
        ({"open": 45.0, "unit": "rad"}, "lie within 7 rad"),
        ({"how": "service"}, "how"),
        ({"fingers": 2, "how": "joint_state"}, "fingers is for how: array"),
        ({"topic": "pick/twist_command"}, "gripper.topic must not be the command_topic"),
        ({"feedback_topic": "gripper/commands"}, "gripper.feedback_topic must not be the gripper.topic"),
        ({"closed": math.nan}, "closed"),
        ({"speed": 1.0}, "speed"),
    ],
)
def test_a_wrong_section_is_refused_in_one_line(tmp_path: Path, gripper: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        changed(tmp_path, **gripper)
    assert "\n" not in str(refused.value)


def test_an_action_does_not_name_a_gripper_that_the_robot_lacks(tmp_path: Path) -> None:
    content = yaml.safe_load((ROBOTS / "sim_arm.yaml").read_text())
    content["action"]["gripper"] = {"closed": 0.0, "open": 0.08}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="comes from the section gripper"):
        read_robot(tmp_path / "robot.yaml")


def test_a_speed_cap_slows_the_gripper_too(pick: RobotConfig) -> None:
    slow = CommandLimits(capped(pick, 0.5)).gripper
    assert slow is not None
    assert slow.rate == pytest.approx(2.0)


# -- the way of the setpoint -------------------------------------------------------------------------
def test_the_first_way_begins_where_the_gripper_is() -> None:
    assert LIMITS.follow(GripperSetpoint(), 1.0, -0.5, 0.01).sent == pytest.approx(-0.46)


def test_nothing_is_told_before_the_position_was_measured() -> None:
    assert LIMITS.follow(GripperSetpoint(), 1.0, None, 0.01) == GripperSetpoint()


def test_a_gripper_that_is_where_it_is_wanted_is_left_alone() -> None:
    """Its position is the width of what it holds: to command that would let go."""
    assert LIMITS.follow(GripperSetpoint(), 0.3, 0.31, 0.01) == GripperSetpoint()


wishes = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(st.lists(st.tuples(wishes, st.floats(0.0, 0.05)), max_size=40), st.floats(-1.3, 1.3))
def test_no_setpoint_changes_faster_than_the_limit_or_without_a_wish(ticks: list[Any], measured: float) -> None:
    setpoint, before = GripperSetpoint(), min(max(measured, -1.0), 1.0)
    for wish, dt in ticks:
        after = LIMITS.follow(setpoint, wish, measured, dt)
        if wish is None or not math.isfinite(wish):
            assert after == setpoint
        if after.sent is not None:
            assert abs(after.sent - before) <= LIMITS.rate * dt + 1e-9
            assert abs(after.sent) <= 1.0
            before = after.sent
        setpoint = after


def test_one_that_opens_and_closes_switches_late_and_never_flickers() -> None:
    setpoint, told = GripperSetpoint(), []
    for tick in range(200):
        setpoint = SWITCH.follow(setpoint, 1.0 if tick < 100 else 0.3 * (-1) ** tick, -1.0, 0.01)
        told.append(setpoint.sent)
    assert told[0] in (None, -1.0)
    assert 20 < told.index(1.0) < 50
    assert set(told[60:]) == {1.0}


@pytest.mark.parametrize("value", [0.2, -0.05, math.nan, math.inf])
def test_a_position_of_another_unit_or_joint_is_seen(value: float) -> None:
    axis = GripperAxis(closed=0.0, open=0.08)
    assert position_fault(value, axis)
    assert not position_fault(-0.01, axis)


def watched(told: float | None, *measured: float) -> OpeningWatch:
    """The watch after positions that were measured every 0.1 s."""
    watch = OpeningWatch()
    for number, position in enumerate(measured):
        watch = watch.after(told, position, 0.1 * number)
    return watch


def test_a_gripper_that_does_not_open_is_found_after_a_second() -> None:
    assert watched(1.0, *[-1.0] * 10).fault(0.9) == ""
    assert "does not open" in watched(1.0, *[-1.0] * 13).fault(1.2)
    assert "does not open" in watched(1.0, *[-1.0 + 1e-4 * n for n in range(13)]).fault(1.2), "noise is no motion"


def test_a_gripper_on_its_way_one_that_closes_and_one_that_is_left_alone_are_in_order() -> None:
    assert watched(1.0, *[-1.0 + 0.03 * n for n in range(40)]).fault(3.9) == "", "slow"
    assert watched(1.0, *[-1.0] * 13, 0.6).fault(2.0) == "", "it came"
    assert watched(-1.0, *[0.4] * 40).fault(3.9) == "", "it stands on what it holds"
    assert watched(None, *[-1.0] * 40).fault(3.9) == ""


# -- what was executed -------------------------------------------------------------------------------
def test_the_executed_action_ends_with_what_the_gripper_was_told(pick: RobotConfig) -> None:
    stamps = np.arange(10) * 0.01
    commands = np.hstack([np.full((10, 3), 0.1), np.linspace(-1.0, -0.1, 10)[:, None]])
    action = executed_action(stamps, commands, 0.0, 0.1, 0.1, pick.action)
    assert action[:3] == pytest.approx([0.4, 0.4, 0.4])
    assert action[3] == pytest.approx(-0.55)


def test_a_gripper_holds_while_the_twist_of_a_silent_stream_falls_to_zero(pick: RobotConfig) -> None:
    commands = np.array([[0.25, 0.0, 0.0, -1.0]])
    action = executed_action(np.array([0.0]), commands, 1.0, 1.1, 0.1, pick.action)
    assert action == pytest.approx([0.0, 0.0, 0.0, -1.0])


def test_without_a_gripper_the_executed_action_is_the_same_to_the_bit() -> None:
    spec, rng = read_robot(ROBOTS / "sim_arm.yaml").action, np.random.default_rng(0)
    stamps, commands = np.sort(rng.uniform(0, 0.2, 20)), rng.normal(size=(20, 3))
    before = normalised_action(mean_command(stamps, commands, 0.05, 0.1, 0.1), spec)
    assert executed_action(stamps, commands, 0.05, 0.1, 0.1, spec).tobytes() == before.tobytes()
