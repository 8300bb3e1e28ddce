"""safe_reach: the arm brings its tool tip to the goal; touching an obstacle or coming too near with the tool costs."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_sim.task.arm_kinematics import GUARD, JOINTS, advanced, joints_of_tip, reachable
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TIMESTEP, arm_xml
from fosp_sim.task.world import RobotState, Vector, World

_AXES = ("linear.x", "linear.y", "linear.z")


class ArmWorld(World):
    """A Cartesian velocity controller at the tool tip over joint position servos."""

    progress_scale = 10.0
    tolerance = 0.02

    def __init__(self, robot: RobotConfig) -> None:
        if robot.kind != "arm" or robot.workspace is None or {a.name for a in robot.action.axes} - set(_AXES):
            raise UserError(f"safe_reach needs an arm with axes among {', '.join(_AXES)}; robot {robot.name} is not")
        self._axes = [_AXES.index(axis.name) for axis in robot.action.axes]
        self._lower = [low - GUARD for low in robot.workspace.lower]
        self._upper = [high + GUARD for high in robot.workspace.upper]
        if not all(reachable(*corner) for corner in product(*zip(self._lower, self._upper, strict=True))):
            raise UserError(f"the simulated arm does not reach the whole workspace of robot {robot.name}; shrink it")
        super().__init__(arm_xml())
        self._site = int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, "tip"))
        self._shadow = int(self.model.body_mocapid[self._body("shadow")])
        # Feed-forward of the joint speed that the servos' damping would otherwise brake.
        self._lead = -self.model.actuator_biasprm[:, 2] / self.model.actuator_gainprm[:, 0] / TIMESTEP

    def position(self) -> Vector:
        return np.array(self.data.site_xpos[self._site])

    def distance(self) -> float:
        goal = self.scene.goal
        return math.dist(self.data.site_xpos[self._site].tolist(), (goal.x, goal.y, goal.z))

    def state(self) -> RobotState:
        x, y, z = self.data.site_xpos[self._site].tolist()
        return RobotState(
            position=(x, y, z),
            heading=0.0,
            joint_positions=tuple(self.data.qpos[: len(JOINTS)].tolist()),
            joint_velocities=tuple(self.data.qvel[: len(JOINTS)].tolist()),
            twist=(0.0, 0.0, 0.0, 0.0),
        )

    def _place_robot(self) -> None:
        self._reference = list(self.scene.start)
        self._joints = np.array(joints_of_tip(*self.scene.start))
        self.data.qpos[:] = self._joints
        self.data.ctrl[:] = self._joints
        self._cast_shadow()

    def _drive(self, twist: Vector) -> None:
        tip = self.data.site_xpos[self._site].tolist()
        velocity = [0.0, 0.0, 0.0]
        for axis, speed in zip(self._axes, twist.tolist(), strict=True):
            velocity[axis] = speed
        moved = advanced(self._reference, tip, velocity, TIMESTEP, self._lower, self._upper)
        joints = np.array(joints_of_tip(*moved))
        self.data.ctrl[:] = joints + self._lead * (joints - self._joints)
        self._reference, self._joints = moved, joints
        self._cast_shadow()

    def _cast_shadow(self) -> None:
        """A dark spot on the table below the tip: the depth cue that a real lamp's shadow gives a real camera."""
        self.data.mocap_pos[self._shadow] = (self._reference[0], self._reference[1], 0.001)

    def _violates(self) -> bool:
        return bool(self.data.ncon > 0)
