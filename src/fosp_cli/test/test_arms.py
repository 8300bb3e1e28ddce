"""The arms of the transfer experiment are settings that exist, and its protocol scenes that are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fosp_cli.experiments.arms import ARMS, ENSEMBLE, PROTOCOL, SETTINGS, Arm, combined, without_ensemble
from fosp_cli.experiments.transfer import LEARNER_CONFIG, Resources, Trial, _recalibrated, _write_settings, pieces
from fosp_core.bundle.bundle import read_manifest, verify_bundle
from fosp_core.robot.config import read_robot
from fosp_core.specs import parse_spec, read_yaml
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_policy.policy_node import PARAMETERS
from fosp_sim.task.scenario import read_scenario

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = ROOT / "config" / "scenarios" / "safe_reach_moved_camera.yaml"


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_differs_by_settings_and_parameters_that_exist(arm: Arm) -> None:
    described = SETTINGS[arm]
    parse_spec(FinetuneConfig, combined({}, described.settings), arm)
    rows = {row.name: row for row in PARAMETERS}
    for name, value in described.policy.items():
        lower, upper = rows[name].lower, rows[name].upper
        assert lower is not None
        assert upper is not None
        assert lower <= value <= upper
    assert described.learns or not (described.settings or described.policy or described.hazards)


@pytest.mark.parametrize("task", PROTOCOL)
def test_the_protocol_has_six_kinds_of_scenes_for_each_task(task: str) -> None:
    assert len(set(PROTOCOL[task])) == 6
    for name in PROTOCOL[task]:
        assert read_scenario(ROOT / "config" / "scenarios" / f"{name}.yaml").task == task


def test_settings_of_an_arm_go_before_those_of_the_experiment_and_leave_the_others(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("steps: 30\nsettling: {updates: 5, ascent: 2.0}\n")
    robot = read_robot(ROOT / "config" / "robots" / "sim_arm.yaml")
    _write_settings(Trial("fosp_paper", SCENARIO, 0), Resources(tmp_path, robot, learner_config=str(mine)), tmp_path)
    found = parse_spec(FinetuneConfig, read_yaml(tmp_path / LEARNER_CONFIG), "")
    assert (found.steps, found.settling.updates, found.settling.ascent) == (30, 5, 0.0)
    assert (found.train_on, found.correction.floor) == ("all", 1.0)


def test_a_piece_is_one_scenario_with_one_seed_and_what_is_done_is_in_none(tmp_path: Path) -> None:
    arms: tuple[Arm, ...] = ("offline", "fosp")
    trials = [Trial(arm, SCENARIO, seed) for seed in range(2) for arm in arms]
    (tmp_path / trials[0].name).mkdir()
    (tmp_path / trials[0].name / "trial.json").write_text("{}")
    assert pieces(trials, tmp_path) == [[trials[1]], [trials[2], trials[3]]]


def test_recalibrated_alone_lowers_eps_after_violations_and_else_leaves_the_bundle(tmp_path: Path) -> None:
    bundle = ROOT / "models" / "safe_reach"
    resources = Resources(bundle, read_robot(ROOT / "config" / "robots" / "sim_arm.yaml"))

    def during(violations: int) -> dict[str, Any]:
        return {"per_episode": [{"violated": number < violations} for number in range(40)]}

    assert _recalibrated(during(0), resources, tmp_path)[0] == bundle
    out, told = _recalibrated(during(3), resources, tmp_path)
    assert told["share"] < 1.0
    before = read_manifest(bundle).calibration.eps
    assert verify_bundle(out).calibration.eps == pytest.approx(before * told["share"], rel=1e-5)
    assert _recalibrated(during(3), resources, tmp_path)[0] == out, "an interrupted trial goes on"


def test_the_arm_of_an_ensemble_needs_a_bundle_with_several_heads() -> None:
    manifest = read_manifest(ROOT / "models" / "safe_reach")
    config = {**manifest.training["config"], "critic": {"heads": 3}}
    assert without_ensemble(manifest.model_copy(update={"training": {"config": config}})) == ""
    assert "one head of each critic" in without_ensemble(manifest.model_copy(update={"training": {}}))
    assert ENSEMBLE in ARMS
    assert SETTINGS[ENSEMBLE].actors == "online", "no expansion"
