"""`fosp bags check` on bags of the simulator."""

from pathlib import Path

import pytest

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run
from fosp_core.robot.config import read_robot
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    scenario = Scenario(task="safe_reach", seed=1, max_steps=5)
    list(record_episodes(scenario, read_robot(robot_path("sim_arm")), "careful", 2, tmp_path / "bags"))
    return tmp_path / "bags"


def test_good_bags_are_shown_with_what_was_used_of_them(bags: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["bags", "check", str(bags)]) == 0
    out = capsys.readouterr().out
    assert "6/11" in out
    assert "11/11" in out
    assert "320x240" in out
    assert "2 of 2 bags can be trained on: 10 steps" in out


def test_one_bag_that_cannot_be_used_is_one_line_and_the_others_are_still_shown(bags: Path, capsys):
    (damaged,) = (bags / "episode_000001").glob("*.mcap")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert run(["bags", "check", str(bags)]) == 2
    printed = capsys.readouterr()
    assert "1 of 2 bags can be trained on" in printed.out
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("fosp: episode_000001: episode_000001.mcap ends too early")


def test_a_recording_that_was_cut_off_is_used_and_said(bags: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    (cut,) = (bags / "episode_000001").glob("*.mcap")
    cut.write_bytes(cut.read_bytes()[:-40])
    (cut.parent / "metadata.yaml").unlink()
    assert run(["bags", "check", str(bags)]) == 0
    assert "cut off mid-write" in capsys.readouterr().out
