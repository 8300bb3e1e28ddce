"""The paper's protocol: deploy an offline bundle where its data says nothing, fine-tune it there, evaluate it there.

An arm is a way to fine-tune:

    fosp           safe policy expansion: candidates of the frozen offline and of the online actor
    no_expansion   the online actor alone, as plain fine-tuning has it
    offline        nothing is learned: what the bundle does by itself, on the same scenes

Fine-tuning runs through the live graph, in real time, with the learner beside it. Evaluation needs no clock: it runs in
this machine's processes, with the safety monitor and without, on scenes of the same kind that no fine-tuning has seen.
Those of one seed are the same for all arms, and those of two seeds are different ones: episodes may be pooled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from fosp_bringup.live import LiveSimulation
from fosp_core.specs import RobotConfig
from fosp_learner.lineage import Lineage
from fosp_learner.run_folder import updates_made
from fosp_policy.expansion import Actors
from fosp_safety_monitor.parameters import SHADOW_PHRASE
from fosp_sim.agent import Monitoring
from fosp_sim.evaluation import Evaluation, evaluate_all
from fosp_sim.metrics import EpisodeResult, paired_rate_difference, summarise, wilson_interval
from fosp_sim.scenario import Scenario, read_scenario

Arm = Literal["fosp", "no_expansion", "offline"]
ARMS: tuple[Arm, ...] = get_args(Arm)
ACTORS: dict[Arm, Actors] = {"fosp": "both", "no_expansion": "online", "offline": "both"}
"""What proposes, while learning and afterwards."""
FINETUNING_SEED = 40_000_000
"""Scenes of fine-tuning begin here: no evaluation and no recording uses them."""
SEED_SPACING = 10_000
TRIAL = "trial.json"


@dataclass(frozen=True)
class Trial:
    """One arm on one scenario with one seed."""

    arm: Arm
    scenario: Path
    seed: int
    monitor: Literal["on", "shadow"] = "on"
    """While learning."""
    episodes: int = 40
    """Of fine-tuning."""
    evaluation_episodes: int = 100

    @property
    def name(self) -> str:
        return f"{self.scenario.stem}_{self.arm}_{self.monitor}_{self.seed}"

    @property
    def described(self) -> Scenario:
        return read_scenario(self.scenario)

    @property
    def learned_on(self) -> Scenario:
        """The scenario with the scenes of fine-tuning."""
        seed = FINETUNING_SEED + SEED_SPACING * self.seed
        return self.described.model_copy(update={"seed": seed, "episodes": self.episodes})

    @property
    def evaluated_on(self) -> Scenario:
        """The scenario with this seed's scenes of evaluation."""
        described = self.described
        seed = described.seed + self.evaluation_episodes * self.seed
        return described.model_copy(update={"seed": seed, "episodes": self.evaluation_episodes})


@dataclass(frozen=True)
class Resources:
    """What all trials share."""

    bundle: Path
    robot: RobotConfig
    offline: str = ""
    """Folders of the data that the bundle was trained on, separated by ':'."""
    learner_config: str = ""
    out: Path = Path("runs/experiment")
    patience_s: float = 0.0
    """How long the learner may go on after the last episode: it is slower than the robot on few cores."""


def run_trial(trial: Trial, resources: Resources, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Fine-tune and evaluate; the figures of this trial, written to `out`/NAME/trial.json as well.

    One that is there already is read, not run again. RunFailed when the graph does not do its part.
    """
    folder = resources.out / trial.name
    result = folder / TRIAL
    if result.is_file():
        done: dict[str, Any] = json.loads(result.read_text())
        return done
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    learner: dict[str, Any] = {}
    bundle = resources.bundle
    if trial.arm == "offline":
        gates: Monitoring = "on" if trial.monitor == "on" else "off"
        during = _evaluate(trial, bundle, resources.robot, trial.learned_on, gates)
    else:
        during = _fine_tune(trial, resources, folder, say)
        learner = learning(folder / "learner")
        if not learner["candidates"]:
            say(f"{trial.name}: the learner made no candidate in time, so the bundle before is evaluated (--patience)")
        model_id, path = Lineage(folder / "learner").running()
        bundle = Path(path) if model_id else bundle
    learned = time.monotonic()
    say(f"{trial.name}: evaluating {bundle.name}")
    figures = {
        "trial": {**asdict(trial), "scenario": str(trial.scenario)},
        "bundle": str(bundle),
        "during": during,
        "learner": learner,
        "after": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "on"),
        "after_unmonitored": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "off"),
        "wall_s": {"during": round(learned - begun, 1), "evaluation": round(time.monotonic() - learned, 1)},
    }
    staging = result.with_suffix(".partial")
    staging.write_text(json.dumps(figures, indent=2) + "\n")
    staging.replace(result)
    return figures


def trials_in(out: Path) -> list[dict[str, Any]]:
    """All that are done in `out`, also by earlier commands."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"*/{TRIAL}"))]


def _fine_tune(trial: Trial, resources: Resources, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Episodes on the live graph with the learner beside it, and what they cost."""
    shown = folder / "finetuning_scenes.yaml"
    shown.write_text(yaml.safe_dump(trial.learned_on.model_dump(mode="json")))
    options: dict[str, Any] = {
        "exploring": True,
        "learner": folder / "learner",
        "learner_config": resources.learner_config,
        "offline": resources.offline,
        "shadow": SHADOW_PHRASE if trial.monitor == "shadow" else "",
    }
    if ACTORS[trial.arm] != "both":
        parameters = folder / f"{trial.arm}.yaml"
        parameters.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": {"actors": ACTORS[trial.arm]}}}))
        options["params_file"] = parameters
    results: list[EpisodeResult] = []
    with LiveSimulation(resources.bundle, shown, log=folder / "graph.log", say=say, **options) as live:
        for episode in range(trial.episodes):
            results.append(live.run_episode(episode))
            last = results[-1]
            said = f"{last.steps} steps, {'success' if last.success else 'no success'}, cost {last.cost:g}"
            say(f"{trial.name}: episode {episode + 1}/{trial.episodes}, {said}")
        deadline = time.monotonic() + resources.patience_s
        while time.monotonic() < deadline and not budget_spent(folder / "learner"):
            time.sleep(1.0)
    return summarise(trial.learned_on.model_dump(mode="json"), "", results)


def budget_spent(run: Path) -> bool:
    """Whether the learner has made its last candidate."""
    try:
        budget = int(json.loads((run / "config.json").read_text())["steps"])
    except (OSError, ValueError, KeyError):
        return False
    return any(event.event == "candidate" and event.details["step"] >= budget for event in Lineage(run).events())


def learning(run: Path) -> dict[str, Any]:
    """What the learner did: updates, candidates, what the gate and the robot made of them."""
    events = Lineage(run).events()
    candidates = {event.id: event for event in events if event.event == "candidate"}
    running = candidates.get(Lineage(run).running()[0])
    return {
        "updates": updates_made(run),
        "candidates": len(candidates),
        "passed": sum(event.details["gate"]["passed"] for event in candidates.values()),
        "swapped": sum(event.event == "trial" for event in events),
        "rolled_back": sum(event.event == "rolled_back" for event in events),
        "updates_of_the_evaluated": running.details["step"] if running else 0,
        "refused_for": sorted({reason for event in candidates.values() for reason in event.details["gate"]["reasons"]}),
    }


def _evaluate(
    trial: Trial, bundle: Path, robot: RobotConfig, scenario: Scenario, monitoring: Monitoring
) -> dict[str, Any]:
    """In this machine's processes, one per core."""
    done = evaluate_all([Evaluation(bundle, scenario, robot, ACTORS[trial.arm], monitoring)])
    results = sorted((result for _, result in done), key=lambda result: result.episode)
    return summarise(scenario.model_dump(mode="json"), "", results)


def goal(offline_rate: float) -> float:
    """Success rate to reach: 85 %, or half-way from the offline policy's to 100 %, whichever is lower."""
    return min(0.85, offline_rate + 0.5 * (1.0 - offline_rate))


def table(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows over all seeds: one per scenario, arm and monitor; rates with Wilson intervals over the pooled episodes.

    `gain` is the success rate after fine-tuning minus that of the offline arm on the same episodes, of the seeds that
    both have.
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
        "gain": _gain([entries[seed] for seed in shared], [offline[seed] for seed in shared]) if shared else None,
        "goal": round(goal(_rate(list(offline.values()), "after", "success")["rate"]), 4) if offline else None,
        "curves": [[e["success"] for e in entry["during"]["per_episode"]] for entry in trials],
        "violation_curves": [[e["violated"] for e in entry["during"]["per_episode"]] for entry in trials],
    }


def _outcomes(entries: list[dict[str, Any]], part: str, what: str) -> list[bool]:
    return [bool(episode[what]) for entry in entries for episode in entry[part]["per_episode"]]


def _rate(entries: list[dict[str, Any]], part: str, what: str) -> dict[str, Any]:
    outcomes = _outcomes(entries, part, what)
    low, high = wilson_interval(sum(outcomes), len(outcomes))
    return {"rate": round(sum(outcomes) / max(1, len(outcomes)), 4), "ci95": [round(low, 4), round(high, 4)]}


def _gain(entries: list[dict[str, Any]], offline: list[dict[str, Any]]) -> dict[str, Any]:
    first, second = (_outcomes(some, "after", "success") for some in (entries, offline))
    difference, low, high = paired_rate_difference(first, second)
    return {"rate": round(difference, 4), "ci95": [round(low, 4), round(high, 4)]}
