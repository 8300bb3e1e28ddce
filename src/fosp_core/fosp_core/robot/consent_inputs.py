"""Inputs of the robot file by which a person and the robot consent to motion: enabling switch, and robot states.

READY_KINDS is the table of adapters: it says which message of a robot's driver means that the robot can be commanded.
Messages of a vendor are imported by name, because their packages come with the vendor's driver.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fosp_core.errors import UserError
from fosp_core.specs import TopicName


class _InputSpec(BaseModel):
    """Immutable, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnablingConfig(_InputSpec):
    """A switch that a person holds while the robot moves (hold-to-run).

    A switch of three positions is pressed in the middle one only: released and fully pressed both have to read as 0 or
    false, as its contacts do when they are wired in series.
    """

    topic: TopicName
    type: Literal["Joy", "Bool"]
    """Joy: sensor_msgs/Joy, pressed while `button` is 1. Bool: std_msgs/Bool, pressed while it is true."""
    button: int | None = Field(None, ge=0, le=255)
    """Index of the button; for Joy only."""
    timeout_s: float = Field(0.2, gt=0, le=1)
    """A silence of this length is a release. joy_node repeats at 20 Hz (autorepeat_rate)."""
    repeat_s: float = Field(30.0, ge=1, le=120)
    """A message that does not change for this time is a release, because a device that lost its radio link looks like
    that: touch a stick, or press again, before it is over."""

    @model_validator(mode="after")
    def _button_of_a_joy(self) -> EnablingConfig:
        if (self.type == "Joy") != (self.button is not None):
            raise ValueError("type Joy needs the index of its button, and type Bool has none")
        return self


ReadyKind = Literal["bool", "ur_robot_mode", "ur_safety_mode", "franka_robot_mode", "servo_status"]


class ReadyConfig(_InputSpec):
    """A topic on which the robot's driver says whether the robot can be commanded."""

    topic: TopicName
    kind: ReadyKind
    """Key of READY_KINDS."""
    ready_when: bool = True
    """Value of a `bool` that means ready."""
    transient_local: bool | None = None
    """The driver publishes changes only, and a late subscriber gets the last one; by default as the kind does."""
    timeout_s: float | None = Field(None, gt=0, le=5)
    """A silence of this length means not ready. Only a transient-local topic may have none: there the publisher must be
    alive instead."""

    @model_validator(mode="after")
    def _cannot_fall_silent_unseen(self) -> ReadyConfig:
        if self.kind != "bool" and not self.ready_when:
            raise ValueError("ready_when is for kind bool")
        if not self.latched and self.limit_s is None:
            raise ValueError("timeout_s is missing; only a topic with transient_local: true may go without")
        return self

    @property
    def latched(self) -> bool:
        """Return True when the topic is transient local."""
        default = READY_KINDS[self.kind].latched
        return default if self.transient_local is None else self.transient_local

    @property
    def limit_s(self) -> float | None:
        """The silence that means not ready, s; None where only the publisher's life is watched."""
        return READY_KINDS[self.kind].timeout_s if self.timeout_s is None else self.timeout_s

    def why_not(self, message: Any) -> str:
        """Return why a message means that the robot is not ready; an empty text when it is. Unknown means not ready."""
        try:
            return READY_KINDS[self.kind].why_not(self, message)
        except (AttributeError, TypeError, ValueError):
            return f"{self.topic} sent a message without the field that {self.kind} needs"

    def message_class(self) -> Any:
        """Return the class of the messages; UserError, with what to install, when the vendor's package is missing."""
        kind = READY_KINDS[self.kind]
        package, name = kind.message_type.split("/")
        try:
            return getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            install = f"ros-jazzy-{package.replace('_', '-')}"
            raise UserError(
                f"ready: {self.topic} of kind {self.kind} needs the message {kind.message_type}, which is not "
                f"installed: install the package {package} (apt install {install}, or from the vendor's sources)"
            ) from None


@dataclass(frozen=True)
class ReadyAdapter:
    """One row of the table: how messages of one type say whether the robot is ready."""

    message_type: str
    """PACKAGE/NAME."""
    why_not: Callable[[ReadyConfig, Any], str]
    latched: bool = False
    timeout_s: float | None = None
    """Default of `timeout_s`."""


def _bool(config: ReadyConfig, message: Any) -> str:
    said = bool(message.data)
    return "" if said is config.ready_when else f"{config.topic} says {str(said).lower()}"


def _among(field: str, names: dict[int, str], ready: frozenset[int]) -> Callable[[ReadyConfig, Any], str]:
    """Return an adapter for a number: `ready` are the values that mean ready, `names` those that have a name."""

    def why_not(config: ReadyConfig, message: Any) -> str:
        value = int(getattr(message, field))
        if value in ready:
            return ""
        wanted = " or ".join(names[number] for number in sorted(ready))
        return f"{config.topic} says {names.get(value, 'unknown')} ({value}), needed is {wanted}"

    return why_not


_UR_ROBOT_MODES = dict(
    enumerate(
        (
            *("NO_CONTROLLER", "DISCONNECTED", "CONFIRM_SAFETY", "BOOTING", "POWER_OFF", "POWER_ON", "IDLE"),
            *("BACKDRIVE", "RUNNING", "UPDATING_FIRMWARE"),
        ),
        start=-1,
    )
)
_UR_SAFETY_MODES = dict(
    enumerate(
        (
            *("NORMAL", "REDUCED", "PROTECTIVE_STOP", "RECOVERY", "SAFEGUARD_STOP", "SYSTEM_EMERGENCY_STOP"),
            *("ROBOT_EMERGENCY_STOP", "VIOLATION", "FAULT", "VALIDATE_JOINT_ID", "UNDEFINED_SAFETY_MODE"),
            *("AUTOMATIC_MODE_SAFEGUARD_STOP", "SYSTEM_THREE_POSITION_ENABLING_STOP"),
        ),
        start=1,
    )
)
_FRANKA_MODES = dict(
    enumerate(("OTHER", "IDLE", "MOVE", "GUIDING", "REFLEX", "USER_STOPPED", "AUTOMATIC_ERROR_RECOVERY"))
)
_SERVO_CODES = dict(
    enumerate(
        (
            *("INVALID", "NO_WARNING", "DECELERATE_FOR_APPROACHING_SINGULARITY", "HALT_FOR_SINGULARITY"),
            *("DECELERATE_FOR_LEAVING_SINGULARITY", "DECELERATE_FOR_COLLISION", "HALT_FOR_COLLISION", "JOINT_BOUND"),
        ),
        start=-1,
    )
)

READY_KINDS: dict[str, ReadyAdapter] = {
    "bool": ReadyAdapter("std_msgs/Bool", _bool),
    "ur_robot_mode": ReadyAdapter(
        "ur_dashboard_msgs/RobotMode", _among("mode", _UR_ROBOT_MODES, frozenset({7})), latched=True
    ),
    "ur_safety_mode": ReadyAdapter(
        "ur_dashboard_msgs/SafetyMode", _among("mode", _UR_SAFETY_MODES, frozenset({1, 2})), latched=True
    ),
    "franka_robot_mode": ReadyAdapter(
        "franka_msgs/FrankaRobotState", _among("robot_mode", _FRANKA_MODES, frozenset({2})), timeout_s=0.5
    ),
    # Servo slows down by itself for the DECELERATE codes; with the others it does not follow commands.
    "servo_status": ReadyAdapter(
        "moveit_msgs/ServoStatus", _among("code", _SERVO_CODES, frozenset({0, 1, 3, 4})), timeout_s=0.5
    ),
}
