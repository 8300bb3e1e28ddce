"""Every command in the documentation is run as it stands there, made small; or it says what it needs to run.

The commands of a page run one after the other in one folder, so a page reads as it runs (tests/documented.py).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented import PAGES, ROOT, Command, commands, made_small, name_of, run, run_until
from typer.main import get_command

from fosp_bringup.cli import app
from fosp_core.bundle import read_manifest, write_bundle

pytestmark = pytest.mark.timeout(1500)

EVERY = [command for page in PAGES for command in commands(page)]
FOSP = [command for command in EVERY if command.words[0] == "./fosp"]
DAY_ONE = "docs/day_one.md"
"""Has a test of its own, which runs its commands exactly as they stand."""
HERE = {name_of(page): [c for c in commands(page) if not c.needs] for page in PAGES}


def named(command: Command) -> str:
    return f"{command.page}:{command.line} {command.text[:50]}"


def copy_bundle(bundle: Path, out: Path) -> None:
    """The same networks under an id of its own."""
    manifest = read_manifest(bundle)
    changed = manifest.model_copy(update={"training": {**manifest.training, "copied_to": out.name}})
    write_bundle(out, changed, {name: bundle / name for name in manifest.files})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a reader has who came as far as this page: a checkout, a bundle of one's own and a robot of one's own."""
    for folder in ("config", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("my_bundle", "baseline", "other_baseline"):
        copy_bundle(ROOT / "models" / "safe_reach", tmp_path / "runs" / name)
    shutil.copy(ROOT / "config/robots/sim_arm.yaml", tmp_path / "config/robots/my_robot.yaml")
    return tmp_path


def run_until_active(arguments: list[str], folder: Path) -> None:
    """It comes up, and goes down clean when it is interrupted."""
    run_until(arguments, folder, lambda log: re.search(r"lifecycle_manager.*: active$", log, re.MULTILINE) is not None)


ANYWHERE = ("bench", "demo", "doctor")
"""They need nothing that a page made before, and take long: what two pages name is run once."""


@pytest.fixture(scope="module")
def done_anywhere() -> list[list[str]]:
    return []


RUNS_ON: dict[str, Callable[[list[str], Path], None]] = {"up": run_until_active}


@pytest.mark.parametrize("command", [c for c in EVERY if not c.needs], ids=named)
def test_a_command_that_needs_something_says_so(command: Command) -> None:
    """`./fosp` and `make` run in a checkout; before any other there has to be `<!-- needs: ... -->`."""
    assert command.words[0] in ("./fosp", "make")
    if command.words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert command.words[1] in targets


@pytest.mark.parametrize("command", FOSP, ids=named)
def test_a_documented_command_has_the_options_that_it_is_given(command: Command) -> None:
    parser: Any = get_command(app)
    arguments = made_small(command.words)
    names: list[str] = []
    while hasattr(parser, "commands"):
        assert arguments[0] in parser.commands, f"fosp {' '.join(names)} has no command {arguments[0]}"
        names.append(arguments[0])
        parser = parser.commands[arguments.pop(0)]
    parser.make_context(" ".join(names), arguments)


@pytest.mark.parametrize("page", [name for name, found in HERE.items() if found and name != DAY_ONE])
def test_the_commands_of_a_page_run_one_after_the_other(
    page: str, checkout: Path, ros_environment: Any, done_anywhere: list[list[str]]
) -> None:
    done: list[list[str]] = []
    for command in HERE[page]:
        words = command.words
        if words[0] == "make":
            if words[1] not in ("demo", "bench"):
                continue
            words = ["./fosp", words[1]]
        arguments = [word.replace("~", str(checkout / "home")) for word in made_small(words)]
        seen = done_anywhere if arguments[0] in ANYWHERE else done
        if arguments not in seen:
            RUNS_ON.get(arguments[0], run)(arguments, checkout)
        seen.append(arguments)


def test_a_block_that_needs_something_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "    ./fosp a \\\n      b   # why\n    ./fosp c\n\n"
        "<!-- needs: a robot -->\n\n    ros2 launch x\n\n"
        "```yaml\n    no: command\n```\n\n<!-- no commands -->\n\n    output\n\n    a ──▶ b\n"
    )
    found = commands(page)
    assert [c.words for c in found] == [["./fosp", "a", "b"], ["./fosp", "c"], ["ros2", "launch", "x"]]
    assert [c.needs for c in found] == ["", "", "a robot"]
    assert [c.line for c in found] == [1, 3, 7]


def test_a_command_is_made_small_without_changing_what_it_does() -> None:
    words = ["./fosp", "record", "--scenario", "s.yaml", "--episodes", "4000", "--out", "runs/x"]
    assert made_small(words) == ["record", "--scenario", "s.yaml", "--out", "runs/x", "--episodes", "4"]
    assert made_small(["./fosp", "bench", "--quick"]) == ["bench", "--quick"]
    assert made_small(["./fosp", "pretrain", "a", "--out", "models/b"]) == [
        *("pretrain", "a", "--out", "runs/again_b"),
        *("--steps", "2"),
    ]
