"""The transfer experiment: deploy an offline bundle where its data says nothing, fine-tune it there, evaluate it there.

An arm is a way to fine-tune, or one that it is held against (experiments/arms.py).

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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from fosp_bringup.stack_options import split_folders
from fosp_cli.evaluation.agent import Monitoring
from fosp_cli.evaluation.in_process import Evaluation, Proposer, evaluate_all
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_cli.evaluation.metrics import summarise
from fosp_cli.experiments.arms import SETTINGS, Arm, combined
from fosp_cli.experiments.progress import BEGAN_WITH, Progress, progress_in
from fosp_cli.experiments.simulated_operator import DEVICE, OperatorHands, OperatorSettings
from fosp_cli.experiments.transfer_table import table
from fosp_cli.json_file import content_of, read_json, write_json
from fosp_core.bag_types import move_aside
from fosp_core.bundle.bundle import read_manifest, verify_bundle, write_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec, read_yaml
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.correction import Correction, tightened
from fosp_learner.finetuning.lineage import Lineage, updates_made
from fosp_safety_monitor.parameters import SHADOW_PHRASE
from fosp_sim.task.scenario import Scenario, read_scenario

FINETUNING_SEED = 40_000_000
"""Seed of the first fine-tuning scene. No evaluation and no recording uses scenes from here on."""
SEED_SPACING = 10_000
TRIAL = "trial.json"
LEARNER_CONFIG = "learner.yaml"
HAZARD_PATIENCE = 3
"""Time of an episode that shows a hazard, as a multiple of the scenario's."""
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

    def as_json(self) -> dict[str, Any]:
        """Return its fields for JSON."""
        return {**asdict(self), "scenario": str(self.scenario)}

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

    A finished deployment is kept, and an interrupted one goes on with its next episode; what was left by another trial
    is moved aside. Raise RunFailed when the graph fails.
    """
    folder = resources.out / trial.name
    if not SETTINGS[trial.arm].learns or (folder / TRIAL).is_file() or (folder / DURING).is_file():
        return
    told = {**trial.as_json(), BEGAN_WITH: _bundle_id(resources)}
    progress = progress_in(folder, told)
    if progress is None:
        if folder.exists():
            move_aside(folder)  # its learner would otherwise continue with the old experience
        folder.mkdir(parents=True)
        _write_settings(trial, resources, folder)
        _show_hazards(trial, resources, folder)
        progress = Progress(told)
        progress.write(folder)
    else:
        say(f"{trial.name}: goes on after {len(progress.results)} of {trial.episodes} episodes")
        progress = replace(progress, calls=progress.calls + 1)
    during, wall_s = _live_episodes(trial, resources, folder, say, progress)
    begun = {"trial": trial.as_json(), BEGAN_WITH: _bundle_id(resources)}
    write_json(folder / DURING, {**begun, "during": during, "wall_s": round(wall_s, 1)})


def conclude(trial: Trial, resources: Resources) -> dict[str, Any]:
    """Let the learner of a deployed trial spend its budget, evaluate the bundle that runs then, and return the figures.

    The figures are written to `out`/NAME/trial.json; where that exists it is read instead. An interrupted run is
    continued. One process does all of it. Raise RunFailed when a loss is not finite.
    """
    folder = resources.out / trial.name
    result = folder / TRIAL
    if result.is_file():
        return read_json(result)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    learner: dict[str, Any] = {}
    bundle, deployed_s = resources.bundle, 0.0
    if not SETTINGS[trial.arm].learns:
        gates: Monitoring = "on" if trial.monitor == "on" else "policy_filter"
        during = _evaluate(trial, bundle, resources.robot, trial.learned_on, gates)
        if trial.arm == "recalibrated":
            bundle, learner = _recalibrated(during, resources, folder)
    else:
        with content_of(folder / DURING) as deployed:
            during, deployed_s = dict(deployed["during"]), float(deployed["wall_s"])
        _spend_budget(trial, resources, folder)
        learner = learning(folder / "learner")
        bundle = Path(Lineage(folder / "learner").running()[1])
    learned = time.monotonic()
    figures = {
        "trial": trial.as_json(),
        BEGAN_WITH: _bundle_id(resources),
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
    write_json(result, figures)
    return figures


def is_done(trial: Trial, out: Path) -> bool:
    """Return True if the figures of a trial are in `out`."""
    return (out / trial.name / TRIAL).is_file()


def is_deployed(trial: Trial, out: Path) -> bool:
    """Return True if nothing but the conclusion of a trial is missing."""
    return not SETTINGS[trial.arm].learns or (out / trial.name / DURING).is_file()


def pieces(trials: Sequence[Trial], out: Path) -> list[list[Trial]]:
    """Return the trials that are not done, in pieces of one scenario and seed each, in the order given."""
    found: dict[tuple[Path, int], list[Trial]] = {}
    for trial in trials:
        if not is_done(trial, out):
            found.setdefault((trial.scenario, trial.seed), []).append(trial)
    return list(found.values())


def trials_in(out: Path) -> list[dict[str, Any]]:
    """Return the figures of all finished trials in `out`, those of earlier commands included."""
    return [read_json(path) for path in _finished(out)]


def require_tables(out: Path) -> None:
    """Raise UserError for the first finished trial in `out` whose figures are not those that the table is made of."""
    for path in _finished(out):
        with content_of(path) as figures:
            table([figures])


def require_same(trials: Sequence[Trial], resources: Resources) -> None:
    """Raise UserError when `out` holds a trial of the same name that was run with other settings or another bundle.

    Its figures would else be told as those of this command.
    """
    for trial in trials:
        for path in (resources.out / trial.name / name for name in (TRIAL, DURING)):
            if not path.is_file():
                continue
            with content_of(path) as figures:
                earlier = {**dict(figures.get("trial", {})), BEGAN_WITH: figures.get(BEGAN_WITH)}
            wanted = {**trial.as_json(), BEGAN_WITH: _bundle_id(resources)}
            for key, value in json.loads(json.dumps(wanted)).items():
                if key != "scenario" and earlier.get(key) is not None and earlier[key] != value:
                    raise UserError(
                        f"{path} is of a trial with {key} {earlier[key]}, not {value}: choose another --out, or remove "
                        f"the folder {path.parent}"
                    )


def _finished(out: Path) -> list[Path]:
    return sorted(out.glob(f"*/{TRIAL}"))


def _bundle_id(resources: Resources) -> str | None:
    """Return the id of the bundle that trials begin with; None where it has gone."""
    try:
        return read_manifest(resources.bundle).id
    except UserError:
        return None


def _live_episodes(
    trial: Trial, resources: Resources, folder: Path, say: Callable[[str], None], progress: Progress
) -> tuple[dict[str, Any], float]:
    """Run the episodes that are missing; return the summary of all, and the time that they took in all calls, s."""
    begun, earlier_s = time.monotonic(), progress.wall_s
    shown = folder / "finetuning_scenes.yaml"
    shown.write_text(yaml.safe_dump(trial.learned_on.model_dump(mode="json")))
    options: dict[str, Any] = {
        "exploring": True,
        "retreat": SETTINGS[trial.arm].retreats,
        "learner": folder / "learner",
        "learner_config": folder / LEARNER_CONFIG,
        "offline": split_folders(resources.offline),
        "shadow": SHADOW_PHRASE if trial.monitor == "shadow" else None,
    }
    arm = SETTINGS[trial.arm]
    said = {**arm.policy, **({"actors": arm.actors} if arm.actors != "both" else {})}
    if said:
        parameters = folder / f"{trial.arm}.yaml"
        parameters.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": said}}))
        options["params_file"] = parameters
    if trial.operator is not None:
        options |= {"teleop": DEVICE, "take_over": True}
    with ExitStack() as held:
        live = held.enter_context(LiveGraph(resources.bundle, shown, log=folder / "graph.log", say=say, **options))
        person = None
        if trial.operator is not None:
            hands = OperatorHands(trial.operator, shown, resources.robot, progress.corrections)
            person = held.enter_context(hands).corrections
        for episode in range(len(progress.results), trial.episodes):
            last = live.run_episode(episode)
            progress = replace(
                progress,
                results=(*progress.results, last),
                corrections=() if person is None else tuple(person.episodes),
                wall_s=earlier_s + time.monotonic() - begun,
            )
            progress.write(folder)
            outcome = f"{last.steps} steps, {'success' if last.success else 'no success'}, cost {last.cost:g}"
            if person is not None:
                outcome += f", {person.episodes[-1].take_overs} take-overs"
            say(f"{trial.name}: episode {episode + 1}/{trial.episodes}, {outcome}")
        bags = folder / "learner" / "bags"
        live.await_bags(bags, trial.episodes)
    recorded = len(list(bags.glob("episode_*")))
    if recorded < trial.episodes:
        say(f"{trial.name}: the learner recorded {recorded} of {trial.episodes} episodes: is this machine busy?")
    operated = {} if person is None else {"operator": person.summary()}
    summary = summarise(trial.learned_on.model_dump(mode="json"), "", progress.results)
    told = {"calls": progress.calls, "recorded": recorded}
    return {**summary, **operated, **told}, earlier_s + time.monotonic() - begun


def _spend_budget(trial: Trial, resources: Resources, folder: Path) -> None:
    """Continue the learner's run, which the graph's end interrupted, on everything that was recorded."""
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.process import limit_resources
    from fosp_learner.training.phases import TrainingDiverged

    run = folder / "learner"
    settings = parse_spec(FinetuneConfig, read_yaml(folder / LEARNER_CONFIG), str(folder / LEARNER_CONFIG))
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


def _write_settings(trial: Trial, resources: Resources, folder: Path) -> None:
    """Write the settings of fine-tuning in this arm; UserError when they are not valid."""
    described = read_yaml(Path(resources.learner_config)) or {} if resources.learner_config else {}
    described = combined(described, SETTINGS[trial.arm].settings)
    parse_spec(FinetuneConfig, described, resources.learner_config or f"arm {trial.arm}")
    (folder / LEARNER_CONFIG).write_text(yaml.safe_dump(described))


def _show_hazards(trial: Trial, resources: Resources, folder: Path) -> None:
    """Record what a person shows before the first episode, in scenes that nothing else uses."""
    episodes = SETTINGS[trial.arm].hazards
    if not episodes:
        return
    from fosp_sim.demonstration.record import record_episodes

    seed = FINETUNING_SEED + SEED_SPACING * trial.seed + SEED_SPACING // 2
    scenario = trial.described
    shown = scenario.model_copy(update={"seed": seed, "max_steps": HAZARD_PATIENCE * scenario.max_steps})
    for _ in record_episodes(shown, resources.robot, "hazards", episodes, folder / "learner" / "bags" / "hazards"):
        pass


def _recalibrated(during: dict[str, Any], resources: Resources, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the bundle with the threshold that the violations of these episodes leave, and what became of it."""
    correction = Correction(resources.settings.correction)
    for episode in during["per_episode"]:
        correction = correction.after(bool(episode["violated"]))
    manifest = verify_bundle(resources.bundle)
    described = tightened(manifest, correction)
    if described is None:
        return resources.bundle, correction.as_json()
    out = folder / "recalibrated"
    if not out.is_dir():
        write_bundle(out, described, {name: resources.bundle / name for name in manifest.files})
    return out, correction.as_json()


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
    """Evaluate all episodes in one process of its own and return the summary; nothing gates the careful script."""
    proposer: Proposer = "bundle"
    if trial.arm == "careful":
        proposer, monitoring = "careful", "off"
    arm = SETTINGS[trial.arm]
    evaluation = Evaluation(bundle, scenario, robot, arm.actors, monitoring, proposer, retreats=arm.retreats)
    done = evaluate_all([evaluation], workers=1)
    results = sorted((result for _, result in done), key=lambda result: result.episode)
    return summarise(scenario.model_dump(mode="json"), "", results)
