"""`fosp demo`: the shipped bundle drives the simulated arm through the whole ROS graph, and the results say how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fosp_bringup.stack import default_bundle
from fosp_core.bundle.bundle import read_manifest


def test_the_demo_drives_an_episode_through_the_graph_and_writes_what_the_contract_says(
    ros_environment: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fosp_cli.cli", "demo", "--episodes", "1", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, env=ros_environment.variables, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["bundle_id"] == read_manifest(default_bundle("safe_reach")).id
    assert summary["scenario"]["task"] == "safe_reach"
    (episode,) = summary["episodes"]
    assert {"success", "cost", "steps", "vetoes"} <= episode.keys()
    assert 0 < episode["steps"] <= summary["scenario"]["max_steps"]
    assert summary["success_rate"] == float(episode["success"])
    assert summary["violation_rate"] == float(episode["cost"] > 0)
    latency = summary["image_to_command_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert (tmp_path / "demo" / "strip.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "demo").rglob("*.mcap"))
