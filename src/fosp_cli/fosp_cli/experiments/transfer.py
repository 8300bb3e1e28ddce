"""The transfer experiment: deploy an offline bundle where its data says nothing, fine-tune it there, evaluate it there.

An arm is a way to fine-tune:

    fosp           safe policy expansion: candidates come from the frozen offline actor and from the online actor
    no_expansion   the online actor alone proposes, as in plain fine-tuning
    offline        nothing is learned; the bundle runs as it is, on the same scenes
    fosp_corrected fosp, while a simulated person takes the robot over now and then (experiments/simulated_operator.py)

A trial has two parts. `deploy` runs the fine-tuning episodes through the live graph in real time, with the learner next
to it. `conclude` needs no clock, so several trials run side by side: the learner, which is slower than the robot,
spends the rest of its budget; then the bundle is evaluated with the safety monitor and without, on scenes of the same
kind that no fine-tuning has seen. All arms share the scenes of a seed and two seeds share none, so episodes may be
pooled over seeds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from fosp_bringup.stack_options import split_folders
from fosp_cli.evaluation.agent import Monitoring
from fosp_cli.evaluation.in_process import Evaluation, evaluate_all
from fosp_cli.evaluation.intervals import paired_rate_difference, wilson_interval
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_cli.evaluation.metrics import EpisodeResult, summarise
from fosp_cli.experiments.simulated_operator import DEVICE, OperatorHands, OperatorSettings
from fosp_core.bag_types import move_aside
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec, read_yaml
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.lineage import Lineage, updates_made
from fosp_policy.expansion import Actors
from fosp_safety_monitor.parameters import SHADOW_PHRASE
from fosp_sim.task.scenario import Scenario, read_scenario

Arm = Literal["fosp", "no_expansion", "offline", "fosp_corrected"]
ARMS: tuple[Arm, ...] = get_args(Arm)
CORRECTED: Arm = "fosp_corrected"
"""The arm that needs a simulated person."""
ACTORS: dict[Arm, Actors] = {"fosp": "both", "no_expansion": "online", "offline": "both", CORRECTED: "both"}
"""The actors that propose in each arm, while learning and afterwards."""
FINETUNING_SEED = 40_000_000
"""Seed of the first fine-tuning scene. No evaluation and no recording uses scenes from here on."""
SEED_SPACING = 10_000
TRIAL = "trial.json"
DURING = "during.json"


@dataclass(frozen=True)
class Trial:
    """One arm on one scenario with one seed."""

    arm: Arm
    scenario: Path
    seed: int
    monitor: Literal["on", "shadow"] = "on"
    """The safety monitor while learning."""
    episodes: int = 40
    """Number of fine-tuning episodes."""
    evaluation_episodes: int = 100
    operator: OperatorSettings | None = None
    """Simulated person who takes over while learning, in the arm CORRECTED; None: nobody does."""

    @property
    def name(self) -> str:
        return f"{self.scenario.stem}_{self.arm}_{self.monitor}_{self.seed}"

    @property
    def described(self) -> Scenario:
        return read_scenario(self.scenario)

    @property
    def learned_on(self) -> Scenario:
        """The scenario with this seed's fine-tuning scenes."""
        seed = FINETUNING_SEED + SEED_SPACING * self.seed
        return self.described.model_copy(update={"seed": seed, "episodes": self.episodes})

    @property
    def evaluated_on(self) -> Scenario:
        """The scenario with this seed's evaluation scenes."""
        described = self.described
        seed = described.seed + self.evaluation_episodes * self.seed
        return described.model_copy(update={"seed": seed, "episodes": self.evaluation_episodes})


@dataclass(frozen=True)
class Resources:
    """The bundle, robot, data and settings that all trials share."""

    bundle: Path
    robot: RobotConfig
    offline: str = ""
    """Folders of the bundle's training data, separated by ':'."""
    learner_config: str = ""
    out: Path = Path("runs/experiment")

    @property
    def settings(self) -> FinetuneConfig:
        """The settings in `learner_config`, else the defaults. Raises UserError for a file that is not valid."""
        described = read_yaml(Path(self.learner_config)) or {} if self.learner_config else {}
        return parse_spec(FinetuneConfig, described, self.learner_config or "settings")


def deploy(trial: Trial, resources: Resources, say: Callable[[str], None] = print) -> None:
    """Run the fine-tuning episodes on the live graph with its learner, and write `out`/NAME/during.json.

    A finished deployment is kept, and an interrupted one is moved aside. Raise RunFailed when the graph fails.
    """
    folder = resources.out / trial.name
    if trial.arm == "offline" or (folder / TRIAL).is_file() or (folder / DURING).is_file():
        return
    if folder.exists():
        move_aside(folder)  # its learner would otherwise continue with the old experience
    folder.mkdir(parents=True)
    begun = time.monotonic()
    during = _live_episodes(trial, resources, folder, say)
    _write_json(folder / DURING, {"during": during, "wall_s": round(time.monotonic() - begun, 1)})


def conclude(trial: Trial, resources: Resources) -> dict[str, Any]:
    """Let the learner of a deployed trial spend its budget, evaluate the bundle that runs then, and return the figures.

    The figures are written to `out`/NAME/trial.json; where that exists it is read instead. An interrupted run is
    continued. One process does all of it. Raise RunFailed when a loss is not finite.
    """
    folder = resources.out / trial.name
    result = folder / TRIAL
    if result.is_file():
        done: dict[str, Any] = json.loads(result.read_text())
        return done
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    learner: dict[str, Any] = {}
    bundle, deployed_s = resources.bundle, 0.0
    if trial.arm == "offline":
        gates: Monitoring = "on" if trial.monitor == "on" else "policy_filter"
        during = _evaluate(trial, bundle, resources.robot, trial.learned_on, gates)
    else:
        deployed = json.loads((folder / DURING).read_text())
        during, deployed_s = deployed["during"], deployed["wall_s"]
        _spend_budget(trial, resources, folder)
        learner = learning(folder / "learner")
        bundle = Path(Lineage(folder / "learner").running()[1])
    learned = time.monotonic()
    figures = {
        "trial": {**asdict(trial), "scenario": str(trial.scenario)},
        "bundle": str(bundle),
        "during": during,
        "learner": learner,
        "after": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "on"),
        "after_unmonitored": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "policy_filter"),
        "after_policy_alone": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "off"),
        "wall_s": {
            "deployed": deployed_s,
            "learning": round(learned - begun, 1),
            "evaluation": round(time.monotonic() - learned, 1),
        },
    }
    _write_json(result, figures)
    return figures


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write all of the content or nothing."""
    staging = path.with_suffix(".partial")
    staging.write_text(json.dumps(content, indent=2) + "\n")
    staging.replace(path)


def trials_in(out: Path) -> list[dict[str, Any]]:
    """Return the figures of all finished trials in `out`, those of earlier commands included."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"*/{TRIAL}"))]


def _live_episodes(trial: Trial, resources: Resources, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    shown = folder / "finetuning_scenes.yaml"
    shown.write_text(yaml.safe_dump(trial.learned_on.model_dump(mode="json")))
    options: dict[str, Any] = {
        "exploring": True,
        "learner": folder / "learner",
        "learner_config": Path(resources.learner_config) if resources.learner_config else None,
        "offline": split_folders(resources.offline),
        "shadow": SHADOW_PHRASE if trial.monitor == "shadow" else None,
    }
    if ACTORS[trial.arm] != "both":
        parameters = folder / f"{trial.arm}.yaml"
        parameters.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": {"actors": ACTORS[trial.arm]}}}))
        options["params_file"] = parameters
    results: list[EpisodeResult] = []
    if trial.operator is not None:
        options |= {"teleop": DEVICE, "take_over": True}
    with ExitStack() as held:
        live = held.enter_context(LiveGraph(resources.bundle, shown, log=folder / "graph.log", say=say, **options))
        person = None
        if trial.operator is not None:
            person = held.enter_context(OperatorHands(trial.operator, shown, resources.robot))
        for episode in range(trial.episodes):
            results.append(live.run_episode(episode))
            last = results[-1]
            said = f"{last.steps} steps, {'success' if last.success else 'no success'}, cost {last.cost:g}"
            say(f"{trial.name}: episode {episode + 1}/{trial.episodes}, {said}")
        live.await_bags(folder / "learner" / "bags", trial.episodes)
    corrections = {} if person is None else {"operator": person.corrections.summary()}
    return {**summarise(trial.learned_on.model_dump(mode="json"), "", results), **corrections}


def _spend_budget(trial: Trial, resources: Resources, folder: Path) -> None:
    """Continue the learner's run, which the graph's end interrupted, on everything that was recorded."""
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.process import limit_resources
    from fosp_learner.training.phases import TrainingDiverged

    run = folder / "learner"
    settings = resources.settings
    limit_resources(settings)
    sources = Sources(resources.bundle, resources.robot, (run / "bags",), split_folders(resources.offline))
    with (folder / "learner.log").open("a") as log, redirect_stderr(log):
        try:
            learner = OnlineLearner(sources, settings, run, resume=True, command="fosp experiment transfer")
            learner.run()
            if not learner.concluded:
                learner.make_candidate()
        except TrainingDiverged as error:
            raise RunFailed(f"{trial.name}: {error}") from None


def learning(run: Path) -> dict[str, Any]:
    """Return what the learner did: updates, candidates, and how many of these passed the gate and their trial."""
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
    """Evaluate all episodes in one process of its own and return the summary."""
    done = evaluate_all([Evaluation(bundle, scenario, robot, ACTORS[trial.arm], monitoring)], workers=1)
    results = sorted((result for _, result in done), key=lambda result: result.episode)
    return summarise(scenario.model_dump(mode="json"), "", results)


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
        "gain": _gain([entries[seed] for seed in shared], [offline[seed] for seed in shared]) if shared else None,
        "goal": round(goal(_rate(list(offline.values()), "after", "success")["rate"]), 4) if offline else None,
        "curves": [[e["success"] for e in entry["during"]["per_episode"]] for entry in trials],
        "operator": [entry["during"]["operator"] for entry in trials if "operator" in entry["during"]],
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
