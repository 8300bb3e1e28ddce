"""The privileged controller of safe_pick: it knows where everything is, and what the hand holds."""

from __future__ import annotations

import numpy as np

from fosp_sim.pick.scene import OBJECT_HALF, TRAY_HEIGHT, PickScene
from fosp_sim.task.drivers import Action, Driver
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import RobotState

CARRY_HEIGHT = 0.19
"""Height at which hand and object pass over every obstacle with room, m."""
LOW_HEIGHT = 0.10
"""Height at which the greedy one carries: obstacles reach it."""
GRASP_HEIGHT = OBJECT_HALF[2]
PLACE_HEIGHT = OBJECT_HALF[2] + 2.0 * TRAY_HEIGHT + 0.01
ABOVE = 0.018
"""Distance on the ground within which the hand is above its target, m."""
SPEED = 0.25
"""m/s."""
_NEAR = 0.05
"""Distance from which on the hand slows down, m."""
OPEN, CLOSED = 1.0, -1.0


class PickDriver(Driver):
    """Takes the object from above, lifts it, carries it over the obstacles, and lets it down into the tray.

    A function of the state alone, as every controller.
    """

    scene: PickScene

    def __init__(self, scene: Scene, scale: tuple[float, ...]) -> None:
        super().__init__(scene, scale)
        self._tray = np.array([scene.goal.x, scene.goal.y])

    def careful(self, state: RobotState, time: float) -> Action:
        return self._stage(state, CARRY_HEIGHT)

    def greedy(self, state: RobotState) -> Action:
        return self._stage(state, LOW_HEIGHT)

    def away(self, state: RobotState, time: float) -> Action:
        """Return the action (4,) that goes up, and holds the fingers as they are."""
        return self._towards(state, np.array([*state.position[:2], CARRY_HEIGHT]), 0.3, 0.7)

    def _stage(self, state: RobotState, height: float) -> Action:
        x, y, z = state.position
        load = np.array(state.load if state.load is not None else self.scene.object)
        target, down = (self._tray, PLACE_HEIGHT) if state.holds else (load[:2], GRASP_HEIGHT)
        gap = float(np.hypot(*(target - (x, y))))
        fingers = CLOSED if state.holds else OPEN
        if gap > 0.04 and z < height - 0.03:  # up first, away from what stands around
            goal = np.array([x, y, height])
        elif gap > ABOVE:
            goal = np.array([*target, max(height, z) if gap > 0.04 else z])
        else:
            goal = np.array([*target, down])
            if abs(z - down) < 0.01:
                fingers = -fingers
        return self._with(state, goal, fingers, 1.0)

    def _towards(self, state: RobotState, target: Action, length: float, pace: float) -> Action:
        return self._with(state, target, CLOSED if state.holds else OPEN, pace)

    def _with(self, state: RobotState, goal: Action, fingers: float, pace: float) -> Action:
        way = goal - np.array(state.position)
        length = float(np.linalg.norm(way))
        speed = pace * SPEED * min(1.0, length / _NEAR) * way / max(length, 1e-6)
        return np.append(np.clip(speed / self.scale, -1.0, 1.0), fingers)
