"""A simulated task in this process, with the physics, cameras, command shaping and timing of the live graph.

One step is one decision period of the world's timing: by default five 100 Hz command ticks, each shaped by the limits
that the safety monitor applies and simulated at 200 Hz. The camera frame at its end is the next observation. The first
tick of a step still follows the previous target, because a live decision arrives a few milliseconds after its frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image import observation_image
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperSetpoint
from fosp_core.robot.limits import CommandHistory, CommandLimits, Response
from fosp_core.specs import ObservationSpec
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.render import CameraFaults, MovedCameras, painter_of
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.tasks import find_task
from fosp_sim.task.world import (
    STANDARD_TIMING,
    FrameFeedback,
    Painter,
    Picture,
    RobotState,
    SimulatedWorld,
    Vector,
    World,
)

DECISION_PERIOD = STANDARD_TIMING.decision_s
"""Time between decisions of a world with the standard timing, s. A world's own is `world.timing.decision_s`."""

Rendering = Literal["native", "direct", "none"]
"""`native` renders frames of the camera's size and resizes as on a robot. `direct` renders at the size of
the observation, which is faster but aliased and does not average camera noise, so never train or evaluate on it. `none`
returns black images."""


@dataclass(frozen=True)
class Observation:
    """The input of a decision."""

    images: NDArray[np.uint8]
    """(cameras, height, width, 3) uint8 RGB, as the observation spec says."""
    time: float
    """s since the episode began."""
    episode: int
    is_first: bool


@dataclass(frozen=True)
class CommandTick:
    """One tick of the command stream."""

    time: float
    """s since the episode began."""
    state: RobotState
    """The robot's measurements at that time."""
    command: tuple[float, ...]
    """(n,) m/s and rad/s, in force from that time on."""
    gripper: GripperSetpoint | None = None
    """The setpoint that the gripper is told; None for a robot without one."""


@dataclass(frozen=True)
class StepResult:
    """Outcome of one decision period."""

    images: NDArray[np.uint8]
    """(cameras, height, width, 3) uint8 RGB at the end of the period."""
    executed: NDArray[np.float32]
    """(n,) in [-1, 1]: normalised mean of the command stream over the period, with that of a gripper's setpoint."""
    reward: float
    """Sum over the period."""
    cost: float
    """Greatest cost of the frames of the period: 0 without a violation (FrameFeedback.cost)."""
    terminal: bool
    """The task has ended: values do not bootstrap beyond this."""
    last: bool
    """The episode has ended, because the task has or by the time limit."""
    success: bool
    """The goal has been reached; where goals continue, one was reached in this period."""
    distance: float
    """Distance to the goal, m."""
    time: float
    """s since the episode began."""
    ticks: tuple[CommandTick, ...] = ()
    """The command stream of the period, and the robot's measurements beside it."""


@dataclass(frozen=True)
class Frame:
    """One camera frame, at 40 Hz by default, and the feedback on the interval since the previous one."""

    time: float
    """Time of exposure since the episode began, s."""
    image: NDArray[np.uint8] | None
    """(height, width, 3) uint8 RGB of the first camera, or None when the frame is lost."""
    feedback: FrameFeedback
    others: Mapping[str, Picture] = field(default_factory=dict)
    """Pictures of the further cameras, by name."""


class Listener(Protocol):
    """Receives everything that a robot publishes, in order of time; times are in s since the episode began."""

    def frame(self, frame: Frame) -> None:
        """Take a camera frame and its feedback."""

    def command(self, time: float, twist: Vector) -> None:
        """Take the shaped command (n,) in m/s and rad/s that holds from `time` on."""

    def state(self, time: float, state: RobotState) -> None:
        """Take the robot's measurements, as often as commands."""

    def gripper(self, time: float, position: float) -> None:
        """Take what a gripper is told, in its unit, before the command of that time; no other robot calls it."""


def make_world(scenario: Scenario, robot: RobotConfig) -> SimulatedWorld:
    """Return the world of a scenario's task. Raise UserError when the robot is of another kind."""
    task = find_task(scenario.task)
    return task.build(robot, scenario) if task.build is not None else task.world(robot)


def make_arena(scenario: Scenario, robot: RobotConfig) -> World:
    """Return the world of a task with obstacles and one goal. Raise UserError for other tasks and other robots."""
    world = make_world(scenario, robot)
    if not isinstance(world, World):
        raise UserError(f"task '{scenario.task}' runs in this simulator alone; for this use safe_reach or safe_goal")
    return world


def require_seen(world: SimulatedWorld, task: str, observation: ObservationSpec) -> None:
    """Raise UserError where the pictures of a world are smaller than an observation, as a robot's are refused, too."""
    (rows, columns), (_, height, width, _) = world.picture, observation.shape
    if rows < height or columns < width:
        raise UserError(
            f"the pictures of task '{task}' are {columns}x{rows}, smaller than the {width}x{height} of the observation"
        )


class Env:
    """Episodes of one scenario with one robot: call `reset`, then `step` until a result says `last`."""

    def __init__(
        self,
        scenario: Scenario,
        robot: RobotConfig,
        rendering: Rendering = "native",
        observation: ObservationSpec | None = None,
        paint: Callable[[SimulatedWorld], Painter] = painter_of,
    ) -> None:
        """`paint` returns what takes the pictures of the world."""
        self.scenario, self.robot = scenario, robot
        self.world = make_world(scenario, robot)
        self.limits = CommandLimits(robot)
        self.timing = self.world.timing
        self._cameras = MovedCameras(self.world, scenario.camera)
        self.scene: Scene
        self._observation = observation or ObservationSpec()
        self._shape = self._observation.shape
        self._views = self._viewed()
        if observation is not None and rendering == "native":
            require_seen(self.world, scenario.task, observation)
        self._rendering = rendering
        self._painter = paint(self.world) if rendering != "none" else None
        self._listener: Listener | None = None
        self._over = True

    @property
    def action_size(self) -> int:
        """Return n, the number of values of an action."""
        return self.robot.action.size

    def listen(self, listener: Listener | None) -> None:
        """Give `listener` everything that a robot would publish, from the next reset on; None ends this."""
        self._listener = listener

    def reset(self, episode: int) -> Observation:
        """Begin `episode` at rest, in the scene of `scenario.seed + episode`."""
        self.scene = draw_scene(self.scenario, episode)
        self.world.reset(self.scene)
        self._cameras.move(self.scenario.seed + episode)
        self._faults = CameraFaults(self.scenario.camera, self.scenario.seed + episode, episode)
        self._past: deque[Any] = deque(maxlen=1 + round(self._faults.latency / self.timing.tick_s))
        self._past.append(self.world.snapshot())
        size = self.robot.action.twist_size
        self._target, self._command, self._acceleration = np.zeros(size), np.zeros(size), np.zeros(size)
        self._grip: float | None = None
        """Normalised position that the action wants of the gripper; None: it holds."""
        self._setpoint = GripperSetpoint()
        self._history = CommandHistory(Response.of(self.robot))
        self._told: list[CommandTick] = []
        self._steps, self._substeps, self._over, self._finishing = 0, 0, False, False
        self._images = np.zeros(self._shape, np.uint8)
        self._frame(decision=True)
        return Observation(self._images, 0.0, episode, True)

    def finish(self) -> None:
        """Let the next step be the last one of the episode, as a person ends one."""
        self._finishing = True

    def step(self, action: NDArray[np.floating]) -> StepResult:
        """Follow the normalised `action` (n,) in [-1, 1] for one decision period.

        Raise RuntimeError when the episode is over or was not begun, ValueError for a wrong shape.
        """
        if self._over:
            raise RuntimeError("the episode is over: reset first")
        if np.shape(action) != (self.action_size,):
            raise ValueError(f"action must have shape ({self.action_size},), got {np.shape(action)}")
        timing = self.timing
        ticks = timing.decision_ticks // timing.command_ticks
        size, held = self.robot.action.twist_size, []
        commands = np.empty((ticks, size))
        self._told = []
        frames: list[Frame] = []
        for tick in range(ticks):
            held.append(self._move_gripper())
            commands[tick] = self._tick(self._target)
            if tick == 0:
                wanted = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
                self._target, self._grip = wanted[:size], float(wanted[size]) if len(wanted) > size else None
            for _ in range(timing.command_ticks):
                self.world.advance(commands[tick])
                self._substeps += 1
                if self._faults.latency > 0:
                    self._past.append(self.world.snapshot())
                if self._substeps % timing.frame_ticks == 0:
                    decision = self._substeps % timing.decision_ticks == 0
                    self._steps += decision
                    frames.append(self._frame(decision))
        parts, end = [frame.feedback for frame in frames], frames[-1].feedback
        self._over = end.is_last
        executed = np.clip(commands.mean(axis=0) / self.limits.scale, -1.0, 1.0).astype(np.float32)
        if self.limits.gripper is not None:
            executed = np.append(executed, np.float32(min(max(float(np.mean(held)), -1.0), 1.0)))
        return StepResult(
            images=self._images,
            executed=executed,
            reward=sum(part.reward for part in parts),
            cost=max(part.cost for part in parts),
            terminal=end.terminal,
            last=end.is_last,
            success=end.success,
            distance=end.distance,
            time=frames[-1].time,
            ticks=tuple(self._told),
        )

    def _move_gripper(self) -> float:
        """Tell the gripper its next setpoint, at the rate of commands; return it, normalised, or where it is."""
        limits, axis, measured = self.limits.gripper, self.robot.action.gripper, self.world.state().gripper
        if limits is None or axis is None or measured is None:
            return 0.0
        at = axis.normalised(measured)
        self._setpoint = limits.follow(self._setpoint, self._grip, at, self.timing.command_s)
        told = at if self._setpoint.sent is None else self._setpoint.sent
        if self._setpoint.sent is not None:
            self.world.grip(axis.value(told))
        if self._listener is not None:
            self._listener.gripper(self._substeps * self.timing.tick_s, axis.value(told))
        return told

    def _tick(self, target: Vector) -> Vector:
        """Return the next shaped command, and give the listener what a robot would publish at this time."""
        position, time, state = self.world.position(), self._substeps * self.timing.tick_s, self.world.state()
        moved = self._history.outstanding(time, time)
        command = self.limits.follow(
            target, self._command, self.timing.command_s, position, self._acceleration, moved
        ).command
        self._acceleration = (command - self._command) / self.timing.command_s
        self._command, sent = command, tuple(command.tolist())
        self._history = self._history.after(sent, time)
        gripper = None if self.limits.gripper is None else self._setpoint
        self._told.append(CommandTick(time, state, sent, gripper))
        if self._listener is not None:
            self._listener.state(time, state)
            self._listener.command(time, self._command)
        return self._command

    def _frame(self, decision: bool) -> Frame:
        """Expose a frame. Episodes end on decision frames only, so that an episode consists of whole steps."""
        pictures = self._exposed() if decision or self._listener is not None else []
        if pictures and decision:
            _, height, width, _ = self._shape
            self._images = np.stack([observation_image(pictures[view], height, width) for view in self._views])
        frame = Frame(
            time=self._substeps * self.timing.tick_s,
            image=pictures[0] if pictures else None,
            feedback=self.world.take_outcome().feedback(
                is_first=self._substeps == 0,
                may_end=decision,
                out_of_time=self._finishing or self._steps >= self.scenario.max_steps,
            ),
            others=dict(zip(self.world.cameras[1:], pictures[1:], strict=True)) if pictures else {},
        )
        if self._listener is not None:
            self._listener.frame(frame)
        return frame

    def _exposed(self) -> list[Picture]:
        """Return the pictures that arrive now and show the world one latency ago; none when they are lost."""
        if self._substeps > 0 and self._faults.lost():
            return []
        height, width = self.world.picture if self._rendering == "native" else self._shape[1:3]
        if self._painter is None:
            return [np.zeros((height, width, 3), np.uint8) for _ in self.world.cameras]
        pictures = self._painter.paint(self._past[0] if self._faults.latency > 0 else None, height, width)
        return [self._faults.expose(picture, self._substeps * self.timing.tick_s) for picture in pictures]

    def _viewed(self) -> list[int]:
        """Return which camera of the world each camera of the observation is; UserError when there is no such one.

        A world with one camera shows it for each of them.
        """
        cameras = self.world.cameras
        if len(cameras) == 1:
            return [0] * len(self._observation.cameras)
        for camera in self._observation.cameras:
            if camera.name not in cameras:
                raise UserError(f"task '{self.scenario.task}' has the cameras {', '.join(cameras)}, not {camera.name}")
        return [cameras.index(camera.name) for camera in self._observation.cameras]
