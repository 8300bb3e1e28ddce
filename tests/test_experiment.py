"""`fosp experiment` through the live graph, as short as it can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[1] / "config"
FOSP = [sys.executable, "-m", "fosp_cli.cli", "experiment", "transfer"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_trial_learns_through_the_live_graph_and_one_that_is_done_is_not_run_again(
    tmp_path: Path, ros_environment: Any
) -> None:
    scenario, config = tmp_path / "short.yaml", tmp_path / "learner.yaml"
    described = yaml.safe_load((CONFIG / "scenarios" / "safe_reach_transfer_goal_shape.yaml").read_text())
    scenario.write_text(yaml.safe_dump(described | {"max_steps": 15}))
    config.write_text(yaml.safe_dump({"steps": 1, "batch_size": 2, "settling": {"updates": 2, "batch_size": 2}}))
    command = [*FOSP, "--scenario", str(scenario), "--arm", "fosp_corrected", "--arm", "offline", "--seeds", "1"]
    command += ["--operator", "careful", "--budget", "1.0"]
    command += ["--episodes", "3", "--evaluation-episodes", "1", "--config", str(config)]
    command += ["--out", str(tmp_path / "out")]

    def run() -> dict[str, Any]:
        done = subprocess.run(command, env=ros_environment.variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr + done.stdout
        result: dict[str, Any] = json.loads((tmp_path / "out" / "transfer.json").read_text())
        return result

    figures = run()
    rows = {row["arm"]: row for row in figures["table"]}
    assert {arm: row["seeds"] for arm, row in rows.items()} == {"fosp_corrected": 1, "offline": 1}
    assert 0.0 <= rows["fosp_corrected"]["success_after"]["rate"] <= 1.0
    learned = next(trial for trial in figures["trials"] if trial["trial"]["arm"] == "fosp_corrected")
    assert len(learned["during"]["operator"]["shares"]) == 3
    assert (learned["during"]["episodes"], learned["learner"]["updates"], learned["learner"]["candidates"]) == (3, 1, 1)
    (bags,) = tmp_path.rglob("learner/bags")
    assert sorted(bag.name for bag in bags.glob("episode_*")) == [f"episode_{n:06d}" for n in range(3)]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}
    run()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")} == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--arm", "other"], "--arm must be one of"),
        (["--arm", "fosp_corrected"], "needs a person: --operator careful"),
        (["--operator", "greedy"], "--operator must be careful, got 'greedy'"),
        (["--operator", "careful", "--budget", "2"], "--budget is a share of the steps"),
        (["--scenario", "nowhere"], "no scenario 'nowhere'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(arguments: list[str], line: str) -> None:
    done = subprocess.run(
        [*FOSP, "--scenario", "safe_reach_transfer_goal_shape", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert line in done.stderr
