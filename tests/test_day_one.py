"""Day one by the documentation alone: the commands of docs/day_one.md, exactly as they stand, in one folder.

A scripted gamepad takes the person's place. It costs minutes, so it runs only when it is asked for: make day-one.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from documented import ROOT, Command, commands, run, run_until

pytestmark = [pytest.mark.day_one, pytest.mark.timeout(3600)]

PAGE = [command for command in commands(ROOT / "docs" / "day_one.md") if not command.needs]
DRIVEN = 2
"""Episodes that the bundle drives before the reader presses Ctrl-C."""


def bags(folder: Path) -> list[Path]:
    return sorted(folder.glob("episode_*"))


def record(arguments: list[str], folder: Path, domain_id: int) -> None:
    """A person with a gamepad records all episodes; the command ends by itself."""
    from scripted_gamepad import ScriptedGamepad

    scenario = folder / arguments[arguments.index("--scenario") + 1]
    wanted = int(arguments[arguments.index("--episodes") + 1])
    out = folder / arguments[arguments.index("--out") + 1]
    with ScriptedGamepad(scenario, ROOT / "config/robots/sim_arm.yaml", domain_id):
        run(arguments, folder)
    assert len(bags(out)) >= wanted, "one that began while the command ended may be there, too"


def drive(arguments: list[str], folder: Path) -> None:
    """The graph runs until it is active, and has driven some episodes if they are recorded."""
    out = folder / arguments[arguments.index("--record") + 1] if "--record" in arguments else None

    def done(log: str) -> bool:
        if out is not None:
            return len(bags(out)) >= DRIVEN
        return re.search(r"lifecycle_manager.*: active$", log, re.MULTILINE) is not None

    run_until(arguments, folder, done, timeout_s=240.0)


def test_the_commands_of_the_page_lead_from_a_gamepad_to_a_bundle_that_drives(
    tmp_path: Path, ros_environment: Any
) -> None:
    for name in ("config", "models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for command in PAGE:
        _run(command, tmp_path, ros_environment.domain_id)


def _run(command: Command, folder: Path, domain_id: int) -> None:
    arguments = command.words[1:]
    if arguments[0] == "record":
        record(arguments, folder, domain_id)
    elif arguments[0] == "up":
        drive(arguments, folder)
    else:
        run(arguments, folder)
