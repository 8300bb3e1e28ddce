"""`fosp bags check` on bags of the simulator."""

import json
import shutil
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


def test_every_remark_is_whole_at_80_columns_and_in_the_json(bags: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for bag in bags.iterdir():
        metadata = bag / "metadata.yaml"
        metadata.write_text(metadata.read_text().replace("/arm/twist_command", "/arm/some_other_command"))
    assert run(["bags", "check", str(bags), "--robot", "sim_arm", "--json", str(tmp_path / "out" / "bags.json")]) == 2
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "bags.json").read_text())
    assert (report["robot"], report["usable"], len(report["bags"])) == ("sim_arm", 0, 2)
    for bag in report["bags"]:
        assert "topic arm/twist_command is missing (there are: /arm/some_other_command" in bag["problem"]
        assert f"{bag['bag']}: {bag['problem']}" in printed.splitlines()
    assert all(len(line) <= 80 for line in printed.splitlines() if line[:1] in "┏┃┡│└")


def test_the_json_tells_what_was_measured(bags: Path, tmp_path: Path):
    assert run(["bags", "check", str(bags), "--json", str(tmp_path / "bags.json")]) == 0
    (first, _) = json.loads((tmp_path / "bags.json").read_text())["bags"]
    clocks = {clock["topic"]: clock for clock in first["clocks"]}
    assert clocks["camera/color/image_raw"]["rate_hz"] == pytest.approx(40, rel=0.01)
    assert abs(clocks["fosp/feedback"]["lag_s"]) < 0.05
    assert (first["frames"], first["steps"], first["robot"]) == ({"used": 6, "recorded": 11}, 5, "sim_arm")


def test_a_given_robot_is_taken_and_each_bag_has_its_line(bags: Path, capsys):
    """The first bag holds nothing of a robot."""
    (bags / "a" / "metadata.yaml").parent.mkdir()
    shutil.copy(next((bags / "episode_000000").glob("*.mcap")), bags / "a" / "a.mcap")
    first = bags / "episode_000000" / "metadata.yaml"
    first.write_text(first.read_text().replace("/arm/twist_command", "/arm/none").replace("sim_arm", "''"))
    assert run(["bags", "check", str(bags), "--robot", "sim_arm"]) == 2
    printed = capsys.readouterr()
    assert "say which with --robot" not in printed.err
    assert "2 of 3 bags can be trained on" in printed.out


def test_bags_that_are_cut_off_or_single_files_are_shown_as_they_are_checked(bags: Path, tmp_path: Path, capsys):
    (cut,) = (bags / "episode_000001").glob("*.mcap")
    cut.write_bytes(cut.read_bytes()[:-40])
    (cut.parent / "metadata.yaml").unlink()
    assert run(["bags", "check", str(cut.parent), str(bags / "episode_000000"), "--robot", "sim_arm"]) == 0
    for bag in (cut.parent, cut, next((bags / "episode_000000").glob("*.mcap"))):
        assert run(["bags", "show", str(bag), "--out", str(tmp_path / "sheet.png")]) == 0
        (tmp_path / "sheet.png").unlink()
    damaged = bags / "episode_000002"
    damaged.mkdir()
    (damaged / "x.mcap").write_bytes(b"text")
    assert run(["bags", "show", str(bags), "--out", str(tmp_path / "sheet.png")]) == 2
    assert (tmp_path / "sheet.png").is_file()
    assert "episode_000002: x.mcap is no MCAP file" in capsys.readouterr().err
