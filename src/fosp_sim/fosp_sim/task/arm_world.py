"""The world of safe_reach: an arm brings its tool tip to the goal without touching or nearly touching obstacles."""

from __future__ import annotations

from itertools import product

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.arm_kinematics import GUARD, JOINTS, advanced, joints_of_tip, reachable
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import (
    ARM_CAMERA,
    FOREARM,
    LIGHT,
    OBSTACLE_BIT,
    SHOULDER_HEIGHT,
    TIMESTEP,
    TIP_RADIUS,
    TOOL_MARGIN,
    UPPER_ARM,
    WRIST_TO_TIP,
    header,
    slots,
)
from fosp_sim.task.world import GoalRules, RobotState, Vector, World

_AXES = ("linear.x", "linear.y", "linear.z")


class ArmWorld(World):
    """A 7-DoF arm with a Cartesian velocity controller at the tool tip, over joint position servos."""

    rules = GoalRules(progress_scale=10.0, tolerance=0.02)

    def __init__(self, robot: RobotConfig) -> None:
        if robot.kind != "arm" or robot.workspace is None or {a.name for a in robot.action.axes} - set(_AXES):
            raise UserError(f"safe_reach needs an arm with axes among {', '.join(_AXES)}; robot {robot.name} is not")
        self._axes = [_AXES.index(axis.name) for axis in robot.action.axes]
        self._lower = [low - GUARD for low in robot.workspace.lower]
        self._upper = [high + GUARD for high in robot.workspace.upper]
        if not all(reachable(*corner) for corner in product(*zip(self._lower, self._upper, strict=True))):
            raise UserError(f"the simulated arm does not reach the whole workspace of robot {robot.name}; shrink it")
        super().__init__(_arm_xml(self.tool_xml(f'contype="{OBSTACLE_BIT}" density="300"'), self.loose_xml()))
        self._site = int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, "tip"))
        self._shadow = int(self.model.body_mocapid[self._body("shadow")])
        # Feed-forward of the joint speed, which the servos' damping would otherwise reduce.
        self._lead = -self.model.actuator_biasprm[:, 2] / self.model.actuator_gainprm[:, 0] / TIMESTEP

    def tool_xml(self, surface: str) -> str:
        """Return what is at the end of the tool, with the site `tip`; `surface` makes a geom touch obstacles."""
        tool = f'{surface} gap="{TOOL_MARGIN}"'
        return f"""
                  <geom name="shaft" type="capsule" fromto="0 0 0.10 0 0 {WRIST_TO_TIP}" size="0.010" {tool}
                        rgba="0.95 0.75 0.2 1"/>
                  <geom name="tip" type="sphere" size="{TIP_RADIUS}" pos="0 0 {WRIST_TO_TIP}" {tool}
                        rgba="1 0.15 0.1 1"/>
                  <site name="tip" pos="0 0 {WRIST_TO_TIP}"/>"""

    def loose_xml(self) -> str:
        """Return further bodies of the world."""
        return ""

    def state(self) -> RobotState:
        x, y, z = self._point()
        return RobotState(
            position=(x, y, z),
            heading=0.0,
            joint_positions=tuple(self.data.qpos[: len(JOINTS)].tolist()),
            joint_velocities=tuple(self.data.qvel[: len(JOINTS)].tolist()),
            twist=(0.0, 0.0, 0.0, 0.0),
        )

    def _point(self) -> list[float]:
        tip: list[float] = self.data.site_xpos[self._site].tolist()
        return tip

    def _place_robot(self) -> None:
        self._reference = list(self.scene.start)
        self._joints = np.array(joints_of_tip(*self.scene.start))
        self.data.qpos[:] = self._joints
        self.data.ctrl[:] = self._joints
        self._cast_shadow()

    def _drive(self, twist: Vector) -> None:
        velocity = [0.0, 0.0, 0.0]
        for axis, speed in zip(self._axes, twist.tolist(), strict=True):
            velocity[axis] = speed
        moved = advanced(self._reference, self._point(), velocity, TIMESTEP, self._lower, self._upper)
        joints = np.array(joints_of_tip(*moved))
        self.data.ctrl[:] = joints + self._lead * (joints - self._joints)
        self._reference, self._joints = moved, joints
        self._cast_shadow()

    def _cast_shadow(self) -> None:
        """Put a dark spot on the table below the tip, the depth cue that a lamp's shadow gives a real camera."""
        self.data.mocap_pos[self._shadow] = (self._reference[0], self._reference[1], 0.001)

    def _violates(self) -> bool:
        return bool(self.data.ncon > 0)


def _arm_xml(tool: str, loose: str) -> str:
    """Return the model: an arm at a table with its long tool pointing down, and the third-person camera `color`."""
    surface = f'contype="{OBSTACLE_BIT}" density="300"'
    link = 'rgba="0.85 0.85 0.85 1"'
    joints = "\n".join(
        f'<position name="servo{i}" joint="joint{i}" kp="{kp}" kv="{kv}" forcerange="-{force} {force}"/>'
        for i, (kp, kv, force) in enumerate([(4000, 260, 200)] * 4 + [(1500, 60, 80)] * 3, start=1)
    )
    # Gravity is off: a robot arm's own controller compensates for it.
    return f"""{header("safe_reach", gravity="0 0 0")}
  <worldbody>
    {LIGHT}
    <camera name="color" pos="{ARM_CAMERA[0]} {ARM_CAMERA[1]} {ARM_CAMERA[2]}" xyaxes="0 1 0 -0.8 0 0.6" fovy="36"/>
    <geom name="table" type="box" size="0.62 0.75 0.02" pos="0.42 0 -0.02" rgba="0.30 0.27 0.25 1"/>
    <body name="shadow" mocap="true" pos="0 0 -5">
      <geom name="shadow" type="cylinder" size="0.025 0.001" rgba="0.02 0.02 0.02 1"/>
    </body>
    {slots()}{loose}
    <geom name="pedestal" type="cylinder" size="0.08 0.17" pos="0 0 0.17" {link}/>
    <body name="link1" pos="0 0 {SHOULDER_HEIGHT}">
      <joint name="joint1" axis="0 0 1" armature="0.5" range="-2.9 2.9"/>
      <geom type="sphere" size="0.075" density="300" {link}/>
      <body name="link2">
        <joint name="joint2" axis="0 1 0" armature="0.5" range="-2.9 2.9"/>
        <geom type="capsule" fromto="0 0 0 0 0 {UPPER_ARM}" size="0.05" {surface} {link}/>
        <body name="link3" pos="0 0 {UPPER_ARM}">
          <joint name="joint3" axis="0 0 1" armature="0.5" range="-2.9 2.9"/>
          <geom type="sphere" size="0.055" density="300" {link}/>
          <body name="link4">
            <joint name="joint4" axis="0 1 0" armature="0.5" range="-2.9 2.9"/>
            <geom type="capsule" fromto="0 0 0 0 0 {FOREARM}" size="0.04" {surface} {link}/>
            <body name="link5" pos="0 0 {FOREARM}">
              <joint name="joint5" axis="0 0 1" armature="0.1" range="-2.9 2.9"/>
              <geom type="sphere" size="0.045" density="300" {link}/>
              <body name="link6">
                <joint name="joint6" axis="0 1 0" armature="0.1" range="-2.9 2.9"/>
                <geom type="sphere" size="0.02" density="300" {link}/>
                <body name="link7">
                  <joint name="joint7" axis="0 0 1" armature="0.1" range="-2.9 2.9"/>
                  <geom type="capsule" fromto="0 0 0 0 0 0.10" size="0.03" {surface} rgba="0.55 0.55 0.55 1"/>
{tool.lstrip(chr(10))}
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>{joints}</actuator>
</mujoco>"""
