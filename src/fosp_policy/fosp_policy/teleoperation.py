"""Teleoperation: from axes and buttons of a gamepad or SpaceMouse to actions and orders. No ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import Field, model_validator

from fosp_core.errors import UserError
from fosp_core.specs import ActionSpec, Spec, TopicName, TwistComponent, parse_spec, read_yaml

DEVICE_TIMEOUT_S = 0.3
"""Time without a message of the device after which it is silent; joy_node repeats messages at 20 Hz."""
HELD_AT_CENTRE_S = 0.3
"""Time for which a device without a dead-man's button still holds the robot after it came back to its centre."""


class OperatorOrder(Enum):
    """An order of the operator about the episode; the value is its key in the mapping's `buttons`."""

    START = "start"
    STOP = "stop"
    DISCARD = "discard"
    MARK = "mark"


class AxisMapping(Spec):
    """The axis of the device that drives a twist component; gain 1 is full speed at full deflection, -1 reversed."""

    axis: int = Field(ge=0)
    gain: float = Field(1.0, ge=-1, le=1)


class GripperButtons(Spec):
    """The gripper opens or closes while one of these is pressed, and holds while none is, or both are."""

    open: int = Field(ge=0)
    close: int = Field(ge=0)


class Mapping(Spec):
    """Content of config/teleop/NAME.yaml, for a device that publishes sensor_msgs/Joy."""

    topic: TopicName = "joy"
    axes: dict[TwistComponent, AxisMapping] = Field(min_length=1)
    """Axis by twist component; components that the robot does not have are ignored."""
    deadman: int | None = Field(None, ge=0)
    """Button that must be held to move; only a device that springs back to its centre may go without it."""
    deadzone: float = Field(0.08, gt=0, lt=0.5)
    repeat_s: float = Field(5.0, ge=0.5, le=30)
    """Time, s, for which a device may say the same while it moves the robot. After that it counts as let go, because
    the driver of a device that hangs or was pulled out repeats its last message for ever."""
    buttons: dict[OperatorOrder, int] = Field(default_factory=dict)
    gripper: GripperButtons | None = None
    """Buttons of a gripper; a robot without one ignores them."""

    @model_validator(mode="after")
    def _distinct_buttons(self) -> Mapping:
        used = [*self.buttons.values(), *([] if self.deadman is None else [self.deadman])]
        used += [] if self.gripper is None else [self.gripper.open, self.gripper.close]
        if len(set(used)) != len(used) or any(button < 0 for button in used):
            raise ValueError("each button must be a number from 0 on, and may be used once")
        return self


@dataclass(frozen=True)
class Repetition:
    """Since when a device has said the same, and whether its operator has to let go before the robot moves on."""

    said: tuple[tuple[float, ...], tuple[int, ...]] = ((), ())
    since_s: float = -math.inf
    """Monotonic clock."""
    withheld: bool = False

    def after(
        self, axes: Sequence[float], buttons: Sequence[int], moves: bool, now_s: float, bound_s: float
    ) -> Repetition:
        """Return the value at `now_s`, when axes and buttons are these, and ask for motion or not (`moves`).

        The device is withheld when it asks for motion in the same words for longer than `bound_s`, until it asks for
        none.
        """
        said = tuple(axes), tuple(buttons)
        since_s = self.since_s if said == self.said else now_s
        return Repetition(said, since_s, moves and (self.withheld or now_s - since_s > bound_s))


def read_mapping(path: Path, action: ActionSpec) -> Mapping:
    """Read a mapping; raise UserError when it is malformed, or leaves an axis of the robot without a control."""
    mapping = parse_spec(Mapping, read_yaml(path), str(path))
    missing = [axis.name for axis in action.axes if axis.name not in mapping.axes]
    if missing:
        raise UserError(f"{path}: no axis drives {', '.join(missing)}")
    if action.gripper is not None and mapping.gripper is None:
        raise UserError(f"{path}: no button opens and closes the gripper: add gripper: {{open: BUTTON, close: BUTTON}}")
    return mapping


def missing_controls(mapping: Mapping, spec: ActionSpec, axes: int, buttons: int) -> str:
    """Return which axes and buttons of the mapping a device with so many of them lacks; empty when it has all."""
    lacking = [
        f"axis {mapping.axes[axis.name].axis} ({axis.name})"
        for axis in spec.axes
        if mapping.axes[axis.name].axis >= axes
    ]
    named = {order.value: button for order, button in mapping.buttons.items()}
    if mapping.deadman is not None:
        named = {"deadman": mapping.deadman, **named}
    if spec.gripper is not None and mapping.gripper is not None:
        named |= {"gripper open": mapping.gripper.open, "gripper close": mapping.gripper.close}
    lacking += [f"button {button} ({name})" for name, button in named.items() if button >= buttons]
    if not lacking:
        return ""
    moves = max(mapping.axes[axis.name].axis for axis in spec.axes) < axes and (mapping.deadman or 0) < buttons
    stops = "" if moves else ", so it moves nothing"
    return (
        f"{mapping.topic}: the device has {axes} axes and {buttons} buttons, and the mapping wants "
        f"{', '.join(lacking)}{stops}: use the mapping of this device (config/teleop), or another device"
    )


@dataclass(frozen=True)
class DeviceHistory:
    """The controls that a device has shown since the node was activated, by which another or a broken one is known."""

    controls: tuple[int, int] | None = None
    """Number of axes and buttons of the first message that held all that the mapping wants; None: there was none."""
    now: tuple[int, int] = (0, 0)
    """Those of the last message."""
    off_since_s: tuple[tuple[int, float], ...] = ()
    """Axes off their centre while the dead-man's button is let go, and since when, monotonic clock."""
    stuck: tuple[int, ...] = ()
    """Those of them that were so for too long. They stay here until they are seen at their centre."""

    def after(
        self, mapping: Mapping, spec: ActionSpec, axes: Sequence[float], buttons: Sequence[int], now_s: float
    ) -> DeviceHistory:
        """Return the value after a message at `now_s`, monotonic clock."""
        sizes = len(axes), len(buttons)
        controls = self.controls or (None if missing_controls(mapping, spec, *sizes) else sizes)
        if mapping.deadman is None:  # a cap off its centre drives
            return DeviceHistory(controls, sizes)
        wanted = sorted({mapping.axes[axis.name].axis for axis in spec.axes})
        off = [axis for axis in wanted if axis < len(axes) and not abs(axes[axis]) <= mapping.deadzone]
        if _pressed(mapping.deadman, buttons):  # who drives deflects the axes
            off = [axis for axis in off if axis in self.stuck]
        before = dict(self.off_since_s)
        since = tuple((axis, before.get(axis, now_s)) for axis in off)
        stuck = tuple(a for a, since_s in since if a in self.stuck or now_s - since_s > mapping.repeat_s)
        return DeviceHistory(controls, sizes, since, stuck)

    def fault(self, mapping: Mapping, spec: ActionSpec) -> str:
        """Return why the device is not the one that it was, or is broken; an empty text while it is sound."""
        if self.controls is not None and self.now != self.controls:
            return (
                f"has {self.now[0]} axes and {self.now[1]} buttons now, and had {self.controls[0]} and "
                f"{self.controls[1]}: it is another device, whose controls may mean something else; plug the first one "
                "in again, or activate teleop_node anew"
            )
        names = [
            f"{axis} ({one.name})" for axis in self.stuck for one in spec.axes if mapping.axes[one.name].axis == axis
        ]
        if not names:
            return ""
        return (
            f"is off its centre at axis {', '.join(names)} while its button is let go, for more than "
            f"{mapping.repeat_s:g} s: let the stick spring back, or use another device"
        )


@dataclass(frozen=True)
class Grip:
    """Tells whether a person has the robot in their hand: by the dead-man's button or, without one, by motion.

    A cap that springs back passes its centre when it is moved from one side to the other; `HELD_AT_CENTRE_S` bridges
    that.
    """

    moved_s: float = -math.inf
    """Last moment at which the device without a dead-man's button asked for motion, monotonic clock."""

    def after(self, moves: bool, now_s: float) -> Grip:
        """Return the value at `now_s`, when the device asks for motion or not (`moves`)."""
        return Grip(now_s) if moves else self

    def holds(self, mapping: Mapping, buttons: Sequence[int], now_s: float) -> bool:
        """Return whether the person has the robot."""
        if mapping.deadman is not None:
            return _pressed(mapping.deadman, buttons)
        return now_s - self.moved_s <= HELD_AT_CENTRE_S


def stream_fault(mapping: Mapping, spec: ActionSpec, devices: int, late: str, history: DeviceHistory) -> str:
    """Return why the messages of a device are not what a person does with it now; an empty text while they are.

    `devices` is how many nodes publish on its topic, and `late` says why the last message is an old one by its stamp.
    """
    if devices > 1:
        return f"is published by {devices} nodes, and only one may"
    if late:
        return f"is late, or the clock of its computer is not this one's: {late}"
    return history.fault(mapping, spec)


def device_fault(
    mapping: Mapping,
    spec: ActionSpec,
    said: tuple[Sequence[float], Sequence[int]] | None,
    age_s: float,
    devices: int,
    hangs: bool,
    late: str = "",
    history: DeviceHistory | None = None,
) -> str:
    """Return why a device cannot be followed; an empty text while it can.

    `said` are its axes and buttons, `age_s` the time since their receipt, and `hangs` says that it has repeated itself
    for too long; the others are those of `stream_fault`.
    """
    if said is None:
        return "has sent nothing yet"
    if age_s > DEVICE_TIMEOUT_S:
        return f"is silent: last heard {age_s:.2f} s ago, limit {DEVICE_TIMEOUT_S:g} s"
    if fault := stream_fault(mapping, spec, devices, late, history or DeviceHistory()):
        return fault
    axes, buttons = said
    missing = missing_controls(mapping, spec, len(axes), len(buttons))
    if missing:
        return missing
    wanted = [mapping.axes[axis.name].axis for axis in spec.axes]
    if not all(math.isfinite(axes[axis]) for axis in wanted):
        return "holds NaN or infinity in an axis"
    if hangs:
        return f"has said the same for {mapping.repeat_s:g} s, as one that hangs does"
    return ""


def operator_action(
    mapping: Mapping, spec: ActionSpec, axes: Sequence[float], buttons: Sequence[int], yaw: float = 0.0
) -> list[float]:
    """Return the normalised action, zero without the deadman button, a needed axis or a finite value.

    `yaw`, in rad, is that of the robot's `operator_frame`, in which the device steers. While a button of the gripper is
    pressed, its value follows the twist (n,): 1 to open, -1 to close. Without it the gripper holds.
    """
    if mapping.deadman is not None and not _pressed(mapping.deadman, buttons):
        return [0.0] * spec.twist_size
    chosen = [mapping.axes[axis.name] for axis in spec.axes]
    if any(control.axis >= len(axes) or not math.isfinite(axes[control.axis]) for control in chosen):
        return [0.0] * spec.twist_size
    wanted = [control.gain * _outside(axes[control.axis], mapping.deadzone) for control in chosen]
    return [*turned(wanted, spec, yaw), *_gripper(mapping, spec, buttons)]


def _gripper(mapping: Mapping, spec: ActionSpec, buttons: Sequence[int]) -> list[float]:
    """Return the wanted position of the gripper, or nothing where it holds."""
    if spec.gripper is None or mapping.gripper is None:
        return []
    opens, closes = _pressed(mapping.gripper.open, buttons), _pressed(mapping.gripper.close, buttons)
    return [1.0 if opens else -1.0] if opens != closes else []


def turned(action: Sequence[float], spec: ActionSpec, yaw: float) -> list[float]:
    """Return the action (n,) whose twist is that of `action` turned about z by `yaw`, rad; slower where it must be.

    An axis that the turn would carry beyond 1 slows all axes down alike, so that the direction stays.
    """
    if yaw == 0.0:
        return list(action)
    index: dict[str, int] = {axis.name: i for i, axis in enumerate(spec.axes)}
    result, cosine, sine = list(action), math.cos(yaw), math.sin(yaw)
    for x, y in ((index.get(f"{part}.x"), index.get(f"{part}.y")) for part in ("linear", "angular")):
        if x is not None and y is not None:
            along, across = action[x] * spec.scale[x], action[y] * spec.scale[y]
            result[x] = (cosine * along - sine * across) / spec.scale[x]
            result[y] = (sine * along + cosine * across) / spec.scale[y]
    beyond = max(1.0, *map(abs, result))
    return [value / beyond for value in result]


def orders(mapping: Mapping, before: Sequence[int], now: Sequence[int]) -> list[OperatorOrder]:
    """Return the orders whose buttons have just been pressed."""
    return [o for o, button in mapping.buttons.items() if _pressed(button, now) and not _pressed(button, before)]


def _pressed(button: int, buttons: Sequence[int]) -> bool:
    return button < len(buttons) and buttons[button] != 0


def _outside(value: float, deadzone: float) -> float:
    """Return zero inside the deadzone, and beyond it a value that rises without a jump to 1 at full deflection."""
    beyond = max(0.0, abs(min(max(value, -1.0), 1.0)) - deadzone)
    return math.copysign(beyond / (1.0 - deadzone), value)
