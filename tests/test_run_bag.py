"""`fosp run`: a simulated robot drives a recorded demonstration again through the guard."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bag of one episode in an empty scene, which a simulated robot begins at the same place."""
    folder = tmp_path_factory.mktemp("recorded")
    scenario = folder / "empty.yaml"
    scenario.write_text(yaml.safe_dump({"task": "safe_reach", "obstacles": {"count": 0}}))
    record = ["record", "--scenario", str(scenario), "--demonstrator", "careful", "--episodes", "1"]
    assert run([*record, "--out", str(folder / "bags")]) == 0
    return folder / "bags" / "episode_000000"


def driven(ros_environment: Any, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fosp_cli.cli", "run", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=ros_environment.variables, capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_demonstration_is_driven_again_at_half_its_speed_and_ends_at_its_end(
    ros_environment: Any, recorded: Path, tmp_path: Path
) -> None:
    done = driven(ros_environment, tmp_path, recorded, "--simulate", "--yes", "--speed", "0.5")
    assert done.returncode == 0, done.stderr + done.stdout
    off = re.search(r"the robot stands, (\d\.\d+) m from the demonstration's end", done.stdout)
    assert off, done.stdout
    assert float(off[1]) < 0.03


@pytest.mark.long
def test_a_robot_that_stands_elsewhere_is_refused_and_may_drive_home_first(
    ros_environment: Any, recorded: Path, tmp_path: Path
) -> None:
    """The simulated robot begins where the demonstration began; the copy of the bag says that it began elsewhere."""
    from fosp_cli.commissioning.recorded_run import read_run
    from fosp_core.robot.config import read_robot

    content = yaml.safe_load(robot_path("sim_arm").read_text())
    x, y, z = read_run(recorded, read_robot(robot_path("sim_arm"))).poses[0][:3].tolist()
    content["home"] = {"position": [round(x + 0.06, 3), round(y, 3), round(z, 3)], "speed": 0.5}
    file = tmp_path / "sim_arm.yaml"
    file.write_text(yaml.safe_dump(content))
    moved = driven(ros_environment, tmp_path, recorded, "--robot", file, "--simulate", "--yes", "--home")
    assert moved.returncode == 1, moved.stdout
    away = re.search(r"the robot stands (0\.0\d+) m from the demonstration's start", moved.stderr)
    assert away, moved.stderr
    assert 0.04 < float(away[1]) < 0.08, "it went home, which is not where the demonstration began"
    content["home"]["position"] = [round(x + 0.015, 3), round(y, 3), round(z, 3)]
    file.write_text(yaml.safe_dump(content))
    arguments = (recorded, "--robot", file, "--simulate", "--yes", "--home", "--deviation", "0.1")
    done = driven(ros_environment, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr + done.stdout


def test_what_nobody_agreed_to_and_what_does_not_fit_is_refused(recorded: Path, tmp_path: Path, capsys: Any) -> None:
    def refused(*arguments: object) -> str:
        assert run(["run", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "--simulate" in refused(recorded, "--yes")
    assert "teleports" in refused(recorded), "a simulated robot's file is none of a real one"
    assert "not 'ur5e'" in refused(recorded, "--robot", "ur5e")
    assert "for a base" in refused(recorded, "--simulate", "--from-here")
    assert "has no home" in refused(recorded, "--simulate", "--home")
    assert "nothing" in refused(tmp_path / "nothing")
    slow = tmp_path / "sim_arm.yaml"
    slow.write_text(re.sub(r"scale: 0\.25", "scale: 0.1", robot_path("sim_arm").read_text()))
    assert "beyond the action's scale of 0.1" in refused(recorded, "--robot", slow, "--simulate")
    shutil.copytree(recorded, tmp_path / "nameless")
    metadata = tmp_path / "nameless" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("robot:", "robto:"))
    assert "--robot" in refused(tmp_path / "nameless")


def test_without_a_terminal_nothing_is_driven(ros_environment: Any, recorded: Path, tmp_path: Path) -> None:
    done = driven(ros_environment, tmp_path, recorded, "--simulate")
    assert done.returncode == 1, done.stdout
    assert "nothing was driven" in done.stderr
