"""The simulated world of one task: physics, rewards and costs. Knows neither ROS nor rendering.

A world takes twists and time; what a robot would measure and what happened are read from it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scenario import MAX_OBSTACLES
from fosp_sim.task.scene import Obstacle, Scene

Vector = NDArray[np.float64]

_HIDDEN = (0.0, 0.0, -5.0)
_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


@dataclass(frozen=True)
class Happening:
    """What happened since the world was last asked."""

    reward: float
    """Summed over the interval."""
    cost: float
    """Worst over the interval: 1 in violation, else 0."""
    success: bool
    """The goal has been reached; also the end of the task (terminal)."""
    distance: float
    """m from the commanded point to the goal, now."""


@dataclass(frozen=True)
class RobotState:
    """What the robot measures. For an arm joints and tool tip, for a base the pose on the ground and its twist."""

    position: tuple[float, float, float]
    """Tool tip or centre of the base, m, in the world frame."""
    heading: float
    """Of the base, rad."""
    joint_positions: tuple[float, ...]
    joint_velocities: tuple[float, ...]
    twist: tuple[float, ...]
    """Measured linear x, y, z m/s and angular z rad/s, in the frame of the commands."""


@dataclass(frozen=True)
class Pose:
    """Where everything is at one time, as MuJoCo's coordinates."""

    time: float
    joints: Vector
    mocap_positions: Vector
    mocap_quaternions: Vector


class World(ABC):
    """Physics of one task; `reset` before anything else."""

    progress_scale: float
    """Reward per metre that the goal comes nearer."""
    time_penalty: float = 0.2
    """Reward lost per second."""
    success_bonus: float = 2.0
    tolerance: float
    """Success within the goal's radius plus this, m."""

    def __init__(self, xml: str) -> None:
        self.model: Any = mujoco.MjModel.from_xml_string(xml)
        self.data: Any = mujoco.MjData(self.model)
        self.scene: Scene
        self._obstacle_geoms = [self._geom(f"obstacle{i}") for i in range(MAX_OBSTACLES)]
        self._post_geoms = [self._geom(f"post{i}") for i in range(MAX_OBSTACLES)]
        self._mocap = {
            name: int(self.model.body_mocapid[self._body(name)])
            for name in ["goal", *(f"obstacle{i}" for i in range(MAX_OBSTACLES))]
        }

    @property
    def time(self) -> float:
        """s since the episode began."""
        return float(self.data.time)

    def reset(self, scene: Scene) -> None:
        """Put the world into the start of `scene`, at rest, at time 0."""
        self.scene = scene
        mujoco.mj_resetData(self.model, self.data)
        for i in range(MAX_OBSTACLES):
            self._set_obstacle(i, scene.obstacles[i] if i < len(scene.obstacles) else None)
        self._moving = [(self._mocap[f"obstacle{i}"], o) for i, o in enumerate(scene.obstacles) if o.motion != "static"]
        self._set_goal()
        self._place_robot()
        mujoco.mj_forward(self.model, self.data)
        self._distance = self.distance()
        self._reward, self._cost, self._success = 0.0, 0.0, False

    def advance(self, twist: Vector) -> None:
        """Simulate TIMESTEP under the commanded `twist` (n,), m/s and rad/s, in the order of the action axes."""
        self._drive(twist)
        mujoco.mj_step2(self.model, self.data)
        for mocap, obstacle in self._moving:
            self.data.mocap_pos[mocap, :2] = obstacle.position(self.time)
        # Positions and contacts of the new state, so that what is measured and rendered is not one step old.
        mujoco.mj_step1(self.model, self.data)
        if self._success:
            return
        distance = self.distance()
        self._reward += self.progress_scale * (self._distance - distance) - self.time_penalty * TIMESTEP
        self._distance = distance
        if self._violates():
            self._cost = 1.0
        if distance <= self.scene.goal.radius + self.tolerance:
            self._success = True
            self._reward += self.success_bonus

    def happening(self) -> Happening:
        """What happened since the last call; the interval starts anew."""
        result = Happening(self._reward, self._cost, self._success, self._distance)
        self._reward, self._cost = 0.0, 0.0
        return result

    def pose(self) -> Pose:
        """All that a picture of the world shows."""
        return Pose(self.time, self.data.qpos.copy(), self.data.mocap_pos.copy(), self.data.mocap_quat.copy())

    def show(self, pose: Pose, data: Any) -> None:
        """Put `pose` into `data`, an MjData of this model that is only looked at."""
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = pose.joints, pose.mocap_positions, pose.mocap_quaternions
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)

    @abstractmethod
    def position(self) -> Vector:
        """Commanded point (3,) m in the world frame, measured."""

    @abstractmethod
    def state(self) -> RobotState:
        """What the robot measures now."""

    @abstractmethod
    def distance(self) -> float:
        """m from the commanded point to the goal's centre."""

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
            self.model.geom_rgba[[head, post], 3] = 0.0  # not even sent to the renderer
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
        """Height of the head's centre, the head's size and the post's height, m."""
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
        self.data.mocap_pos[self._mocap["goal"]] = (goal.x, goal.y, goal.z)
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
        """Change a compiled geom; the bounding radius is what the broad phase goes by."""
        self.model.geom_type[geom] = _GEOM_TYPES[shape]
        self.model.geom_size[geom] = size
        self.model.geom_rbound[geom] = math.hypot(*size) if shape != "sphere" else size[0]
        if color is not None:
            self.model.geom_rgba[geom] = (*color, 1.0)


@dataclass(frozen=True)
class Feedback:
    """fosp_msgs/StepFeedback without stamp and episode number."""

    is_first: bool
    reward: float
    """Summed since the frame before."""
    cost: float
    """Worst since the frame before: 1 in violation, else 0."""
    terminal: bool
    is_last: bool
    success: bool
    distance: float
    """m to the goal."""


def feedback(happening: Happening, is_first: bool, may_end: bool, out_of_time: bool) -> Feedback:
    """Of one frame. `may_end`: it closes a whole decision period; a success in between is told with the next such."""
    success = happening.success and may_end
    return Feedback(
        is_first=is_first,
        reward=happening.reward,
        cost=happening.cost,
        terminal=success,
        is_last=success or (may_end and out_of_time),
        success=success,
        distance=happening.distance,
    )
