"""The base class of simulated worlds: physics, rewards, costs and termination, without ROS and without rendering.

A world takes twists and advances in time; callers read the robot's measurements and the outcome from it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scene import MAX_OBSTACLES, Goal, Obstacle, Position, Scene

Vector = NDArray[np.float64]
Picture = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB."""

_HIDDEN = (0.0, 0.0, -5.0)
_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


@dataclass(frozen=True)
class WorldTiming:
    """The periods of a world, in ticks of its physics."""

    tick_s: float = TIMESTEP
    """Time that `advance` simulates, s."""
    command_ticks: int = 2
    """Ticks between messages of the command stream."""
    frame_ticks: int = 5
    """Ticks between camera frames."""
    decision_ticks: int = 10
    """Ticks between decisions: whole commands and whole frames."""

    @property
    def command_s(self) -> float:
        """Return the time between messages of the command stream, s."""
        return self.command_ticks * self.tick_s

    @property
    def frame_s(self) -> float:
        """Return the time between camera frames, s."""
        return self.frame_ticks * self.tick_s

    @property
    def decision_s(self) -> float:
        """Return the time between decisions, s."""
        return self.decision_ticks * self.tick_s


STANDARD_TIMING = WorldTiming()
"""Decisions at 20 Hz, commands at 100 Hz, frames at 40 Hz."""


@dataclass(frozen=True)
class GoalRules:
    """Rewards and success of a task that asks the robot to bring its commanded point to a goal."""

    progress_scale: float
    """Reward per metre of progress towards the goal."""
    tolerance: float
    """The goal is reached within its radius plus this, m."""
    planar: bool = False
    """Distances are measured on the ground, without heights."""
    time_penalty: float = 0.2
    """Reward lost per second."""
    success_bonus: float = 2.0

    def distance(self, point: Sequence[float], other: Sequence[float]) -> float:
        """Return the distance, m, between two points (3,) m."""
        return math.dist(point[:2], other[:2]) if self.planar else math.dist(point, other)

    def reward(self, progress: float, seconds: float) -> float:
        """Return the reward of coming `progress` m nearer to the goal in `seconds` s, without the bonus of success."""
        return self.progress_scale * progress - self.time_penalty * seconds

    def reached(self, distance: float, goal: Goal) -> bool:
        """Return True if a commanded point `distance` m from the centre of `goal` has reached it."""
        return distance <= goal.radius + self.tolerance


@dataclass(frozen=True)
class FrameFeedback:
    """The content of fosp_msgs/StepFeedback without stamp and episode number."""

    is_first: bool
    reward: float
    """Sum since the previous frame."""
    cost: float
    """Cost since the previous frame; above 0 in violation. Tasks with continuing goals sum it, others tell 1 or 0."""
    terminal: bool
    is_last: bool
    success: bool
    distance: float
    """Distance to the goal, m."""


@dataclass(frozen=True)
class IntervalOutcome:
    """Reward, cost and state of the task over an interval of simulated time."""

    reward: float
    """Sum over the interval."""
    cost: float
    """Cost over the interval, as in FrameFeedback."""
    success: bool
    """The goal has been reached: since the episode began, or in this interval where goals continue."""
    terminal: bool
    """The task has ended: values do not bootstrap beyond this."""
    distance: float
    """Distance from the commanded point to the goal at the end of the interval, m."""
    stuck: bool = False
    """The episode cannot go on, although the task has not ended."""

    def feedback(self, is_first: bool, may_end: bool, out_of_time: bool) -> FrameFeedback:
        """Return the feedback of the camera frame that closes this interval.

        Success and the end of an episode are reported only with `may_end`, on frames that close a decision period.
        """
        return FrameFeedback(
            is_first=is_first,
            reward=self.reward,
            cost=self.cost,
            terminal=self.terminal and may_end,
            is_last=may_end and (self.terminal or self.stuck or out_of_time),
            success=self.success and may_end,
            distance=self.distance,
        )


@dataclass(frozen=True)
class RobotState:
    """The measurements of a robot: joints and tool tip of an arm, or pose on the ground and twist of a base."""

    position: Position
    """Tool tip or centre of the base in the world frame, m."""
    heading: float
    """Heading of the base, rad; 0 for an arm."""
    joint_positions: tuple[float, ...]
    joint_velocities: tuple[float, ...]
    twist: tuple[float, ...]
    """Measured linear x, y, z in m/s and angular z in rad/s, in the frame of the commands; 0 for an arm."""
    gripper: float | None = None
    """Measured position of the gripper, in its unit; None without one."""
    load: Position | None = None
    """Centre of the object that a task asks to be moved, m. No robot measures it; scripted drivers know it."""
    holds: bool = False
    """The gripper holds the object; scripted drivers know it."""


@dataclass(frozen=True)
class WorldSnapshot:
    """The MuJoCo coordinates that a picture of the world shows."""

    time: float
    """s since the episode began."""
    joints: Vector
    mocap_positions: Vector
    mocap_quaternions: Vector


class Painter(Protocol):
    """Takes the pictures of a world; it belongs to the thread that made it."""

    def paint(self, snapshot: Any, height: int, width: int) -> list[Picture]:
        """Return the picture of each camera, of `snapshot` or, for None, of the present."""


class SimulatedWorld(ABC):
    """The physics, rewards and costs of one task; call `reset` before anything else."""

    timing: WorldTiming = STANDARD_TIMING
    cameras: tuple[str, ...] = ("color",)
    """Names of the cameras; the first is the one that decisions are timed by."""
    picture: tuple[int, int] = (240, 320)
    """Height and width of the frames, in pixels."""
    model: Any = None
    data: Any = None
    """The model and the state of a world in MuJoCo."""

    @property
    @abstractmethod
    def time(self) -> float:
        """Return the time since the episode began, s."""

    @abstractmethod
    def reset(self, scene: Scene) -> None:
        """Put the world into the initial state of `scene`, at rest, at time 0."""

    @abstractmethod
    def advance(self, twist: Vector) -> None:
        """Simulate one tick under the commanded `twist` (n,) in m/s and rad/s, in the order of the action axes."""

    def grip(self, position: float) -> None:
        """Tell a gripper its position, in its unit, which it keeps until it is told another one."""
        raise UserError("this task has no gripper")

    @abstractmethod
    def take_outcome(self) -> IntervalOutcome:
        """Return the outcome since the previous call, and begin a new interval."""

    @abstractmethod
    def snapshot(self) -> Any:
        """Return a copy of everything that a picture of the world shows."""

    @abstractmethod
    def state(self) -> RobotState:
        """Return the robot's present measurements."""

    @abstractmethod
    def position(self) -> Vector:
        """Return the measured commanded point (3,) m in the world frame."""

    @abstractmethod
    def distance(self) -> float:
        """Return the distance to the goal, m; NaN where the task has none."""

    def painter(self) -> Painter | None:
        """Return what takes the pictures of a world that is not in MuJoCo, else None."""
        return None


class MujocoWorld(SimulatedWorld):
    """A world whose pictures are of a MuJoCo state."""

    def __init__(self, xml: str) -> None:
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)

    def snapshot(self) -> WorldSnapshot:
        """Return a copy of everything that a picture of the world shows."""
        return WorldSnapshot(self.time, self.data.qpos.copy(), self.data.mocap_pos.copy(), self.data.mocap_quat.copy())

    def show(self, snapshot: WorldSnapshot, data: Any) -> None:
        """Put `snapshot` into `data`, an MjData of this model that serves rendering alone."""
        data.qpos[:] = snapshot.joints
        data.mocap_pos[:], data.mocap_quat[:] = snapshot.mocap_positions, snapshot.mocap_quaternions
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


class World(MujocoWorld):
    """A robot among obstacles that goes to one goal, which ends the episode."""

    rules: GoalRules

    def __init__(self, xml: str) -> None:
        super().__init__(xml)
        self.scene: Scene
        self._obstacle_geoms = [self._geom(f"obstacle{i}") for i in range(MAX_OBSTACLES)]
        self._post_geoms = [self._geom(f"post{i}") for i in range(MAX_OBSTACLES)]
        self._mocap = {
            name: int(self.model.body_mocapid[self._body(name)])
            for name in ["goal", *(f"obstacle{i}" for i in range(MAX_OBSTACLES))]
        }

    @property
    def time(self) -> float:
        """Return the time since the episode began, s."""
        return float(self.data.time)

    def reset(self, scene: Scene) -> None:
        """Put the world into the initial state of `scene`, at rest, at time 0."""
        self.scene = scene
        mujoco.mj_resetData(self.model, self.data)
        for i in range(MAX_OBSTACLES):
            self._set_obstacle(i, scene.obstacles[i] if i < len(scene.obstacles) else None)
        self._moving = [(self._mocap[f"obstacle{i}"], o) for i, o in enumerate(scene.obstacles) if o.motion != "static"]
        self._set_goal()
        self._place_robot()
        mujoco.mj_forward(self.model, self.data)
        self._distance = self.distance()
        self._reward, self._cost = 0.0, 0.0
        self._success = self._terminal = False

    def advance(self, twist: Vector) -> None:
        """Simulate TIMESTEP under the commanded `twist` (n,) in m/s and rad/s, in the order of the action axes."""
        self._drive(twist)
        mujoco.mj_step2(self.model, self.data)
        for mocap, obstacle in self._moving:
            self.data.mocap_pos[mocap, :2] = obstacle.position(self.time)
        # Compute positions and contacts of the new state, so that measurements and pictures are not one step old.
        mujoco.mj_step1(self.model, self.data)
        if not self._terminal:
            self._score()

    def take_outcome(self) -> IntervalOutcome:
        """Return the outcome since the previous call, and begin a new interval."""
        outcome = IntervalOutcome(self._reward, self._cost, self._success, self._terminal, self._distance)
        self._reward, self._cost = 0.0, 0.0
        return outcome

    def position(self) -> Vector:
        """Return the measured commanded point (3,) m in the world frame."""
        return np.array(self._point())

    def distance(self) -> float:
        """Return the distance from the commanded point to the goal's centre, m."""
        return self.rules.distance(self._point(), self.scene.goal.position)

    def _score(self) -> None:
        """Add reward and cost of the last TIMESTEP, and notice the end. Tasks with other rules override this."""
        distance = self.distance()
        self._reward += self.rules.reward(self._distance - distance, TIMESTEP)
        self._distance = distance
        if self._violates():
            self._cost = 1.0
        if self.rules.reached(distance, self.scene.goal):
            self._success = self._terminal = True
            self._reward += self.rules.success_bonus

    @abstractmethod
    def _point(self) -> list[float]: ...

    @abstractmethod
    def _place_robot(self) -> None: ...

    @abstractmethod
    def _drive(self, twist: Vector) -> None: ...

    @abstractmethod
    def _violates(self) -> bool: ...

    def _geom(self, name: str) -> int:
        return int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, name))

    def _body(self, name: str) -> int:
        return int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name))

    def _set_obstacle(self, slot: int, obstacle: Obstacle | None) -> None:
        mocap, head, post = self._mocap[f"obstacle{slot}"], self._obstacle_geoms[slot], self._post_geoms[slot]
        if obstacle is None:
            self.data.mocap_pos[mocap] = _HIDDEN
            self.model.geom_rgba[[head, post], 3] = 0.0  # the renderer skips it
            return
        centre, size, post_height = self._column(obstacle)
        yaw = obstacle.yaw / 2
        self.data.mocap_pos[mocap] = (obstacle.x, obstacle.y, centre)
        self.data.mocap_quat[mocap] = (math.cos(yaw), 0.0, 0.0, math.sin(yaw))
        self._shape_geom(head, obstacle.shape, size, obstacle.color)
        self._shape_geom(post, "cylinder", (0.35 * obstacle.half, post_height / 2, 0.0), obstacle.color)
        self.model.geom_pos[post] = (0.0, 0.0, post_height / 2 - centre)
        self.model.geom_rgba[post, 3] = float(post_height > 0)

    def _column(self, obstacle: Obstacle) -> tuple[float, tuple[float, float, float], float]:
        """Return the height of the head's centre, the head's size and the post's height, m."""
        half, height = obstacle.half, obstacle.height
        if obstacle.shape == "sphere":
            return max(half, height - half), (half, 0.0, 0.0), max(0.0, height - half)
        middle = (half, half, height / 2) if obstacle.shape == "box" else (half, height / 2, 0.0)
        return height / 2, middle, 0.0

    def _set_goal(self) -> None:
        goal = self.scene.goal
        radius = goal.radius
        size = {
            "sphere": (radius, 0.0, 0.0),
            "box": (radius, radius, radius),
            "cylinder": (radius, radius, 0.0),
        }[goal.shape]
        self._shape_geom(self._geom("goal"), goal.shape, size, goal.color)
        self.data.mocap_pos[self._mocap["goal"]] = goal.position
        stand, foot = self._geom("stand"), self._geom("foot")
        self._shape_geom(stand, "cylinder", (self.model.geom_size[stand][0], goal.z / 2, 0.0))
        self.model.geom_pos[stand] = (0.0, 0.0, -goal.z / 2)
        self.model.geom_pos[foot] = (0.0, 0.0, 0.002 - goal.z)

    def _shape_geom(
        self,
        geom: int,
        shape: str,
        size: tuple[float, float, float],
        color: tuple[float, float, float] | None = None,
    ) -> None:
        """Change a compiled geom, including the bounding radius that the broad phase of collision detection uses."""
        self.model.geom_type[geom] = _GEOM_TYPES[shape]
        self.model.geom_size[geom] = size
        self.model.geom_rbound[geom] = math.hypot(*size) if shape != "sphere" else size[0]
        if color is not None:
            self.model.geom_rgba[geom] = (*color, 1.0)
