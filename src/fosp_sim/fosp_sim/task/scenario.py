"""The format of scenario files, which say what `fosp record`, `fosp eval`, `fosp demo` and the nodes simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fosp_core.specs import Spec, parse_spec, read_yaml
from fosp_sim.task.scene import MAX_OBSTACLES, SHAPES, Shape
from fosp_sim.task.tasks import GYMNASIUM, find_task, known_tasks

_Channel = Annotated[float, Field(ge=0, le=1)]
_Rgb = tuple[_Channel, _Channel, _Channel]
_Factor = Annotated[float, Field(gt=0, le=10)]
_Distance = Annotated[float, Field(ge=0, le=0.5)]
_Turn = Annotated[float, Field(ge=0, le=90)]


class ObstacleSpec(Spec):
    """The obstacles of an episode; lengths in m, speed in m/s."""

    count: int | tuple[int, int] = 3
    """Number of obstacles, or the inclusive range from which each episode draws it."""
    shape: Shape | Literal["mixed"] | tuple[Shape, ...] = "box"
    """Shape of the obstacles, or several, from which each obstacle draws its own; "mixed" is all of them."""
    size_m: tuple[float, float] = (0.03, 0.06)
    """Range of the half-width (box) or radius (cylinder, sphere)."""
    color: _Rgb | Literal["random"] | tuple[_Rgb, ...] = (0.1, 0.2, 0.9)
    """Colour of the obstacles; or several, or "random", and each obstacle draws its own."""
    motion: Literal["static", "linear", "circular"] = "static"
    speed_m_s: float = Field(0.0, ge=0, le=1)

    most: ClassVar[int] = MAX_OBSTACLES

    @field_validator("count", mode="before")
    @classmethod
    def _whole_numbers(cls, value: object) -> object:
        numbers: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if not 1 <= len(numbers) <= 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError("must be a whole number or two of them, [lowest, highest]")
        low, high = numbers[0], numbers[-1]
        if not 0 <= low <= high <= cls.most:
            raise ValueError(f"must be between 0 and {cls.most}, lowest first")
        return value if not isinstance(value, list | tuple) else (low, high)

    @field_validator("shape", mode="before")
    @classmethod
    def _known_shape(cls, value: object) -> object:
        return _shapes(value, (*SHAPES, "mixed"))

    @field_validator("color", mode="before")
    @classmethod
    def _color_or_random(cls, value: object) -> object:
        return value if value == "random" else _colors(value, ", 'random'")

    @field_validator("size_m")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.005 <= value[0] <= value[1] <= 0.5:
            raise ValueError("must be [lowest, highest] with 0.005 <= lowest <= highest <= 0.5 m")
        return value

    @model_validator(mode="after")
    def _moves(self) -> ObstacleSpec:
        if self.motion != "static" and self.speed_m_s == 0:
            raise ValueError(f"motion '{self.motion}' needs speed_m_s > 0")
        return self

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return the shapes that an obstacle draws from."""
        if self.shape == "mixed":
            return SHAPES
        return self.shape if isinstance(self.shape, tuple) else (self.shape,)

    @property
    def colors(self) -> tuple[_Rgb, ...]:
        """Return the colours that an obstacle draws from; none where it draws a random one."""
        return () if self.color == "random" else _several(self.color)

    @property
    def count_range(self) -> tuple[int, int]:
        """Return the lowest and the highest number of obstacles."""
        return (self.count, self.count) if isinstance(self.count, int) else self.count


class HazardSpec(ObstacleSpec):
    """The hazards of one of the paper's tasks: flat discs on the floor, as many in every episode, all of one radius."""

    most: ClassVar[int] = 24

    @model_validator(mode="after")
    def _is_fixed(self) -> HazardSpec:
        low, high = self.count_range
        if low != high:
            raise ValueError("count must be one number in this task")
        if self.size_m[0] != self.size_m[1]:
            raise ValueError("size_m must be one radius, twice")
        if self.shape != "cylinder" or self.motion != "static" or len(self.colors) != 1:
            raise ValueError("hazards of this task are still discs (cylinder) of one colour")
        return self


class GoalSpec(Spec):
    """The goal; `radius_m` is the half-width of a box."""

    shape: Shape | tuple[Shape, ...] = "sphere"
    """Shape of the goal, or several, from which each episode draws one."""
    radius_m: float = Field(0.04, ge=0.01, le=0.3)
    color: _Rgb | tuple[_Rgb, ...] = (0.1, 0.8, 0.1)
    """Colour of the goal, or several, from which each episode draws one."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return the shapes that an episode draws from."""
        return self.shape if isinstance(self.shape, tuple) else (self.shape,)

    @property
    def colors(self) -> tuple[_Rgb, ...]:
        """Return the colours that an episode draws from."""
        return _several(self.color)

    @field_validator("shape", mode="before")
    @classmethod
    def _known_shape(cls, value: object) -> object:
        return _shapes(value, SHAPES)

    @field_validator("color", mode="before")
    @classmethod
    def _color(cls, value: object) -> object:
        return _colors(value)


class CameraEffects(Spec):
    """Faults of the camera."""

    noise_std: float = Field(0.0, ge=0, le=255)
    """Standard deviation of the noise in each pixel of the 320x240 frame, on the scale of 0 to 255."""
    brightness: _Factor | tuple[_Factor, _Factor] = 1.0
    """Factor on the brightness, or the range [lowest, highest] from which each episode draws it."""
    drop_probability: float = Field(0.0, ge=0, lt=1)
    """Probability that a frame never arrives."""
    latency_s: float = Field(0.0, ge=0, le=1)
    moved_m: _Distance | tuple[_Distance, _Distance] = 0.0
    """Distance by which each camera stands elsewhere, in a direction that is drawn for each episode, m; or the range
    [lowest, highest] from which it is drawn, too."""
    turned_deg: _Turn | tuple[_Turn, _Turn] = 0.0
    """Angle by which it is turned, about an axis that is drawn for each episode, degrees; or its range."""
    covered_episodes: tuple[int, ...] = ()
    """Episodes at whose begin something lies on the lens."""
    covered_s: float = Field(1.5, gt=0, le=60)
    """Time for which the lens is covered, s."""

    @field_validator("brightness", "moved_m", "turned_deg")
    @classmethod
    def _ordered(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError("must be one number, or [lowest, highest]")
        return value


class Scenario(Spec):
    """A family of scenes, read from one YAML file; the scene of episode i follows from `seed + i` alone."""

    task: str
    """Name in the registry of tasks."""
    seed: int = Field(0, ge=0, lt=2**62)
    episodes: int = Field(50, gt=0)
    max_steps: int = Field(100, gt=0, le=100_000)
    obstacles: ObstacleSpec = ObstacleSpec()
    goal: GoalSpec = GoalSpec()
    camera: CameraEffects = CameraEffects()

    @property
    def robot(self) -> str:
        """Return the name of the task's default robot: config/robots/NAME.yaml."""
        return find_task(self.task).robot

    @model_validator(mode="before")
    @classmethod
    def _task_defaults(cls, data: Any) -> Any:
        name = data.get("task") if isinstance(data, dict) else None
        if not isinstance(name, str) or name not in known_tasks():
            return data
        filled, task = dict(data), find_task(name)
        for section, defaults in (("obstacles", task.obstacles), ("goal", task.goal)):
            given = filled.get(section, {})
            if isinstance(given, dict):
                filled[section] = {**defaults, **given}
        filled.setdefault("max_steps", task.max_steps)
        if task.course is not None and isinstance(filled["obstacles"], dict):
            filled["obstacles"] = _hazards(filled["obstacles"])
        return filled

    @model_validator(mode="after")
    def _goal_of_course(self) -> Scenario:
        if find_task(self.task).course is not None and len(self.goal.shapes) * len(self.goal.colors) != 1:
            raise ValueError("goal: has one shape and one colour in this task")
        return self

    @field_validator("task", mode="before")
    @classmethod
    def _known_task(cls, value: object) -> object:
        return _one_of(value, known_tasks())


class GymnasiumScenario(Scenario):
    """A scenario of an environment of others; `obstacles` and `goal` mean nothing to it."""

    make: str = Field(pattern=r"^[\w.]+:\w+$")
    """Import path, package.module:factory, of what makes the environment."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the factory; `step_s`, the length of a step, is for environments that do not tell it."""
    robot_file: str
    """Robot file, by name or path, with an axis for each value of the environment's action."""
    action_repeat: int = Field(1, gt=0, le=1000)
    """Steps of the environment for each decision."""
    driver: str = Field("", pattern=r"^([\w.]+:\w+)?$")
    """Import path of a function of a random generator that returns a function from the environment to an action."""

    @property
    def robot(self) -> str:
        """Return the robot file, by name or path."""
        return self.robot_file


def read_scenario(path: Path) -> Scenario:
    """Read the scenario of a YAML file. Raise UserError with one line that names a wrong key and what is allowed."""
    data = read_yaml(path)
    plugged = isinstance(data, dict) and data.get("task") == GYMNASIUM
    return parse_spec(GymnasiumScenario if plugged else Scenario, data, str(path))


def _hazards(described: dict[str, Any]) -> HazardSpec:
    try:
        return HazardSpec.model_validate(described)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["obstacles", *(str(part) for part in first["loc"])])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _shapes(value: object, allowed: tuple[str, ...]) -> object:
    if not isinstance(value, list | tuple):
        return _one_of(value, allowed)
    if not value:
        raise ValueError("must name at least one shape")
    return tuple(_one_of(shape, SHAPES) for shape in value)


def _colors(value: object, further: str = "") -> object:
    channels = value if isinstance(value, list | tuple) else ()
    if not any(isinstance(c, list | tuple) for c in channels):
        return _rgb(value, f"{further} or a list of such")
    return tuple(_rgb(color) for color in channels)


def _several(color: _Rgb | tuple[_Rgb, ...]) -> tuple[_Rgb, ...]:
    return color if isinstance(color[0], tuple) else (color,)  # type: ignore[return-value]


def _one_of(value: object, allowed: tuple[str, ...]) -> object:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def _rgb(value: object, alternative: str = "") -> object:
    channels = value if isinstance(value, list | tuple) else ()
    if len(channels) != 3 or not all(isinstance(c, int | float) and 0 <= c <= 1 for c in channels):
        raise ValueError(f"must be three numbers from 0 to 1 (RGB) {alternative}".rstrip())
    return tuple(channels)
