"""The five tasks behind the interface of simulated worlds: a robot that takes twists, two cameras, continuing goals.

A tick is one environment step of the engine. Four of them are a decision period, over which rewards and costs are
summed. An episode ends by the time limit alone, which is not terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.gl import mujoco
from fosp_sim.task.safety_gym.engine import Engine
from fosp_sim.task.safety_gym.layout import Course, Place
from fosp_sim.task.safety_gym.model import BACK_CAMERA, FRONT_CAMERA, SUBSTEPS, TIMESTEPS
from fosp_sim.task.safety_gym.scenes import CourseScene, forward_heading
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import IntervalOutcome, MujocoWorld, RobotState, Vector, WorldSnapshot, WorldTiming

ACTION_REPEAT = 4
"""Environment steps of a decision."""
_AXES = ("linear.x", "angular.z")
POINT_SPEED, POINT_THRUST = 1.5, 0.05
"""Speed, m/s, that the point approaches under its greatest thrust, and the control at which that thrust saturates."""
CAR_SPEED, CAR_TURN, CAR_TORQUE = 0.8, 1.35, 0.02
"""Speed, m/s, and rate, rad/s, of the car at the control at which its wheels saturate."""
_TURN_CONTROL = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.95)
_TURN_RATE = (0.0, 0.001, 0.033, 0.245, 0.495, 0.644, 0.785, 0.910, 0.998, 1.100, 1.345, 1.473, 1.688, 2.992)
"""Measured rate, rad/s, at which the point turns under a control: its servo chatters, so it is no straight line."""
POINT_TURN = _TURN_RATE[-1]


@dataclass(frozen=True)
class CourseState(RobotState):
    """The robot's measurements, and everything that a scripted demonstrator knows of the course."""

    velocity: Place = (0.0, 0.0)
    """m/s in the world frame."""
    goal: Place = (0.0, 0.0)
    objects: Mapping[str, Place] | None = None
    """Present centres (x, y) m of all other objects."""
    button: int | None = None
    """Number of the button to press."""
    time: float = 0.0
    """s since the episode began."""
    armed: bool = True
    """Wrong buttons cost now."""


@dataclass(frozen=True)
class CourseSnapshot(WorldSnapshot):
    """The state that a picture shows, with the place of the goal, which belongs to the model."""

    goal: Place = (0.0, 0.0)


class CourseWorld(MujocoWorld):
    """One course with its robot."""

    cameras = (FRONT_CAMERA, BACK_CAMERA)
    picture = (64, 64)

    def __init__(self, robot: RobotConfig, task: str, course: Course) -> None:
        """Raise UserError for a robot that is not a base with the axes of a differential drive."""
        if robot.kind != "base" or {axis.name for axis in robot.action.axes} != set(_AXES):
            raise UserError(f"{task} needs a base with axes {', '.join(_AXES)}; robot {robot.name} is not")
        self._order = [[str(axis.name) for axis in robot.action.axes].index(name) for name in _AXES]
        self._is_car = course.robot == "car"
        self.timing = WorldTiming(SUBSTEPS * TIMESTEPS[course.robot], 1, ACTION_REPEAT, ACTION_REPEAT)
        self.engine = Engine(course)
        self.model, self.data = self.engine.model, self.engine.data
        self._goal_geom = int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, "goal"))
        self._agent = int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, "agent"))
        self._jacobian = np.zeros((3, self.model.nv))
        self._turning = np.zeros((3, self.model.nv))

    @property
    def time(self) -> float:
        return float(self.data.time)

    def reset(self, scene: Scene) -> None:
        assert isinstance(scene, CourseScene)
        self.engine.reset(scene.seed)
        self._clear()
        self._stuck = False

    def advance(self, twist: Vector) -> None:
        if self._stuck:
            return
        step = self.engine.step(self.control(twist))
        self._reward += step.reward
        self._cost += step.cost
        self._goals += step.goal
        self._stuck = step.stuck

    def take_outcome(self) -> IntervalOutcome:
        outcome = IntervalOutcome(self._reward, self._cost, self._goals > 0, False, self.distance(), self._stuck)
        self._clear()
        return outcome

    def control(self, twist: Vector) -> Vector:
        """Return the actuators' controls (2,) for a twist (n,) in m/s and rad/s."""
        forward, turn = float(twist[self._order[0]]), float(twist[self._order[1]])
        if self._is_car:  # its wheels are named as they are seen from the front
            along, across = forward / CAR_SPEED, turn / CAR_TURN
            return CAR_TORQUE * np.clip([along + across, along - across], -1.0, 1.0)
        pull = np.interp(abs(turn), _TURN_RATE, _TURN_CONTROL)
        return np.array([POINT_THRUST * np.clip(forward / POINT_SPEED, -1.0, 1.0), math.copysign(pull, turn)])

    def snapshot(self) -> CourseSnapshot:
        seen = super().snapshot()
        return CourseSnapshot(
            seen.time, seen.joints, seen.mocap_positions, seen.mocap_quaternions, self.engine.goal_place
        )

    def show(self, snapshot: WorldSnapshot, data: Any) -> None:
        super().show(snapshot, data)
        assert isinstance(snapshot, CourseSnapshot)
        data.geom_xpos[self._goal_geom, :2] = snapshot.goal

    def position(self) -> Vector:
        x, y = self.engine.place("agent")
        return np.array([x, y, 0.0])

    def distance(self) -> float:
        return self.engine.goal_distance()

    def state(self) -> CourseState:
        mujoco.mj_jacBody(self.model, self.data, self._jacobian, self._turning, self._agent)
        velocity = (self._jacobian @ self.data.qvel)[:2]
        rotation = self.data.xmat[self._agent].reshape(3, 3)
        heading = forward_heading(self.engine.course, math.atan2(rotation[1, 0], rotation[0, 0]))
        c, s = math.cos(heading), math.sin(heading)
        x, y = self.engine.place("agent")
        vx, vy = velocity.tolist()
        return CourseState(
            position=(x, y, 0.0),
            heading=heading,
            joint_positions=(),
            joint_velocities=(),
            twist=(c * vx + s * vy, c * vy - s * vx, 0.0, float(self._turning[2] @ self.data.qvel)),
            velocity=(vx, vy),
            goal=self.engine.goal_place,
            objects=self.engine.places(),
            button=self.engine.goal_button,
            time=self.time,
            armed=self.engine.armed,
        )

    def _clear(self) -> None:
        self._reward, self._cost, self._goals = 0.0, 0.0, 0
