"""The world of safe_pick: an arm with two fingers takes an object, and lifts it over obstacles into a tray.

The grasp is geometric: an object that lies between fingers which close to its width is held, and moves with the hand
until they open. There is no friction and no slip. What is let go falls onto the table or the tray.
"""

from __future__ import annotations

import math

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.pick.scene import OBJECT_HALF, TRAY_HEIGHT, PickScene
from fosp_sim.task.arm_world import ArmWorld
from fosp_sim.task.mjcf import OBSTACLE_BIT, TIMESTEP, TOOL_MARGIN, WRIST_TO_TIP
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import GoalRules, RobotState, Vector

FINGER_SPEED = 0.4
"""Speed at which the gap between the fingers follows its command, m/s."""
WIDTH = 2.0 * OBJECT_HALF[1]
"""Gap between fingers that hold the object, m."""
REACH = (0.022, 0.022, 0.025)
"""Distance of the object's centre from the point between the finger tips within which they take it, m."""
LETS_GO = 0.006
"""Gap beyond the width at which the object is let go, m."""
GRASP_BONUS = 1.0
GRAVITY = 9.81
_FINGER = (0.012, 0.008, 0.03)
"""Half the size of a finger, m."""


class PickWorld(ArmWorld):
    """The arm of safe_reach with a hand. `grip` tells the fingers their gap, which `state().gripper` measures.

    Reward is progress of the hand to the object, then of the object to the tray, with a bonus for the grasp, which
    letting go in between takes back, and one for success: the object lies in the tray, let go. Cost is 1 while hand,
    arm or a carried object touch an obstacle, or nearly do.
    """

    rules = GoalRules(progress_scale=5.0, tolerance=0.0)
    scene: PickScene

    def __init__(self, robot: RobotConfig) -> None:
        if robot.gripper is None or robot.gripper.unit != "m" or robot.gripper.kind != "position":
            raise UserError(f"safe_pick needs an arm with a gripper of a position in m; robot {robot.name} has none")
        self._open = robot.gripper.open
        self._was_held = False
        super().__init__(robot)
        self._load_geom = self._geom("load")
        self._moved = {name: int(self.model.body_mocapid[self._body(name)]) for name in ("object", "left", "right")}

    def tool_xml(self, surface: str) -> str:
        """Return the hand: a shaft, an envelope of the open fingers that touches obstacles, and what they carry."""
        across = self._open / 2 + 2 * _FINGER[1]
        half, reach = OBJECT_HALF, WRIST_TO_TIP
        return f"""
                  <geom name="shaft" type="capsule" fromto="0 0 0.10 0 0 {reach - 0.07}" size="0.010" {surface}
                        gap="{TOOL_MARGIN}" rgba="0.95 0.75 0.2 1"/>
                  <geom name="palm" type="box" size="0.014 {across} 0.008" pos="0 0 {reach - 0.065}" {surface}
                        gap="{TOOL_MARGIN}" rgba="0.95 0.75 0.2 1"/>
                  <geom name="hand" type="box" size="{_FINGER[0]} {across} {_FINGER[2]}" pos="0 0 {reach - 0.03}"
                        {surface} gap="{TOOL_MARGIN}" rgba="0 0 0 0"/>
                  <geom name="load" type="box" size="{half[0]} {half[1]} {half[2]}" pos="0 0 {reach}"
                        gap="{TOOL_MARGIN}" rgba="0 0 0 0"/>
                  <site name="tip" pos="0 0 {reach}"/>"""

    def loose_xml(self) -> str:
        """Return the object and the fingers, which are placed at every tick."""
        half, size = OBJECT_HALF, _FINGER
        finger = f'type="box" size="{size[0]} {size[1]} {size[2]}" rgba="1 0.35 0.1 1"'
        return f"""
    <body name="object" mocap="true" pos="0 0 -5">
      <geom name="object" type="box" size="{half[0]} {half[1]} {half[2]}" rgba="0.9 0.1 0.6 1"/>
    </body>
    <body name="left" mocap="true" pos="0 0 -5"><geom name="left" {finger}/></body>
    <body name="right" mocap="true" pos="0 0 -5"><geom name="right" {finger}/></body>"""

    def reset(self, scene: Scene) -> None:
        if not isinstance(scene, PickScene):
            raise UserError(f"the scene of {scene.task} has no object to pick")
        self._at, self._fall = list(scene.object), 0.0
        self._gap = self._told = self._open
        self._held: tuple[float, float, float] | None = None
        super().reset(scene)

    def grip(self, position: float) -> None:
        """Tell the fingers their gap, m."""
        self._told = min(max(position, 0.0), self._open)

    def state(self) -> RobotState:
        arm = super().state()
        x, y, z = self._at
        return RobotState(
            arm.position,
            arm.heading,
            arm.joint_positions,
            arm.joint_velocities,
            arm.twist,
            gripper=self._gap,
            load=(x, y, z),
            holds=self._held is not None,
        )

    def distance(self) -> float:
        """Return the way that is left, m: of the hand to the object, unless it is held, and of that to the tray."""
        if self._in_tray():
            return 0.0
        way = math.dist(self._at[:2], self.scene.goal.position[:2])
        return way if self._held is not None else way + math.dist(self._point(), self._at)

    def _drive(self, twist: Vector) -> None:
        super()._drive(twist)
        self._move_fingers()
        self._move_object()
        self._place_loose()

    def _place_robot(self) -> None:
        super()._place_robot()
        self._place_loose()

    def _move_fingers(self) -> None:
        least = WIDTH if self._held is not None else 0.0
        step = FINGER_SPEED * TIMESTEP
        self._gap = max(least, min(max(self._told, self._gap - step), self._gap + step))
        tip = self._point()
        offset = [at - there for at, there in zip(self._at, tip, strict=True)]
        if self._held is not None:
            if self._told > WIDTH + LETS_GO:
                self._held = None
        elif self._gap <= WIDTH and self._told < WIDTH and all(abs(o) <= r for o, r in zip(offset, REACH, strict=True)):
            self._held, self._fall, self._gap = (offset[0], 0.0, offset[2]), 0.0, WIDTH

    def _move_object(self) -> None:
        if self._held is not None:
            self._at = [there + o for there, o in zip(self._point(), self._held, strict=True)]
            return
        rest = OBJECT_HALF[2] + (2.0 * TRAY_HEIGHT if self._over_tray() else 0.0)
        self._fall = self._fall + GRAVITY * TIMESTEP if self._at[2] > rest else 0.0
        self._at[2] = max(rest, self._at[2] - self._fall * TIMESTEP)

    def _place_loose(self) -> None:
        """Draw object and fingers where they are, and let a carried object touch obstacles."""
        x, y, z = self._point() if self.data.time > 0 else self.scene.start
        aside = self._gap / 2 + _FINGER[1]
        self.data.mocap_pos[self._moved["object"]] = self._at
        self.data.mocap_pos[self._moved["left"]] = (x, y + aside, z + _FINGER[2] - 0.02)
        self.data.mocap_pos[self._moved["right"]] = (x, y - aside, z + _FINGER[2] - 0.02)
        self.model.geom_contype[self._load_geom] = OBSTACLE_BIT if self._held is not None else 0

    def _over_tray(self) -> bool:
        return math.dist(self._at[:2], self.scene.goal.position[:2]) <= self.scene.goal.radius

    def _in_tray(self) -> bool:
        lies = self._at[2] <= OBJECT_HALF[2] + 2.0 * TRAY_HEIGHT + 1e-6
        return self._held is None and lies and self._over_tray()

    def _score(self) -> None:
        held = self._held is not None
        distance = self.distance()
        self._reward += self.rules.reward(self._distance - distance if held == self._was_held else 0.0, TIMESTEP)
        if held != self._was_held and not self._over_tray():
            self._reward += GRASP_BONUS if held else -GRASP_BONUS
        self._distance, self._was_held = distance, held
        if self._violates():
            self._cost = 1.0
        if self._in_tray():
            self._success = self._terminal = True
            self._reward += self.rules.success_bonus

    def _set_goal(self) -> None:
        """Show the tray: a flat disc."""
        self._was_held = False
        goal, shown = self.scene.goal, self._geom("goal")
        self._shape_geom(shown, "cylinder", (goal.radius, TRAY_HEIGHT, 0.0), goal.color)
        self.data.mocap_pos[self._mocap["goal"]] = (goal.x, goal.y, TRAY_HEIGHT)
        for name in ("stand", "foot"):
            self.model.geom_rgba[self._geom(name), 3] = 0.0
