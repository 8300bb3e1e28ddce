"""The trial of a model that was swapped in: its decisions held against those of the model before. No ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrialRules:
    """How long a new model is on trial, and how much worse than the one before it may do meanwhile."""

    steps: int = 200
    """Decisions until it is committed."""
    least_steps: int = 20
    """Shares are not looked at before so many."""
    veto_margin: float = 0.25
    """Of the share of decisions that the monitor did not pass."""
    surprise_margin: float = 0.15
    """Of the share of decisions with a surprise above the model's limit."""
    cost_margin: float = 0.05
    """Of the share of decision periods with cost."""
    ready_timeout_s: float = 30.0
    """From the announcement until every node has reported."""


@dataclass(frozen=True)
class DecisionOutcome:
    """What became of one decision."""

    vetoed: bool = False
    """For its risk."""
    surprised: bool = False
    latched: bool = False
    """For what the model did, not by an emergency stop or a dead sensor."""


@dataclass
class TrialRecord:
    """Outcomes of the newest decisions of one model, at most `size`, and how many of them came with cost."""

    size: int
    decisions: int = 0
    """In all, also beyond `size`."""
    outcomes: deque[DecisionOutcome] = field(default_factory=deque)
    costs: deque[bool] = field(default_factory=deque)

    def add(self, outcome: DecisionOutcome) -> None:
        self.decisions += 1
        self.outcomes.append(outcome)
        while len(self.outcomes) > self.size:
            self.outcomes.popleft()

    def add_cost(self, cost: float) -> None:
        self.costs.append(not cost <= 0.0)
        while len(self.costs) > self.size:
            self.costs.popleft()

    def shares(self) -> dict[str, float]:
        """Of vetoes, surprises and cost; 0 of nothing."""
        count = max(1, len(self.outcomes))
        return {
            "vetoes": sum(o.vetoed for o in self.outcomes) / count,
            "surprises": sum(o.surprised for o in self.outcomes) / count,
            "cost": sum(self.costs) / max(1, len(self.costs)),
        }


def trial_failure(trial: TrialRecord, before: TrialRecord, rules: TrialRules) -> str:
    """Why the new model is to be rolled back, with the numbers; empty while nothing speaks against it."""
    if any(outcome.latched for outcome in trial.outcomes):
        return "the safety monitor latched"
    if len(trial.outcomes) < rules.least_steps:
        return ""
    margins = {"vetoes": rules.veto_margin, "surprises": rules.surprise_margin, "cost": rules.cost_margin}
    now, then = trial.shares(), before.shares()
    for name, margin in margins.items():
        if now[name] > then[name] + margin:
            return (
                f"{name} in {now[name]:.0%} of {len(trial.outcomes)} decisions, "
                f"{then[name]:.0%} with the model before, margin {margin:.0%}"
            )
    return ""
