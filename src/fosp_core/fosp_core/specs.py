"""Specifications of bundles and robots: frozen, validated values that every package shares.

Units are SI. A normalised action has each axis in [-1, 1]; the scale of the axis makes a twist component of it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fosp_core.cameras import DEVICES
from fosp_core.errors import UserError
from fosp_core.robot_inputs import EnablingConfig, ReadyConfig

FORMAT_VERSION = 1
"""Version of the bundle folder's format; a loader refuses every other one."""

MAX_YAML_BYTES = 1 << 20

LEAST_COMMANDS_TO_A_TIMEOUT = 3
"""Periods of the command stream that the robot's own watchdog must wait at least: a late command must not stop it."""

PublicKey = Annotated[str, Field(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]
"""An Ed25519 public key as text: a prefix and 32 bytes in base64."""
TwistComponent = Literal["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"]
TWIST_COMPONENTS: tuple[TwistComponent, ...] = get_args(TwistComponent)


class Spec(BaseModel):
    """Base class of every specification: immutable, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class CameraSpec(Spec):
    """One camera as the world model sees it: centre-cropped to this aspect ratio, then area-resized to this size."""

    name: str = "color"
    topic: str = "camera/color/image_raw"
    height: int = Field(64, gt=0)
    width: int = Field(64, gt=0)


class ObservationSpec(Spec):
    """Cameras in the order in which their images are stacked to (cameras, height, width, 3) uint8 RGB."""

    cameras: tuple[CameraSpec, ...] = (CameraSpec(),)

    @model_validator(mode="after")
    def _one_size(self) -> ObservationSpec:
        if len({(c.height, c.width) for c in self.cameras}) != 1:
            raise ValueError("all cameras must have one size, and there must be at least one")
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of an observation: (cameras, height, width, 3)."""
        return len(self.cameras), self.cameras[0].height, self.cameras[0].width, 3


class ActionAxis(Spec):
    """One axis of the action: a twist component and its scale."""

    name: TwistComponent
    scale: float = Field(gt=0)
    """Value of the component at the normalised action 1, in m/s or rad/s."""

    @property
    def unit(self) -> str:
        return "m/s" if self.name.startswith("linear") else "rad/s"


class ActionSpec(Spec):
    """Axes in the order of the action vector, and the frame in which the twist is expressed."""

    axes: tuple[ActionAxis, ...] = Field(min_length=1)
    frame_id: str

    @model_validator(mode="after")
    def _distinct(self) -> ActionSpec:
        if len({axis.name for axis in self.axes}) != len(self.axes):
            raise ValueError("each twist component may appear once")
        return self

    @property
    def size(self) -> int:
        return len(self.axes)

    @property
    def scale(self) -> tuple[float, ...]:
        return tuple(axis.scale for axis in self.axes)


class CameraCalibration(Spec):
    """Limits of what the bundle's reference (reference.npz) says about live frames, calibrated on held-out episodes."""

    novelty_limit: float = Field(gt=0)
    """A frame of greater novelty is not one that the model knows."""
    novelty_count: int = Field(gt=0)
    """Alarm when this many frames of the last `novelty_window` are above the limit."""
    novelty_window: int = Field(gt=0, le=1000)
    inconsistency_limit: float = Field(gt=0)
    """A sequence of greater inconsistency does not show the motion that was executed; standard deviations."""
    inconsistency_count: int = Field(gt=0)
    inconsistency_window: int = Field(gt=0, le=1000)
    episodes: int = Field(ge=0)
    """Number of held-out episodes."""
    false_alarm_bound: float = Field(ge=0, le=1)
    """Finite-sample bound on the share of healthy episodes with a false alarm."""
    supported: bool
    """False when there were too few episodes for the bound that is aimed at."""

    @model_validator(mode="after")
    def _counts_fit(self) -> CameraCalibration:
        if self.novelty_count > self.novelty_window or self.inconsistency_count > self.inconsistency_window:
            raise ValueError("a count of alarms must not exceed its window")
        return self


class Calibration(Spec):
    """Thresholds that were fitted on validation episodes, which are never trained on."""

    eps: float = Field(gt=0, lt=1)
    """Feasibility threshold: an action is feasible if and only if q_h <= eps."""
    alpha: float = Field(gt=0, lt=1)
    """Largest allowed miss rate among the steps that precede a violation."""
    horizon_steps: int = Field(gt=0)
    """Number of steps before a violation that count as preceding it (H_v)."""
    episodes: int = Field(ge=0)
    violating_episodes: int = Field(ge=0)
    miss_rate_bound: float = Field(ge=0, le=1)
    """Finite-sample bound on the miss rate that the conformal argument supports."""
    false_veto_rate: float = Field(ge=0, le=1)
    supported: bool
    """False when there were too few violating episodes for alpha; eps is then the most conservative observed value."""
    surprise_limit: float = Field(gt=0)
    """99.5 % quantile of KL[posterior || prior] per step, in nats."""
    ranges: dict[Literal["q_r", "q_c", "q_h", "v_h"], tuple[float, float]]
    """Lowest and highest value of each critic output that the runtime accepts."""
    camera: CameraCalibration | None = None
    """Limits for live frames; None in a bundle of an earlier release, which no node loads."""


class LatentSpec(Spec):
    """Sizes of the latent that travels from encoder to policy and safety monitor."""

    deter: int = Field(gt=0)
    """Size of the deterministic part (m, h, e): memory (if any), recurrent state, image embedding."""
    stoch: int = Field(gt=0)
    """Size of the stochastic part z, one-hot and flattened: variables * classes."""


class Manifest(Spec):
    """Content of manifest.json in a bundle; `id` is the sha256 over everything else (fosp_core.bundle.bundle)."""

    format_version: int
    id: str
    parent_id: str = ""
    task: str
    robot: str
    size: str
    """Size preset of the networks: nano, small or paper."""
    observation: ObservationSpec
    action: ActionSpec
    latent: LatentSpec
    decision_period_s: float = Field(gt=0)
    kappa: float = Field(0.1, ge=0)
    """Weight of cost: the utility of a candidate is q_r - kappa * q_c."""
    calibration: Calibration
    metrics: dict[str, float] = {}
    training: dict[str, Any] = {}
    """Provenance of the model: commands, data, seeds, figures."""
    files: dict[str, str] = {}
    """sha256 of every other file of the bundle, by relative path."""


class AxisLimits(Spec):
    """Hard limits of one twist component, which are applied last, whatever the policy proposes."""

    speed: float = Field(gt=0, le=10)
    acceleration: float = Field(gt=0, le=100)
    """Limit while following commands, in m/s^2 or rad/s^2."""
    deceleration: float = Field(gt=0, le=200)
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
    command_topic: str
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
    state_topic: str
    state_type: Literal["JointState", "Odometry"]
    pose_topic: str = ""
    """geometry_msgs/PoseStamped of the commanded point in the action frame, which arms need for the workspace."""
    state_publishers: int = Field(1, ge=1, le=8)
    """Publishers that `state_topic` has: more than one only where, say, a gripper adds its joints to joint_states."""
    estop_topics: tuple[Annotated[str, Field(min_length=1)], ...]
    """std_msgs/Bool of each emergency stop, true: pressed; silence counts as pressed. `[]`: none. No default."""
    enabling: EnablingConfig | None = None
    """Switch that a person holds while the policy moves the robot."""
    ready: tuple[ReadyConfig, ...] = ()
    protective_force_n: float | None = Field(None, gt=0, le=1000)
    """Change of the force on `wrench_topic` since engaging, N, at which the robot latches; the two go together."""
    wrench_topic: str = ""
    """geometry_msgs/WrenchStamped."""
    camera_frame_rate_hz: float = Field(30.0, gt=0)
    bundle_keys: tuple[PublicKey, ...] = ()
    """Public keys (fosp bundle keygen). Where there are any, only bundles signed with one of them are loaded."""
    eps_ceiling: float = Field(0.5, gt=0, lt=1)
    """Largest feasibility threshold eps, a risk, of a bundle that this robot loads."""
    cameras: tuple[CameraConfig, ...] = Field((CameraConfig(),), min_length=1)
    """Cameras that camera_node opens where no driver publishes images already."""
    camera_topics: dict[str, str] = {}
    """Topic of a driver, by the topic on which a bundle expects the images. A topic that ends in /compressed holds
    sensor_msgs/CompressedImage."""

    @model_validator(mode="before")
    @classmethod
    def _names_emergency_stops(cls, data: Any) -> Any:
        if isinstance(data, dict) and "estop_topic" in data:
            raise ValueError(f"estop_topic is a list now: write estop_topics: [{data['estop_topic'] or ''}]")
        if isinstance(data, dict) and "estop_topics" not in data:
            text = "write estop_topics: [TOPIC, ...] for the std_msgs/Bool of each, or estop_topics: [] for none"
            raise ValueError(f"estop_topics (emergency stops) is missing: {text}")
        return data

    @model_validator(mode="after")
    def _distinct_cameras(self) -> RobotConfig:
        if len(set(self.estop_topics)) != len(self.estop_topics):
            raise ValueError("estop_topics: each emergency stop needs a topic of its own")
        if len({camera.name for camera in self.cameras}) != len(self.cameras):
            raise ValueError("each camera needs a name of its own")
        for camera in self.cameras if len(self.cameras) > 1 else ():
            if not getattr(camera, DEVICES[camera.source].identity):
                raise ValueError(f"of several cameras each {camera.source} needs its {DEVICES[camera.source].identity}")
        return self

    def image_topic(self, topic: str) -> str:
        """Return the topic of the images that a bundle expects on `topic`."""
        return self.camera_topics.get(topic, topic)

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
        if self.kind != "arm" or self.pose_topic == self.command_topic:
            raise ValueError("command_type PoseStamped is for an arm, with a pose_topic that is not its command_topic")
        for part, allowed in (("linear", self.target_lead.distance), ("angular", self.target_lead.angle)):
            names = [axis.name for axis in self.action.axes if axis.name.startswith(part)]
            reaction_s = 1.0 / self.command_rate_hz + self.response_s + self.dead_time_s
            needed = math.hypot(*(self.limits[n].stopping_distance(self.limits[n].speed, reaction_s) for n in names))
            if allowed <= needed:
                raise ValueError(f"target_lead of {allowed:g} is no more than the {needed:.3g} that stopping takes")
        return self


AnySpec = TypeVar("AnySpec", bound=Spec)


def parse_spec(kind: type[AnySpec], data: object, source: str) -> AnySpec:
    """Validate `data` as `kind`; raise UserError with one line that names `source`, the key and what is allowed."""
    if not isinstance(data, dict):
        raise UserError(f"{source}: expected a mapping of keys, found {type(data).__name__}")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{source}: unknown key '{where}'; allowed: {_allowed(kind, first['loc'])}") from None
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(f"{source}: {where}: {message}{more}") from None


def _allowed(kind: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Return the names that are allowed in place of the last part of `loc`."""
    model = kind
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(iter(_models_in(field.annotation)), model)
    return ", ".join(model.model_fields)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the pydantic models in a type annotation such as `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; raise UserError with one line when it is missing or malformed."""
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UserError(f"{path}: larger than a configuration file may be ({MAX_YAML_BYTES} bytes)")
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}: {getattr(error, 'problem', None) or error}") from None


def read_robot(path: Path) -> RobotConfig:
    """Return the robot that a YAML file describes; raise UserError with the first fault."""
    return parse_spec(RobotConfig, read_yaml(path), str(path))
