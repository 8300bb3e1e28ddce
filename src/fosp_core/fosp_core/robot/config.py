"""The robot file (config/robots/NAME.yaml): axes, limits, topics, and who has to consent to motion.

Units are SI.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fosp_core.cameras import DEVICES
from fosp_core.robot.arm_limits import JointsConfig, OrientationLimit
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_core.robot.extending import read_robot_content
from fosp_core.robot.gripper import GripperConfig, with_gripper_axis
from fosp_core.robot.home import HomeConfig, home_fault
from fosp_core.robot.protective import SelfShape, ZoneConfig, ZoneSourceConfig, zones_fault
from fosp_core.robot.quantities import metres
from fosp_core.specs import ActionSpec, OptionalTopic, Spec, TopicName, TwistComponent, parse_spec
from fosp_core.topics import are_one, resolve

LEAST_COMMANDS_TO_A_TIMEOUT = 3
"""Periods of the command stream that the robot's own watchdog must wait at least: a late command must not stop it."""

PublicKey = Annotated[str, Field(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]
"""An Ed25519 public key as text: a prefix and 32 bytes in base64."""


class AxisLimits(Spec):
    """Hard limits of one twist component, which are applied last, whatever the policy proposes."""

    speed: float = Field(gt=0, le=10)
    acceleration: float = Field(gt=0, le=500)
    """Limit while following commands, in m/s^2 or rad/s^2."""
    deceleration: float = Field(gt=0, le=500)
    """Limit while stopping, in m/s^2 or rad/s^2; at least the acceleration."""
    jerk: float | None = Field(None, gt=0, le=20000)
    """Limit of the jerk, in m/s^3 or rad/s^3; None where the robot's own controller smooths the commands."""

    def stopping_distance(self, speed: float, reaction_s: float = 0.0) -> float:
        """Return the distance in m or rad until rest, when a stop is called for at `speed` >= 0 while speeding up."""
        if speed == 0.0:
            return 0.0
        turn = 0.0 if self.jerk is None else (self.acceleration + self.deceleration) / self.jerk
        build_up = 0.0 if self.jerk is None else 0.5 * self.deceleration / self.jerk
        gained = 0.0 if self.jerk is None else 0.5 * self.acceleration**2 / self.jerk * turn
        return gained + speed * (reaction_s + turn + build_up) + 0.5 * speed**2 / self.deceleration

    def stopping_time(self, speed: float) -> float:
        """Return the time in s until rest, when a stop is called for at `speed` >= 0 while speeding up."""
        if speed == 0.0:
            return 0.0
        turn = 0.0 if self.jerk is None else (self.acceleration + self.deceleration) / self.jerk
        build_up = 0.0 if self.jerk is None else self.deceleration / self.jerk
        gained = 0.0 if self.jerk is None else 0.5 * self.acceleration**2 / self.jerk
        return turn + build_up + (speed + gained) / self.deceleration

    @model_validator(mode="after")
    def _stops_no_slower(self) -> AxisLimits:
        if self.deceleration < self.acceleration:
            raise ValueError("deceleration must be at least the acceleration")
        return self


class Workspace(Spec):
    """Axis-aligned box in m, in the action frame, that the commanded point must not leave."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    @model_validator(mode="after")
    def _not_empty(self) -> Workspace:
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError("lower must be below upper on every axis")
        return self


class TargetLead(Spec):
    """Limit on how far the target pose of a position-controlled arm runs ahead of the measured pose, in m and rad."""

    distance: float = Field(gt=0, le=0.5)
    angle: float = Field(gt=0, le=1.5)


class OperatorFrame(Spec):
    """The frame in which an operator steers: the action frame, turned about its z axis."""

    yaw: float = Field(ge=-math.pi, le=math.pi)
    """Direction of the operator's forward (x) in the action frame, rad, counter-clockwise from its x axis."""


class CameraConfig(Spec):
    """A camera that camera_node opens, with topics such as NAME/color/image_raw and frame NAME_color_optical_frame."""

    name: str = Field("camera", pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$")
    source: str = "realsense"
    """Camera type: a key of fosp_core.cameras.DEVICES."""
    serial: str = ""
    """Serial number of a RealSense; empty where it is the only one."""
    device: str = ""
    """Device of an opencv camera: /dev/v4l/by-id/..., /dev/video0, the URL of a stream, or a video file."""
    width: int = Field(640, gt=0)
    height: int = Field(480, gt=0)
    depth: bool = False
    """Publish depth aligned to the colour image, too (realsense)."""
    exposure: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Exposure time in the unit of the camera's colour sensor (D435: 100 us)."""

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source not in DEVICES:
            raise ValueError(f"must be one of {', '.join(DEVICES)}")
        return source

    @model_validator(mode="after")
    def _identified(self) -> CameraConfig:
        kind = DEVICES[self.source]
        if not kind.found_alone and not getattr(self, kind.identity):
            raise ValueError(f"a camera with source {self.source} needs {kind.identity}")
        return self

    def node_parameters(self, rate_hz: float) -> dict[str, str | bool | int | float]:
        """Return the parameters of camera_node for this camera.

        A serial number is a string of digits, which must be quoted in command lines and launch files.
        """
        kind = DEVICES[self.source]
        own = {name: getattr(self, name) for name in (kind.identity, *kind.options)}
        return {
            **{"source": self.source, "camera_name": self.name, "rate_hz": rate_hz},
            **{"width": self.width, "height": self.height},
            **{name: f"{value:g}" if isinstance(value, float) else value for name, value in own.items()},
        }


class RobotConfig(Spec):
    """Content of a robot file (config/robots/NAME.yaml)."""

    name: str
    kind: Literal["arm", "base"]
    action: ActionSpec
    limits: dict[TwistComponent, AxisLimits]
    workspace: Workspace | None = None
    """Limits of the measured pose (`pose_topic`); None only for a base."""
    command_topic: TopicName
    command_type: Literal["TwistStamped", "Twist", "PoseStamped"] = "TwistStamped"
    """PoseStamped for an arm whose controller takes target poses: the monitor integrates its twists into them."""
    target_lead: TargetLead | None = None
    """Required with PoseStamped, and only with it: a robot that lags further behind its target is stopped."""
    command_rate_hz: float = Field(100.0, gt=0, le=1000)
    command_timeout_s: float = Field(0.1, gt=0, le=1)
    """Time-out of the robot's own watchdog: the robot stops when it has received no command for this long."""
    response_s: float = Field(0.1, gt=0, le=1)
    """Time constant of the first-order lag with which the robot's speed follows a command, s."""
    dead_time_s: float = Field(0.05, gt=0, le=0.5)
    """Time from the sending of a command until the robot begins to follow it, s."""
    linear_speed: float | None = Field(None, gt=0, le=10)
    """Limit of the norm of the linear velocity, m/s; None: the largest limit of a linear axis. Angular likewise."""
    angular_speed: float | None = Field(None, gt=0, le=10)
    teleports: bool = False
    """True for a simulator alone, whose robot jumps to its start: a jump of the measured pose is then no motion."""
    coasts: bool = False
    """True for a simulator alone, whose robot keeps its momentum when it turns or stops, as on ice: its motion is then
    not held against its commands, and `response_s` says how long it slides."""
    operator_frame: OperatorFrame | None = None
    """Frame in which a person steers, where forward is not the x axis of the action frame. Policies ignore it."""
    state_topic: TopicName
    state_type: Literal["JointState", "Odometry"]
    pose_topic: OptionalTopic = ""
    """geometry_msgs/PoseStamped of the commanded point in the action frame, which arms need for the workspace."""
    state_publishers: int = Field(1, ge=1, le=8)
    """Publishers that `state_topic` has: more than one only where, say, a gripper adds its joints to joint_states."""
    estop_topics: tuple[TopicName, ...]
    """std_msgs/Bool of each emergency stop, true: pressed; silence counts as pressed. `[]`: none. No default."""
    enabling: EnablingConfig | None = None
    """Switch that a person holds while the policy moves the robot."""
    ready: tuple[ReadyConfig, ...] = ()
    protective_force_n: float | None = Field(None, gt=0, le=1000)
    """Change of the force on `wrench_topic` since engaging, N, at which the robot latches; the two go together."""
    wrench_topic: OptionalTopic = ""
    """geometry_msgs/WrenchStamped."""
    camera_frame_rate_hz: float = Field(30.0, gt=0)
    bundle_keys: tuple[PublicKey, ...] = ()
    """Public keys (fosp bundle keygen). Where there are any, only bundles signed with one of them are loaded."""
    eps_ceiling: float = Field(0.5, gt=0, lt=1)
    """Largest feasibility threshold eps, a risk, of a bundle that this robot loads."""
    cameras: tuple[CameraConfig, ...] = Field((CameraConfig(),), min_length=1)
    """Cameras that camera_node opens where no driver publishes images already."""
    camera_topics: dict[TopicName, TopicName] = Field(default_factory=dict)
    """Topic of a driver, by the topic on which a bundle expects the images. A topic that ends in /compressed holds
    sensor_msgs/CompressedImage."""
    sources: tuple[ZoneSourceConfig, ...] = ()
    """Sensors of the protective zones."""
    zones: tuple[ZoneConfig, ...] = ()
    """Protective zones, which stop or slow the robot whatever a model says."""
    self_filter: tuple[SelfShape, ...] = ()
    """Parts of an arm whose points do not count in a zone; in the file itself, or the name of a file beside it."""
    gripper: GripperConfig | None = None
    """A gripper, which adds a last value to the action."""
    home: HomeConfig | None = None
    """Pose of an arm to which an operator sends it between episodes."""
    orientation_limit: OrientationLimit | None = None
    """Cone that the measured orientation of an arm's tool must not leave."""
    joints: JointsConfig | None = None
    """Limits of an arm's joints by its URDF, its singularities, and what it must not touch."""
    urdf: str = ""
    """URDF that the stack publishes for viewers: a path, relative to this file, or package://PACKAGE/PATH. Empty where
    the robot's driver publishes robot_description and TF, and for a simulated robot, whose simulator does."""

    @model_validator(mode="before")
    @classmethod
    def _names_emergency_stops(cls, data: Any) -> Any:
        if isinstance(data, dict) and "estop_topic" in data:
            raise ValueError(f"estop_topic is a list now: write estop_topics: [{data['estop_topic'] or ''}]")
        if isinstance(data, dict) and "estop_topics" not in data:
            text = "write estop_topics: [TOPIC, ...] for the std_msgs/Bool of each, or estop_topics: [] for none"
            raise ValueError(f"estop_topics (emergency stops) is missing: {text}")
        return with_gripper_axis(data)

    @model_validator(mode="after")
    def _distinct_cameras(self) -> RobotConfig:
        if len({resolve(topic) for topic in self.estop_topics}) != len(self.estop_topics):
            raise ValueError("estop_topics: each emergency stop needs a topic of its own")
        if len({resolve(name) for name in self.camera_topics}) != len(self.camera_topics):
            raise ValueError("camera_topics: each topic of a bundle may stand once, with or without a leading slash")
        if len({camera.name for camera in self.cameras}) != len(self.cameras):
            raise ValueError("each camera needs a name of its own")
        for camera in self.cameras if len(self.cameras) > 1 else ():
            if not getattr(camera, DEVICES[camera.source].identity):
                raise ValueError(f"of several cameras each {camera.source} needs its {DEVICES[camera.source].identity}")
        return self

    def image_topic(self, topic: str) -> str:
        """Return the topic of the images that a bundle expects on `topic`."""
        return next((own for name, own in self.camera_topics.items() if are_one(name, topic)), topic)

    def is_compressed(self, topic: str) -> bool:
        """Return True when the images that a bundle expects on `topic` are sensor_msgs/CompressedImage."""
        return self.image_topic(topic).endswith("/compressed")

    @model_validator(mode="after")
    def _complete(self) -> RobotConfig:
        missing = [axis.name for axis in self.action.axes if axis.name not in self.limits]
        if missing:
            raise ValueError(f"limits are missing for {', '.join(missing)}")
        for axis in self.action.axes:
            norm = self.linear_speed if axis.name.startswith("linear") else self.angular_speed
            if min(self.limits[axis.name].speed, norm or math.inf) < axis.scale:
                raise ValueError(f"speed limit of {axis.name} is below its action scale {axis.scale}")
        if (self.protective_force_n is None) != (not self.wrench_topic):
            raise ValueError("protective_force_n and wrench_topic go together")
        if self.kind == "arm" and (self.workspace is None or not self.pose_topic):
            raise ValueError("an arm needs workspace and pose_topic")
        for wall in (*self.workspace.lower, *self.workspace.upper) if self.kind == "arm" and self.workspace else ():
            metres(wall)
        return self

    @model_validator(mode="after")
    def _coasts_in_simulation(self) -> RobotConfig:
        if self.coasts and not self.teleports:
            raise ValueError("coasts is for a simulator's robot alone, which has teleports: true")
        return self

    @model_validator(mode="after")
    def _turns_pairs(self) -> RobotConfig:
        names = {axis.name for axis in self.action.axes}
        for part in ("linear", "angular") if self.operator_frame is not None else ():
            if len(names & {f"{part}.x", f"{part}.y"}) == 1:
                raise ValueError(f"operator_frame needs both {part}.x and {part}.y among the axes, or neither")
        return self

    @model_validator(mode="after")
    def _zones_fit(self) -> RobotConfig:
        fault = zones_fault(self.zones, self.sources, self.self_filter, self.kind == "base", bool(self.pose_topic))
        if fault:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _home_fits(self) -> RobotConfig:
        box, axes = self.workspace, [axis.name for axis in self.action.axes]
        walls = (None, None) if box is None else (box.lower, box.upper)
        fault = home_fault(self.home, self.kind == "arm", axes, *walls)
        if fault:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _limits_of_an_arm(self) -> RobotConfig:
        if self.kind != "arm" and (self.orientation_limit is not None or self.joints is not None):
            raise ValueError("orientation_limit and joints are for an arm")
        if self.joints is not None and not self.joints.topic and self.state_type != "JointState":
            raise ValueError("joints: topic is missing, because state_topic holds no JointState")
        return self

    @model_validator(mode="after")
    def _outlasts_a_few_commands(self) -> RobotConfig:
        least_s = LEAST_COMMANDS_TO_A_TIMEOUT / self.command_rate_hz
        if self.command_timeout_s < least_s - 1e-9:
            raise ValueError(
                f"command_timeout_s of {self.command_timeout_s:g} is less than {LEAST_COMMANDS_TO_A_TIMEOUT} periods "
                f"of command_rate_hz {self.command_rate_hz:g} ({least_s:.3g} s): a late command would stop the robot"
            )
        return self

    @model_validator(mode="after")
    def _leads_far_enough_to_stop(self) -> RobotConfig:
        if (self.command_type == "PoseStamped") != (self.target_lead is not None):
            raise ValueError("command_type PoseStamped needs target_lead, and no other command_type has one")
        if self.target_lead is None:
            return self
        if self.kind != "arm" or are_one(self.pose_topic, self.command_topic):
            raise ValueError("command_type PoseStamped is for an arm, with a pose_topic that is not its command_topic")
        for part, allowed in (("linear", self.target_lead.distance), ("angular", self.target_lead.angle)):
            names = [axis.name for axis in self.action.axes if axis.name.startswith(part)]
            reaction_s = 1.0 / self.command_rate_hz + self.response_s + self.dead_time_s
            needed = math.hypot(*(self.limits[n].stopping_distance(self.limits[n].speed, reaction_s) for n in names))
            if allowed <= needed:
                raise ValueError(f"target_lead of {allowed:g} is no more than the {needed:.3g} that stopping takes")
        return self

    @model_validator(mode="after")
    def _commands_nobody_else(self) -> RobotConfig:
        others = {"state_topic": self.state_topic, "pose_topic": self.pose_topic, "wrench_topic": self.wrench_topic}
        commanded = {"command_topic": self.command_topic}
        if self.gripper is not None:
            others["gripper.feedback_topic"] = self.gripper.feedback_topic
            if are_one(self.gripper.topic, self.command_topic):
                raise ValueError("gripper.topic must not be the command_topic")
            commanded["gripper.topic"] = self.gripper.topic
        for name, topic in others.items():
            for own, taken in commanded.items():
                if topic and are_one(topic, taken):
                    raise ValueError(f"{name} must not be the {own}")
        return self


def read_robot(path: Path) -> RobotConfig:
    """Return the robot that a file describes, with those that it extends; raise UserError with the first fault."""
    return parse_spec(RobotConfig, read_robot_content(path), str(path))
