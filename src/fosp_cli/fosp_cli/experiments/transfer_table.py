"""The table of the transfer experiment: its trials pooled over the seeds, and held against the offline arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fosp_cli.evaluation.intervals import paired_rate_difference, wilson_interval


def goal(offline_rate: float) -> float:
    """Return the success rate to reach: 85 %, or half-way from the offline policy's to 100 %, whichever is lower."""
    return min(0.85, offline_rate + 0.5 * (1.0 - offline_rate))


def table(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per scenario, monitor and arm, with Wilson intervals over the pooled episodes of all seeds.

    `gain` is the success rate after fine-tuning minus the offline arm's on the same episodes, over the seeds that both
    have.
    """
    rows: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for entry in trials:
        trial = entry["trial"]
        rows.setdefault((Path(trial["scenario"]).stem, trial["monitor"], trial["arm"]), {})[trial["seed"]] = entry
    return [
        _row(scenario, monitor, arm, entries, rows.get((scenario, monitor, "offline"), {}))
        for (scenario, monitor, arm), entries in sorted(rows.items())
    ]


def _row(
    scenario: str, monitor: str, arm: str, entries: dict[int, dict[str, Any]], offline: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    trials = list(entries.values())
    shared = sorted(entries.keys() & offline.keys())
    return {
        "scenario": scenario,
        "arm": arm,
        "monitor": monitor,
        "seeds": len(entries),
        "success_after": _rate(trials, "after", "success"),
        "violations_after": _rate(trials, "after", "violated"),
        "success_after_unmonitored": _rate(trials, "after_unmonitored", "success"),
        "violations_after_unmonitored": _rate(trials, "after_unmonitored", "violated"),
        "violations_during": _rate(trials, "during", "violated"),
        "success_during": _rate(trials, "during", "success"),
        "cost_per_episode_during": round(sum(e["during"]["cost_per_episode"] for e in trials) / len(trials), 4),
        "gain": _difference(entries, offline, shared, _succeeded),
        "failures": _failures(entries, offline, shared),
        "violations_against_offline": _difference(entries, offline, shared, _violated),
        "goal": round(goal(_rate(list(offline.values()), "after", "success")["rate"]), 4) if offline else None,
        "curves": [[e["success"] for e in entry["during"]["per_episode"]] for entry in trials],
        "operator": [entry["during"]["operator"] for entry in trials if "operator" in entry["during"]],
        "intervention_curves": [e["during"]["operator"]["take_overs"] for e in trials if "operator" in e["during"]],
        "violation_curves": [[e["violated"] for e in entry["during"]["per_episode"]] for entry in trials],
    }


def _outcomes(entries: list[dict[str, Any]], part: str, what: str) -> list[bool]:
    return [bool(episode[what]) for entry in entries for episode in entry[part]["per_episode"]]


def _rate(entries: list[dict[str, Any]], part: str, what: str) -> dict[str, Any]:
    outcomes = _outcomes(entries, part, what)
    low, high = wilson_interval(sum(outcomes), len(outcomes))
    return {"rate": round(sum(outcomes) / max(1, len(outcomes)), 4), "ci95": [round(low, 4), round(high, 4)]}


def _succeeded(episode: dict[str, Any]) -> bool:
    return bool(episode["success"])


def _failed(episode: dict[str, Any]) -> bool:
    return not episode["success"]


def _violated(episode: dict[str, Any]) -> bool:
    return bool(episode["violated"])


def _difference(
    entries: dict[int, dict[str, Any]],
    offline: dict[int, dict[str, Any]],
    seeds: Sequence[int],
    what: Callable[[dict[str, Any]], bool],
) -> dict[str, Any] | None:
    """Return the rate of `what` after fine-tuning minus the offline arm's on the same scenes, with its interval."""
    if not seeds:
        return None
    first, second = (
        [what(episode) for seed in seeds for episode in some[seed]["after"]["per_episode"]]
        for some in (entries, offline)
    )
    difference, low, high = paired_rate_difference(first, second)
    return {"rate": round(difference, 4), "ci95": [round(low, 4), round(high, 4)]}


def _failures(
    entries: dict[int, dict[str, Any]], offline: dict[int, dict[str, Any]], seeds: Sequence[int]
) -> dict[str, Any] | None:
    """Return how many episodes fail (no success without a violation) against the offline arm on the same scenes.

    `removed` is the share of the offline arm's failures that is gone, negative where there are more; None: it has none.
    """
    difference = _difference(entries, offline, seeds, _failed)
    if difference is None:
        return None
    counts = [
        sum(_failed(episode) for seed in seeds for episode in some[seed]["after"]["per_episode"])
        for some in (entries, offline)
    ]
    removed = round(1.0 - counts[0] / counts[1], 4) if counts[1] else None
    return {"failures": counts[0], "offline": counts[1], "removed": removed, "difference": difference}
