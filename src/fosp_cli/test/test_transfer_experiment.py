"""The experiment's arithmetic; its live part is the graph that other tests run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_cli.experiments import transfer
from fosp_cli.experiments.progress import Progress, progress_in
from fosp_cli.experiments.simulated_operator import Corrections, EpisodeCorrections, OperatorSettings
from fosp_cli.experiments.transfer import (
    FINETUNING_SEED,
    Resources,
    Trial,
    conclude,
    deploy,
    learning,
    require_same,
    require_tables,
    trials_in,
)
from fosp_cli.experiments.transfer_table import goal, table
from fosp_cli.pictures import curves_figure, running_rates
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_learner.finetuning.lineage import Lineage
from fosp_sim.task.scenario import Scenario, read_scenario

CONFIG = Path(__file__).resolve().parents[3] / "config"
SCENARIO = CONFIG / "scenarios" / "safe_reach_transfer_goal_shape.yaml"
ARM = read_robot(CONFIG / "robots" / "sim_arm.yaml")


@pytest.mark.parametrize(("offline", "expected"), [(0.5, 0.75), (0.9, 0.85), (0.0, 0.5)])
def test_the_goal_is_85_percent_or_half_way_whichever_is_lower(offline: float, expected: float) -> None:
    assert goal(offline) == pytest.approx(expected)


def result(arm: str, seed: int, success: list[bool], cost_during: list[float]) -> dict[str, Any]:
    after = {"per_episode": [{"success": s, "violated": not s} for s in success]}
    return {
        "trial": {"arm": arm, "scenario": str(SCENARIO), "seed": seed, "monitor": "on"},
        "during": {
            "cost_per_episode": sum(cost_during) / len(cost_during),
            "per_episode": [{"success": cost == 0, "violated": cost > 0, "cost": cost} for cost in cost_during],
        },
        "after": after,
        "after_unmonitored": after,
    }


def test_seeds_are_pooled_and_goal_and_gain_come_from_the_offline_arm_on_the_same_episodes() -> None:
    rows = table(
        [
            result("fosp", 0, [True, True], [0.0, 2.0]),
            result("fosp", 1, [True, False], [0.0, 0.0]),
            result("offline", 0, [True, False], [1.0, 1.0]),
        ]
    )
    fosp, offline = rows
    assert fosp["success_after"]["rate"] == 0.75
    assert fosp["violations_during"]["rate"] == 0.25
    assert fosp["cost_per_episode_during"] == 0.5
    assert fosp["goal"] == offline["goal"] == 0.75
    assert fosp["gain"]["rate"] == 0.5, "of seed 0 alone: no offline trial has seen the scenes of seed 1"
    assert offline["gain"]["rate"] == 0.0
    assert fosp["failures"]["difference"]["rate"] == -0.5
    assert (fosp["failures"]["failures"], fosp["failures"]["offline"], fosp["failures"]["removed"]) == (0, 1, 1.0)
    assert fosp["violations_against_offline"]["rate"] == -0.5
    assert fosp["intervention_curves"] == []
    assert fosp["curves"] == [[True, False], [True, True]]
    assert fosp["violation_curves"] == [[False, True], [False, False]]
    assert running_rates(fosp["curves"]).tolist() == [1.0, 0.75]
    success, violations = curves_figure(rows).axes
    assert [line.get_label() for line in success.lines] == ["fosp (2 seeds)", "offline (1 seed)"]
    assert [line.get_ydata()[-1] for line in violations.lines] == [0.25, 1.0]


def test_a_running_rate_looks_back_over_ten_episodes_of_all_seeds() -> None:
    rates = running_rates([[True] * 10 + [False] * 10, [True] * 20])
    assert rates[:10].tolist() == [1.0] * 10
    assert rates[14] == pytest.approx(0.75)
    assert rates[19] == pytest.approx(0.5)


def test_no_scene_is_used_twice() -> None:
    def scenes(scenario: Scenario) -> set[int]:
        return {scenario.seed + episode for episode in range(scenario.episodes)}

    trials = [Trial("fosp", SCENARIO, seed) for seed in range(3)]
    used = [scenes(part) for trial in trials for part in (trial.learned_on, trial.evaluated_on)]
    assert len(set.union(*used)) == sum(map(len, used)) == 3 * (40 + 100)
    assert trials[2].learned_on.seed == FINETUNING_SEED + 20_000
    assert trials[2].learned_on.goal == read_scenario(SCENARIO).goal


def test_a_trial_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    trial = Trial("fosp", SCENARIO, 2)
    done = {"after": {"success_rate": 0.5}}
    (tmp_path / trial.name).mkdir()
    (tmp_path / trial.name / "trial.json").write_text(json.dumps(done))
    robot = read_robot(CONFIG / "robots" / "sim_arm.yaml")
    assert conclude(trial, Resources(tmp_path / "no_bundle", robot, out=tmp_path)) == done
    assert trials_in(tmp_path) == [done]


@pytest.mark.parametrize("content", ['{"trial": {"ar', "[]", "{}", '{"trial": 3, "during": 3, "wall_s": "long"}'])
def test_a_file_of_a_trial_that_is_cut_off_or_another_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    trial, resources = Trial("fosp", SCENARIO, 2), Resources(tmp_path / "no_bundle", ARM, out=tmp_path)
    folder = tmp_path / trial.name
    folder.mkdir()
    for name, read in (
        ("during.json", lambda: conclude(trial, resources)),
        ("trial.json", lambda: require_tables(tmp_path)),
    ):
        (folder / name).write_text(content)
        with pytest.raises(UserError, match=f"{folder / name}: cut off, or of another command") as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["during.json", "trial.json"])
@pytest.mark.parametrize(
    ("earlier", "said"),
    [
        ({"episodes": 10}, "with episodes 10, not 40: choose another --out, or remove the folder"),
        ({"evaluation_episodes": 5}, "with evaluation_episodes 5, not 100"),
        ({"operator": {"kind": "careful"}}, "with operator {'kind': 'careful'}, not None"),
        ({}, None),
    ],
)
def test_figures_of_other_settings_are_not_told_as_those_of_this_command(
    tmp_path: Path, name: str, earlier: dict[str, Any], said: str | None
) -> None:
    trial, resources = Trial("fosp", SCENARIO, 2), Resources(tmp_path / "no_bundle", ARM, out=tmp_path)
    (tmp_path / trial.name).mkdir()
    written = {"trial": {**trial.as_json(), **earlier}, "began_with": None}
    (tmp_path / trial.name / name).write_text(json.dumps(written))
    if not earlier:
        require_same([trial], resources)
        return
    with pytest.raises(UserError, match=said):
        require_same([trial], resources)


def test_figures_of_another_bundle_are_not_told_as_those_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, resources = Trial("offline", SCENARIO, 0), Resources(tmp_path / "bundle", ARM, out=tmp_path)
    (tmp_path / trial.name).mkdir()
    (tmp_path / trial.name / "trial.json").write_text(json.dumps({"trial": trial.as_json(), "began_with": "one"}))
    monkeypatch.setattr(transfer, "_bundle_id", lambda resources: "another")
    with pytest.raises(UserError, match="with began_with one, not another"):
        require_same([trial], resources)
    earlier = Progress({**trial.as_json(), "began_with": "one"})
    earlier.write(tmp_path)
    assert progress_in(tmp_path, {**trial.as_json(), "began_with": "another"}) is None
    assert progress_in(tmp_path, {**trial.as_json(), "began_with": "one"}) == earlier
    before = Progress(trial.as_json())  # of a release that did not note the bundle
    before.write(tmp_path)
    assert progress_in(tmp_path, {**trial.as_json(), "began_with": "one"}) == before


def test_what_the_learner_did_is_read_from_its_run(tmp_path: Path) -> None:
    run = Lineage(tmp_path)
    (tmp_path / "losses.csv").write_text("step,loss\n25,1.0\n400,0.5\n")
    run.append("start", "parent", path="parent")
    run.append("candidate", "one", path="one", step=200, gate={"passed": True, "reasons": []})
    run.append("trial", "one")
    run.append("candidate", "two", path="two", step=400, gate={"passed": False, "reasons": ["worse"]})
    assert learning(tmp_path) == {
        "updates": 400,
        "candidates": 2,
        "passed": 1,
        "swapped": 1,
        "rolled_back": 0,
        "updates_of_the_evaluated": 200,
        "refused_for": ["worse"],
    }


def test_a_deployment_that_was_interrupted_begins_anew_and_a_done_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, begun_with = Trial("fosp", SCENARIO, 0), []
    buffer = tmp_path / trial.name / "learner" / "buffer"
    buffer.mkdir(parents=True)

    def live_episodes(*arguments: object) -> tuple[dict[str, Any], float]:
        begun_with.append(buffer.exists())
        return {"episodes": 40}, 1.0

    monkeypatch.setattr(transfer, "_live_episodes", live_episodes)
    resources = Resources(tmp_path / "bundle", read_robot(CONFIG / "robots" / "sim_arm.yaml"), out=tmp_path)
    deploy(trial, resources)
    deploy(trial, resources)
    deploy(Trial("offline", SCENARIO, 0), resources)
    assert begun_with == [False]


def test_the_take_overs_of_a_person_are_told_per_episode_and_drawn() -> None:
    corrected, offline = result("fosp_corrected", 0, [True], [0.0] * 3), result("offline", 0, [False], [0.0] * 3)
    person = OperatorSettings(budget=0.5)
    summary = Corrections(
        person, read_scenario(SCENARIO), ARM, [EpisodeCorrections(100, 50, 2), EpisodeCorrections(100, 10, 1)]
    ).summary()
    assert (summary["take_overs"], summary["share"], summary["shares"]) == ([2, 1], 0.3, [0.5, 0.1])
    corrected["during"]["operator"] = summary
    rows = table([corrected, offline])
    row = next(row for row in rows if row["arm"] == "fosp_corrected")
    assert row["intervention_curves"] == [[2, 1]]
    panels = curves_figure(rows).axes
    assert [line.get_ydata().tolist() for line in panels[2].lines] == [[2.0, 1.5]]


def episode(number: int, cost: float = 0.0) -> EpisodeResult:
    return EpisodeResult(number, True, cost, 1.0, 30, 2, 1, 0, "", 0, None)


def test_an_interrupted_trial_goes_on_with_its_next_episode_and_another_trial_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = OperatorSettings(budget=0.5)
    trial = Trial("fosp_corrected", SCENARIO, 0, episodes=3, evaluation_episodes=1, operator=person)
    folder = tmp_path / trial.name
    (folder / "learner" / "buffer").mkdir(parents=True)
    Progress(trial.as_json(), (episode(0), episode(1, 2.0)), (EpisodeCorrections(30, 3, 1),) * 2, 60.0).write(folder)
    (folder / transfer.LEARNER_CONFIG).write_text("{}")
    begun: list[int] = []

    class Live:
        """A graph that answers at once."""

        def __init__(self, *arguments: object, **options: object) -> None: ...

        def __enter__(self) -> Live:
            return self

        def __exit__(self, *error: object) -> None: ...

        def run_episode(self, number: int) -> EpisodeResult:
            begun.append(number)
            return episode(number)

        def await_bags(self, *arguments: object) -> None: ...

    class Hands:
        """A person who does nothing more."""

        def __init__(self, settings: object, shown: object, robot: object, earlier: object) -> None:
            self.corrections = Corrections(person, read_scenario(SCENARIO), ARM, tuple(earlier))  # type: ignore[call-overload]

        def __enter__(self) -> Hands:
            return self

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(transfer, "LiveGraph", Live)
    monkeypatch.setattr(transfer, "OperatorHands", Hands)
    deploy(trial, Resources(tmp_path / "bundle", ARM, out=tmp_path))
    told = json.loads((folder / "during.json").read_text())
    assert begun == [2]
    assert (told["during"]["episodes"], told["during"]["calls"], told["during"]["recorded"]) == (3, 2, 0)
    assert "the learner recorded 0 of 3 episodes" in capsys.readouterr().out
    assert told["during"]["violation_rate"] == pytest.approx(1 / 3)
    assert told["during"]["operator"]["take_overs"] == [1, 1]
    assert told["wall_s"] >= 60.0
    assert progress_in(folder, Trial("fosp_corrected", SCENARIO, 0, episodes=4).as_json()) is None
