"""The real lerobot opens what `bags export lerobot` writes, and `bags import lerobot` takes what it writes.

The package and its torch take 6 GB and a Python of 3.12 or newer, so they get a venv of their own, which is removed
afterwards. FOSP_LEROBOT_PYTHON names the Python of one that is there already.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("pyarrow", reason="pip install -r requirements/lerobot.txt")
pytest.importorskip("av", reason="pip install -r requirements/lerobot.txt")

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run
from fosp_core.robot.config import read_robot
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import read_episodes
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

PACKAGE = "lerobot[dataset]==0.6.1"
NEEDED_BYTES = 15 * 10**9
"""Room for the wheels and for what they unpack to."""


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a Python that has lerobot; skip the test when there is none to be had."""
    if "FOSP_LEROBOT_PYTHON" in os.environ:
        yield os.environ["FOSP_LEROBOT_PYTHON"]
        return
    folder = tmp_path_factory.mktemp("lerobot")
    pyenv = sorted(str(path) for path in Path("~/.pyenv/versions").expanduser().glob("3.1[23].*/bin/python3"))
    newer = next((name for name in (sys.executable, "python3.12", "python3.13", *pyenv) if is_new_enough(name)), None)
    if newer is None:
        pytest.skip("lerobot 0.6 needs Python 3.12 or newer, and there is none")
    if shutil.disk_usage(folder).free < NEEDED_BYTES:
        pytest.skip(f"lerobot and its torch need {NEEDED_BYTES / 1e9:g} GB of disk")
    subprocess.run([newer, "-m", "venv", str(folder / "venv")], env=plain(), check=True)
    python = str(folder / "venv/bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", PACKAGE]
    done = subprocess.run(install, env=plain(), capture_output=True, text=True, timeout=1500, check=False)
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    yield python
    shutil.rmtree(folder, ignore_errors=True)


def plain() -> dict[str, str]:
    """Return this environment without the paths of the ROS wheels, which another Python must not load."""
    hidden = ("PYTHON", "LD_", "AMENT_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "HF_HUB_OFFLINE": "1"}


def is_new_enough(python: str) -> bool:
    ask = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"]
    if shutil.which(python) is None:
        return False
    return subprocess.run(ask, env=plain(), capture_output=True, check=False).returncode == 0


def peer(python: str, folder: Path, *arguments: str) -> None:
    """Run lerobot_peer.py, with lerobot's caches in `folder`."""
    script = str(Path(__file__).with_name("lerobot_peer.py"))
    environment = plain() | {"HF_HOME": str(folder / "hf"), "HOME": str(folder)}
    done = subprocess.run([python, script, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_lerobot_reads_an_exported_data_set_row_by_row(lerobot: str, tmp_path: Path) -> None:
    arm = read_robot(robot_path("sim_arm"))
    list(record_episodes(Scenario(task="safe_reach", seed=1, max_steps=8), arm, "careful", 3, tmp_path / "bags"))
    assert run(["bags", "export", "lerobot", str(tmp_path / "bags"), "--out", str(tmp_path / "set")]) == 0
    peer(lerobot, tmp_path, "read", str(tmp_path / "set"), str(tmp_path / "seen.json"))
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert (seen["episodes"], seen["fps"], set(seen["tasks"])) == (3, 40, {"safe_reach"})
    assert seen["window"] == [[2, 3], [2, 3, 240, 320]]
    full = ObservationSpec(cameras=(CameraSpec(height=240, width=320),))
    at = np.array(seen["episode"])
    numbers = {key: np.array(rows) for key, rows in seen["numbers"].items()}
    for number in range(3):
        (episode,) = read_episodes(tmp_path / f"bags/episode_00000{number}", full, arm, 0.025)
        rows = at == number
        np.testing.assert_allclose(numbers["action"][rows], episode.action * 0.25, atol=1e-6)
        np.testing.assert_allclose(numbers["next.reward"][rows][:-1, 0], episode.reward[1:], atol=1e-6)
        assert numbers["next.done"][rows][:, 0].tolist() == [0.0] * (rows.sum() - 1) + [1.0]
        # Its own colour conversion is darker by 1.5 of 255 than the recorded images.
        np.testing.assert_allclose(np.array(seen["brightness"])[rows], episode.images.mean((1, 2, 3)), atol=4.0)
    for key, values in numbers.items():
        np.testing.assert_allclose(seen["mean"][key], values.mean(0), atol=1e-5)


def test_a_data_set_that_lerobot_wrote_is_imported(lerobot: str, tmp_path: Path) -> None:
    peer(lerobot, tmp_path, "write", str(tmp_path / "set"))
    axes = {"linear.x": {"name": "x.vel"}, "angular.z": {"name": "theta.vel", "factor": math.pi / 180}}
    mapping = {
        "cameras": [{"feature": "observation.images.front"}],
        "action": {"kind": "velocity", "frame_id": "base_link", "axes": axes},
        "feedback": {"reward": "next.reward", "success": "next.success", "cost": "never"},
    }
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    command = ["bags", "import", "lerobot", str(tmp_path / "set"), "--robot", "sim_base"]
    assert run([*command, "--mapping", str(tmp_path / "mapping.yaml"), "--out", str(tmp_path / "bags")]) == 0
    base = read_robot(robot_path("sim_base"))
    for number, rows in enumerate((9, 7)):
        (episode,) = read_episodes(tmp_path / f"bags/episode_00000{number}", ObservationSpec(), base, 0.025)
        assert episode.success
        assert episode.reward.sum() == rows
        np.testing.assert_allclose(episode.action[:-1, 0] * 0.5, [0.1 * (r % 3) for r in range(rows - 1)], rtol=1e-4)
        np.testing.assert_allclose(episode.action[:-1, 1] * 1.5, math.radians(30.0 * number), rtol=1e-4)
        shown = [40 + 60 * number + 5 * r for r in range(rows)]
        np.testing.assert_allclose(episode.images.mean((1, 2, 3, 4)), shown, atol=3.0)
