"""The log of one episode on the live graph: a pure function of the messages on its topics.

Messages of different topics arrive in any order, and on a busy machine in bursts: a verdict before the feedback that
begins its episode or before the command that it follows from, or after the feedback that ends the episode. The stamps
tell where each belongs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field

from fosp_cli.evaluation.hanging import Pose
from fosp_cli.evaluation.metrics import DecidedStep, EpisodeResult, episode_result
from fosp_core.decisions import Decision, Reason
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyVerdict, StepFeedback

_ROUNDING = 1e-3
"""Share of a decision period by which a stamp may miss the period's bound."""
_COMMANDS_KEPT = 500
"""Number of commands that may arrive before the verdict that they follow from: 4 s of a burst."""
_EARLY_KEPT = 50
"""Number of verdicts that may arrive before the feedback that begins their episode."""


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
    """The decisions whose command has been seen."""
    started_s: float | None = None
    ended_s: float | None = None
    """Stamps of the first and the last feedback."""
    goals: int = 0
    episode_return: float = 0.0
    _poses: list[tuple[float, Pose]] = field(default_factory=list)
    """Stamp in s, and pose, in the order of the stamps."""
    _worst_cost: dict[int, float] = field(default_factory=dict)
    _verdicts: list[SafetyVerdict] = field(default_factory=list)
    _early: deque[SafetyVerdict] = field(default_factory=lambda: deque(maxlen=_EARLY_KEPT))
    _waiting: list[SafetyVerdict] = field(default_factory=list)
    _commands_s: deque[float] = field(default_factory=lambda: deque(maxlen=_COMMANDS_KEPT))

    @property
    def reached(self) -> bool:
        """True after a goal was reached."""
        return self.goals > 0

    @property
    def done(self) -> bool:
        """True after the last feedback of the episode."""
        return self.ended_s is not None

    @property
    def settled(self) -> bool:
        """True when the verdict of the last decision period and its command have come as well."""
        if self.ended_s is None or self._waiting or not self._verdicts:
            return False
        newest_s = max(seconds(verdict.header.stamp) for verdict in self._verdicts)
        return self._periods(self.ended_s) - self._periods(newest_s) < 1.5

    def on_feedback(self, message: StepFeedback) -> None:
        if message.episode != self.episode or self.done:
            return
        stamp_s = seconds(message.header.stamp)
        if message.is_first:
            self.started_s = stamp_s
            for verdict in list(self._early):
                self.on_verdict(verdict)
            self._early.clear()
        if message.is_last:
            self.ended_s = stamp_s
        if self.started_s is None:
            return
        self.episode_return += message.reward
        # Decision period k begins after its frame and ends with the next one.
        period = max(0, math.ceil(self._periods(stamp_s) - _ROUNDING) - 1)
        self._worst_cost[period] = max(self._worst_cost.get(period, 0.0), message.cost)
        self.goals += message.success

    def on_pose(self, stamp_s: float, pose: Pose) -> None:
        """Log a pose of the robot of this episode, or of the moments before it."""
        if not self.done and (not self._poses or stamp_s > self._poses[-1][0]):
            self._poses.append((stamp_s, pose))

    def _pose_at(self, stamp_s: float) -> Pose | None:
        """Return the last pose until `stamp_s` that is not older than a decision period, or None."""
        index = bisect_right(self._poses, stamp_s, key=lambda entry: entry[0]) - 1
        if index < 0 or stamp_s - self._poses[index][0] > self.decision_period_s:
            return None
        return self._poses[index][1]

    def on_verdict(self, message: SafetyVerdict) -> Step | None:
        """Log a verdict on a frame of this episode. Return its step if the command after it has arrived already."""
        if self.started_s is None:
            self._early.append(message)
            return None
        stamp_s = seconds(message.header.stamp)
        if stamp_s < self.started_s - 1e-6 or (self.ended_s is not None and stamp_s > self.ended_s - 1e-6):
            return None
        self._verdicts.append(message)
        following = bisect_left(self._commands_s, seconds(message.decided))
        if following < len(self._commands_s):
            return self._complete(message, self._commands_s[following])
        self._waiting.append(message)
        return None

    def on_command(self, stamp_s: float) -> Step | None:
        """Return the newest step that this command completes, or None if it is not the first after a verdict."""
        self._commands_s.append(stamp_s)
        answered = [verdict for verdict in self._waiting if stamp_s >= seconds(verdict.decided)]
        self._waiting = [verdict for verdict in self._waiting if stamp_s < seconds(verdict.decided)]
        steps = [self._complete(verdict, stamp_s) for verdict in answered]
        return steps[-1] if steps else None

    def _complete(self, verdict: SafetyVerdict, stamp_s: float) -> Step:
        """Log a step: a verdict, and the command of `stamp_s` as the first after it."""
        step = Step(verdict, stamp_s - seconds(verdict.header.stamp))
        self.steps.append(step)
        return step

    def _decided(self) -> list[SafetyVerdict]:
        """Return one verdict per frame, in their order: the most severe of those that a frame had."""
        worst: dict[int, SafetyVerdict] = {}
        for verdict in self._verdicts:
            stamp = verdict.header.stamp.sec * 10**9 + verdict.header.stamp.nanosec
            if stamp not in worst or verdict.decision > worst[stamp].decision:
                worst[stamp] = verdict
        return [verdict for _, verdict in sorted(worst.items(), key=lambda item: item[0])]

    def result(self) -> EpisodeResult:
        """Return the record of the episode."""
        decided = [
            DecidedStep(
                math.floor(self._periods(seconds(verdict.header.stamp)) + _ROUNDING),
                Decision(verdict.decision),
                verdict.q_h,
                verdict.eps,
                verdict.shadow,
                pose=self._pose_at(seconds(verdict.header.stamp)),
                reason=Reason(verdict.reason),
            )
            for verdict in self._decided()
        ]
        periods = 1 + max([*self._worst_cost, *(step.period for step in decided)], default=-1)
        costs = [self._worst_cost.get(period, 0.0) for period in range(periods)]
        told = (self.episode, self.goals > 0, self.episode_return, costs, decided)
        return episode_result(*told, self.horizon_steps, self.decision_period_s, self.goals)

    def stops(self) -> list[str]:
        """Return a line for each cause that stopped or latched the robot, as the first of its verdicts says it."""
        first: dict[tuple[int, int], str] = {}
        for verdict in self._decided():
            if verdict.decision >= Decision.STOP:
                text = f"{Decision(verdict.decision).name}: {verdict.reason_text}"
                first.setdefault((verdict.decision, verdict.reason), text)
        return list(first.values())

    def _periods(self, stamp_s: float) -> float:
        """Return the time since the first frame in decision periods."""
        assert self.started_s is not None
        return (stamp_s - self.started_s) / self.decision_period_s
