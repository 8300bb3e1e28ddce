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
FOSP = [sys.executable, "-m", "fosp_bringup.cli", "experiment", "transfer"]


@pytest.mark.timeout(300)
def test_one_episode_of_the_offline_arm_gives_figures_and_is_not_run_twice(
    tmp_path: Path, ros_environment: Any
) -> None:
    scenario = tmp_path / "short.yaml"
    described = yaml.safe_load((CONFIG / "scenarios" / "safe_reach_transfer_goal_shape.yaml").read_text())
    scenario.write_text(yaml.safe_dump(described | {"max_steps": 15}))
    command = [*FOSP, "--scenario", str(scenario), "--arm", "offline", "--seeds", "1", "--episodes", "1"]
    command += ["--evaluation-episodes", "1", "--out", str(tmp_path / "out")]

    def run() -> dict[str, Any]:
        done = subprocess.run(command, env=ros_environment.variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr + done.stdout
        result: dict[str, Any] = json.loads((tmp_path / "out" / "transfer.json").read_text())
        return result

    figures = run()
    (row,) = figures["table"]
    assert (row["arm"], row["seeds"]) == ("offline", 1)
    assert 0.0 <= row["success_after"]["rate"] <= 1.0
    assert figures["trials"][0]["during"]["episodes"] == 1
    trial = next((tmp_path / "out").rglob("trial.json"))
    before = trial.stat().st_mtime_ns
    run()
    assert trial.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--arm", "other"], "--arm must be one of"), (["--scenario", "nowhere"], "no scenario 'nowhere'")],
)
def test_what_cannot_be_run_is_refused_in_one_line(arguments: list[str], line: str) -> None:
    done = subprocess.run(
        [*FOSP, "--scenario", "safe_reach_transfer_goal_shape", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert line in done.stderr
