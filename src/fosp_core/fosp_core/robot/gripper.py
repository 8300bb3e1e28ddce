"""The gripper of a robot file, and the limit of the rate at which its setpoint changes.

A normalised position of -1 is closed and 1 is open. It is a setpoint, not a speed: nothing returns it to zero, and
whatever stops the robot leaves it where it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from fosp_core.clock import Received
from fosp_core.specs import GripperAxis, Spec, TopicName

OUTSIDE = 0.2
"""Share of the stroke by which a measured position may lie beyond closed or open: fingers are soft, zeros drift."""
LEAST_CHANGE = 0.02
"""Change, of 2 for the whole stroke, that a first wish must ask for: a gripper that holds something is else left
alone, since its measured position is the width of what it holds, and to command that would let go of it."""
BAND = 0.25
"""A wish within this of the middle changes nothing of a gripper that only opens and closes."""
SWITCHES_AT = 0.5
"""Distance from the middle at which the ramp of such a gripper switches it."""
BEHIND = 0.5
"""Way, of 2 for the whole stroke, by which a gripper that is told to open may be behind what it is told for long."""
_FARTHEST = {"m": 1.0, "rad": 7.0}
"""Position beyond which no gripper opens, by unit: one in mm or degrees would else be moved as one in m or rad."""
LEAST_STROKE_S = 0.02
"""Time from closed to open, s, of the fastest gripper there is."""
OPENS_WITHIN_S = 1.0
"""Time for which a gripper that is so far behind may stand still, s."""


class GripperConfig(Spec):
    """Section `gripper` of a robot file: how its gripper is commanded, and where its position comes from."""

    how: Literal["action", "array", "joint_state"]
    """action: goals of control_msgs/action/GripperCommand; array: std_msgs/Float64MultiArray; joint_state:
    sensor_msgs/JointState."""
    topic: TopicName
    """Topic of the commands, or name of the action."""
    joint: str = Field(min_length=1)
    """Name of the joint whose position is measured, and in a JointState commanded."""
    closed: float
    open: float
    unit: Literal["m", "rad", "1"] = "m"
    kind: Literal["position", "open_close"] = "position"
    max_rate: float = Field(gt=0)
    """Largest rate of the setpoint, in `unit` per second."""
    max_effort: float = Field(0.0, ge=0, le=1000)
    """`max_effort` of the goals of an action, N or Nm; 0 leaves it to the driver."""
    fingers: int = Field(1, ge=1, le=4)
    """Values in an array, one for each finger, which are all the same."""
    feedback_topic: TopicName
    """sensor_msgs/JointState that holds `joint`."""
    timeout_s: float = Field(0.25, gt=0, le=2)
    """Greatest age of the measured position; an older one stops the robot, and the gripper holds."""

    @model_validator(mode="after")
    def _has_a_stroke(self) -> GripperConfig:
        if self.open == self.closed:
            raise ValueError("open and closed must differ")
        most = _FARTHEST.get(self.unit, math.inf)
        if max(abs(self.open), abs(self.closed)) > most:
            raise ValueError(f"open and closed lie within {most:g} {self.unit}: not in mm or degrees")
        if self.max_rate * LEAST_STROKE_S > self.stroke:
            raise ValueError(
                f"max_rate of {self.max_rate:g} {self.unit}/s takes it from closed to open in less than "
                f"{LEAST_STROKE_S:g} s, which limits nothing: is it in {self.unit}/s?"
            )
        if self.fingers != 1 and self.how != "array":
            raise ValueError("fingers is for how: array")
        if self.max_effort and self.how != "action":
            raise ValueError("max_effort is for how: action")
        return self

    @property
    def axis(self) -> GripperAxis:
        """The last value of the robot's action."""
        return GripperAxis(closed=self.closed, open=self.open, unit=self.unit, kind=self.kind)

    @property
    def stroke(self) -> float:
        """Way between closed and open, in `unit`."""
        return abs(self.open - self.closed)


def with_gripper_axis(data: Any) -> Any:
    """Return the content of a robot file whose `action` has the gripper that its section `gripper` describes.

    ValueError when `action` says otherwise.
    """
    if not isinstance(data, dict) or not isinstance(data.get("action"), dict):
        return data
    told, section = data["action"].get("gripper"), data.get("gripper")
    if section is None:
        if told is not None:
            raise ValueError("action.gripper comes from the section gripper of the robot file: write that")
        return data
    axis = GripperConfig.model_validate(section).axis.model_dump()
    if told is not None and told != axis:
        raise ValueError("action.gripper contradicts the section gripper: leave it out")
    return {**data, "action": {**data["action"], "gripper": axis}}


@dataclass(frozen=True)
class GripperSetpoint:
    """The last position that the gripper was told, normalised; None: nothing yet, so that it is left alone."""

    ramp: float | None = None
    """Where the limit of the rate has got to."""
    sent: float | None = None
    """The position that the gripper is told: the ramp, or for one that opens and closes -1 or 1."""


@dataclass(frozen=True)
class GripperLimits:
    """The way of a gripper's setpoint to what is wished, at a limited rate."""

    rate: float
    """Normalised, per second."""
    opens_and_closes: bool

    @classmethod
    def of(cls, config: GripperConfig | None) -> GripperLimits | None:
        """Return the limits of a robot's gripper; None for a robot without one."""
        if config is None:
            return None
        return cls(2.0 * config.max_rate / config.stroke, config.kind == "open_close")

    def follow(self, before: GripperSetpoint, wish: float | None, measured: float | None, dt: float) -> GripperSetpoint:
        """Return the setpoint `dt` s later on the way to the normalised `wish`.

        Without a wish, as in every stop, with one that is not finite, and before a position was ever measured, the
        setpoint stays what it was. The first way begins at the measured position.
        """
        if wish is None or not math.isfinite(wish):
            return before
        wish, ramp = min(max(wish, -1.0), 1.0), before.ramp
        if ramp is None:
            if measured is None or not math.isfinite(measured):
                return before
            ramp = min(max(measured, -1.0), 1.0)
            if abs(wish - ramp) <= LEAST_CHANGE:
                return before
        if self.opens_and_closes:
            wish = ramp if abs(wish) <= BAND else math.copysign(1.0, wish)
        step = self.rate * max(dt, 0.0)
        ramp = min(max(wish, ramp - step), ramp + step)
        if not self.opens_and_closes:
            return GripperSetpoint(ramp, ramp)
        return GripperSetpoint(ramp, math.copysign(1.0, ramp) if abs(ramp) >= SWITCHES_AT else before.sent)


def position_fault(value: float, axis: GripperAxis) -> str:
    """Return why a measured position, in the unit of `axis`, cannot be that of this gripper; empty where it can."""
    if not math.isfinite(value):
        return "is not finite"
    if abs(axis.normalised(value)) <= 1.0 + 2.0 * OUTSIDE:
        return ""
    said = f"{value:.4g} {axis.unit}, far outside of closed {axis.closed:g} to open {axis.open:g}"
    return f"is {said}: another joint, or another unit?"


@dataclass(frozen=True)
class OpeningWatch:
    """A gripper that is told to open is watched for whether it does. One that closes may stand on what it holds."""

    since_s: float | None = None
    """Monotonic time since which it has stood, more closed than it is told; None: it is not so."""
    position: float = 0.0
    """Where it stands, normalised."""

    def after(self, told: float | None, measured: float, now_s: float) -> OpeningWatch:
        """Return the watch after a measured position; `told` is None while the gripper is left alone."""
        if told is None or told - measured <= BEHIND:
            return OpeningWatch()
        if self.since_s is None or measured - self.position >= LEAST_CHANGE:
            return OpeningWatch(now_s, measured)
        return self

    def fault(self, now_s: float) -> str:
        """Return why the gripper does not follow; empty while it may still be on its way."""
        if self.since_s is None or now_s - self.since_s <= OPENS_WITHIN_S:
            return ""
        return f"does not open: it has stood for {now_s - self.since_s:.1f} s, stuck or with a position that is frozen"


@dataclass(frozen=True)
class GripperInput:
    """The last measured position of the gripper."""

    received: Received | None = None
    """None: never received."""
    position: float | None = None
    """Normalised, -1 closed and 1 open; finite."""
    fault: str = ""
    """Why the position cannot be that of this gripper; empty where it can."""
    driver_fault: str = ""
    """Why the gripper's driver does not do what it is told; empty where it does."""
