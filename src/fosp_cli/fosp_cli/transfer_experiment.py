"""The paper's protocol: deploy an offline bundle where its data says nothing, fine-tune it there, evaluate it there.

An arm is a way to fine-tune:

    fosp           safe policy expansion: candidates of the frozen offline and of the online actor
    no_expansion   the online actor alone, as plain fine-tuning has it
    offline        nothing is learned: what the bundle does by itself, on the same scenes

Fine-tuning runs through the live graph, in real time, with the learner beside it. What follows needs no clock, and
trials are concluded side by side: the learner is slower than the robot and spends the rest of its budget; evaluation
runs with the safety monitor and without, on scenes of the same kind that no fine-tuning has seen.
Those of one seed are the same for all arms, and those of two seeds are different ones: episodes may be pooled.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from fosp_cli.evaluation.agent import Monitoring
from fosp_cli.evaluation.evaluation import Evaluation, evaluate_all
from fosp_cli.evaluation.live_graph import LiveSimulation
from fosp_cli.evaluation.metrics import EpisodeResult, paired_rate_difference, summarise, wilson_interval
from fosp_core.specs import RobotConfig, parse_spec, read_yaml
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.lineage import Lineage
from fosp_learner.finetuning.run_folder import updates_made
from fosp_policy.expansion import Actors
from fosp_safety_monitor.parameters import SHADOW_PHRASE
from fosp_sim.task.scenario import Scenario, read_scenario

Arm = Literal["fosp", "no_expansion", "offline"]
ARMS: tuple[Arm, ...] = get_args(Arm)
ACTORS: dict[Arm, Actors] = {"fosp": "both", "no_expansion": "online", "offline": "both"}
"""What proposes, while learning and afterwards."""
FINETUNING_SEED = 40_000_000
"""Scenes of fine-tuning begin here: no evaluation and no recording uses them."""
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

    @property
    def settings(self) -> FinetuneConfig:
        """What `learner_config` says, else the defaults; UserError when it is not understood."""
        described = read_yaml(Path(self.learner_config)) or {} if self.learner_config else {}
        return parse_spec(FinetuneConfig, described, self.learner_config or "settings")


def deploy(trial: Trial, resources: Resources, say: Callable[[str], None] = print) -> None:
    """The episodes of fine-tuning on the live graph, the learner beside it; what they cost, in `out`/NAME/during.json.

    What is there already is kept, and what an interrupted deployment left is removed. RunFailed when the graph does not
    do its part.
    """
    folder = resources.out / trial.name
    if trial.arm == "offline" or (folder / TRIAL).is_file() or (folder / DURING).is_file():
        return
    if folder.exists():
        shutil.rmtree(folder)  # or its learner would go on with what it had experienced
    folder.mkdir(parents=True)
    begun = time.monotonic()
    during = _live_episodes(trial, resources, folder, say)
    _write_json(folder / DURING, {"during": during, "wall_s": round(time.monotonic() - begun, 1)})


def conclude(trial: Trial, resources: Resources) -> dict[str, Any]:
    """After `deploy`: the learner spends the rest of its budget and makes its candidate; what runs then is evaluated.

    The figures of this trial, written to `out`/NAME/trial.json as well; one that is there already is read. What was
    interrupted goes on. Needs no robot; takes one process. RunFailed when a loss is not finite.
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
        gates: Monitoring = "on" if trial.monitor == "on" else "off"
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
        "after_unmonitored": _evaluate(trial, bundle, resources.robot, trial.evaluated_on, "off"),
        "wall_s": {
            "deployed": deployed_s,
            "learning": round(learned - begun, 1),
            "evaluation": round(time.monotonic() - learned, 1),
        },
    }
    _write_json(result, figures)
    return figures


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """All of it or nothing."""
    staging = path.with_suffix(".partial")
    staging.write_text(json.dumps(content, indent=2) + "\n")
    staging.replace(path)


def trials_in(out: Path) -> list[dict[str, Any]]:
    """All that are done in `out`, also by earlier commands."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"*/{TRIAL}"))]


def _live_episodes(trial: Trial, resources: Resources, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
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
    return summarise(trial.learned_on.model_dump(mode="json"), "", results)


def _spend_budget(trial: Trial, resources: Resources, folder: Path) -> None:
    """The learner's run goes on where the graph's end interrupted it, on all that was recorded, up to its candidate."""
    from fosp_cli.evaluation.episode_driver import RunFailed
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.process import limit_resources
    from fosp_learner.training.trainer import TrainingDiverged

    run = folder / "learner"
    settings = resources.settings
    limit_resources(settings)
    offline = tuple(Path(entry) for entry in resources.offline.split(":") if entry)
    sources = Sources(resources.bundle, resources.robot, (run / "bags",), offline)
    with (folder / "learner.log").open("a") as log, redirect_stderr(log):
        try:
            learner = OnlineLearner(sources, settings, run, resume=True, command="fosp experiment transfer")
            learner.run()
            if not learner.concluded:
                learner.make_candidate()
        except TrainingDiverged as error:
            raise RunFailed(f"{trial.name}: {error}") from None


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
    """In a process of its own."""
    done = evaluate_all([Evaluation(bundle, scenario, robot, ACTORS[trial.arm], monitoring)], workers=1)
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
