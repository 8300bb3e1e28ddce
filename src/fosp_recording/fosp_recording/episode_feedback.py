"""Makes the feedback of each camera frame of an episode from rules that hold or not. Pure: time is passed in.

An episode begins with the first frame after `start`, and ends with the first frame after something has ended it. What
happens between two frames counts for the later one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_recording.feedback_rules import AnyRule, BumperRule, FeedbackConfig, GoalRule, MeasuredRule

BACK_S = 0.25
"""Time that goes back by more than this begins anew, s: a simulator was reset, or a playback loops."""


@dataclass(frozen=True)
class StepValues:
    """The fields of fosp_msgs/StepFeedback but its header."""

    episode: int
    is_first: bool
    reward: float
    cost: float
    terminal: bool
    is_last: bool
    success: bool
    distance: float


@dataclass
class _Interval:
    """The events since the last frame."""

    reward: float = 0.0
    cost: float = 0.0
    success: bool = False
    failed: bool = False


class EpisodeFeedback:
    """The feedback of episode after episode; frames are timed by their stamps, s.

    `now_s` is a clock that goes on while the robot does: the monotonic one, or that of a simulation, which may stand
    still and be set back with its frames.
    """

    def __init__(self, config: FeedbackConfig, ends_at_cost: bool = False) -> None:
        """With `ends_at_cost` the first violation that begins in an episode ends it, as when hazards are shown."""
        self._config, self._ends_at_cost = config, ends_at_cost
        self._was_free = False
        """With `ends_at_cost`: the running episode had a frame without cost, so that a violation begins in it."""
        self._holds: list[bool | None] = [False] * len(config.rules)
        """True where a rule's condition holds; None when its last message does not tell."""
        self._gone = [False] * len(config.rules)
        """True where a rule's topic has no publisher."""
        self._heard_s = [-math.inf] * len(config.rules)
        self._interval = _Interval()
        self._distance = self._framed_distance = math.nan
        self._starting = self._stopping = False
        self._first_s: float | None = None
        self._last_s = 0.0
        self.episode = -1
        self.ended_because = ""
        """Why the last episode ended, in words."""

    @property
    def running(self) -> bool:
        """True while an episode runs or is about to begin."""
        return self._starting or self._first_s is not None

    # -- orders --------------------------------------------------------------------------------------
    def start(self, now_s: float, episode: int | None = None) -> str:
        """Begin an episode with the next frame, by default the next number; return why not, or an empty text."""
        if self.running:
            return f"episode {self.episode} is still running"
        silent = self.silent(now_s)
        if silent:
            return f"no message on {', '.join(silent)}: its rules cannot be judged"
        ending = [rule.topic for rule in self._held() if rule.success or rule.ends]
        if ending:
            return f"a rule on {', '.join(ending)} holds already: the episode would end at once"
        doubtful = [rule.topic for rule in self._doubtful() if rule.ends]
        if doubtful:
            return f"a rule on {', '.join(doubtful)} cannot be judged: the episode would end at once"
        self.episode = self.episode + 1 if episode is None else episode
        self._starting, self._stopping, self._interval = True, False, _Interval()
        return ""

    def stop(self) -> str:
        """End the episode with the next frame, neither as success nor as failure; return why not, or an empty text."""
        if not self.running:
            return "no episode is running"
        self._stopping = True
        return ""

    def succeed(self) -> str:
        """End the episode as a success, as the operator says; return why not, or an empty text."""
        if self._first_s is None:
            return "no episode is running"
        self._interval.success = True
        return ""

    # -- measurements --------------------------------------------------------------------------------
    def observe(self, index: int, holds: bool | None, now_s: float, distance: float = math.nan) -> None:
        """Take in a message for rule `index` of the configuration, by which its condition `holds`, or not, or may.

        `distance`, m, is that of a goal rule.
        """
        rule = self._config.rules[index]
        came_true = holds and not self._holds[index]
        self._holds[index], self._heard_s[index], self._gone[index] = holds, now_s, False
        if isinstance(rule, GoalRule):
            self._distance = distance
        interval = self._interval
        if holds:
            interval.reward += rule.reward if came_true else 0.0
            interval.success |= rule.success
        if holds or (holds is None and rule.unknown == "close"):
            interval.cost = max(interval.cost, rule.cost)
            interval.failed |= rule.ends and not rule.success

    def publishers(self, index: int, count: int) -> None:
        """Take note of how many publishers the topic of rule `index` has."""
        self._gone[index] = count == 0

    def silent(self, now_s: float) -> list[str]:
        """Return the topics that nobody publishes, or that have been silent for too long to judge their rules."""
        return sorted({rule.topic for rule in self._silent(now_s)})

    def _silent(self, now_s: float) -> list[AnyRule]:
        found: list[AnyRule] = []
        for rule, heard_s, gone in zip(self._config.rules, self._heard_s, self._gone, strict=True):
            silence_s = now_s - heard_s if now_s > heard_s - BACK_S else math.inf  # heard before time went back
            if isinstance(rule, MeasuredRule):
                ceased = not silence_s <= rule.stale_s
            elif isinstance(rule, BumperRule):
                ceased = gone or (rule.stale_s is not None and not silence_s <= rule.stale_s)
            else:
                ceased = gone and heard_s > -math.inf
            if ceased and (isinstance(rule, MeasuredRule) or rule.unknown == "close"):
                found.append(rule)
        return found

    def frame(self, stamp_s: float, now_s: float) -> StepValues | None:
        """Return the feedback of a frame; None outside of episodes, and for a frame not newer than the last one.

        An episode in which time goes back ends there without a last feedback, so that nobody calls it complete.
        """
        if self._starting:
            return self._begin(stamp_s)
        if self._first_s is not None and stamp_s < self._last_s - BACK_S:
            self._first_s, self.ended_because = None, "cut off: time went back"
        if self._first_s is None or stamp_s <= self._last_s:
            return None
        interval, self._interval = self._interval, self._standing()
        reward = interval.reward - self._config.time_penalty * (stamp_s - self._last_s) + self._progress()
        self.ended_because = self._ended_because(interval, stamp_s - self._first_s, now_s)
        unheard = [rule.cost for rule in self._silent(now_s) if rule.unknown == "close"]
        cost = max([interval.cost, *unheard])
        if self._ends_at_cost and cost > 0 and self._was_free:
            self.ended_because = self.ended_because or "a violation: the approach is over"
        self._was_free |= not cost > 0
        is_last = bool(self.ended_because)
        values = StepValues(
            episode=self.episode,
            is_first=False,
            reward=reward,
            cost=cost,
            terminal=interval.success or interval.failed,
            is_last=is_last,
            success=interval.success,
            distance=self._distance,
        )
        self._last_s, self._framed_distance = stamp_s, self._distance
        if is_last:
            self._first_s = None
        return values

    def _begin(self, stamp_s: float) -> StepValues:
        self._starting, self._first_s, self._last_s = False, stamp_s, stamp_s
        self._interval, self._framed_distance = self._standing(), self._distance
        self._was_free = False
        return StepValues(self.episode, True, 0.0, 0.0, False, False, False, self._distance)

    def _standing(self) -> _Interval:
        """Return a new interval, with cost and ends of the rules that still hold."""
        held, against = self._held(), [*self._held(), *self._doubtful()]
        return _Interval(
            cost=max((rule.cost for rule in against), default=0.0),
            success=any(rule.success for rule in held),
            failed=any(rule.ends and not rule.success for rule in against),
        )

    def _held(self) -> list[AnyRule]:
        return [rule for rule, holds in zip(self._config.rules, self._holds, strict=True) if holds]

    def _doubtful(self) -> list[AnyRule]:
        """Return the rules that may hold by their last message, and count as if they did."""
        states = zip(self._config.rules, self._holds, strict=True)
        return [rule for rule, holds in states if holds is None and rule.unknown == "close"]

    def _progress(self) -> float:
        scale = next((rule.progress_reward for rule in self._config.rules if isinstance(rule, GoalRule)), 0.0)
        gained = self._framed_distance - self._distance
        return scale * gained if math.isfinite(gained) else 0.0

    def _ended_because(self, interval: _Interval, elapsed_s: float, now_s: float) -> str:
        silent = self.silent(now_s)
        if interval.success:
            return "goal reached"
        if interval.failed:
            return "a rule ended it"
        if silent:
            return f"cut off: no message on {', '.join(silent)}"
        if self._stopping:
            return "stopped by the operator"
        return "time limit" if elapsed_s >= self._config.time_limit_s else ""
