"""A simulated task in this process, with the physics, camera, command shaping and timing of the live graph.

One step is one decision period: five 100 Hz command ticks, each shaped by the limits that the safety monitor applies
and simulated at 200 Hz. The camera frame at its end is the next observation. The first tick of a step still follows the
previous target, because a live decision arrives a few milliseconds after its frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.image import observation_image
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.limits import CommandHistory, CommandLimits, Response
from fosp_core.specs import ObservationSpec
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.render import NATIVE_HEIGHT, NATIVE_WIDTH, CameraFaults, Renderer
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.tasks import find_task
from fosp_sim.task.world import FrameFeedback, RobotState, Vector, World, WorldSnapshot

DECISION_PERIOD = 0.05
"""Time between decisions, s."""
COMMAND_PERIOD = 0.01
"""Time between messages of the command stream, s."""
FRAME_PERIOD = 0.025
"""Time between camera frames, s; every second one is a decision frame."""

_TICKS = round(DECISION_PERIOD / COMMAND_PERIOD)
_SUBSTEPS = round(COMMAND_PERIOD / TIMESTEP)
_FRAME_SUBSTEPS = round(FRAME_PERIOD / TIMESTEP)

Rendering = Literal["native", "direct", "none"]
"""`native` renders 320x240 and resizes as on a robot. `direct` renders at the size of the observation, which is faster
but aliased and does not average camera noise, so never train or evaluate on it. `none` returns black images."""


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


@dataclass(frozen=True)
class StepResult:
    """Outcome of one decision period."""

    images: NDArray[np.uint8]
    """(cameras, height, width, 3) uint8 RGB at the end of the period."""
    executed: NDArray[np.float32]
    """(n,) in [-1, 1]: normalised mean of the command stream over the period."""
    reward: float
    """Sum over the period."""
    cost: float
    """Maximum over the period: 1 in violation, else 0."""
    terminal: bool
    """The task has ended: values do not bootstrap beyond this."""
    last: bool
    """The episode has ended, because the task has or by the time limit."""
    success: bool
    distance: float
    """Distance to the goal, m."""
    time: float
    """s since the episode began."""
    ticks: tuple[CommandTick, ...] = ()
    """The command stream of the period, and the robot's measurements beside it."""


@dataclass(frozen=True)
class Frame:
    """One 40 Hz camera frame and the feedback on the interval since the previous one."""

    time: float
    """Time of exposure since the episode began, s."""
    image: NDArray[np.uint8] | None
    """(240, 320, 3) uint8 RGB, or None when the frame is lost."""
    feedback: FrameFeedback


class Listener(Protocol):
    """Receives everything that a robot publishes, in order of time; times are in s since the episode began."""

    def frame(self, frame: Frame) -> None:
        """Take a camera frame and its feedback, at 40 Hz."""

    def command(self, time: float, twist: Vector) -> None:
        """Take the shaped command (n,) in m/s and rad/s that holds from `time` on, at 100 Hz."""

    def state(self, time: float, state: RobotState) -> None:
        """Take the robot's measurements, at 100 Hz."""


def make_world(scenario: Scenario, robot: RobotConfig) -> World:
    """Return the world of a scenario's task. Raise UserError when the robot is of another kind."""
    return find_task(scenario.task).world(robot)


class Env:
    """Episodes of one scenario with one robot: call `reset`, then `step` until a result says `last`."""

    def __init__(
        self,
        scenario: Scenario,
        robot: RobotConfig,
        rendering: Rendering = "native",
        observation: ObservationSpec | None = None,
    ) -> None:
        self.scenario, self.robot = scenario, robot
        self.world = make_world(scenario, robot)
        self.limits = CommandLimits(robot)
        self.scene: Scene
        self._shape = (observation or ObservationSpec()).shape
        self._rendering = rendering
        self._renderer = Renderer(self.world.model) if rendering != "none" else None
        self._past_view = mujoco.MjData(self.world.model)
        self._listener: Listener | None = None
        self._over = True

    @property
    def action_size(self) -> int:
        """Return n, the number of axes of an action."""
        return self.robot.action.size

    def listen(self, listener: Listener | None) -> None:
        """Give `listener` everything that a robot would publish, from the next reset on; None ends this."""
        self._listener = listener

    def reset(self, episode: int) -> Observation:
        """Begin `episode` at rest, in the scene of `scenario.seed + episode`."""
        self.scene = draw_scene(self.scenario, episode)
        self.world.reset(self.scene)
        self._faults = CameraFaults(self.scenario.camera, self.scenario.seed + episode, episode)
        self._past: deque[WorldSnapshot] = deque(maxlen=1 + round(self._faults.latency / TIMESTEP))
        self._past.append(self.world.snapshot())
        self._target = np.zeros(self.action_size)
        self._command = np.zeros(self.action_size)
        self._acceleration = np.zeros(self.action_size)
        self._history = CommandHistory(Response.of(self.robot))
        self._told: list[CommandTick] = []
        self._steps, self._substeps, self._over = 0, 0, False
        self._images = np.zeros(self._shape, np.uint8)
        self._frame(decision=True)
        return Observation(self._images, 0.0, episode, True)

    def step(self, action: NDArray[np.floating]) -> StepResult:
        """Follow the normalised `action` (n,) in [-1, 1] for one decision period.

        Raise RuntimeError when the episode is over or was not begun, ValueError for a wrong shape.
        """
        if self._over:
            raise RuntimeError("the episode is over: reset first")
        if np.shape(action) != (self.action_size,):
            raise ValueError(f"action must have shape ({self.action_size},), got {np.shape(action)}")
        commands = np.empty((_TICKS, self.action_size))
        self._told = []
        frames: list[Frame] = []
        for tick in range(_TICKS):
            commands[tick] = self._tick(self._target)
            if tick == 0:
                self._target = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
            for _ in range(_SUBSTEPS):
                self.world.advance(commands[tick])
                self._substeps += 1
                if self._faults.latency > 0:
                    self._past.append(self.world.snapshot())
                if self._substeps % _FRAME_SUBSTEPS == 0:
                    decision = self._substeps % (_TICKS * _SUBSTEPS) == 0
                    self._steps += decision
                    frames.append(self._frame(decision))
        parts, end = [frame.feedback for frame in frames], frames[-1].feedback
        self._over = end.is_last
        executed = np.clip(commands.mean(axis=0) / self.limits.scale, -1.0, 1.0).astype(np.float32)
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

    def _tick(self, target: Vector) -> Vector:
        """Return the next shaped command, and give the listener what a robot would publish at this time."""
        position, time, state = self.world.position(), self._substeps * TIMESTEP, self.world.state()
        moved = self._history.outstanding(time, time)
        command = self.limits.follow(target, self._command, COMMAND_PERIOD, position, self._acceleration, moved).command
        self._acceleration = (command - self._command) / COMMAND_PERIOD
        self._command, sent = command, tuple(command.tolist())
        self._history = self._history.after(sent, time)
        self._told.append(CommandTick(time, state, sent))
        if self._listener is not None:
            self._listener.state(time, state)
            self._listener.command(time, self._command)
        return self._command

    def _frame(self, decision: bool) -> Frame:
        """Expose a frame. Episodes end on decision frames only, so that an episode consists of whole steps."""
        image = self._exposed() if decision or self._listener is not None else None
        if image is not None and decision:
            cameras, height, width, _ = self._shape
            self._images = np.repeat(observation_image(image, height, width)[None], cameras, axis=0)
        frame = Frame(
            time=self._substeps * TIMESTEP,
            image=image,
            feedback=self.world.take_outcome().feedback(
                is_first=self._substeps == 0,
                may_end=decision,
                out_of_time=self._steps >= self.scenario.max_steps,
            ),
        )
        if self._listener is not None:
            self._listener.frame(frame)
        return frame

    def _exposed(self) -> NDArray[np.uint8] | None:
        """Return the frame that arrives now and shows the world one latency ago, or None when it is lost."""
        if self._substeps > 0 and self._faults.lost():
            return None
        height, width = (NATIVE_HEIGHT, NATIVE_WIDTH) if self._rendering == "native" else self._shape[1:3]
        if self._renderer is None:
            return np.zeros((height, width, 3), np.uint8)
        data = self.world.data
        if self._faults.latency > 0:
            self.world.show(self._past[0], self._past_view)
            data = self._past_view
        return self._faults.expose(self._renderer.render(data, height, width), self._substeps * TIMESTEP)
