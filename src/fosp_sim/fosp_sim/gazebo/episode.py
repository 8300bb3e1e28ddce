"""Rewards, costs and the end of an episode in Gazebo, computed from its topics by the rules of the task."""

from __future__ import annotations

import math

from fosp_sim.env import DECISION_PERIOD
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import FrameFeedback, GoalRules, IntervalOutcome

START_TOLERANCE = 0.02
"""Distance from the start of the scene, m, within which the robot counts as placed."""
HEADING_TOLERANCE = 0.05
"""Difference from the heading of the scene, rad, within which a base counts as placed."""
STANDSTILL = 0.05
"""Speed, m/s and rad/s, below which a base stands. Odometry spikes after a base was put elsewhere, because Gazebo
averages displacements, so no episode begins before that is over."""


class GazeboEpisode:
    """One episode, which begins with the first frame that shows its scene. Times are simulated, in s."""

    def __init__(self, scene: Scene, rules: GoalRules, max_steps: int, camera_rate_hz: float) -> None:
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
        self._begin_s: float | None = None
        self.done = False

    @property
    def placed(self) -> bool:
        """Return True once the robot stands at its start and the scene is in the world."""
        return self._begin_s is not None

    def begin(self, at_s: float) -> None:
        """Begin with the first frame stamped at or after `at_s`: older ones show the world without the scene."""
        self._begin_s = at_s

    def at_start(self, position: tuple[float, float, float], heading: float | None = None, speed: float = 0.0) -> bool:
        """Return True if the commanded point (3,) m is at the start of the scene, with its heading, and stands.

        `heading`, rad, is that of a base, and `speed` the largest of its speeds, m/s and rad/s.
        """
        turned = 0.0 if heading is None else math.remainder(heading - self.scene.heading, math.tau)
        near = self._rules.distance(position, self.scene.start) < START_TOLERANCE
        return near and abs(turned) < HEADING_TOLERANCE and speed < STANDSTILL

    def moved(self, position: tuple[float, float, float]) -> None:
        """Take the new position (3,) m of the commanded point."""
        self._distance = self._rules.distance(position, self.scene.goal.position)
        if self._first_s is not None and self._rules.reached(self._distance, self.scene.goal):
            self._success = True

    def touched(self, stamp_s: float) -> None:
        """Take the report of a contact sensor, of the time `stamp_s`, that the robot touches an obstacle or its margin.

        A contact of the time before the episode was with another scene. A report without a stamp, 0, counts.
        """
        if self._first_s is None or self._success or 0.0 < stamp_s < self._first_s:
            return
        self._cost = 1.0

    def frame(self, stamp_s: float) -> FrameFeedback | None:
        """Return the feedback of the camera frame of `stamp_s`; None before the scene is shown and after the end."""
        if self._begin_s is None or stamp_s < self._begin_s or self.done or not math.isfinite(self._distance):
            return None
        if self._first_s is None:
            self._first_s = self._last_s = stamp_s
            self._frame_distance = self._distance
            outcome = IntervalOutcome(0.0, 0.0, success=False, terminal=False, distance=self._distance)
            return outcome.feedback(is_first=True, may_end=False, out_of_time=False)
        if stamp_s <= self._last_s:
            return None
        feedback = self._feedback(stamp_s)
        self._last_s, self._frame_distance = stamp_s, self._distance
        self._cost = 0.0
        self.done = feedback.is_last
        return feedback

    def _feedback(self, stamp_s: float) -> FrameFeedback:
        assert self._first_s is not None
        reward = self._rules.reward(self._frame_distance - self._distance, stamp_s - self._last_s)
        frames = round((stamp_s - self._first_s) * self._rate_hz)
        may_end = frames % self._frames_per_decision == 0
        if self._success and may_end:
            reward += self._rules.success_bonus
        outcome = IntervalOutcome(reward, self._cost, self._success, terminal=self._success, distance=self._distance)
        out_of_time = frames >= self._max_steps * self._frames_per_decision
        return outcome.feedback(is_first=False, may_end=may_end, out_of_time=out_of_time)
