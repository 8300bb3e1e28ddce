"""A recording that begins in the middle of an episode, where somebody else has driven the robot to."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from fosp_core.specs import ObservationSpec
from fosp_sim.env import Env, Frame, Listener, Observation
from fosp_sim.task.world import RobotState, Vector


class Approach(Protocol):
    """Drives the first part of an episode, off the record."""

    name: str
    """Name of the driver, for the bag's notes."""
    observation: ObservationSpec
    """The cameras that it sees, and their size."""

    def require_pace(self, decision_s: float) -> None:
        """Raise UserError when it decides at another pace than once in `decision_s` s."""

    def drive(self, env: Env, observation: Observation, seed: int) -> bool:
        """Drive from `observation` on; return False when the episode ended meanwhile."""


class LateListener:
    """Passes on what it hears from the frame before `begin` on, as an episode of its own that begins with it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._last: Frame | None = None
        self._start = 0.0
        self._begun = False

    def begin(self) -> None:
        """Pass on the last frame as the first one of an episode, and everything from now on."""
        if self._last is None:
            raise RuntimeError("no frame yet: reset the episode first")
        self._begun, self._start, first = True, self._last.time, self._last
        if first.time > 0:
            feedback = replace(first.feedback, reward=0.0, cost=0.0, is_first=True)
            first = replace(first, time=0.0, feedback=feedback)
        self._listener.frame(first)

    def frame(self, frame: Frame) -> None:
        """Take a camera frame and its feedback."""
        if self._begun:
            self._listener.frame(replace(frame, time=frame.time - self._start))
        else:
            self._last = frame

    def command(self, time: float, twist: Vector) -> None:
        """Take a command."""
        if self._begun:
            self._listener.command(time - self._start, twist)

    def gripper(self, time: float, position: float) -> None:
        """Take what a gripper is told."""
        if self._begun:
            self._listener.gripper(time - self._start, position)

    def state(self, time: float, state: RobotState) -> None:
        """Take the robot's measurements."""
        if self._begun:
            self._listener.state(time - self._start, state)
