"""The logic of the simulator nodes without ROS and rendering: a task in real time, and the intake of commands."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import CommandLimits
from fosp_sim.env import make_world
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import FrameFeedback, Vector


@dataclass(frozen=True)
class Exposure:
    """A camera frame that is to be rendered, and its feedback."""

    snapshot: Any
    """Everything that the picture shows (SimulatedWorld.snapshot)."""
    feedback: FrameFeedback | None
    """None while no episode runs: before the first one, and after the last frame of each."""


class RealTimeTask:
    """A task whose world never stops; episodes begin with `begin` and end by themselves or by the time limit."""

    def __init__(self, scenario: Scenario, robot: RobotConfig, camera_rate_hz: float) -> None:
        """Raise UserError when the camera rate does not divide the physics rate or the robot does not fit the task."""
        self.world = make_world(scenario, robot)
        tick_s = self.world.timing.tick_s
        ticks = 1.0 / tick_s / camera_rate_hz if camera_rate_hz > 0 else 0.0
        if ticks < 1 - 1e-6 or abs(ticks - round(ticks)) > 1e-6:
            examples = "40 or 20" if tick_s == TIMESTEP else f"{1 / self.world.timing.frame_s:g}"
            raise UserError(f"camera_rate_hz must divide {1 / tick_s:g}, such as {examples}; got {camera_rate_hz:g}")
        self.frame_ticks = round(ticks)
        self.scenario = scenario
        self.world.reset(draw_scene(scenario, 0))
        self.episode: int | None = None
        """Number of the running episode; None while none runs."""
        self._ticks = 0
        # An episode ends on a frame that closes a decision period; where the periods never meet, any frame may end it.
        self._decision_ticks = self.world.timing.decision_ticks
        self._end_ticks = self._decision_ticks if self._decision_ticks % self.frame_ticks == 0 else self.frame_ticks

    def begin(self, scene: Scene) -> Exposure:
        """Begin the episode of `scene`, and return its first frame."""
        self.world.reset(scene)
        self.episode, self._ticks = scene.episode, 0
        return self._exposure()

    def tick(self, twist: Vector) -> Exposure | None:
        """Simulate one tick under `twist` (n,) in m/s and rad/s; return an exposure when a frame is due, else None."""
        self.world.advance(twist)
        self._ticks += 1
        return self._exposure() if self._ticks % self.frame_ticks == 0 else None

    def _exposure(self) -> Exposure:
        outcome, snapshot = self.world.take_outcome(), self.world.snapshot()
        if self.episode is None:
            return Exposure(snapshot, None)
        feedback = outcome.feedback(
            is_first=self._ticks == 0,
            may_end=self._ticks % self._end_ticks == 0,
            out_of_time=self._ticks >= self.scenario.max_steps * self._decision_ticks,
        )
        if feedback.is_last:
            self.episode = None
        return Exposure(snapshot, feedback)


class CommandIntake:
    """The robot's end of the command topic, with its own watchdog: without a fresh command it decelerates to zero.

    A command is fresh for the robot's `command_timeout_s`. All times are on one monotonic clock, in s. `receive` and
    `current` may be called from different threads.
    """

    def __init__(self, robot: RobotConfig) -> None:
        """Raise UserError for a robot that takes poses: simulated robots take twists only."""
        if robot.command_type == "PoseStamped":
            raise UserError(f"robot '{robot.name}': command_type PoseStamped is not simulated; only twists are")
        self._limits = CommandLimits(robot)
        self._timeout_s = robot.command_timeout_s
        self._frame_id = robot.action.frame_id
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Stand still until the next command, because a reset moves the robot elsewhere."""
        with self._lock:
            self._command, self._receipt_s = np.zeros_like(self._limits.speed), -np.inf
            self._twist = self._command

    def receive(self, command: Vector, frame_id: str, now_s: float) -> None:
        """Take a command (n,) in m/s and rad/s. Raise UserError, without effect, when its frame or a value is wrong."""
        if frame_id != self._frame_id:
            raise UserError(f"commands must be in frame '{self._frame_id}', got '{frame_id}'; command ignored")
        if not np.isfinite(command).all():
            raise UserError(f"command {command.tolist()} is not finite; command ignored")
        with self._lock:
            self._command, self._receipt_s = np.clip(command, -self._limits.speed, self._limits.speed), now_s

    def current(self, now_s: float, dt: float) -> Vector:
        """Return the twist (n,) in m/s and rad/s that the robot follows for the next `dt` s."""
        with self._lock:
            fresh = now_s - self._receipt_s <= self._timeout_s
            self._twist = self._command if fresh else self._limits.stop(self._twist, dt)
            return self._twist
