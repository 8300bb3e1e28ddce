"""Rules that turn a robot's measurements into reward, cost, success and episode ends. Pure: numbers in, numbers out.

A rule names a topic, a condition on its messages, and the effect of the condition: a `cost` while it holds (a
violation), a `reward` once when it comes true, `success`, `ends`. config/feedback/NAME.yaml is a list of rules.

A message by which a rule cannot be judged is unknown (None). By default unknown is close: what would speak against the
robot counts, and what would speak for it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fosp_core.image.depth import require_metres
from fosp_core.specs import Spec, TopicName, parse_spec, read_yaml


class Rule(Spec):
    """The keys of every rule; a rule without any effect is refused."""

    topic: TopicName
    cost: float = Field(0.0, ge=0)
    """Cost of each frame while the condition holds; above 0 it is a violation."""
    reward: float = 0.0
    """Reward given once, when the condition comes true."""
    success: bool = False
    """The condition ends the episode as a success: the goal has been reached."""
    ends: bool = False
    """The condition ends the episode as a failure."""
    unknown: Literal["close", "free"] = "close"
    """Effect of what cannot be judged. close: cost and ends count, reward and success do not. free: nothing does."""

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        if not (self.cost or self.reward or self.success or self.ends or getattr(self, "progress_reward", 0.0)):
            raise ValueError("a rule needs an effect: cost, reward, success or ends")
        return self


class MeasuredRule(Rule):
    """A rule on a stream that never pauses: if it does, the rule cannot be judged, and the episode is cut off."""

    stale_s: float = Field(0.5, gt=0, le=10)
    """Longest pause between two messages, s."""


class EffortRule(MeasuredRule):
    """Holds while the effort of any of `joints` (empty: of all) is above `above`, Nm or N; sensor_msgs/JointState."""

    kind: Literal["effort"]
    message_type: ClassVar[str] = "sensor_msgs/msg/JointState"
    above: float = Field(gt=0)
    joints: tuple[str, ...] = ()

    def holds(self, efforts: Mapping[str, float]) -> bool | None:
        """Return True if an effort is too high; None if none is, and one is missing or not finite.

        `efforts` maps joint to effort.
        """
        watched = [abs(efforts.get(joint, math.nan)) for joint in self.joints or tuple(efforts)]
        if any(self.above < effort < math.inf for effort in watched):
            return True
        return False if watched and all(map(math.isfinite, watched)) else None


class WrenchRule(MeasuredRule):
    """Holds while the force is above `force_n`, or the torque above `torque_nm`; geometry_msgs/WrenchStamped."""

    kind: Literal["wrench"]
    message_type: ClassVar[str] = "geometry_msgs/msg/WrenchStamped"
    force_n: float = Field(gt=0)
    torque_nm: float | None = Field(None, gt=0)
    range_n: float | None = Field(None, gt=0)
    """Measuring range of the sensor along each axis, N: a force at its end may be any greater one, so it is unknown."""

    def holds(self, force: Sequence[float], torque: Sequence[float]) -> bool | None:
        """Return True if `force` (3,) N or `torque` (3,) Nm is too strong; None if it is not finite, or saturated."""
        known = all(map(math.isfinite, (*force, *(torque if self.torque_nm is not None else ()))))
        if not known:
            return None
        if math.hypot(*force) > self.force_n or math.hypot(*torque) > (self.torque_nm or math.inf):
            return True
        return None if self.range_n is not None and max(map(abs, force)) >= self.range_n else False


class GoalRule(MeasuredRule):
    """Holds while the position is within `within_m` of `goal`; geometry_msgs/PoseStamped or nav_msgs/Odometry.

    `progress_reward` is given per metre that the distance shrinks, and taken per metre that it grows.
    """

    kind: Literal["goal"]
    type: Literal["PoseStamped", "Odometry"] = "PoseStamped"
    goal: tuple[float, float, float]
    within_m: float = Field(gt=0)
    progress_reward: float = Field(0.0, ge=0)

    @property
    def message_type(self) -> str:
        return "geometry_msgs/msg/PoseStamped" if self.type == "PoseStamped" else "nav_msgs/msg/Odometry"

    def distance(self, position: Sequence[float]) -> float:
        """Return the distance to the goal, m; NaN for a position that is not finite."""
        return math.dist(position, self.goal) if all(map(math.isfinite, position)) else math.nan

    def holds(self, position: Sequence[float]) -> bool | None:
        """Return True if `position` (3,) m is at the goal; None if it is not finite."""
        distance = self.distance(position)
        return None if math.isnan(distance) else distance <= self.within_m


class DepthRule(MeasuredRule):
    """Holds while at least `share` of the known pixels are closer than `closer_m`; sensor_msgs/Image by REP 118.

    16UC1 is in mm, 0 where unknown. 32FC1 is in m, NaN and 0 where unknown; minus infinity is closer than can be
    measured, and infinity means that the way is free.
    """

    kind: Literal["depth"]
    message_type: ClassVar[str] = "sensor_msgs/msg/Image"
    closer_m: float = Field(gt=0)
    share: float = Field(0.01, gt=0, le=1)
    least_known: float = Field(0.05, gt=0, le=1)
    """Share of the pixels that must be known: what is too close for the camera, or covers its lens, is unknown."""

    def holds(self, depth: NDArray[np.uint16] | NDArray[np.floating]) -> bool | None:
        """Return True if `depth`, (H, W) integers in mm or floats in m, is close; None if too few pixels are known.

        UserError for floats of another unit.
        """
        if depth.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                known = depth[(depth > 0) | np.isneginf(depth)]
            require_metres(known[np.isfinite(known)])
            limit = self.closer_m
        else:
            known, limit = depth[depth > 0], self.closer_m * 1e3
        if len(known) and (known < limit).mean() >= self.share:
            return True
        return False if depth.size and len(known) >= self.least_known * depth.size else None


class ScanRule(MeasuredRule):
    """Holds while the nearest echo is closer than `closer_m`; sensor_msgs/LaserScan."""

    kind: Literal["scan"]
    message_type: ClassVar[str] = "sensor_msgs/msg/LaserScan"
    closer_m: float = Field(gt=0)

    def holds(self, ranges: NDArray[np.floating], least: float) -> bool | None:
        """Return True if any of `ranges`, (n,) m, is too close; None if not one of them is a measurement.

        By REP 117 minus infinity is closer than can be measured, infinity means that the way is free, and NaN and what
        is below `least` (range_min) are no measurements.
        """
        measured = ranges[(ranges >= least) | np.isneginf(ranges)]
        return bool(measured.min() < self.closer_m) if len(measured) else None


class BumperRule(Rule):
    """Holds while the message is true: pressed; std_msgs/Bool. Unknown while nobody publishes it.

    Its source may speak only when that changes, so that its silence says nothing, unless `stale_s` is given.
    """

    kind: Literal["bumper"]
    message_type: ClassVar[str] = "std_msgs/msg/Bool"
    stale_s: float | None = Field(None, gt=0, le=10)
    """Longest pause between two messages of a source that repeats them, s; None for one that tells changes only."""

    def holds(self, pressed: bool) -> bool | None:
        return pressed


class ButtonRule(Rule):
    """Holds while a button of the operator's gamepad is pressed; sensor_msgs/Joy.

    Unknown with a device that lacks the button, and when a device that was there is not any more. There may be none.
    """

    kind: Literal["button"]
    message_type: ClassVar[str] = "sensor_msgs/msg/Joy"
    topic: TopicName = "joy"
    button: int = Field(ge=0)
    """Index of the button in the message."""

    def holds(self, buttons: Sequence[int]) -> bool | None:
        """Return True if the button is pressed; None if there is no such button."""
        return buttons[self.button] != 0 if self.button < len(buttons) else None


AnyMeasuredRule = EffortRule | WrenchRule | GoalRule | DepthRule | ScanRule
AnyRule = EffortRule | WrenchRule | GoalRule | DepthRule | ScanRule | BumperRule | ButtonRule


class FeedbackConfig(Spec):
    """config/feedback/NAME.yaml: the rules of a task, and how long an episode may last."""

    time_limit_s: float = Field(gt=0)
    """Length of an episode after which it is cut off, s."""
    time_penalty: float = Field(0.2, ge=0)
    """Reward that is taken per second."""
    rules: tuple[Annotated[AnyRule, Field(discriminator="kind")], ...] = Field(min_length=1)

    @property
    def measured(self) -> tuple[AnyMeasuredRule, ...]:
        """Rules whose topics never pause: no episode begins without these topics."""
        return tuple(rule for rule in self.rules if isinstance(rule, MeasuredRule))

    @model_validator(mode="after")
    def _one_goal(self) -> FeedbackConfig:
        if sum(isinstance(rule, GoalRule) for rule in self.rules) > 1:
            raise ValueError("there can be one goal rule only")
        return self


def read_feedback_config(path: Path) -> FeedbackConfig:
    """Read a file of rules; UserError, in one line, when it is missing or malformed."""
    return parse_spec(FeedbackConfig, read_yaml(path), str(path))
