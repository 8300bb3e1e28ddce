"""Day one by the documentation alone: the commands of docs/day_one.md, exactly as they stand, in a fresh clone.

A scripted gamepad takes the person's place. It costs minutes, so it runs only when it is asked for: make day-one.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from documented import ROOT, Command, commands, run, run_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

PAGE = [command for command in commands(ROOT / "docs" / "day_one.md") if not command.needs]
DRIVEN = 2
"""Episodes that the bundle drives before the reader presses Ctrl-C."""
OURS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "ROS_DISTRO", "VIRTUAL_ENV")
"""Variables of the test's own environment (scripts/env.sh) that a reader's terminal does not have."""


def fosp() -> list[str]:
    """`./fosp` in a terminal in which nothing was sourced."""
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    return ["env", *(f"--unset={name}" for name in OURS), f"PATH={path}", "./fosp"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the last commit; it finds the installed packages and the built messages of this checkout."""
    folder, git_config = tmp_path / "fosp", tmp_path / "gitconfig"
    git_config.write_text("[safe]\n    directory = *\n")  # the checkout may be another user's
    clone = ["git", "clone", "--quiet", str(ROOT), str(folder)]
    subprocess.run(clone, check=True, timeout=120, env={**os.environ, "GIT_CONFIG_GLOBAL": str(git_config)})
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    shutil.copytree(ROOT / "install", folder / "install", symlinks=True)
    # `make setup` installs what is older than the lists it is made of, which are as new as the clone.
    installed_s = (folder / ".venv" / ".installed").stat().st_mtime
    for name in subprocess.check_output(["git", "ls-files"], cwd=folder, text=True).splitlines():
        os.utime(folder / name, (installed_s - 1, installed_s - 1), follow_symlinks=False)
    os.utime(folder / "install" / ".built", (installed_s + 1, installed_s + 1))
    assert subprocess.run(["make", "-q", "setup"], cwd=folder, check=False).returncode == 0, "it would install anew"
    return folder


def bags(folder: Path) -> list[Path]:
    return sorted(folder.glob("episode_*"))


def record(arguments: list[str], folder: Path, domain_id: int) -> None:
    """A person with a gamepad records all episodes; the command ends by itself."""
    from scripted_gamepad import ScriptedGamepad

    scenario = folder / arguments[arguments.index("--scenario") + 1]
    wanted = int(arguments[arguments.index("--episodes") + 1])
    out = folder / arguments[arguments.index("--out") + 1]
    with ScriptedGamepad(scenario, ROOT / "config/robots/sim_arm.yaml", domain_id):
        run(arguments, folder, fosp())
    assert len(bags(out)) >= wanted, "one that began while the command ended may be there, too"


def announce(arguments: list[str], folder: Path) -> bool:
    """In another terminal: the running graph takes the bundle over. Whether it keeps it is the robot's to say."""
    done = subprocess.run([*fosp(), *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    said = done.stdout + done.stderr
    assert "makes the decisions from now on, on trial" in said, said
    assert said.strip().endswith("stays") == (done.returncode == 0), said
    assert ("rolled back" in said) == (done.returncode == 1), said
    return True


def drive(arguments: list[str], folder: Path, beside: Command | None = None) -> None:
    """The graph runs until it is active, has driven some episodes if they are recorded, and `beside` has been run."""
    out = folder / arguments[arguments.index("--record") + 1] if "--record" in arguments else None

    def done(log: str) -> bool:
        if out is not None:
            return len(bags(out)) >= DRIVEN
        active = re.search(r"lifecycle_manager.*: active$", log, re.MULTILINE) is not None
        return active and (beside is None or announce(beside.words[1:], folder))

    run_until(arguments, folder, done, timeout_s=240.0, program=fosp())


def test_the_commands_of_the_page_lead_from_a_gamepad_to_a_bundle_that_drives(
    clone: Path, ros_environment: Any
) -> None:
    for command, following in itertools.zip_longest(PAGE, PAGE[1:]):
        beside = following if following is not None and following.words[1:3] == ["bundle", "announce"] else None
        _run(command, clone, ros_environment.domain_id, beside)


def _run(command: Command, folder: Path, domain_id: int, beside: Command | None) -> None:
    assert command.words[0] == "./fosp"
    arguments = command.words[1:]
    if arguments[:2] == ["bundle", "announce"]:
        return  # was run beside the graph of the command before it
    if arguments[0] == "record":
        record(arguments, folder, domain_id)
    elif arguments[0] == "up":
        drive(arguments, folder, beside)
    else:
        run(arguments, folder, fosp())
