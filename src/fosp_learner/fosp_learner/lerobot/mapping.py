"""The mapping between a LeRobotDataset and a robot's bags: a YAML file that `bags import` and `bags export` read.

Data sets are free in the names, units and meaning of their columns, so a person has to say what they are. Units of the
robot are SI; a `factor` turns a number of the data set into them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Spec, TwistComponent, parse_spec, read_yaml
from fosp_core.topics import COLOR_IMAGE

NEVER = "never"
"""Value of `cost` by which a person vouches that no episode violates."""
MAPPING_FILE = "meta/fosp.yaml"
"""Place of the mapping in a data set that `bags export` wrote."""

_WHAT_FITS = (
    "an action here is a twist of the tool or base in m/s and rad/s. What fits: Cartesian or base velocities "
    "(kind: velocity), and displacements of the tool per step (kind: displacement)"
)
_KINDS = ("velocity", "displacement")
_JOINTS = re.compile(
    r"(^|[._ ])(joint|motor|servo|gripper|finger|jaw)|shoulder|elbow|forearm|waist|wrist_(roll|flex|angle|rot)|\.pos$",
    re.IGNORECASE,
)
"""Names of joints, and LeRobot's ending of a motor's position."""

_Factor = Annotated[float, Field(description="Robot's unit per unit of the data set.")]


class MappedCamera(Spec):
    """One camera: a feature of the data set, and the topic on which a bundle expects its images."""

    feature: str = Field(min_length=1)
    topic: str = Field(COLOR_IMAGE, min_length=1)
    width: int | None = Field(None, gt=0)
    """Width that images are cropped and resized to, pixels; None: as they are. Smaller images make smaller bags."""
    height: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _whole_size(self) -> MappedCamera:
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or neither")
        return self


class MappedAxis(Spec):
    """One axis of the action: an entry of the action feature, and what its number is multiplied by."""

    name: str
    factor: _Factor = 1.0

    @field_validator("factor")
    @classmethod
    def _not_zero(cls, factor: float) -> float:
        if factor == 0.0:
            raise ValueError("must not be 0")
        return factor


class MappedAction(Spec):
    """The feature that holds the action, what its numbers are, and in which frame."""

    feature: str = "action"
    kind: Literal["velocity", "displacement"]
    """velocity: m/s and rad/s after the factor; displacement: m and rad per row after the factor."""
    frame_id: str
    """Frame of the components; it must be that of the robot's action."""
    axes: dict[TwistComponent, MappedAxis] = Field(min_length=1)
    beyond_scale: float = Field(0.05, ge=0, le=1)
    """Largest share of steps whose action may lie beyond the robot's scale, where training clips it."""

    @field_validator("kind", mode="before")
    @classmethod
    def _physical(cls, kind: Any) -> Any:
        if kind not in _KINDS:
            raise ValueError(f"'{kind}' cannot be mapped: {_WHAT_FITS}")
        return kind

    @model_validator(mode="after")
    def _no_joints(self) -> MappedAction:
        joints = [axis.name for axis in self.axes.values() if _JOINTS.search(axis.name)]
        if joints:
            raise ValueError(f"{', '.join(joints)}: joints cannot be mapped: {_WHAT_FITS}")
        return self


class FeedbackColumns(Spec):
    """Columns of reward, cost and success; rules of `--feedback` take their place."""

    reward: str | None = None
    cost: str
    """Column of the cost, or `never`: a person vouches that nothing in the data set is a violation."""
    success: str | None = None
    terminal: str | None = None
    """Column that is true where the task has ended; by default where it has succeeded."""
    success_reward: float = 0.0
    """Reward that is added once, with the success."""
    belongs_to: Literal["next", "same"] = "next"
    """next: row t holds what its own action led to, seen in row t + 1 (LeRobot); same: what led to row t."""

    @model_validator(mode="after")
    def _rewards(self) -> FeedbackColumns:
        if self.reward is None and not (self.success is not None and self.success_reward):
            raise ValueError("name the column of the reward, or the one of success with a success_reward")
        return self


class MappedPosition(Spec):
    """A measured position in m, for a goal rule."""

    kind: Literal["position"]
    feature: str
    names: tuple[str, str, str]
    factor: _Factor = 1.0


class MappedWrench(Spec):
    """A measured force in N and torque in Nm, for a wrench rule."""

    kind: Literal["wrench"]
    feature: str
    force: tuple[str, str, str]
    torque: tuple[str, str, str] | None = None


class MappedEfforts(Spec):
    """Measured efforts by the robot's names of the joints, for an effort rule."""

    kind: Literal["effort"]
    feature: str
    joints: dict[str, str] = Field(min_length=1)


class MappedFlag(Spec):
    """A number that is above `above` while a bumper or button is pressed."""

    kind: Literal["flag"]
    feature: str
    name: str = "0"
    above: float = 0.5


Measurement = MappedPosition | MappedWrench | MappedEfforts | MappedFlag


class Video(Spec):
    """How images are exported."""

    codec: Literal["h264", "av1", "png"] = "h264"
    """png: every image in the parquet file, without loss."""
    crf: int = Field(18, ge=0, le=51)
    """Quality of the video; less is better and larger."""


class DataSetMapping(Spec):
    """Content of a mapping file."""

    fps: int | None = Field(None, gt=0, le=1000)
    """Rows per second. Export: by default the robot's camera rate. Import: if given, the data set's must be this."""
    cameras: tuple[MappedCamera, ...] = Field(min_length=1)
    """The first one drives the decisions."""
    action: MappedAction
    feedback: FeedbackColumns | None = None
    measurements: dict[str, Annotated[Measurement, Field(discriminator="kind")]] = Field(default_factory=dict)
    """The columns that rules judge, by the topic of the rule; a button by TOPIC.NUMBER."""
    unobserved: tuple[str, ...] = ()
    """Topics of rules that this data set cannot judge, and that are left out knowingly."""
    tasks: dict[str, str] = Field(default_factory=dict)
    """Name of a task in bags, by its text in the data set."""
    video: Video = Video()

    @model_validator(mode="after")
    def _distinct(self) -> DataSetMapping:
        for what in ("feature", "topic"):
            if len({getattr(camera, what) for camera in self.cameras}) != len(self.cameras):
                raise ValueError(f"each camera needs a {what} of its own")
        names = [axis.name for axis in self.action.axes.values()]
        if len(set(names)) != len(names):
            raise ValueError("action: each axis needs a name of its own")
        return self


def read_mapping(path: Path, robot: RobotConfig) -> DataSetMapping:
    """Read a mapping file; UserError, in one line, when it is missing, malformed, or does not fit the robot."""
    mapping = parse_spec(DataSetMapping, read_yaml(path), str(path))
    check_robot(mapping, robot, str(path))
    return mapping


def check_robot(mapping: DataSetMapping, robot: RobotConfig, source: str) -> None:
    """Raise UserError unless the mapped action is the robot's: the same axes in the same frame, and no gripper."""
    require_no_gripper(robot)
    own, mapped = {axis.name for axis in robot.action.axes}, set(mapping.action.axes)
    if own != mapped:
        raise UserError(
            f"{source}: action.axes: {robot.name} has {', '.join(sorted(own))}, "
            f"the mapping {', '.join(sorted(mapped))}; map each axis of the robot"
        )
    if mapping.action.frame_id != robot.action.frame_id:
        raise UserError(
            f"{source}: action.frame_id: '{mapping.action.frame_id}' is not the robot's '{robot.action.frame_id}'; "
            "a twist of another frame is another motion, and is not turned here"
        )


def require_no_gripper(robot: RobotConfig) -> None:
    """Raise UserError for a robot with a gripper, whose value neither import nor export knows."""
    if robot.gripper is not None:
        raise UserError(f"robot '{robot.name}' has a gripper, which LeRobot data sets do not carry here yet")


def factors(mapping: DataSetMapping, robot: RobotConfig, fps: float) -> list[float]:
    """Return what the data set's numbers are multiplied by, in the order of the robot's axes, to be m/s and rad/s."""
    rate = fps if mapping.action.kind == "displacement" else 1.0
    return [mapping.action.axes[axis.name].factor * rate for axis in robot.action.axes]


def default_mapping(robot: RobotConfig, topics: tuple[str, ...]) -> DataSetMapping:
    """Return the mapping of an export without a file: twists in SI units, and the cameras on `topics`."""
    require_no_gripper(robot)
    names = [topic.split("/")[0] for topic in topics]
    plain = len(set(names)) == len(names)
    features = names if plain else [topic.strip("/").replace("/", "_") for topic in topics]
    return DataSetMapping(
        cameras=tuple(
            MappedCamera(feature=f"observation.images.{feature}", topic=topic)
            for feature, topic in zip(features, topics, strict=True)
        ),
        action=MappedAction(
            kind="velocity",
            frame_id=robot.action.frame_id,
            axes={axis.name: MappedAxis(name=axis.name) for axis in robot.action.axes},
        ),
        feedback=FeedbackColumns(
            reward="next.reward", cost="next.cost", success="next.success", terminal="next.terminal"
        ),
    )
