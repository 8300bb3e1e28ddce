"""safe_goal: the differential-drive base goes to the goal; coming too near an obstacle or a wall costs."""

from __future__ import annotations

import math

import numpy as np

from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_sim.task.mjcf import TRACK, WHEEL_RADIUS, base_xml
from fosp_sim.task.scene import Obstacle
from fosp_sim.task.world import RobotState, Vector, World

_AXES = ("linear.x", "angular.z")


class BaseWorld(World):
    """A velocity controller over two driven wheels."""

    progress_scale = 4.0
    tolerance = 0.10

    def __init__(self, robot: RobotConfig) -> None:
        if robot.kind != "base" or {a.name for a in robot.action.axes} != set(_AXES):
            raise UserError(f"safe_goal needs a base with axes {', '.join(_AXES)}; robot {robot.name} is not")
        self._order = [[str(a.name) for a in robot.action.axes].index(name) for name in _AXES]
        super().__init__(base_xml())
        self._chassis = self._geom("chassis")

    def distance(self) -> float:
        return math.hypot(self.scene.goal.x - self.data.qpos[0], self.scene.goal.y - self.data.qpos[1])

    def position(self) -> Vector:
        return np.array([self.data.qpos[0], self.data.qpos[1], 0.0])

    @property
    def heading(self) -> float:
        """rad."""
        w, x, y, z = self.data.qpos[3:7].tolist()
        return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

    def state(self) -> RobotState:
        heading = self.heading
        vx, vy, _ = self.data.qvel[:3].tolist()
        c, s = math.cos(heading), math.sin(heading)
        return RobotState(
            position=(float(self.data.qpos[0]), float(self.data.qpos[1]), 0.0),
            heading=heading,
            joint_positions=tuple(self.data.qpos[7:9].tolist()),
            joint_velocities=tuple(self.data.qvel[6:8].tolist()),
            twist=(c * vx + s * vy, c * vy - s * vx, 0.0, float(self.data.qvel[5])),
        )

    def _column(self, obstacle: Obstacle) -> tuple[float, tuple[float, float, float], float]:
        if obstacle.shape == "sphere":  # lies on the ground, where a base can run into it
            return obstacle.half, (obstacle.half, 0.0, 0.0), 0.0
        return super()._column(obstacle)

    def _place_robot(self) -> None:
        x, y, _ = self.scene.start
        half = self.scene.heading / 2
        self.data.qpos[:7] = (x, y, WHEEL_RADIUS, math.cos(half), 0.0, 0.0, math.sin(half))

    def _drive(self, twist: Vector) -> None:
        forward, turn = float(twist[self._order[0]]), float(twist[self._order[1]])
        self.data.ctrl[0] = (forward - turn * TRACK / 2) / WHEEL_RADIUS
        self.data.ctrl[1] = (forward + turn * TRACK / 2) / WHEEL_RADIUS

    def _violates(self) -> bool:
        return bool(np.any(self.data.contact.geom == self._chassis))
