"""The paper's protocol: deploy an offline bundle where its data says nothing, fine-tune it there, evaluate it there.

Every episode runs through the live graph, in real time, with the learner beside it. An arm is a way to fine-tune:

    fosp           safe policy expansion: candidates of the frozen offline and of the online actor
    no_expansion   the online actor alone, as plain fine-tuning has it
    offline        nothing is learned: what the bundle does by itself, on the same scenes

What is reported: cost and violations during fine-tuning, and success and violations afterwards, on scenes of the same
kind that no fine-tuning has seen.
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
from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_learner.lineage import Lineage
from fosp_sim.evaluation import Evaluation, evaluate_all
from fosp_sim.metrics import EpisodeResult, summarise
from fosp_sim.scenario import Scenario, read_scenario

Arm = Literal["fosp", "no_expansion", "offline"]
ARMS: tuple[Arm, ...] = get_args(Arm)
FINETUNING_SEED = 40_000_000
"""Scenes of fine-tuning begin here: no evaluation and no recording uses them."""
SEED_SPACING = 10_000


@dataclass(frozen=True)
class Trial:
    """One arm on one scenario with one seed."""

    arm: Arm
    scenario: Path
    seed: int
    monitor: Literal["on", "shadow"] = "on"
    episodes: int = 40
    """Of fine-tuning."""
    evaluation_episodes: int = 100

    @property
    def name(self) -> str:
        return f"{self.scenario.stem}_{self.arm}_{self.monitor}_{self.seed}"


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
    result = folder / "trial.json"
    if result.is_file():
        done: dict[str, Any] = json.loads(result.read_text())
        return done
    folder.mkdir(parents=True, exist_ok=True)
    during = _fine_tune(trial, resources, folder, say)
    bundle = resources.bundle
    if trial.arm != "offline":
        model_id, path = Lineage(folder / "learner").running()
        bundle = Path(path) if model_id else bundle
    say(f"{trial.name}: evaluating {bundle.name}")
    after = _evaluate(trial, bundle, resources)
    figures = {
        "trial": {**asdict(trial), "scenario": str(trial.scenario)},
        "bundle": str(bundle),
        "during": during,
        "after": after,
    }
    staging = result.with_suffix(".partial")
    staging.write_text(json.dumps(figures, indent=2) + "\n")
    staging.replace(result)
    return figures


def _fine_tune(trial: Trial, resources: Resources, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Episodes on the live graph with the learner beside it, and what they cost."""
    shown = _scenario_file(trial, folder)
    options: dict[str, Any] = {"exploring": trial.arm != "offline"}
    if trial.arm != "offline":
        options |= {
            "learner": folder / "learner",
            "learner_config": resources.learner_config,
            "offline": resources.offline,
        }
    if trial.arm == "no_expansion":
        parameters = folder / "no_expansion.yaml"
        parameters.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": {"actors": "online"}}}))
        options["params_file"] = parameters
    if trial.monitor == "shadow":
        options["shadow"] = shadow_phrase()
    results: list[EpisodeResult] = []
    with LiveSimulation(resources.bundle, shown, log=folder / "graph.log", say=say, **options) as live:
        for episode in range(trial.episodes):
            results.append(live.run_episode(episode))
            say(f"{trial.name}: episode {episode + 1}/{trial.episodes}, cost {results[-1].cost:g}")
        deadline = time.monotonic() + (resources.patience_s if trial.arm != "offline" else 0.0)
        while time.monotonic() < deadline and not _learned(folder / "learner"):
            time.sleep(1.0)
    return summarise(read_scenario(shown).model_dump(mode="json"), "", results)


def shadow_phrase() -> str:
    """What the stack wants to hear before it lets the monitor judge without gating; UserError where it has no such."""
    from fosp_bringup import stack

    phrase = getattr(stack, "SHADOW_PHRASE", None)
    if phrase is None:
        raise UserError("this version's safety monitor cannot judge without gating: only --monitor on")
    return str(phrase)


def _scenario_file(trial: Trial, folder: Path) -> Path:
    """The scenario with scenes of its own for fine-tuning."""
    described = yaml.safe_load(trial.scenario.read_text())
    described |= {"seed": FINETUNING_SEED + SEED_SPACING * trial.seed, "episodes": trial.episodes}
    path = folder / "finetuning_scenes.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def _learned(run: Path) -> bool:
    """Whether the step budget is spent."""
    try:
        budget = json.loads((run / "config.json").read_text())["steps"]
        return int(json.loads((run / "checkpoint" / "state.json").read_text())["step"]) >= int(budget)
    except (OSError, ValueError, KeyError):
        return False


def _evaluate(trial: Trial, bundle: Path, resources: Resources) -> dict[str, Any]:
    """In-process, on the scenario's own scenes."""
    scenario: Scenario = read_scenario(trial.scenario).model_copy(update={"episodes": trial.evaluation_episodes})
    monitoring: Literal["on", "off"] = "on" if trial.monitor == "on" else "off"
    done = evaluate_all([Evaluation(bundle, scenario, resources.robot)], monitoring)
    results = sorted((result for _, result in done), key=lambda r: r.episode)
    return summarise(scenario.model_dump(mode="json"), "", results)


def goal(offline_rate: float) -> float:
    """Success rate to reach: 85 %, or half-way from the offline policy's to 100 %, whichever is lower."""
    return min(0.85, offline_rate + 0.5 * (1.0 - offline_rate))


def table(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows over all seeds: one per scenario, arm and monitor; rates with Wilson intervals over the pooled episodes."""
    from fosp_sim.metrics import wilson_interval

    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in trials:
        trial = entry["trial"]
        rows.setdefault((Path(trial["scenario"]).stem, trial["arm"], trial["monitor"]), []).append(entry)

    def rate(entries: list[dict[str, Any]], part: str, what: str) -> dict[str, Any]:
        episodes = [e for entry in entries for e in entry[part]["per_episode"]]
        count = sum(bool(e[what]) for e in episodes)
        low, high = wilson_interval(count, len(episodes))
        return {"rate": round(count / max(1, len(episodes)), 4), "ci95": [round(low, 4), round(high, 4)]}

    offline = {
        (scenario, monitor): rate(entries, "after", "success")["rate"]
        for (scenario, arm, monitor), entries in rows.items()
        if arm == "offline"
    }
    return [
        {
            "scenario": scenario,
            "arm": arm,
            "monitor": monitor,
            "seeds": len(entries),
            "success_after": rate(entries, "after", "success"),
            "violations_after": rate(entries, "after", "violated"),
            "violations_during": rate(entries, "during", "violated"),
            "cost_per_episode_during": round(sum(e["during"]["cost_per_episode"] for e in entries) / len(entries), 4),
            "goal": round(goal(offline[scenario, monitor]), 4) if (scenario, monitor) in offline else None,
            "curves": [[e["cost"] for e in entry["during"]["per_episode"]] for entry in entries],
        }
        for (scenario, arm, monitor), entries in sorted(rows.items())
    ]
