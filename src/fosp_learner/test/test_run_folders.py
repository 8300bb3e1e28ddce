"""A run is the run of one bundle: others of the same name neither replace it nor go on with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_core.bag_types import move_aside
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.specs import ObservationSpec
from fosp_learner.report.run import RunFacts, require_new_run, require_own_run, run_folder, write_facts

ROBOT = read_robot(Path(__file__).parents[3] / "config/robots/sim_arm.yaml")


def made_by(out: Path, runs: Path) -> Path:
    """The run folder of a bundle, with a checkpoint in it."""
    run = run_folder(runs, out)
    (run / "checkpoint").mkdir(parents=True)
    write_facts(RunFacts(task="t", robot=ROBOT, observation=ObservationSpec(), bundle=str(out)), run)
    return run


def test_bundles_of_one_last_name_have_runs_of_their_own(tmp_path: Path) -> None:
    first = made_by(tmp_path / "a/final", tmp_path / "runs")
    assert first == tmp_path / "runs/pretrain/final"
    second = made_by(tmp_path / "b/final", tmp_path / "runs")
    assert second == tmp_path / "runs/pretrain/b-final"
    assert run_folder(tmp_path / "runs", tmp_path / "a/final") == first
    assert run_folder(tmp_path / "runs", tmp_path / "b/final") == second


def test_a_run_with_a_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    run = made_by(tmp_path / "final", tmp_path / "runs")
    with pytest.raises(UserError, match=r"holds the checkpoint of a run \(of .*final\)") as error:
        require_new_run(run)
    assert "\n" not in str(error.value)
    require_new_run(tmp_path / "runs/pretrain/other")


def test_the_run_of_another_bundle_is_not_resumed(tmp_path: Path) -> None:
    run = made_by(tmp_path / "a/final", tmp_path / "runs")
    require_own_run(run, tmp_path / "a/final")
    with pytest.raises(UserError, match="the run of another bundle"):
        require_own_run(run, tmp_path / "b/final")


def test_what_is_moved_aside_gets_the_first_free_name(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "bags").mkdir()
        (tmp_path / "bags" / "bag").write_text(content)
        move_aside(tmp_path / "bags")
    assert move_aside(tmp_path / "bags") is None
    assert [(tmp_path / f"bags_{n}" / "bag").read_text() for n in (1, 2)] == ["first", "second"]
