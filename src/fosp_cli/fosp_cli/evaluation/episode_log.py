"""One episode as seen from the graph's topics: pure accumulation, no ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_core.decisions import Decision


@dataclass(frozen=True)
class FeedbackEvent:
    """fosp_msgs/StepFeedback; stamp in s."""

    stamp_s: float
    episode: int
    is_first: bool
    is_last: bool
    reward: float
    cost: float
    success: bool


@dataclass(frozen=True)
class VerdictEvent:
    """fosp_msgs/SafetyVerdict; times in s."""

    image_stamp_s: float
    decided_s: float
    step: int
    decision: int
    reason_text: str
    q_h: float
    eps: float


@dataclass(frozen=True)
class Step:
    """One decision as it reached the robot: the verdict, and image stamp -> first command after it, s."""

    verdict: VerdictEvent
    latency_s: float


@dataclass
class EpisodeLog:
    """Collects feedback, verdicts and command stamps of one episode; `done` after its last feedback."""

    episode: int
    decision_period_s: float
    steps: list[Step] = field(default_factory=list)
    started_s: float | None = None
    done: bool = False
    reached: bool = False
    episode_return: float = 0.0
    _worst_cost: dict[int, float] = field(default_factory=dict)
    _waiting: VerdictEvent | None = None

    def on_feedback(self, event: FeedbackEvent) -> None:
        if event.episode != self.episode or self.done:
            return
        if event.is_first:
            self.started_s = event.stamp_s
        if self.started_s is None:
            return
        self.episode_return += event.reward
        # The k-th decision interval is (k-1, k] periods after the first frame; the small term absorbs rounding.
        interval = math.ceil((event.stamp_s - self.started_s) / self.decision_period_s - 1e-3)
        self._worst_cost[interval] = max(self._worst_cost.get(interval, 0.0), event.cost)
        self.reached = self.reached or event.success
        self.done = event.is_last

    def on_verdict(self, event: VerdictEvent) -> None:
        """Verdicts on frames of this episode count; the next command gives each its latency."""
        if self.started_s is None or self.done or event.image_stamp_s < self.started_s - 1e-6:
            return
        self._waiting = event

    def on_command(self, stamp_s: float) -> Step | None:
        """The step that this command completes, if it is the first after a verdict."""
        if self._waiting is None or stamp_s < self._waiting.decided_s:
            return None
        step = Step(self._waiting, stamp_s - self._waiting.image_stamp_s)
        self._waiting = None
        self.steps.append(step)
        return step

    def result(self) -> EpisodeResult:
        decisions = [step.verdict.decision for step in self.steps]
        return EpisodeResult(
            episode=self.episode,
            reached=self.reached,
            cost=sum(self._worst_cost.values()),
            episode_return=self.episode_return,
            steps=len(self.steps),
            vetoes=sum(decision != Decision.PASS for decision in decisions),
            stops=sum(decision >= Decision.STOP for decision in decisions),
            substitutions=sum(decision == Decision.SUBSTITUTE for decision in decisions),
        )
