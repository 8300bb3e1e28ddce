"""The stages of `fosp experiment safety-gym`: what is done is not done again, and what failed is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fosp_cli.experiments.course_page import course_page, figures_below, require_own_page
from fosp_cli.experiments.stages import CALIBRATION_SEED, CourseRun, Stages, _runs, run_course, task_figures
from fosp_core.errors import UserError


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that were started; one with the word `broken` fails, and a training writes its bundle."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command[3:])
        if command[3] == "pretrain" or command[4] == "calibrate":
            write_bundle(Path(command[command.index("--out") + 1]))
        return SimpleNamespace(returncode=int("broken" in command))

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def write_bundle(folder: Path, bundle_id: str = "a") -> None:
    folder.mkdir(exist_ok=True)
    described = {"id": bundle_id, "metrics": {}, "calibration": {}, "training": {}}
    (folder / "manifest.json").write_text(json.dumps(described))


def test_a_stage_runs_once_and_anew_with_other_words(tmp_path: Path, called: list[list[str]]) -> None:
    for words in (("bags", "check", "here"), ("bags", "check", "here"), ("bags", "check", "there")):
        Stages(tmp_path).run("check", *words)
    assert called == [["bags", "check", "here"], ["bags", "check", "there"]]
    assert json.loads((tmp_path / "stages.json").read_text())["check"]["command"] == called[1]


def test_a_stage_runs_anew_on_another_bundle_under_the_same_name(tmp_path: Path, called: list[list[str]]) -> None:
    bundle = tmp_path / "bundle"
    with pytest.raises(UserError, match="no bundle is there"):
        Stages(tmp_path).run("eval", "eval", "--bundle", bundle, bundle=bundle)
    for bundle_id, times in (("a", 1), ("a", 1), ("b", 2)):
        write_bundle(bundle, bundle_id)
        Stages(tmp_path).run("eval", "eval", "--bundle", bundle, bundle=bundle)
        assert len(called) == times


def test_a_stage_that_failed_is_told_and_runs_again(tmp_path: Path, called: list[list[str]]) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"stage 'eval' failed \(exit code 1\); start the command again"):
            Stages(tmp_path, workers=1).run("eval", "eval", "broken")
    assert called == [["eval", "broken", "--workers", "1"]] * 2


def test_only_missing_demonstrations_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def record(scenario: Any, robot: Any, kind: str, episodes: int, out: Path, workers: Any, first: int) -> list[Any]:
        asked.append((first, episodes))
        return []

    monkeypatch.setattr("fosp_sim.demonstration.record.record_in_processes", record)
    for number in (0, 1, 4):
        (tmp_path / "bags" / f"episode_{number:06d}").mkdir(parents=True)
    Stages(tmp_path).record("point_goal1_train", tmp_path / "bags", 7)
    assert asked == [(2, 2), (5, 2)]
    assert _runs([]) == []


def test_a_finished_training_is_not_begun_again(tmp_path: Path, called: list[list[str]]) -> None:
    bundle, bags = tmp_path / "bundle", tmp_path / "bags"
    for _ in range(2):
        Stages(tmp_path).pretrain(bags, bundle, "--steps", 5)
    assert [words[0] for words in called] == ["pretrain"]


def test_a_bundle_of_another_training_is_not_told_as_this_one(tmp_path: Path, called: list[list[str]]) -> None:
    bundle, bags = tmp_path / "bundle", tmp_path / "bags"
    Stages(tmp_path).pretrain(bags, bundle, "--steps", 5)
    with pytest.raises(UserError, match=r"was trained by 'fosp pretrain .* --steps 5'; delete it to train anew"):
        Stages(tmp_path).pretrain(bags, bundle, "--steps", 6)
    assert len(called) == 1


def test_a_course_ends_after_the_stage_that_was_asked_for_and_goes_on_from_there(
    tmp_path: Path, called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stages, "record", lambda self, *words: None)
    for until, stages in (("check", ["bags"]), ("eval", ["pretrain", "eval"]), ("finetune", ["eval", "experiment"])):
        called.clear()
        run_course(CourseRun("point_goal1", 30, 5, "nano", 2, 1, 0, until), tmp_path, tmp_path / "page.md", 1)
        if until == "check":
            monkeypatch.setattr("fosp_cli.experiments.stages.task_figures", lambda folder, task: folder / "figures")
        assert [words[0] for words in called] == stages
    with pytest.raises(UserError, match="--until must be one of record, check, pretrain, calibrate, eval, unseen"):
        CourseRun("point_goal1", 30, 5, "nano", 2, 1, 0, "evaluation")
    with pytest.raises(UserError, match="--task must be one of point_goal1"):
        CourseRun("point_goal9", 30, 5, "nano", 2, 1)


def test_what_is_evaluated_was_calibrated_on_episodes_of_its_own_and_anew_with_another_bundle(
    tmp_path: Path, called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(
        Stages, "record", lambda self, scenario, bags, count, seed=None: recorded.append((bags.name, count, seed))
    )
    monkeypatch.setattr("fosp_cli.experiments.stages.task_figures", lambda folder, task: folder / "figures")
    wanted = CourseRun("point_goal1", 30, 5, "nano", 2, 1, 40, "eval")
    run_course(wanted, tmp_path, tmp_path / "page.md", 1)
    assert recorded == [("bags", 30, None), ("calibration", 40, CALIBRATION_SEED)]
    assert [words[:2] for words in called[2:3]] == [["bundle", "calibrate"]]
    assert called[3][:3] == ["eval", "--bundle", str(tmp_path / "point_goal1" / "calibrated")]
    called.clear()
    run_course(wanted, tmp_path, tmp_path / "page.md", 1)
    assert called == []
    write_bundle(tmp_path / "point_goal1" / "bundle", "of another training")
    (tmp_path / "point_goal1" / "calibrated" / "left").touch()
    run_course(wanted, tmp_path, tmp_path / "page.md", 1)
    assert [words[:2] for words in called] == [["bundle", "calibrate"]]
    assert not (tmp_path / "point_goal1" / "calibrated" / "left").exists()


def test_the_page_has_a_row_per_task_beside_the_papers_and_leaves_empty_what_was_not_run(tmp_path: Path) -> None:
    means = {f"{name}_mean": 1.5 for name in ("reward", "cost", "goals")}
    row = {**means, **{f"{name}_ci95": [1.0, 2.0] for name in means}, "episodes": 50, "per_episode": [1]}
    for task in ("point_goal1", "car_goal2"):
        (tmp_path / task / "finetuned").mkdir(parents=True)
        (tmp_path / task / "eval.json").write_text(json.dumps({"evaluations": [{"monitor": "on", **row}]}))
    parts = dict.fromkeys(("during", "after", "after_unmonitored", "after_policy_alone"), row)
    trial = {**parts, "learner": {"updates": 3}, "wall_s": {"deployed": 1.0}}
    (tmp_path / "car_goal2" / "finetuned" / "transfer.json").write_text(json.dumps({"trials": [trial], "table": []}))
    calibration = {
        "horizon_steps": 8,
        "violating_episodes": 25,
        "episodes": 90,
        "eps": 0.1,
        "false_veto_rate": 0.05,
        "supported": True,
    }
    training = {"episodes": 600, "data_violation_share": 0.3, "steps": 9, "threads": 1, "wall_time_s": 3600.0}
    training["config"] = {"steps": 2500}
    described = {
        "id": "x",
        "metrics": {"q_h_auc": 0.961, "q_h_auc_next": 0.99},
        "calibration": calibration,
        "training": training,
    }
    (tmp_path / "car_goal2" / "bundle").mkdir()
    (tmp_path / "car_goal2" / "bundle" / "manifest.json").write_text(json.dumps(described))
    for task in ("car_goal2", "point_goal1"):
        assert "per_episode" not in task_figures(tmp_path / task, task).read_text()
    lines = course_page(figures_below(tmp_path)).splitlines()
    both = "1.5 (1.0 - 2.0) / 1.5 (1.0 - 2.0)"
    first, second = (line for line in lines if line.startswith(("| `point_goal1` | 50", "| `car_goal2` | 50")))
    assert first == f"| `point_goal1` | 50 |  |  | {both} | 18.5 / 3 |  |  | 19.2 / 2 |"
    assert second == f"| `car_goal2` | 50 |  |  | {both} | 10.9 / 1 | {both} | {both} | 12.3 / 1 |"
    assert "| `car_goal2` | 600 | 25 of 90 | 2500 | 1.00 | 0.990, 0.961 | 8 | 0.100 | 5.0% | supported |" in lines


def test_figures_of_what_is_there_are_collected(tmp_path: Path) -> None:
    row = {"monitor": "on", "episodes": 2, "reward_mean": 1.5, "reward_mean_ci95": [1.0, 2.0], "per_episode": []}
    (tmp_path / "eval.json").write_text(json.dumps({"evaluations": [{"scenario_name": "point_goal1", **row}]}))
    figures = json.loads(task_figures(tmp_path, "point_goal1").read_text())
    assert figures["eval"][0]["reward_mean_ci95"] == [1.0, 2.0]
    assert "per_episode" not in figures["eval"][0]


def read_all(folder: Path) -> None:
    """Read what a command reads of a task's folder that was left by an earlier one."""
    Stages(folder).run("check", "bags", "check")
    if not (folder / "figures.json").is_file():
        task_figures(folder, folder.name)
    figures_below(folder.parent)


@pytest.mark.parametrize("content", ['{"evaluations": [{"moni', "[]", '{"trials": []}', "null", '{"eval": 3}', ""])
@pytest.mark.parametrize(
    "name", ["stages.json", "eval.json", "bundle/manifest.json", "finetuned/transfer.json", "figures.json"]
)
def test_a_file_that_is_cut_off_or_another_is_named_in_one_line(
    tmp_path: Path, called: list[list[str]], name: str, content: str
) -> None:
    path = tmp_path / "point_goal1" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path}: cut off, or of another command .*; remove it") as refused:
        read_all(tmp_path / "point_goal1")
    assert "\n" not in str(refused.value)


def test_a_page_that_somebody_else_wrote_is_not_replaced(tmp_path: Path, called: list[list[str]]) -> None:
    own, other = tmp_path / "results.md", tmp_path / "notes.md"
    own.write_text(course_page([]))
    require_own_page(own)
    require_own_page(tmp_path / "new.md")
    other.write_text("# My notes\n")
    for page, said in ((other, "no page of this command: give --page another name"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=said):
            run_course(CourseRun("point_goal1", 30, 5, "nano", 2, 1, "check"), tmp_path / "out", page, 1)
    assert other.read_text() == "# My notes\n"
    assert called == []
