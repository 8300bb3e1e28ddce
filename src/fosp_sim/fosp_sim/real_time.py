"""A task that runs on in real time: ticks in, camera poses and feedback out. No threads, no ROS, no rendering."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from fosp_core.errors import UserError
from fosp_core.limits import CommandLimits
from fosp_core.specs import RobotConfig
from fosp_sim.env import DECISION_PERIOD, make_world
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import Feedback, Pose, Vector, feedback

_DECISION_TICKS = round(DECISION_PERIOD / TIMESTEP)


@dataclass(frozen=True)
class Exposure:
    """A camera frame to be rendered, and what to say with it."""

    pose: Pose
    feedback: Feedback | None
    """None while no episode runs: before the first one, and after the last frame of one."""


class LiveSimulation:
    """The world never stops; episodes begin with `begin` and end by success or time limit."""

    def __init__(self, scenario: Scenario, robot: RobotConfig, camera_rate_hz: float) -> None:
        """UserError when the camera rate does not fit the physics rate or the robot does not fit the task."""
        ticks = 1.0 / TIMESTEP / camera_rate_hz if camera_rate_hz > 0 else 0.0
        if ticks < 1 or abs(ticks - round(ticks)) > 1e-6:
            raise UserError(f"camera_rate_hz must divide {1 / TIMESTEP:g}, such as 40 or 20; got {camera_rate_hz:g}")
        self.frame_ticks = round(ticks)
        self.scenario = scenario
        self.world = make_world(scenario, robot)
        self.world.reset(draw_scene(scenario, 0))
        self.episode: int | None = None
        """The running one."""
        self._ticks = 0
        # Frames that never coincide with the end of a decision period would never end an episode.
        self._end_ticks = _DECISION_TICKS if _DECISION_TICKS % self.frame_ticks == 0 else self.frame_ticks

    def begin(self, scene: Scene) -> Exposure:
        """Start the episode of `scene`, as draw_scene returns it."""
        self.world.reset(scene)
        self.episode, self._ticks = scene.episode, 0
        return self._exposure()

    def tick(self, twist: Vector) -> Exposure | None:
        """Simulate TIMESTEP under `twist` (n,); an exposure when a frame is due."""
        self.world.advance(twist)
        self._ticks += 1
        return self._exposure() if self._ticks % self.frame_ticks == 0 else None

    def _exposure(self) -> Exposure:
        happening = self.world.happening()
        pose = self.world.pose()
        if self.episode is None:
            return Exposure(pose, None)
        told = feedback(
            happening,
            is_first=self._ticks == 0,
            may_end=self._ticks % self._end_ticks == 0,
            out_of_time=self._ticks >= self.scenario.max_steps * _DECISION_TICKS,
        )
        if told.is_last:
            self.episode = None
        return Exposure(pose, told)


class CommandIntake:
    """The second watchdog: `command_timeout_s` of the robot after the last command it decelerates to zero.

    Times are monotonic seconds. `receive` and `current` may be called from different threads. UserError for a robot
    that takes poses: the simulated ones take twists.
    """

    def __init__(self, robot: RobotConfig) -> None:
        if robot.command_type == "PoseStamped":
            raise UserError(f"robot '{robot.name}': command_type PoseStamped is not simulated, only twists are")
        self._limits = CommandLimits(robot)
        self._timeout_s = robot.command_timeout_s
        self._frame_id = robot.action.frame_id
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Stand still until the next command: after a reset the robot is not where it was."""
        with self._lock:
            self._command, self._receipt_s = np.zeros_like(self._limits.speed), -np.inf
            self._twist = self._command

    def receive(self, command: Vector, frame_id: str, now_s: float) -> None:
        """Take a command (n,), m/s and rad/s. UserError, and no effect, when its frame or a value is wrong."""
        if frame_id != self._frame_id:
            raise UserError(f"commands must be in frame '{self._frame_id}', got '{frame_id}'; command ignored")
        if not np.isfinite(command).all():
            raise UserError(f"command {command.tolist()} is not finite; command ignored")
        with self._lock:
            self._command, self._receipt_s = np.clip(command, -self._limits.speed, self._limits.speed), now_s

    def current(self, now_s: float, dt: float) -> Vector:
        """Twist (n,) that the robot follows for the next `dt` s."""
        with self._lock:
            fresh = now_s - self._receipt_s <= self._timeout_s
            self._twist = self._command if fresh else self._limits.stop(self._twist, dt)
            return self._twist
