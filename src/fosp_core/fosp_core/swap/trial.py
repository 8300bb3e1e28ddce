"""The trial of a model after a hot swap: its decisions are compared with those of the model before. No ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrialRules:
    """Length of the trial of a new model, and how much worse than the model before it may do meanwhile."""

    steps: int = 200
    """Number of decisions until the model is committed."""
    least_steps: int = 20
    """Number of decisions before the shares are compared."""
    veto_margin: float = 0.25
    """Allowed increase of the share of decisions that the monitor vetoes."""
    surprise_margin: float = 0.15
    """Allowed increase of the share of decisions with a surprise above the model's limit."""
    cost_margin: float = 0.05
    """Allowed increase of the share of decision periods with cost."""
    ready_timeout_s: float = 30.0
    """Time from the announcement until every node must have reported."""


@dataclass(frozen=True)
class DecisionOutcome:
    """Outcome of one decision."""

    vetoed: bool = False
    """The monitor vetoed it for its risk."""
    surprised: bool = False
    latched: bool = False
    """The monitor latched for what the model did, not for an emergency stop or a dead sensor."""


@dataclass
class TrialRecord:
    """Outcomes and costs of the newest decisions of one model, at most `size` of them."""

    size: int
    decisions: int = 0
    """Number of all decisions, also beyond `size`."""
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
        """Return the shares of vetoes, surprises and cost, which are 0 without decisions."""
        count = max(1, len(self.outcomes))
        return {
            "vetoes": sum(o.vetoed for o in self.outcomes) / count,
            "surprises": sum(o.surprised for o in self.outcomes) / count,
            "cost": sum(self.costs) / max(1, len(self.costs)),
        }


def trial_failure(trial: TrialRecord, before: TrialRecord, rules: TrialRules) -> str:
    """Return the reason to roll the new model back, with the numbers; empty while there is none."""
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
