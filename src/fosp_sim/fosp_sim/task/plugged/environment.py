"""The protocol of an environment that can be plugged in, and a wrapper for Gymnasium's and Safety-Gymnasium's.

This module does not import Gymnasium: an environment is anything that has the methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

_SUCCESS_KEYS = ("success", "is_success", "goal_met")


@dataclass(frozen=True)
class StepOutcome:
    """Outcome of one step of a plugged environment."""

    reward: float
    cost: float
    """0 or more; above 0 in violation."""
    terminated: bool = False
    """The task has ended: values do not bootstrap beyond this."""
    truncated: bool = False
    """The episode has ended, although the task has not."""
    success: bool = False
    """The goal was reached in this step."""


@runtime_checkable
class CameraEnvironment(Protocol):
    """An environment with cameras, a reward and a cost."""

    step_s: float
    """Time that a step simulates, s."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """Bounds (n,) of an action. STOP is their middle."""

    def reset(self, seed: int) -> None:
        """Begin the episode of `seed`, from 0 to 2**32 - 1."""

    def step(self, action: NDArray[np.float64]) -> StepOutcome:
        """Simulate one step under `action` (n,) within the bounds."""

    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """Return each camera's present picture by its name: (height, width, 3) uint8 RGB, all of one size."""


class FromGymnasium:
    """A Gymnasium environment with `render_mode="rgb_array"`, as a CameraEnvironment with the camera `color`.

    `step` may return Gymnasium's five values, with the cost in `info["cost"]`, or Safety-Gymnasium's six. The names
    `success`, `is_success` and `goal_met` in `info` tell that a goal was reached.
    """

    def __init__(self, env: Any, step_s: float | None = None) -> None:
        """Wrap `env`. Raise UserError when it has no bounds, no picture, or does not say how long a step is."""
        self.env = env
        space = env.action_space
        if not hasattr(space, "low") or len(np.shape(space.low)) != 1:
            raise UserError(f"{_name(env)}: its actions must be a vector with bounds (gymnasium.spaces.Box)")
        self.low, self.high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
        if getattr(env, "render_mode", None) != "rgb_array":
            raise UserError(f'{_name(env)}: make it with render_mode="rgb_array", or there is no picture')
        own = step_s if step_s is not None else getattr(getattr(env, "unwrapped", env), "dt", None)
        if own is None:
            raise UserError(f"{_name(env)}: does not say how long a step is; give options: {{step_s: SECONDS}}")
        self.step_s: Any = own

    def reset(self, seed: int) -> None:
        self.env.reset(seed=seed)

    def step(self, action: NDArray[np.float64]) -> StepOutcome:
        answer = self.env.step(action.astype(self.env.action_space.dtype))
        if not isinstance(answer, tuple) or len(answer) not in (5, 6) or not isinstance(answer[-1], Mapping):
            raise UserError(
                f"{_name(self.env)}: step returns neither Gymnasium's five nor Safety-Gymnasium's six values"
            )
        if len(answer) == 6:
            _, reward, cost, terminated, truncated, info = answer
        else:
            _, reward, terminated, truncated, info = answer
            if "cost" not in info:
                raise UserError(f"{_name(self.env)}: step tells no info['cost']; wrap it in one that does")
            cost = info["cost"]
        success = any(bool(info.get(key)) for key in _SUCCESS_KEYS)
        return StepOutcome(reward, cost, terminated, truncated, success)

    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        return {"color": np.asarray(self.env.render())}


def as_camera_environment(made: Any, step_s: float | None = None) -> CameraEnvironment:
    """Return `made` if it follows the protocol, else wrap it by FromGymnasium. Raise UserError if neither fits."""
    if isinstance(made, CameraEnvironment):
        if step_s is not None:
            raise UserError(f"{name_of(made)}: says itself how long a step is; leave step_s out of the options")
        return made
    if not all(hasattr(made, name) for name in ("reset", "step", "render", "action_space")):
        raise UserError(f"{type(made).__name__} is neither a Gymnasium environment nor a CameraEnvironment")
    return FromGymnasium(made, step_s)


def name_of(environment: CameraEnvironment) -> str:
    """Return the name of an environment for messages."""
    return _name(environment.env) if isinstance(environment, FromGymnasium) else type(environment).__name__


def _name(env: Any) -> str:
    spec = getattr(env, "spec", None)
    return str(getattr(spec, "id", None) or type(env).__name__)
