"""Rewards, costs and the end of an episode in Gazebo, from what its topics tell: the rules of world.py."""

from __future__ import annotations

import math

from fosp_sim.env import DECISION_PERIOD
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import Feedback, Happening, World, feedback

START_TOLERANCE = 0.02
"""m from the start of the scene within which the robot counts as placed."""


class GazeboEpisode:
    """One episode; it begins with the first frame after the robot has been placed. Times are simulated seconds."""

    def __init__(self, scene: Scene, rules: type[World], max_steps: int, camera_rate_hz: float) -> None:
        self.scene = scene
        self._rules = rules
        self._max_steps = max_steps
        self._rate_hz = camera_rate_hz
        self._frames_per_decision = max(1, round(DECISION_PERIOD * camera_rate_hz))
        self._distance = math.inf
        self._frame_distance = math.inf
        self._cost, self._success = 0.0, False
        self._first_s: float | None = None
        self._last_s = 0.0
        self.placed = False
        """Set once the robot stands at its start and the scene is there."""
        self.done = False

    def at_start(self, position: tuple[float, float, float]) -> bool:
        """Whether the commanded point (3,) m is where the scene begins."""
        return math.dist(self._planar(position), self._planar(self.scene.start)) < START_TOLERANCE

    def moved(self, position: tuple[float, float, float]) -> None:
        """The commanded point is now at `position` (3,) m."""
        goal = self.scene.goal
        self._distance = math.dist(self._planar(position), self._planar((goal.x, goal.y, goal.z)))
        if self._first_s is not None and self._distance <= goal.radius + self._rules.tolerance:
            self._success = True

    def touched(self) -> None:
        """A contact sensor of the robot reports an obstacle."""
        if self._first_s is not None and not self._success:
            self._cost = 1.0

    def frame(self, stamp_s: float) -> Feedback | None:
        """What to say with the camera frame of `stamp_s`; None before the robot is placed and after the end."""
        if not self.placed or self.done or not math.isfinite(self._distance):
            return None
        if self._first_s is None:
            self._first_s = self._last_s = stamp_s
            self._frame_distance = self._distance
            return feedback(Happening(0.0, 0.0, False, self._distance), True, False, False)
        if stamp_s <= self._last_s:
            return None
        told = self._feedback(stamp_s)
        self._last_s, self._frame_distance = stamp_s, self._distance
        self._cost = 0.0
        self.done = told.is_last
        return told

    def _feedback(self, stamp_s: float) -> Feedback:
        assert self._first_s is not None
        rules = self._rules
        reward = rules.progress_scale * (self._frame_distance - self._distance)
        reward -= rules.time_penalty * (stamp_s - self._last_s)
        frames = round((stamp_s - self._first_s) * self._rate_hz)
        may_end = frames % self._frames_per_decision == 0
        if self._success and may_end:
            reward += rules.success_bonus
        return feedback(
            Happening(reward, self._cost, self._success, self._distance),
            is_first=False,
            may_end=may_end,
            out_of_time=frames >= self._max_steps * self._frames_per_decision,
        )

    def _planar(self, point: tuple[float, float, float]) -> tuple[float, ...]:
        """A base is at its goal on the ground, an arm in space."""
        return point if self.scene.task == "safe_reach" else point[:2]
