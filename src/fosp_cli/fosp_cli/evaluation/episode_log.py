"""The log of one episode on the live graph: a pure function of the messages on its topics."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from fosp_cli.evaluation.metrics import DecidedStep, EpisodeResult, episode_result
from fosp_core.decisions import Decision
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyVerdict, StepFeedback

_ROUNDING = 1e-3
"""Share of a decision period by which a stamp may miss the period's bound."""
_COMMANDS_KEPT = 20
"""Number of commands that may arrive before the verdict that they follow from, which is sent after them."""


@dataclass(frozen=True)
class Step:
    """One decision as it reached the robot."""

    verdict: SafetyVerdict
    latency_s: float
    """Time from the image stamp to the first command after the verdict, s."""


@dataclass
class EpisodeLog:
    """Collects feedback, verdicts and command stamps of one episode; `done` after its last feedback.

    `started_s` is the stamp of its first frame, s; None after the end says that the first feedback was lost.
    """

    episode: int
    decision_period_s: float
    horizon_steps: int
    """Horizon of the calibration (metrics.episode_result)."""
    steps: list[Step] = field(default_factory=list)
    started_s: float | None = None
    done: bool = False
    reached: bool = False
    episode_return: float = 0.0
    _worst_cost: dict[int, float] = field(default_factory=dict)
    _waiting: SafetyVerdict | None = None
    _commands_s: deque[float] = field(default_factory=lambda: deque(maxlen=_COMMANDS_KEPT))

    def on_feedback(self, message: StepFeedback) -> None:
        if message.episode != self.episode or self.done:
            return
        stamp_s = seconds(message.header.stamp)
        if message.is_first:
            self.started_s = stamp_s
        if self.started_s is None:
            self.done = message.is_last
            return
        self.episode_return += message.reward
        # Decision period k begins after its frame and ends with the next one.
        period = max(0, math.ceil(self._periods(stamp_s) - _ROUNDING) - 1)
        self._worst_cost[period] = max(self._worst_cost.get(period, 0.0), message.cost)
        self.reached = self.reached or message.success
        self.done = message.is_last

    def on_verdict(self, message: SafetyVerdict) -> Step | None:
        """Log a verdict on a frame of this episode. Return its step if the command after it has arrived already."""
        if self.started_s is None or self.done or seconds(message.header.stamp) < self.started_s - 1e-6:
            return None
        self._waiting = message
        following = bisect_left(self._commands_s, seconds(message.decided))
        return self._complete(self._commands_s[following]) if following < len(self._commands_s) else None

    def on_command(self, stamp_s: float) -> Step | None:
        """Return the step that this command completes, or None if it is not the first after a verdict."""
        self._commands_s.append(stamp_s)
        if self._waiting is None or stamp_s < seconds(self._waiting.decided):
            return None
        return self._complete(stamp_s)

    def _complete(self, stamp_s: float) -> Step:
        """Log the verdict that waits, with the command of `stamp_s` as the first after it."""
        assert self._waiting is not None
        step = Step(self._waiting, stamp_s - seconds(self._waiting.header.stamp))
        self._waiting = None
        self.steps.append(step)
        return step

    def result(self) -> EpisodeResult:
        """Return the record of the episode."""
        verdicts = [step.verdict for step in self.steps]
        decided = [
            DecidedStep(
                math.floor(self._periods(seconds(verdict.header.stamp)) + _ROUNDING),
                Decision(verdict.decision),
                verdict.q_h,
                verdict.eps,
                verdict.shadow,
            )
            for verdict in verdicts
        ]
        periods = 1 + max([*self._worst_cost, *(step.period for step in decided)], default=-1)
        costs = [self._worst_cost.get(period, 0.0) for period in range(periods)]
        return episode_result(self.episode, self.reached, self.episode_return, costs, decided, self.horizon_steps)

    def _periods(self, stamp_s: float) -> float:
        """Return the time since the first frame in decision periods."""
        assert self.started_s is not None
        return (stamp_s - self.started_s) / self.decision_period_s
