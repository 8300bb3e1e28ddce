"""Specifications of bundles and robots: frozen, validated values that every package shares.

Units are SI. A normalised action has each axis in [-1, 1]; the scale of the axis makes a twist component of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from fosp_core.errors import UserError, did_you_mean
from fosp_core.topics import topic_name

FORMAT_VERSION = 1
"""Version of the bundle folder's format; a loader refuses every other one."""

MAX_YAML_BYTES = 1 << 20

TwistComponent = Literal["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"]
TopicName = Annotated[str, AfterValidator(topic_name)]
"""A name that ROS allows for a topic, relative or absolute."""
OptionalTopic = Annotated[str, AfterValidator(lambda name: topic_name(name) if name else name)]
"""The same, or an empty text for no topic."""
TWIST_COMPONENTS: tuple[TwistComponent, ...] = get_args(TwistComponent)


class Spec(BaseModel):
    """Base class of every specification: immutable, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class GrownSpec(Spec):
    """A specification that a bundle holds, and that has gained keys since then.

    A key of `later` that says nothing is left out, so that a bundle from before it keeps its bytes, and so its id.
    """

    later: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        return {name: value for name, value in content.items() if name not in self.later or value not in (None, (), [])}


class CameraSpec(Spec):
    """One camera as the world model sees it: centre-cropped to this aspect ratio, then area-resized to this size."""

    name: str = "color"
    topic: TopicName = "camera/color/image_raw"
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


class GripperAxis(Spec):
    """The last value of the action: the position of a gripper, -1 closed and 1 open. Rest does not mean 0: it holds."""

    closed: float
    """Position at -1, in `unit`."""
    open: float
    """Position at 1, in `unit`."""
    unit: Literal["m", "rad", "1"] = "m"
    kind: Literal["position", "open_close"] = "position"
    """open_close: the gripper knows these two positions alone."""

    @model_validator(mode="after")
    def _has_a_stroke(self) -> GripperAxis:
        if self.open == self.closed:
            raise ValueError("open and closed must differ")
        return self

    def value(self, normalised: float) -> float:
        """Return the position in `unit` of a normalised one."""
        return self.closed + 0.5 * (normalised + 1.0) * (self.open - self.closed)

    def normalised(self, value: float) -> float:
        """Return the normalised position, beyond [-1, 1] where `value`, in `unit`, is beyond closed or open."""
        return 2.0 * (value - self.closed) / (self.open - self.closed) - 1.0


class ActionSpec(GrownSpec):
    """Axes in the order of the action vector, and the frame in which the twist is expressed.

    A gripper adds a last value, which is no part of the twist: `axes` and `scale` are those of the twist alone.
    """

    later = ("gripper",)

    axes: tuple[ActionAxis, ...] = Field(min_length=1)
    frame_id: str
    gripper: GripperAxis | None = None

    @model_validator(mode="after")
    def _distinct(self) -> ActionSpec:
        if len({axis.name for axis in self.axes}) != len(self.axes):
            raise ValueError("each twist component may appear once")
        return self

    @property
    def size(self) -> int:
        """Number of values of an action: the axes of the twist, and the gripper."""
        return len(self.axes) + (self.gripper is not None)

    @property
    def twist_size(self) -> int:
        """Number of axes of the twist."""
        return len(self.axes)

    @property
    def scale(self) -> tuple[float, ...]:
        """Value of each twist component at the normalised action 1, m/s and rad/s; the gripper has none."""
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


class Calibration(GrownSpec):
    """Thresholds that were fitted on validation episodes, which are never trained on."""

    later = ("spread_weight",)

    eps: float = Field(gt=0, lt=1)
    """Feasibility threshold: an action is feasible if and only if q_h <= eps, with a `spread_weight` k if and only if
    q_h + k * q_h_spread <= eps (fosp_core.bundle.risk)."""
    alpha: float = Field(gt=0, lt=1)
    """Largest allowed miss rate: probability that the last chance to prevent a violation passes as feasible."""
    horizon_steps: int = Field(gt=0)
    """Number of decisions from the last chance to prevent a violation to its onset, both included (H_v)."""
    episodes: int = Field(ge=0)
    violating_episodes: int = Field(ge=0)
    miss_rate_bound: float = Field(ge=0, le=1)
    """Finite-sample bound on the miss rate that the conformal argument supports. In bundles of earlier releases it is a
    share of all steps within the horizon of a cost, most of which lie inside violations."""
    false_veto_rate: float = Field(ge=0, le=1)
    supported: bool
    """False when there were too few violating episodes for alpha; eps is then the most conservative observed value."""
    surprise_limit: float = Field(gt=0)
    """99.5 % quantile of KL[posterior || prior] per step, in nats."""
    ranges: dict[Literal["q_r", "q_c", "q_h", "v_h"], tuple[float, float]]
    """Lowest and highest value of each critic output that the runtime accepts."""
    camera: CameraCalibration | None = None
    """Limits for live frames; None in a bundle of an earlier release, which no node loads."""
    spread_weight: float | None = Field(None, gt=0)
    """Weight k of the disagreement of the critic's heads in the risk that eps is a threshold of; None: not counted."""


class LatentSpec(Spec):
    """Sizes of the latent that travels from encoder to policy and safety monitor."""

    deter: int = Field(gt=0)
    """Size of the deterministic part (m, h, e): memory (if any), recurrent state, image embedding."""
    stoch: int = Field(gt=0)
    """Size of the stochastic part z, one-hot and flattened: variables * classes."""


CriticOutput = Literal["q_s", "q_h_spread"]
"""Output of critic.onnx that not every bundle has, (1, K). q_s: how likely the episode succeeds after each action.
q_h_spread: how far the heads of Q_h disagree, the greatest minus the least."""


class Manifest(GrownSpec):
    """Content of manifest.json in a bundle; `id` is the sha256 over everything else (fosp_core.bundle.bundle)."""

    later = ("critic_outputs",)

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
    critic_outputs: tuple[CriticOutput, ...] = ()
    """Outputs of critic.onnx beyond q_r, q_c, q_h and v_h."""
    calibration: Calibration
    metrics: dict[str, float] = {}
    training: dict[str, Any] = {}
    """Provenance of the model: commands, data, seeds, figures."""
    files: dict[str, str] = {}
    """sha256 of every other file of the bundle, by relative path."""

    @model_validator(mode="after")
    def _spread_is_there(self) -> Manifest:
        if self.calibration.spread_weight is not None and "q_h_spread" not in self.critic_outputs:
            raise ValueError("calibration.spread_weight needs the output q_h_spread of the critic (critic_outputs)")
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
            allowed = _allowed(kind, first["loc"])
            meant = did_you_mean(str(first["loc"][-1]), allowed)
            raise UserError(f"{source}: unknown key '{where}'{meant}; allowed: {', '.join(allowed)}") from None
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(f"{source}: {where}: {message}{more}") from None


def _allowed(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the names that may stand in place of the last part of `loc`."""
    model = kind
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(iter(_models_in(field.annotation)), model)
    return list(model.model_fields)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the pydantic models in a type annotation such as `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


class _StrictLoader(yaml.SafeLoader):
    """Reads plain values only, and refuses a mapping in which a key stands twice: YAML keeps the last silently."""


class _LargeLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same for large texts that programs write: ten times as fast where PyYAML was built with libyaml."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    lines: dict[Hashable, int] = {}
    for key_node, _ in node.value:
        merges = key_node.tag == "tag:yaml.org,2002:merge"
        key = "<<" if merges else loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key is a list or a mapping", key_node.start_mark)
        if key in lines:
            text = f"key '{key}' stands twice, first at line {lines[key]}; remove one"
            raise yaml.constructor.ConstructorError(None, None, text, key_node.start_mark)
        lines[key] = line
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value
    }


for _loader in (_StrictLoader, _LargeLoader):
    _loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, source: str, large: bool = False) -> Any:
    """Return the content of a YAML text; UserError, with `source` and the line, when it is malformed or ambiguous.

    `large` is for what programs write: faster, with less to say about what is malformed.
    """
    try:
        return yaml.load(text, _LargeLoader if large else _StrictLoader)
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"{source}: not valid YAML{where}: {why}") from None


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; raise UserError with one line when it is missing or malformed."""
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UserError(f"{path}: larger than a configuration file may be ({MAX_YAML_BYTES} bytes)")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: not UTF-8 ({error.reason} at byte {error.start})") from None
    return parse_yaml(text, str(path))
