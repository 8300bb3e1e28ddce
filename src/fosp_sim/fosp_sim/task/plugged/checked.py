"""A plugged environment whose every answer is checked.

What its methods raise becomes a UserError of one line, and so does what they return against the protocol. So no
traceback ends a recording, and no wrong data get into it.
"""

from __future__ import annotations

import contextlib
import math
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_sim.task.plugged.environment import CameraEnvironment, StepOutcome, name_of

LONGEST_STEP_S = 10.0
LARGEST = 1e9
"""Largest magnitude of a reward or a cost; anything beyond is refused."""
_RENDERED_APART = 0.1
"""Mean difference of two pictures of one scene, of 255, that a renderer may make."""
_CAMERA = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_SAME_TOPIC = "camera"
"""Name that no camera may have: its topics would be those of the camera `color`."""


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn what a plugged environment raises into a UserError, which says that `what` fails, where and why."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        said = " ".join(str(error).split())
        raise UserError(f"{what} fails: {type(error).__name__}{': ' if said else ''}{said}{where}") from error


class CheckedEnvironment:
    """A CameraEnvironment that raises nothing but UserError, and whose cameras, sizes and bounds never change."""

    def __init__(self, environment: CameraEnvironment) -> None:
        """Begin the episode of seed 0, to see the cameras. Raise UserError when anything is against the protocol."""
        self._environment, self._name = environment, name_of(environment)
        self.step_s = self._step_length()
        self.low, self.high = self._bounds()
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self.reset(0)
        pictures = self.images()
        self._shapes = {name: picture.shape for name, picture in pictures.items()}
        if all((picture == picture[0, 0]).all() for picture in pictures.values()):
            raise UserError(
                f"{self._name}: its pictures are of one colour all over, so nothing was rendered; "
                f"without a display MuJoCo needs MUJOCO_GL=egl or osmesa"
            )
        self.repeats = self._repeats(pictures)
        """True if a seed gives the same episode again, as far as the first pictures tell."""

    def reset(self, seed: int) -> None:
        """Begin the episode of `seed`."""
        with one_line(f"{self._name}.reset"):
            self._environment.reset(seed)

    def step(self, action: NDArray[np.float64]) -> StepOutcome:
        """Simulate one step. Raise UserError when reward or cost is no finite number, or the cost is negative."""
        with one_line(f"{self._name}.step"):
            outcome = self._environment.step(action)
        if not all(hasattr(outcome, name) for name in StepOutcome.__dataclass_fields__):
            raise UserError(f"{self._name}.step must return a StepOutcome, got {_kind(outcome)}")
        reward, cost = self._number("reward", outcome.reward), self._number("cost", outcome.cost)
        if cost < 0:
            raise UserError(f"{self._name}: the environment's cost is {cost}; it must be 0 or more")
        ends = (self._truth(name, getattr(outcome, name)) for name in ("terminated", "truncated", "success"))
        return StepOutcome(reward, cost, *ends)

    def images(self) -> dict[str, NDArray[np.uint8]]:
        """Return a copy of each camera's present picture. Raise UserError when cameras or sizes have changed."""
        with one_line(f"{self._name}.images"):
            given = self._environment.images()
        if not isinstance(given, Mapping) or not given:
            raise UserError(f"{self._name}.images must return a picture for each camera by name, got {_kind(given)}")
        pictures = {self._camera(name): self._picture(name, given[name]) for name in given}
        shapes = {name: picture.shape for name, picture in pictures.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"{self._name}: all cameras of an environment must have one size, got {_sizes(shapes)}")
        if self._shapes not in (None, shapes):
            raise UserError(
                f"{self._name}: cameras and sizes must stay: {_sizes(self._shapes or {})} became {_sizes(shapes)}"
            )
        return {name: pictures[name] for name in self._shapes or pictures}

    def _repeats(self, first: Mapping[str, NDArray[np.uint8]]) -> bool:
        """Begin the episode of seed 0 again, and return whether it looks as before; a renderer may differ a little."""
        self.reset(0)
        again = self.images()
        apart = (np.abs(again[name].astype(np.float32) - first[name]).mean() for name in first)
        return max(apart) <= _RENDERED_APART

    def _step_length(self) -> float:
        given = self._environment.step_s
        step_s = _finite(given)
        if step_s is None or not 0.0 < step_s <= LONGEST_STEP_S:
            raise UserError(
                f"{self._name}: the length of a step must be above 0 and at most {LONGEST_STEP_S:g} s, got {given!r}"
            )
        return step_s

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with one_line(f"{self._name}: bounds of its actions"):
            low, high = (np.array(bound, np.float64) for bound in (self._environment.low, self._environment.high))
        if low.ndim != 1 or not len(low) or low.shape != high.shape:
            raise UserError(
                f"{self._name}: its actions must be a vector with a lower and an upper bound of each value, "
                f"got bounds of the shapes {low.shape} and {high.shape}"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise UserError(
                f"{self._name}: its actions have no finite bounds, the lower below the upper; wrap it in one that has"
            )
        return low, high

    def _camera(self, name: Any) -> str:
        if not isinstance(name, str) or not _CAMERA.fullmatch(name):
            raise UserError(f"{self._name}: {name!r} cannot name a camera: a letter, then letters, digits and '_'")
        if name == _SAME_TOPIC:
            raise UserError(f"{self._name}: a camera cannot be called '{name}', whose topics are those of 'color'")
        return name

    def _picture(self, name: str, given: Any) -> NDArray[np.uint8]:
        picture = np.asarray(given)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise UserError(
                f"{self._name}, camera '{name}': a picture must be (height, width, 3) uint8, "
                f"got {picture.shape} {picture.dtype}"
            )
        return np.array(picture)

    def _number(self, what: str, value: Any) -> float:
        number = _finite(value)
        if number is None or abs(number) > LARGEST:
            raise UserError(f"{self._name}: the environment's {what} is {_short(value)}; it must be a finite number")
        return number

    def _truth(self, what: str, value: Any) -> bool:
        number = _finite(value)
        if number not in (0.0, 1.0):
            raise UserError(f"{self._name}: {what} is {_short(value)}; it must be True or False")
        return bool(number)


def _finite(value: Any) -> float | None:
    """Return a finite number, also when it is the only one of an array; return None for anything else."""
    try:
        number = math.nan if isinstance(value, str | bytes) or np.size(value) != 1 else float(np.ravel(value)[0])
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:60]


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape[1]}x{shape[0]}" for name, shape in shapes.items())
