"""Plans for pushing the box: the roll-outs move it, and the robot has to be behind it.

The box has a post at each corner, so it neither turns nor slips off a robot that pushes it: it goes where the robot
goes. It is steered by being let go and pushed from another side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fosp_sim.demonstration.course_planner import MARGIN, CoursePlanner, GroundMap
from fosp_sim.task.safety_gym.world import CourseState

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_BOX = 0.31
"""Radius, m, of the disc that stands for the box."""
_SINKS = 0.03
"""How deep, m, a robot may be in that disc before it moves the box out of its way."""
_PUSHES = 0.5
"""Cosine of the angle between the robot's motion and the direction of the box within which the box goes along."""
_TOUCH = 0.43
"""Distance of the robot's centre from that of the box at which it pushes, m."""
_RING = 0.55
"""Radius of the way around the box, m."""
_BEHIND = 0.5
"""Price of a metre of the robot's way behind the box, in metres of the box."""
_SLOPE = 0.12
"""Distance over which the way of the box is differentiated, m."""


class PushPlanner(CoursePlanner):
    """Chooses the command of each decision where a box is to be pushed to the goal."""

    @property
    def _margin(self) -> float:
        """Room, m, that a plan keeps around a hazard for nothing: a box is often to be pushed past one."""
        return MARGIN

    @property
    def _rooms(self) -> tuple[float, float]:
        """Room, m, that the middle of the box keeps: the robot follows it, and must not enter a hazard."""
        return 0.12, 0.4

    def _left(self, state: CourseState, discs: Array, x: Array, y: Array, heading: Array) -> tuple[Array, Array]:
        """Return the way of the box to the goal and the priced way of the robot behind it (T, K), m; 0 once reached."""
        ground = self._ground(state, discs)
        box_x, box_y = self._pushed(state, x, y, heading)
        ahead = ground.distance(box_x, box_y)
        reached = np.minimum.accumulate(np.where(ahead < self._reach(), 0.0, 1.0), axis=0)
        return ahead + _BEHIND * _way_behind(ground, box_x, box_y, x, y), reached

    def _pushed(self, state: CourseState, x: Array, y: Array, heading: Array) -> tuple[Array, Array]:
        """Return x and y (T, K) of the box along plans."""
        assert state.objects is not None
        box_x, box_y = (np.full(x.shape[1], value) for value in state.objects["box"])
        before_x, before_y = (np.full(x.shape[1], value) for value in state.position[:2])
        xs, ys = [], []
        for now_x, now_y, ahead in zip(x, y, heading, strict=True):
            moved_x, moved_y = now_x - before_x, now_y - before_y
            before_x, before_y = now_x, now_y
            bodies = [(now_x + a * np.cos(ahead), now_y + a * np.sin(ahead), r) for a, r in self.model.body]
            along: Flags = np.zeros(x.shape[1], np.bool_)
            for body_x, body_y, radius in bodies:
                away_x, away_y = box_x - body_x, box_y - body_y
                apart = np.hypot(away_x, away_y)
                towards = away_x * moved_x + away_y * moved_y > _PUSHES * apart * np.hypot(moved_x, moved_y)
                along |= (apart < _BOX + radius) & towards
            box_x, box_y = box_x + along * moved_x, box_y + along * moved_y
            for body_x, body_y, radius in bodies:
                away_x, away_y = box_x - body_x, box_y - body_y
                apart = np.maximum(np.hypot(away_x, away_y), 1e-6)
                share = np.maximum(_BOX - _SINKS + radius - apart, 0.0) / apart
                box_x, box_y = box_x + share * away_x, box_y + share * away_y
            xs.append(box_x)
            ys.append(box_y)
        return np.array(xs), np.array(ys)


def _way_behind(ground: GroundMap, box_x: Array, box_y: Array, x: Array, y: Array) -> Array:
    """Return how far a robot at `x`, `y` is from the place behind a box, around it, m; all arrays of one shape."""
    down_x = ground.distance(box_x - _SLOPE, box_y) - ground.distance(box_x + _SLOPE, box_y)
    down_y = ground.distance(box_x, box_y - _SLOPE) - ground.distance(box_x, box_y + _SLOPE)
    steepness = np.maximum(np.hypot(down_x, down_y), 1e-6)
    from_x, from_y = x - box_x, y - box_y
    apart = np.hypot(from_x, from_y)
    cosine = -(from_x * down_x + from_y * down_y) / (steepness * np.maximum(apart, 1e-6))
    return np.asarray(np.hypot(apart - _TOUCH, _RING * np.arccos(np.clip(cosine, -1.0, 1.0))))
