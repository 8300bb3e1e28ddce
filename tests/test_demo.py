"""`fosp demo`: the shipped bundle drives the simulated arm through the whole ROS graph, and the results say how."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from recording_rig import bare

from fosp_bringup.stack import default_bundle
from fosp_cli.cli import run
from fosp_core.bundle.bundle import read_manifest


def test_the_demo_shows_the_gate_at_work_and_writes_what_the_contract_says(
    ros_environment: Any, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "fosp_cli.cli", "demo", "--episodes", "4", "--out", str(out)]
    done = subprocess.run(command, env=bare(ros_environment.variables), capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["bundle_id"] == read_manifest(default_bundle("safe_reach")).id
    assert summary["scenario"]["task"] == "safe_reach"
    episodes = summary["episodes"]
    assert len(episodes) == 4
    for episode in episodes:
        assert {"success", "cost", "steps", "vetoes"} <= episode.keys()
        assert 0 < episode["steps"] <= summary["scenario"]["max_steps"]
    assert summary["success_rate"] == sum(episode["success"] for episode in episodes) / 4
    assert summary["violation_rate"] == sum(episode["cost"] > 0 for episode in episodes) / 4
    latency = summary["image_to_command_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert (out / "strip.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(out.rglob("*.mcap"))) == 4
    careless, covered = episodes[2], episodes[3]
    assert careless["vetoes"] >= careless["substitutions"] >= 1, "a veto and a substitute"
    assert any("the image shows nothing" in because for because in covered["stopped_because"])
    assert "the image shows nothing" in done.stdout
    assert "where to look next" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 200
    assert "\x1b" not in done.stdout, "a pipe gets plain text"
    assert len([line for line in done.stdout.splitlines() if "  step " in line]) == 4, (
        "one line of progress per episode"
    )


def test_a_second_demo_is_refused_and_leaves_the_results_of_the_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "9")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "summary.json").write_text("{}")
    holder = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from fosp_bringup.neighbours import sole_graph\n"
        "with sole_graph(listen_s=0): print('held', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    try:
        assert run(["demo", "--out", str(tmp_path / "demo")]) == 2
        assert f"another graph runs in ROS domain 9 on {socket.gethostname()} (process {first.pid}" in (
            capsys.readouterr().err
        )
        assert (tmp_path / "demo" / "summary.json").read_text() == "{}"
    finally:
        first.communicate()


def test_a_demo_in_another_domain_does_not_wipe_the_folder_of_one_that_runs(tmp_path: Path, capsys: Any) -> None:
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(["demo", "--out", str(tmp_path)]) == 2
    assert "another demo writes into it" in capsys.readouterr().err
