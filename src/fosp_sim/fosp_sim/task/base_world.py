"""The world of safe_goal: a differential-drive base goes to the goal and keeps away from obstacles and walls."""

from __future__ import annotations

import math

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.mjcf import (
    ARENA,
    BASE_MARGIN,
    BASE_RADIUS,
    GROUND_BIT,
    LIGHT,
    OBSTACLE_BIT,
    TRACK,
    WHEEL_RADIUS,
    header,
    slots,
)
from fosp_sim.task.scene import Obstacle
from fosp_sim.task.world import GoalRules, RobotState, Vector, World

_AXES = ("linear.x", "angular.z")


class BaseWorld(World):
    """A differential-drive base with a velocity controller over two driven wheels."""

    rules = GoalRules(progress_scale=4.0, tolerance=0.10, planar=True)

    def __init__(self, robot: RobotConfig) -> None:
        if robot.kind != "base" or {a.name for a in robot.action.axes} != set(_AXES):
            raise UserError(f"safe_goal needs a base with axes {', '.join(_AXES)}; robot {robot.name} is not")
        self._order = [[str(a.name) for a in robot.action.axes].index(name) for name in _AXES]
        super().__init__(_base_xml())
        self._chassis = self._geom("chassis")

    @property
    def heading(self) -> float:
        """Return the heading, rad."""
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
        if obstacle.shape == "sphere":  # it lies on the ground, where a base can run into it
            return obstacle.half, (obstacle.half, 0.0, 0.0), 0.0
        return super()._column(obstacle)

    def _point(self) -> list[float]:
        return [*self.data.qpos[:2].tolist(), 0.0]

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


def _base_xml() -> str:
    """Return the model: a differential-drive base in a walled arena, with its front camera `color`."""
    surface = f'contype="{OBSTACLE_BIT}" gap="{BASE_MARGIN}"'
    ground = f'conaffinity="{GROUND_BIT}"'
    walls = "".join(
        f'<geom name="wall{i}" type="box" size="{sx} {sy} 0.06" pos="{x} {y} 0.06" conaffinity="{OBSTACLE_BIT}" '
        'rgba="0.8 0.7 0.55 1"/>'
        for i, (x, y, sx, sy) in enumerate(
            [(ARENA, 0, 0.02, ARENA), (-ARENA, 0, 0.02, ARENA), (0, ARENA, ARENA, 0.02), (0, -ARENA, ARENA, 0.02)]
        )
    )
    wheels = "".join(
        f"""
      <body name="{side}_wheel" pos="0 {y} 0">
        <joint name="{side}_wheel" axis="0 1 0" armature="0.002" damping="0.001"/>
        <geom type="sphere" size="{WHEEL_RADIUS}" mass="0.2" friction="1.5" {ground} rgba="0.1 0.1 0.1 1"/>
      </body>"""
        for side, y in (("left", TRACK / 2), ("right", -TRACK / 2))
    )
    # Spheres touch the ground in a point; a cylinder's line of contact would scrub in every turn.
    # Casters slide freely: condim 1 with priority, or the base hardly moves.
    casters = "".join(
        f'<geom type="sphere" size="0.02" pos="{x} 0 {0.02 - WHEEL_RADIUS}" mass="0.1" condim="1" priority="1" '
        f'{ground} rgba="0.1 0.1 0.1 1"/>'
        for x in (0.09, -0.09)
    )
    return f"""{header("safe_goal", gravity="0 0 -9.81")}
  <worldbody>
    {LIGHT}
    <geom name="ground" type="plane" size="{ARENA} {ARENA} 0.1" contype="{GROUND_BIT}" rgba="0.30 0.27 0.25 1"/>
    {walls}
    {slots()}
    <body name="base" pos="0 0 {WHEEL_RADIUS}">
      <freejoint name="base"/>
      <geom name="chassis" type="cylinder" size="{BASE_RADIUS} 0.05" pos="0 0 0.05" mass="4" {surface}
            rgba="0.85 0.85 0.85 1"/>
      <camera name="color" pos="0.05 0 0.30" xyaxes="0 -1 0 0.2079 0 0.9781" fovy="80"/>
      <site name="tip"/>{wheels}{casters}
    </body>
  </worldbody>
  <actuator>
    <velocity name="left" joint="left_wheel" kv="2" forcerange="-5 5"/>
    <velocity name="right" joint="right_wheel" kv="2" forcerange="-5 5"/>
  </actuator>
</mujoco>"""
