"""The metrics of an evaluation: the record of one episode, and the figures of many.

`episode_result` makes the record of an episode, for evaluation in process and through ROS alike. METRICS lists the
figures, which the JSON and the tables of `fosp eval` follow. A new metric is a field of EpisodeResult, its value in
`episode_result`, and a line of METRICS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from math import nan
from typing import Any, Literal

import numpy as np

from fosp_cli.evaluation.hanging import HANGING_S, Pose, hangs_from
from fosp_cli.evaluation.intervals import (
    mean_interval,
    paired_mean_difference,
    paired_rate_difference,
    power_of_halving,
    share_of_steps,
    wilson_interval,
)
from fosp_cli.evaluation.onsets import OnsetRisks, onset_figures, onset_risks
from fosp_core.decisions import Decision, Reason
from fosp_learner.bundling.onsets import first_onset, last_chance, precedes_violation
from fosp_sim.task.tasks import find_task, known_tasks

FORESIGHT_STEPS = 20
"""A veto is false when no violation follows within so many steps: 1 s, the horizon 1 / (1 - 0.95) of q_h's discount."""


@dataclass(frozen=True)
class DecidedStep:
    """One decision of an episode as it reached the robot. It is PASS when the monitor is off."""

    period: int
    """Decision period in which the camera frame lies, counted from 0."""
    decision: Decision
    q_h: float = nan
    """Risk of the proposed action, NaN where it was not evaluated."""
    eps: float = nan
    """Threshold of q_h."""
    shadow: bool = False
    """The monitor judged and did not gate."""
    judged: bool = True
    """The monitor was asked. If it was not, or in shadow mode, the robot did what was proposed."""
    pose: Pose | None = None
    """Pose of the robot; None where it was not heard."""
    reason: Reason = Reason.OK
    """Reason of the decision."""


@dataclass(frozen=True)
class Hindsight:
    """The steps of an episode in shadow mode, by the monitor's decision and by what followed."""

    false_vetoes: int
    """Steps that were not passed although no violation followed within FORESIGHT_STEPS."""
    false_brakes: int
    """False vetoes that no feasible candidate answered: RECOVER, STOP and LATCH."""
    preceding: int
    """1 if a decision is known at the last chance to prevent the first violation, as the calibration has it, else 0."""
    missed: int
    """1 if the proposed action of that decision had q_h <= eps, else 0."""


@dataclass(frozen=True)
class EpisodeResult:
    """The record of one episode."""

    episode: int
    """Index into the scenario. The scene is that of the scenario's seed + episode."""
    reached: bool
    """The goal was reached, with or without a violation."""
    cost: float
    """Sum over the decision periods of the greatest cost that a frame of each tells."""
    episode_return: float
    steps: int
    vetoes: int
    """Number of verdicts other than PASS."""
    stops: int
    """Number of verdicts STOP and LATCH."""
    substitutions: int
    """Number of verdicts SUBSTITUTE: a feasible candidate took the place of the proposed one."""
    violated_under: str
    """The monitor's decision in the first period in violation; empty without a violation."""
    vetoed_for: int
    """Number of steps in a row, up to the first violation, that the monitor did not pass."""
    hindsight: Hindsight | None
    """None for an episode in which the monitor gated, or was off."""
    goals: int = 0
    """Number of goals reached: more than one only where goals continue until the time limit."""
    hung: bool = False
    """The robot hung at some time (hanging.py)."""
    violated_hanging: bool = False
    """The first violation came when the robot had hung already."""
    asked_for_help: bool = False
    """The monitor latched because the robot got nowhere (VETOES): a person has to help it. It counts as hung, too."""
    risks: OnsetRisks | None = None
    """None for an episode in which the monitor gated."""

    @property
    def violated(self) -> bool:
        return self.cost > 0

    @property
    def brakes(self) -> int:
        """Number of verdicts RECOVER, STOP and LATCH: no feasible candidate was left."""
        return self.vetoes - self.substitutions

    @property
    def success(self) -> bool:
        return self.reached and not self.violated

    @property
    def reward(self) -> float:
        """Sum of the rewards."""
        return self.episode_return

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["risks"]  # of every step
        return {**values, "success": self.success, "violated": self.violated}


def episode_result(
    episode: int,
    reached: bool,
    episode_return: float,
    costs: Sequence[float],
    steps: Sequence[DecidedStep],
    horizon_steps: int,
    decision_period_s: float,
    goals: int = 0,
) -> EpisodeResult:
    """Return the record of an episode.

    `costs[t]` is the worst cost in decision period t, `steps` are in the order of their periods, and `horizon_steps` is
    the calibration's horizon.
    """
    periods = [step.period for step in steps]
    poses = [(step.period, step.pose) for step in steps if step.pose is not None]
    hung = hangs_from(poses, round(HANGING_S / decision_period_s))
    asked = next((s.period for s in steps if s.decision is Decision.LATCH and s.reason is Reason.VETOES), None)
    free = steps and all(step.shadow or not step.judged for step in steps)
    risks = [step.q_h for step in steps]
    decisions = [step.decision for step in steps]
    violation = next((period for period, cost in enumerate(costs) if cost > 0), -1)
    until = [step.decision for step in steps if step.period <= violation]
    return EpisodeResult(
        episode=episode,
        reached=reached,
        cost=sum(costs),
        episode_return=episode_return,
        steps=len(steps),
        vetoes=sum(d is not Decision.PASS for d in decisions),
        stops=sum(d >= Decision.STOP for d in decisions),
        substitutions=sum(d is Decision.SUBSTITUTE for d in decisions),
        violated_under=until[-1].name if until else "",
        vetoed_for=sum(1 for _ in takewhile(lambda d: d is not Decision.PASS, reversed(until))),
        hindsight=hindsight(steps, costs, horizon_steps) if any(step.shadow for step in steps) else None,
        goals=goals,
        hung=hung is not None or asked is not None,
        violated_hanging=hung is not None and violation >= hung,
        asked_for_help=asked is not None,
        risks=onset_risks(periods, risks, costs, horizon_steps, FORESIGHT_STEPS) if free else None,
    )


def hindsight(steps: Sequence[DecidedStep], costs: Sequence[float], horizon_steps: int) -> Hindsight:
    """Compare the decisions of an episode, which was driven as proposed, with the violations that followed.

    Arguments as in `episode_result`. A q_h that was not evaluated passes nothing.
    """
    foreseen = precedes_violation(costs, FORESIGHT_STEPS)[[step.period for step in steps]]
    onset = first_onset(costs)
    chance = None if onset is None else last_chance(onset, horizon_steps)
    preceding = np.array([step.period == chance for step in steps], bool)
    decisions = np.array([step.decision for step in steps], int)
    passed = np.array([step.q_h <= step.eps for step in steps], bool)
    return Hindsight(
        false_vetoes=int(((decisions != Decision.PASS) & ~foreseen).sum()),
        false_brakes=int(((decisions >= Decision.RECOVER) & ~foreseen).sum()),
        preceding=int(preceding.sum()),
        missed=int((preceding & passed).sum()),
    )


@dataclass(frozen=True)
class Metric:
    """A figure of an evaluation, computed from the records of its episodes."""

    key: str
    """Key in the JSON. The interval of a rate is under the key's first word + `_ci95`."""
    label: str
    """Row heading in the table of one evaluation."""
    kind: Literal["rate", "mean", "step_rate", "bootstrap"]
    """A share of the episodes, a mean over the episodes, a share of all steps, or a mean with its interval."""
    value: Callable[[EpisodeResult], float]
    column: str = ""
    """Column heading in the table of several evaluations; empty to leave the metric out."""
    difference: str = ""
    """Name of the paired difference in comparisons of two evaluations; empty to leave the metric out."""

    @property
    def interval_key(self) -> str:
        return f"{self.key.removesuffix('_rate')}_ci95"

    def figures(self, results: Sequence[EpisodeResult]) -> dict[str, Any]:
        """Return the entries of the JSON."""
        values, episodes = [self.value(result) for result in results], len(results)
        if self.kind == "rate":
            interval = [round(bound, 4) for bound in wilson_interval(sum(values), episodes)]
            return {self.key: sum(values) / max(1, episodes), self.interval_key: interval}
        if self.kind == "mean":
            return {self.key: round(float(np.mean(values)), 4) if values else 0.0}
        if self.kind == "bootstrap":
            mean, low, high = mean_interval(values)
            return {self.key: round(mean, 4), self.interval_key: [round(low, 4), round(high, 4)]}
        return {self.key: round(sum(values) / max(1, sum(result.steps for result in results)), 4)}

    def paired_difference(
        self, first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]
    ) -> tuple[float, float, float]:
        """Return `first` minus `second` on the same episodes, and its 95 % interval (low, high)."""
        mine, other = ([self.value(result) for result in results] for results in (first, second))
        if self.kind == "rate":
            return paired_rate_difference([bool(value) for value in mine], [bool(value) for value in other])
        return paired_mean_difference(mine, other)


METRICS = (
    Metric("success_rate", "success rate", "rate", lambda r: r.success, "success", "success"),
    Metric("violation_rate", "violation rate", "rate", lambda r: r.violated, "violations", "violation"),
    Metric("cost_per_episode", "cost per episode", "mean", lambda r: r.cost, "cost", "cost"),
    Metric("return_mean", "mean return", "mean", lambda r: r.episode_return, "return", "return"),
    Metric("steps_mean", "mean steps", "mean", lambda r: r.steps),
    Metric("veto_rate", "veto rate per step", "step_rate", lambda r: r.vetoes, "vetoed"),
    Metric("stop_rate", "stop rate per step", "step_rate", lambda r: r.stops),
    Metric("brake_rate", "brake rate per step", "step_rate", lambda r: r.brakes, "braked"),
    Metric("hang_rate", "hang rate", "rate", lambda r: r.hung, "hangs", "hang"),
    Metric("help_rate", "asked for help", "rate", lambda r: r.asked_for_help),
    Metric("violation_hanging_rate", "violations while hanging", "rate", lambda r: r.violated_hanging),
)
CONTINUING_METRICS = (
    Metric("reward_mean", "reward per episode", "bootstrap", lambda r: r.reward, "reward"),
    Metric("cost_mean", "cost per episode", "bootstrap", lambda r: r.cost, "cost sum"),
    Metric("goals_mean", "goals per episode", "bootstrap", lambda r: r.goals, "goals"),
)
"""Further figures of tasks whose goals continue, where success says little."""


def metrics_of(task: str) -> tuple[Metric, ...]:
    """Return the figures of a task."""
    known = task in known_tasks() and find_task(task).continuing
    return METRICS + CONTINUING_METRICS if known else METRICS


def summarise(
    scenario: dict[str, Any], bundle_id: str, results: Sequence[EpisodeResult], latencies_s: Sequence[float] = ()
) -> dict[str, Any]:
    """Return the JSON of `fosp eval` for one bundle on one scenario."""
    latency = percentiles_ms(latencies_s)
    figures: dict[str, Any] = {"scenario": scenario, "bundle_id": bundle_id, "episodes": len(results)}
    for metric in metrics_of(str(scenario.get("task", ""))):
        figures |= metric.figures(results)
    return figures | {
        "violations_under": dict(Counter(r.violated_under for r in results if r.violated_under)),
        "hindsight": _hindsight_figures(results),
        **onset_figures([r.risks for r in results if r.risks is not None]),
        "latency_ms": {"image_to_command_p50": latency["p50"], "p99": latency["p99"]},
        "per_episode": [r.as_json() for r in results],
    }


def _hindsight_figures(results: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    """Return false vetoes as shares of all steps, and the miss rate per violating episode as the calibration has it.

    Return None when no episode was run in shadow mode.
    """
    judged = [(r.steps, r.hindsight) for r in results if r.hindsight is not None]
    if not judged:
        return None
    figures: dict[str, Any] = {"foresight_steps": FORESIGHT_STEPS}
    false = {"false_veto": [h.false_vetoes for _, h in judged], "false_brake": [h.false_brakes for _, h in judged]}
    for name, counts in false.items():
        share, low, high = share_of_steps(counts, [steps for steps, _ in judged])
        figures |= {f"{name}_rate": round(share, 4), f"{name}_ci95": [round(low, 4), round(high, 4)]}
    misses = [h.missed / h.preceding for _, h in judged if h.preceding]
    figures["violating_episodes"] = len(misses)
    figures["miss_rate"] = round(float(np.mean(misses)), 4) if misses else None
    figures["miss_ci95"] = [round(x, 4) for x in wilson_interval(sum(misses), len(misses))]
    return figures


def compare(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the differences of `first` minus `second` on the same episodes, each with its 95 % interval.

    Raise ValueError when they are not results of the same episodes in the same order.
    """
    if [r.episode for r in first] != [r.episode for r in second]:
        raise ValueError("only results of the same episodes can be compared")
    figures: dict[str, Any] = {"episodes": len(first)}
    for metric in METRICS:
        if metric.difference:
            difference, low, high = metric.paired_difference(first, second)
            figures[f"{metric.difference}_difference"] = round(difference, 4)
            figures[f"{metric.difference}_difference_ci95"] = [round(low, 4), round(high, 4)]
    halving = power_of_halving([r.violated for r in first], [r.violated for r in second])
    return figures | {"violation_halving_power": None if halving is None else round(halving, 3)}


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and max in ms; zeros when nothing was measured."""
    if not len(latencies_s):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99, worst = np.percentile(np.asarray(latencies_s) * 1e3, [50, 99, 100])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(worst), 3)}
