"""Our engine beside the real safety-gymnasium, live, with seeds that no recorded episode has.

The library is frozen and needs numpy < 2.4, so it gets a venv of its own beside this one, which is removed afterwards.
FOSP_SAFETY_GYMNASIUM_PYTHON names the Python of one that is there already.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from golden_episode import differences

from fosp_sim.task.safety_gym.engine import Engine
from fosp_sim.task.safety_gym.layout import COURSES

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PACKAGES = (
    "safety-gymnasium==1.0.0",
    "xmltodict",
    "gymnasium",
    "farama-notifications",
    "cloudpickle",
    "imageio",
    "numpy<2.4",
)
ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "tests" / "safety_gymnasium_peer.py"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a Python that has the library; skip the test when there is none to be had."""
    if "FOSP_SAFETY_GYMNASIUM_PYTHON" in os.environ:
        yield os.environ["FOSP_SAFETY_GYMNASIUM_PYTHON"]
        return
    folder = tmp_path_factory.mktemp("library") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    own = next(folder.glob("lib/python3*/site-packages"))
    (own / "beside.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    command = [python, "-m", "pip", "install", "-q", "--no-deps", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the library cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    yield python


@pytest.mark.parametrize("task", list(COURSES))
def test_an_episode_equals_the_library(task: str, library: str, tmp_path: Path) -> None:
    for seed in (11, 12):
        out = tmp_path / f"{seed}.npz"
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        command = [library, "-W", "ignore", str(PEER), str(out), task, str(seed), "400", "5"]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        with np.load(out) as golden:
            found = differences(task, golden)
        free = slice(0, int(found["first_push"]))
        assert found["layout"].max() == 0.0
        assert found["agent"][free].max(initial=0.0) <= 1e-12
        assert found["reward"][free].max(initial=0.0) <= 1e-12
        assert not found["cost"][free].any()
        assert found["agent"].max() <= 0.05


def test_the_library_runs_as_a_plugged_environment(library: str) -> None:
    robot = ROOT / "config" / "robots" / "sim_point.yaml"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in sorted((ROOT / "src").glob("*/")))}
    environment.pop("PYTHONHOME", None)
    command = [library, "-W", "ignore", str(PEER.with_name("plugged_safety_gymnasium.py")), str(robot), "5"]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["picture"] == [64, 64, 3]
    engine, expected = Engine(COURSES["point_goal1"]), []
    engine.reset(5)
    for decision in range(30):
        control = -1.0 + 2.0 * (0.5 + 0.5 * np.array([1.0, 2.0 * np.sin(decision) / 2.992]))  # its very rounding
        steps = [engine.step(control) for _ in range(4)]
        expected.append([sum(step.reward for step in steps), sum(step.cost for step in steps)])
    assert np.allclose(told["outcomes"], expected, atol=1e-9)
