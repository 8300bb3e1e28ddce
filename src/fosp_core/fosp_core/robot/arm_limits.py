"""Limits of an arm's joints and of its orientation in the robot file, and what it must not touch.

Units are SI. The keys that MoveIt Servo has, too, are called as there, and their defaults are its own.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from fosp_core.robot.quantities import Place, RollPitchYaw
from fosp_core.specs import OptionalTopic, Spec

Vector3 = tuple[float, float, float]
DEFAULT_MARGIN, LEAST_MARGIN, GREATEST_MARGIN = 0.1, 0.01, 1.0
"""rad or m."""


class SelfCollision(Spec):
    """The links of the arm must keep a distance from each other. Links that a joint connects are not compared."""

    distance: float = Field(0.01, ge=0, le=0.2)
    """m."""
    ignored_pairs: tuple[tuple[str, str], ...] = ()
    """Further pairs of links that are not compared, because they touch in every position of the joints."""
    srdf: str = ""
    """SRDF whose `disable_collisions` are ignored, too: a path, relative to the robot file, or package://PACKAGE/PATH."""


class SceneBox(Spec):
    """A box that stands still in the action frame, from which every link that moves keeps a distance."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    size: Place
    """m."""
    position: Place
    """Centre, m, in the action frame."""
    rotation: RollPitchYaw = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw, rad."""
    distance: float = Field(0.02, ge=0, le=0.5)
    """m."""
    ignored_links: tuple[str, ...] = ()
    """Links that may touch the box, such as one that stands on it."""

    @model_validator(mode="after")
    def _has_a_volume(self) -> SceneBox:
        if min(self.size) <= 0.0:
            raise ValueError("size must be positive on every axis")
        return self


class JointsConfig(Spec):
    """Limits of the joints, from the arm's URDF: `urdf` of the robot file, or the topic robot_description."""

    tip_link: str = Field(min_length=1)
    """Link at the commanded point."""
    tip_offset: Place = (0.0, 0.0, 0.0)
    """The commanded point in that link, m."""
    tip_rotation: RollPitchYaw = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw, rad, of the frame of `pose_topic` in that link."""
    topic: OptionalTopic = ""
    """sensor_msgs/JointState; empty: state_topic."""
    timeout_s: float = Field(0.1, gt=0, le=1)
    """Age of the oldest joint position from which on the arm stops."""
    held: dict[str, float] = Field(default_factory=dict)
    """Position, rad or m, of each joint that no message names, such as the fingers of a gripper without states."""
    joint_limit_margins: float | dict[str, float] = DEFAULT_MARGIN
    """Distance, rad or m, from the limits of the URDF at which a joint stops: of all joints, or by the joint's name."""
    holds_orientation: bool = True
    """The arm's controller keeps the orientation of the tool along the axes that are not commanded, which takes six
    joints. False: it moves the commanded point alone, and lets the orientation drift."""
    lower_singularity_threshold: float = Field(17.0, gt=1)
    """Condition number of the Jacobian from which on the arm slows down."""
    hard_stop_singularity_threshold: float = Field(30.0, gt=1)
    """Condition number at which it stops."""
    leaving_singularity_threshold_multiplier: float = Field(2.0, ge=1)
    """A motion away from a singularity is slowed this many times less."""
    pose_distance: float = Field(0.02, gt=0, le=0.2)
    """Distance, m, between the measured pose and that of the joint states at which one of them must be wrong."""
    pose_angle: float = Field(0.1, gt=0, le=1)
    """Angle between them, rad."""
    self_collision: SelfCollision | None = None
    """None: the links are not compared."""
    boxes: tuple[SceneBox, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> JointsConfig:
        if self.lower_singularity_threshold >= self.hard_stop_singularity_threshold:
            raise ValueError("lower_singularity_threshold must be below hard_stop_singularity_threshold")
        margins = self.joint_limit_margins
        for margin in margins.values() if isinstance(margins, dict) else (margins,):
            if not LEAST_MARGIN <= margin <= GREATEST_MARGIN:
                raise ValueError(
                    f"joint_limit_margins: {margin:g} must be within {LEAST_MARGIN:g} and {GREATEST_MARGIN:g}"
                )
        if len({box.name for box in self.boxes}) != len(self.boxes):
            raise ValueError("each box needs a name of its own")
        return self

    def margin(self, joint: str) -> float:
        """Return the margin of a joint, rad or m."""
        margins = self.joint_limit_margins
        return margins.get(joint, DEFAULT_MARGIN) if isinstance(margins, dict) else margins


class OrientationLimit(Spec):
    """A cone that the tool must not leave: around a direction, around an orientation, or around that of the start."""

    angle: float = Field(gt=0, lt=math.pi)
    """Half the opening of the cone, rad."""
    direction: Vector3 | None = None
    """Direction in the action frame around which `tool_axis` may turn; the tool may spin about it."""
    tool_axis: Vector3 = (0.0, 0.0, 1.0)
    """Axis of the commanded point's own frame; with `direction` only."""
    rotation: RollPitchYaw | None = None
    """Roll, pitch and yaw, rad, in the action frame of the orientation from which the tool may turn by `angle`.

    Without `direction` and `rotation` it is the first orientation that is measured after each activation."""

    @model_validator(mode="after")
    def _one_reference(self) -> OrientationLimit:
        if self.direction is not None and self.rotation is not None:
            raise ValueError("has either direction (of tool_axis) or rotation (of the whole tool), not both")
        if self.direction is None and "tool_axis" in self.model_fields_set:
            raise ValueError("tool_axis needs direction, around which it may turn")
        if any(vector is not None and math.hypot(*vector) < 1e-6 for vector in (self.direction, self.tool_axis)):
            raise ValueError("direction and tool_axis must have a direction")
        return self
