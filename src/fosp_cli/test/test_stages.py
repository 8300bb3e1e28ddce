"""The stages of `fosp experiment safety-gym`: what is done is not done again, and what failed is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fosp_cli.experiments.stages import Stages, _runs, task_figures
from fosp_core.errors import UserError


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that were started; one with the word `broken` fails."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command[3:])
        return SimpleNamespace(returncode=int("broken" in command))

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_stage_runs_once_and_anew_with_other_words(tmp_path: Path, called: list[list[str]]) -> None:
    for words in (("bags", "check", "here"), ("bags", "check", "here"), ("bags", "check", "there")):
        Stages(tmp_path).run("check", *words)
    assert called == [["bags", "check", "here"], ["bags", "check", "there"]]
    assert json.loads((tmp_path / "stages.json").read_text())["check"]["command"] == called[1]


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
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    Stages(tmp_path).pretrain(tmp_path / "bags", tmp_path / "bundle")
    assert called == []


def test_figures_of_what_is_there_are_collected(tmp_path: Path) -> None:
    row = {"monitor": "on", "episodes": 2, "reward_mean": 1.5, "reward_mean_ci95": [1.0, 2.0], "per_episode": []}
    (tmp_path / "eval.json").write_text(json.dumps({"evaluations": [{"scenario_name": "point_goal1", **row}]}))
    figures = json.loads(task_figures(tmp_path, "point_goal1").read_text())
    assert figures["eval"][0]["reward_mean_ci95"] == [1.0, 2.0]
    assert "per_episode" not in figures["eval"][0]
