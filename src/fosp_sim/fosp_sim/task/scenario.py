"""The scenario file: what `fosp record`, `fosp eval`, `fosp demo` and sim_node simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fosp_core.specs import Spec, parse_spec, read_yaml

MAX_OBSTACLES = 8
"""Slots in the compiled MuJoCo model."""

Task = Literal["safe_reach", "safe_goal"]
Shape = Literal["box", "cylinder", "sphere"]
Channel = Annotated[float, Field(ge=0, le=1)]
Color = tuple[Channel, Channel, Channel]

_SIZE_DEFAULTS: dict[str, dict[str, Any]] = {
    "safe_reach": {"obstacles": {"count": 3, "size_m": (0.03, 0.06)}, "goal": {"radius_m": 0.04}},
    "safe_goal": {"obstacles": {"count": 4, "size_m": (0.08, 0.14)}, "goal": {"radius_m": 0.10}},
}
"""An arm's table and a base's arena differ in scale, so what is measured in metres differs by task."""


class ObstacleSpec(Spec):
    """Obstacles of one episode; lengths in m, speed in m/s."""

    count: int | tuple[int, int] = 3
    """How many, or the inclusive range that each episode draws from."""
    shape: Shape | Literal["mixed"] = "box"
    size_m: tuple[float, float] = (0.03, 0.06)
    """Range of the half-width (box) or radius (cylinder, sphere)."""
    color: Color | Literal["random"] = (0.1, 0.2, 0.9)
    motion: Literal["static", "linear", "circular"] = "static"
    speed_m_s: float = Field(0.0, ge=0, le=1)

    @field_validator("count", mode="before")
    @classmethod
    def _whole_numbers(cls, value: object) -> object:
        numbers: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if not 1 <= len(numbers) <= 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError("must be a whole number or two of them, [lowest, highest]")
        low, high = numbers[0], numbers[-1]
        if not 0 <= low <= high <= MAX_OBSTACLES:
            raise ValueError(f"must be between 0 and {MAX_OBSTACLES}, lowest first")
        return value if not isinstance(value, list | tuple) else (low, high)

    @field_validator("shape", mode="before")
    @classmethod
    def _known_shape(cls, value: object) -> object:
        return _one_of(value, ("box", "cylinder", "sphere", "mixed"))

    @field_validator("color", mode="before")
    @classmethod
    def _color_or_random(cls, value: object) -> object:
        return value if value == "random" else _rgb(value, "or 'random'")

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
    def count_range(self) -> tuple[int, int]:
        """Lowest and highest number of obstacles."""
        return (self.count, self.count) if isinstance(self.count, int) else self.count


class GoalSpec(Spec):
    """The goal; `radius_m` is the half-width of a box."""

    shape: Shape = "sphere"
    radius_m: float = Field(0.04, ge=0.01, le=0.3)
    color: Color = (0.1, 0.8, 0.1)

    @field_validator("color", mode="before")
    @classmethod
    def _color(cls, value: object) -> object:
        return _rgb(value)


class CameraEffects(Spec):
    """What is wrong with the camera."""

    noise_std: float = Field(0.0, ge=0, le=255)
    """Standard deviation of the noise of each pixel of the 320x240 frame, of 255."""
    brightness: float = Field(1.0, gt=0, le=10)
    drop_probability: float = Field(0.0, ge=0, lt=1)
    """Share of frames that never arrive."""
    latency_s: float = Field(0.0, ge=0, le=1)


class Scenario(Spec):
    """One YAML file: a family of scenes, of which episode i is drawn with `seed + i` alone."""

    task: Task
    seed: int = Field(0, ge=0, lt=2**62)
    episodes: int = Field(50, gt=0)
    max_steps: int = Field(100, gt=0, le=100_000)
    obstacles: ObstacleSpec = ObstacleSpec()
    goal: GoalSpec = GoalSpec()
    camera: CameraEffects = CameraEffects()

    @property
    def robot(self) -> str:
        """Name of the simulated robot that the task is for: config/robots/NAME.yaml."""
        return {"safe_reach": "sim_arm", "safe_goal": "sim_base"}[self.task]

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("task") not in _SIZE_DEFAULTS:
            return data
        filled = dict(data)
        for section, defaults in _SIZE_DEFAULTS[data["task"]].items():
            given = filled.get(section, {})
            if isinstance(given, dict):
                filled[section] = defaults | given
        return filled


def read_scenario(path: Path) -> Scenario:
    """Scenario of a YAML file; UserError with one line that names the key and what is allowed."""
    return parse_spec(Scenario, read_yaml(path), str(path))


def _one_of(value: object, allowed: tuple[str, ...]) -> object:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def _rgb(value: object, alternative: str = "") -> object:
    channels = value if isinstance(value, list | tuple) else ()
    if len(channels) != 3 or not all(isinstance(c, int | float) and 0 <= c <= 1 for c in channels):
        raise ValueError(f"must be three numbers from 0 to 1 (RGB) {alternative}".rstrip())
    return tuple(channels)
