"""Axes and buttons to actions and orders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_policy.teleoperation import (
    DEVICE_TIMEOUT_S,
    HELD_AT_CENTRE_S,
    DeviceHistory,
    Grip,
    Mapping,
    OperatorOrder,
    Repetition,
    device_fault,
    missing_controls,
    operator_action,
    orders,
    read_mapping,
    stream_fault,
    turned,
)

CONFIG = Path(__file__).parents[3] / "config"
ARM = read_robot(CONFIG / "robots" / "sim_arm.yaml").action
BASE = read_robot(CONFIG / "robots" / "sim_base.yaml").action
GAMEPAD = read_mapping(CONFIG / "teleop" / "gamepad.yaml", ARM)
HELD = [0, 0, 0, 0, 0, 1]
"""The deadman button of the gamepad."""


def action(axes: list[float], buttons: list[int] = HELD) -> list[float]:
    return operator_action(GAMEPAD, ARM, axes, buttons)


def test_sticks_drive_the_axes_of_the_robot_in_its_order() -> None:
    assert action([0.0, 1.0, 0.0, 0.0, 0.0]) == [1.0, 0.0, 0.0]
    assert action([-1.0, 0.0, 0.0, 0.0, 1.0]) == [0.0, -1.0, 1.0]
    base = read_mapping(CONFIG / "teleop" / "gamepad.yaml", BASE)
    assert operator_action(base, BASE, [0.0, 1.0, 0.0, -1.0, 0.0], HELD) == [1.0, -1.0]


def test_without_the_deadman_button_nothing_moves() -> None:
    assert action([1.0] * 5, [0] * 6) == [0.0, 0.0, 0.0]
    assert action([1.0] * 5, []) == [0.0, 0.0, 0.0]


def test_the_deadzone_is_left_without_a_jump() -> None:
    assert action([0.0, 0.079, 0.0, 0.0, 0.0])[0] == 0.0
    assert 0.0 < action([0.0, 0.081, 0.0, 0.0, 0.0])[0] < 0.01


@pytest.mark.parametrize("axes", [[], [0.0, 1.0], [math.nan] * 5, [0.0, math.inf, 0.0, 0.0, 0.0]])
def test_a_device_that_lacks_an_axis_or_says_nonsense_moves_nothing(axes: list[float]) -> None:
    assert action(axes) == [0.0, 0.0, 0.0]


def test_deflections_beyond_one_are_full_speed() -> None:
    assert action([0.0, 7.0, 0.0, 0.0, 0.0]) == [1.0, 0.0, 0.0]


def test_an_order_is_given_once_when_its_button_goes_down() -> None:
    start, nothing = [0] * 7 + [1], [0] * 8
    assert orders(GAMEPAD, nothing, start) == [OperatorOrder.START]
    assert orders(GAMEPAD, start, start) == []
    assert orders(GAMEPAD, start, nothing) == []
    assert orders(GAMEPAD, [], start) == [OperatorOrder.START]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIG / "teleop").glob("*.yaml")))
@pytest.mark.parametrize(
    "robot", sorted(path.stem for path in (CONFIG / "robots").glob("*.yaml") if "." not in path.stem)
)
def test_every_shipped_device_drives_every_shipped_robot(name: str, robot: str) -> None:
    action = read_robot(CONFIG / "robots" / f"{robot}.yaml").action
    own = "spacemouse_gripper" if name == "spacemouse" and action.gripper is not None else name
    read_mapping(CONFIG / "teleop" / f"{own}.yaml", action)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"axes": {"linear.x": {"axis": 0}}}, "no axis drives linear.y, linear.z"),
        ({"axes": {"linear.x": {"axis": 0, "gain": 2.0}}}, "gain"),
        ({"axes": {"linear.x": {"axis": 0}}, "deadman": 1, "buttons": {"start": 1}}, "used once"),
        ({"axes": {"linear.x": {"axis": 0}}, "buttons": {"begin": 1}}, "buttons.begin"),
    ],
)
def test_a_wrong_mapping_is_refused_in_one_line(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message) as error:
        read_mapping(path, ARM)
    assert "\n" not in str(error.value)


def test_a_spring_centred_device_needs_no_deadman() -> None:
    mapping = read_mapping(CONFIG / "teleop" / "spacemouse.yaml", ARM)
    assert isinstance(mapping, Mapping)
    assert operator_action(mapping, ARM, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], []) == [1.0, 0.0, 0.0]


# -- a device that repeats itself ----------------------------------------------------------------------
def said(before: Repetition, stick: float, now_s: float) -> Repetition:
    axes = [0.0, stick, 0.0, 0.0, 0.0]
    return before.after(axes, HELD, any(action(axes)), now_s, GAMEPAD.repeat_s)


def test_a_device_that_says_the_same_for_too_long_is_let_go_until_it_asks_for_no_motion() -> None:
    repetition = Repetition()
    for tick in range(round(GAMEPAD.repeat_s / 0.02)):
        repetition = said(repetition, 1.0, 10.0 + 0.02 * tick)
        assert not repetition.withheld
    repetition = said(repetition, 1.0, 10.1 + GAMEPAD.repeat_s)
    assert repetition.withheld
    repetition = said(repetition, 0.9, 10.2 + GAMEPAD.repeat_s)
    assert repetition.withheld, "another deflection alone is no letting go"
    repetition = said(repetition, 0.0, 10.3 + GAMEPAD.repeat_s)
    assert not repetition.withheld
    assert not said(repetition, 1.0, 10.4 + GAMEPAD.repeat_s).withheld


def test_a_hand_that_trembles_and_a_stick_at_rest_are_no_repetition() -> None:
    repetition = Repetition()
    for tick in range(1000):
        repetition = said(repetition, 0.9 + 0.01 * (tick // 50 % 2), 10.0 + 0.02 * tick)
        assert not repetition.withheld
    for tick in range(1000):
        repetition = said(repetition, 0.0, 100.0 + 0.02 * tick)
    assert not said(repetition, 1.0, 121.0).withheld, "the time counts from the push"


@pytest.mark.parametrize("bound_s", [0.0, 31.0, math.nan])
def test_the_bound_of_repetitions_cannot_be_switched_off(bound_s: float) -> None:
    with pytest.raises(ValueError, match="repeat_s"):
        Mapping.model_validate({"axes": {"linear.x": {"axis": 1}}, "repeat_s": bound_s})


def test_a_device_with_too_few_axes_or_buttons_is_told_which_are_missing() -> None:
    assert missing_controls(GAMEPAD, ARM, 5, 8) == ""
    said = missing_controls(GAMEPAD, ARM, 2, 12)
    assert "the device has 2 axes and 12 buttons" in said
    assert "axis 4 (linear.z), so it moves nothing" in said
    assert "\n" not in said
    said = missing_controls(GAMEPAD, ARM, 5, 6)
    assert "button 7 (start), button 6 (stop)" in said
    assert "moves nothing" not in said
    assert "button 5 (deadman)" in missing_controls(GAMEPAD, ARM, 5, 3)
    assert "moves nothing" in missing_controls(GAMEPAD, ARM, 5, 3)


def test_an_axis_that_the_robot_does_not_have_may_be_missing() -> None:
    assert missing_controls(GAMEPAD, ARM, 5, 8) == "", "angular.z is axis 3, linear.z axis 4"
    base = read_mapping(CONFIG / "teleop" / "gamepad.yaml", BASE)
    assert missing_controls(base, BASE, 4, 8) == ""
    assert "axis 3 (angular.z)" in missing_controls(base, BASE, 3, 8)


def fault(
    axes: list[float],
    buttons: list[int] = [0] * 8,
    age_s: float = 0.0,
    devices: int = 1,
    hangs: bool = False,
    late: str = "",
) -> str:
    return device_fault(GAMEPAD, ARM, (axes, buttons), age_s, devices, hangs, late)


def test_a_device_that_cannot_be_followed_says_why() -> None:
    centred = [0.0] * 6
    assert fault(centred) == ""
    assert device_fault(GAMEPAD, ARM, None, 0.0, 1, False) == "has sent nothing yet"
    assert "is silent" in fault(centred, age_s=DEVICE_TIMEOUT_S + 0.01)
    assert "2 nodes" in fault(centred, devices=2)
    assert "NaN" in fault([0.0, math.nan, 0.0, 0.0, 0.0, 0.0])
    assert "axis 4" in fault([0.0] * 4)
    assert "button 5 (deadman)" in fault(centred, [0] * 4)
    assert "said the same" in fault(centred, hangs=True)


# -- a device that is another one, late or broken --------------------------------------------------------
def heard(
    history: DeviceHistory,
    axes: list[float],
    buttons: list[int] = [0] * 8,
    now_s: float = 1.0,
    mapping: Mapping = GAMEPAD,
) -> DeviceHistory:
    return history.after(mapping, ARM, axes, buttons, now_s)


def test_a_gamepad_that_comes_back_with_other_controls_is_not_followed_until_the_first_one_is_back() -> None:
    history = heard(heard(DeviceHistory(), [0.0] * 2), [0.0] * 6)
    assert history.fault(GAMEPAD, ARM) == "", "a device that lacked an axis before was none"
    for axes, buttons in ((8, 8), (6, 11), (5, 8)):
        other = heard(history, [0.0] * axes, [0] * buttons)
        said = device_fault(GAMEPAD, ARM, ([0.0] * axes, [0] * buttons), 0.0, 1, False, history=other)
        assert f"has {axes} axes and {buttons} buttons now, and had 6 and 8: it is another device" in said
        assert heard(other, [0.0] * 6).fault(GAMEPAD, ARM) == ""


def test_a_stick_that_stays_off_its_centre_while_the_button_is_let_go_drives_nothing() -> None:
    history, stuck, held = DeviceHistory(), [0.0, 0.4, 0.0, 0.0, 0.0, 0.0], [0] * 5 + [1, 0, 0]
    for second in range(6):
        history = heard(history, stuck, now_s=1.0 + second)
        assert history.fault(GAMEPAD, ARM) == ""
    history = heard(history, [0.0, 0.41, 0.0, 0.9, 0.0, 0.0], now_s=6.1)
    assert "off its centre at axis 1 (linear.x) while its button is let go" in history.fault(GAMEPAD, ARM)
    assert history.stuck == (1,), "axis 3 drives nothing of this robot"
    history = heard(history, stuck, held, 6.2)
    assert "axis 1" in history.fault(GAMEPAD, ARM), "a press of the button does not free it"
    assert heard(history, [0.0, 0.05, 0.0, 0.0, 0.0, 0.0], held, 6.3).fault(GAMEPAD, ARM) == ""


def test_a_stick_is_not_stuck_that_a_person_holds_or_deflects_for_a_moment() -> None:
    history, deflected, held = DeviceHistory(), [0.0, 0.4, 0.0, 0.0, 0.0, 0.0], [0] * 5 + [1, 0, 0]
    for second in range(60):
        history = heard(history, deflected, held if second % 5 else [0] * 8, 1.0 + second)
        assert history.fault(GAMEPAD, ARM) == ""
    spacemouse = read_mapping(CONFIG / "teleop" / "spacemouse.yaml", ARM)
    for second in range(60):
        history = heard(DeviceHistory(), [0.5] * 6, [0, 0], 1.0 + second, spacemouse)
        assert history.fault(spacemouse, ARM) == "", "its motion is what drives"


def test_an_axis_that_is_not_a_number_is_off_its_centre() -> None:
    broken = [0.0, math.nan, 0.0, 0.0, 0.0, 0.0]
    assert heard(heard(DeviceHistory(), broken), broken, now_s=7.0).stuck == (1,)


def test_messages_that_are_late_or_of_two_devices_are_not_followed() -> None:
    assert stream_fault(GAMEPAD, ARM, 1, "", DeviceHistory()) == ""
    assert "2 nodes" in stream_fault(GAMEPAD, ARM, 2, "", DeviceHistory())
    late = "900 ms old by its stamp, limit 300 ms"
    for said in (stream_fault(GAMEPAD, ARM, 1, late, DeviceHistory()), fault([0.0] * 6, late=late)):
        assert said == f"is late, or the clock of its computer is not this one's: {late}"


def test_the_deadman_button_holds_the_robot_and_a_cap_holds_it_while_it_moves_and_across_its_centre() -> None:
    grip = Grip()
    assert grip.holds(GAMEPAD, HELD, 1.0)
    assert not grip.after(True, 1.0).holds(GAMEPAD, [0] * 8, 1.0), "a gamepad needs its button"
    spacemouse = read_mapping(CONFIG / "teleop" / "spacemouse.yaml", ARM)
    assert not grip.holds(spacemouse, [], 1.0)
    moved = grip.after(True, 1.0)
    assert moved.after(False, 1.2).holds(spacemouse, [], 0.99 + HELD_AT_CENTRE_S)
    assert not moved.holds(spacemouse, [], 1.01 + HELD_AT_CENTRE_S)


def test_the_keys_of_a_keyboard_are_those_of_the_gamepad() -> None:
    keyboard = read_mapping(CONFIG / "teleop" / "keyboard.yaml", ARM)
    assert (keyboard.axes, keyboard.deadman, keyboard.buttons) == (GAMEPAD.axes, GAMEPAD.deadman, GAMEPAD.buttons)


def test_the_sticks_steer_in_the_frame_of_the_operator() -> None:
    """With UR's `base` forward of the stick is the arm's front, which is -x."""
    forward = [0.0, 1.0, 0.0, 0.0, 0.5]
    straight = operator_action(GAMEPAD, ARM, forward, HELD)
    turned_round = operator_action(GAMEPAD, ARM, forward, HELD, math.pi)
    assert turned_round == pytest.approx([-straight[0], 0.0, straight[2]])
    assert operator_action(GAMEPAD, ARM, forward, HELD, math.pi / 2) == pytest.approx([0.0, straight[0], straight[2]])


def test_a_turn_keeps_the_direction_of_the_twist_and_no_axis_goes_beyond_one() -> None:
    full = operator_action(GAMEPAD, ARM, [-1.0, 1.0, 0.0, 0.0, 0.0], HELD, math.pi / 4)
    assert full == pytest.approx([1.0, 0.0, 0.0])
    uneven = ARM.model_copy(update={"axes": (ARM.axes[0], ARM.axes[1].model_copy(update={"scale": 0.1}), ARM.axes[2])})
    action = turned([0.4, 0.0, 0.0], uneven, math.pi / 2)
    assert action == pytest.approx([0.0, 1.0, 0.0]), "0.1 m/s along x is full speed along y"
    assert turned([0.3, -0.2, 0.1], ARM, 0.0) == [0.3, -0.2, 0.1]


def test_an_operator_frame_needs_both_axes_that_it_turns() -> None:
    ur5e = read_robot(CONFIG / "robots" / "ur5e.yaml")
    assert ur5e.operator_frame is not None
    axes = ur5e.action.model_copy(update={"axes": ur5e.action.axes[::2]})
    with pytest.raises(ValueError, match=r"operator_frame needs both linear.x and linear.y"):
        type(ur5e).model_validate({**ur5e.model_dump(), "action": axes.model_dump()})


# -- a gripper ---------------------------------------------------------------------------------------
PICK = read_robot(CONFIG / "robots" / "sim_pick.yaml").action


@pytest.mark.parametrize("device", ["gamepad", "keyboard", "spacemouse_gripper"])
def test_each_device_has_buttons_of_a_gripper(device: str) -> None:
    mapping = read_mapping(CONFIG / "teleop" / f"{device}.yaml", PICK)
    assert mapping.gripper is not None
    pressed = [0] * 11
    pressed[5] = int(mapping.deadman is not None)
    rest, axes = pressed.copy(), [0.0] * 8
    pressed[mapping.gripper.close] = 1
    assert operator_action(mapping, PICK, axes, rest) == [0.0, 0.0, 0.0]
    assert operator_action(mapping, PICK, axes, pressed) == [0.0, 0.0, 0.0, -1.0]
    pressed[mapping.gripper.open] = 1
    assert operator_action(mapping, PICK, axes, pressed) == [0.0, 0.0, 0.0]


def test_without_the_deadman_button_no_button_moves_the_gripper() -> None:
    mapping = read_mapping(CONFIG / "teleop" / "gamepad.yaml", PICK)
    assert mapping.gripper is not None
    pressed = [0] * 11
    pressed[mapping.gripper.open] = 1
    assert operator_action(mapping, PICK, [1.0] * 8, pressed) == [0.0, 0.0, 0.0]


def test_a_mapping_without_gripper_buttons_is_refused_for_a_robot_with_one() -> None:
    with pytest.raises(UserError, match="no button opens and closes the gripper"):
        read_mapping(CONFIG / "teleop" / "spacemouse.yaml", PICK)


def test_a_device_without_the_gripper_buttons_is_told() -> None:
    mapping = read_mapping(CONFIG / "teleop" / "gamepad.yaml", PICK)
    assert "gripper open" in missing_controls(mapping, PICK, 8, 8)
    assert missing_controls(mapping, PICK, 8, 11) == ""


def test_a_robot_without_a_gripper_ignores_its_buttons() -> None:
    arm = read_robot(CONFIG / "robots" / "sim_arm.yaml").action
    mapping = read_mapping(CONFIG / "teleop" / "gamepad.yaml", arm)
    assert len(operator_action(mapping, arm, [0.0] * 8, [1] * 11)) == 3
    assert missing_controls(mapping, arm, 8, 8) == ""
