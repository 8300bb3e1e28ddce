"""Every command in the documentation is run as it stands there, made small; or it says what it needs to run.

In Markdown a command is a line of an indented code block. A block that cannot run on a machine without robot, ROS or
Docker has `<!-- needs: WHAT -->` on a line before it; a block that holds no commands at all has `<!-- no commands -->`.
The commands of a page run one after the other in one folder, so a page reads as it runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from fosp_bringup.cli import app
from fosp_core.bundle import read_manifest, write_bundle

pytestmark = pytest.mark.timeout(1500)

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "src").glob("*/README.md")))

_MARK = re.compile(r"<!-- (?:needs: (?P<needs>.+)|no commands) -->")
_DRAWING = re.compile(r"[─▶▲│]|--\+|-->")

SMALL = {
    "record": {"--episodes": "4"},
    "pretrain": {"--steps": "2"},
    "finetune": {"--steps": "2"},
    "eval": {"--episodes": "1"},
    "demo": {"--episodes": "1"},
    "bench": {"--quick": ""},
}
"""Options by which a command does little, but all that it does."""
PLACEHOLDERS = {
    "OURS": "models/safe_reach",
    "BUNDLE": "models/safe_reach",
    "BASELINE": "runs/baseline",
    "OTHER_BASELINE": "runs/other_baseline",
}
"""Words that a reader replaces."""


@dataclass(frozen=True)
class Command:
    """One documented command."""

    page: str
    line: int
    text: str
    needs: str
    """What it needs that a checkout does not have; empty when it can run here."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


def commands(page: Path) -> list[Command]:
    """All commands of a page, in their order; continued lines are joined."""
    found: list[Command] = []
    for first, lines, mark in _blocks(page.read_text()):
        if mark is not None and mark["needs"] is None:
            continue
        if any(_DRAWING.search(line) for line in lines):
            continue
        needs = mark["needs"] if mark is not None else ""
        text, number = "", first
        for offset, line in enumerate(lines):
            text = f"{text} {line.strip()}".strip()
            if text.endswith("\\"):
                text = text[:-1].rstrip()
                continue
            if text:
                found.append(Command(_name(page), number, text, needs))
            text, number = "", first + offset + 1
    return found


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def _blocks(markdown: str) -> Iterator[tuple[int, list[str], re.Match[str] | None]]:
    """Line number, lines and mark of each indented code block; fenced ones hold files, not commands."""
    lines = markdown.splitlines()
    mark: re.Match[str] | None = None
    fenced, number = False, 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            fenced, mark = not fenced, None
        elif not fenced and _MARK.fullmatch(line):
            mark = _MARK.fullmatch(line)
        elif not fenced and line.startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield number + 1, [text for text in lines[number:end] if text.strip()], mark
            mark, number = None, end
            continue
        elif line.strip():
            mark = None
        number += 1


def made_small(words: list[str]) -> list[str]:
    """Arguments of `./fosp` with less to do, words that stand for something replaced, and shipped models left alone."""
    arguments = [PLACEHOLDERS.get(word, word) for word in words[1:]]
    small = {name: value for name, value in SMALL.get(arguments[0], {}).items() if value or name not in arguments}
    kept: list[str] = []
    skip = False
    for number, word in enumerate(arguments):
        if skip:
            skip = False
        elif small.get(word):
            skip = True
        elif number and arguments[number - 1] == "--out" and word.startswith("models/"):
            kept.append(f"runs/again_{Path(word).name}")
        else:
            kept.append(word)
    return [*kept, *(part for pair in small.items() for part in pair if part)]


EVERY = [command for page in PAGES for command in commands(page)]
FOSP = [command for command in EVERY if command.words[0] == "./fosp"]
HERE = {_name(page): [c for c in commands(page) if not c.needs] for page in PAGES}


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


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


def run(arguments: list[str], folder: Path) -> None:
    """One fosp command that ends by itself."""
    command = [sys.executable, "-m", "fosp_bringup.cli", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def run_until_active(arguments: list[str], folder: Path) -> None:
    """One that runs until it is interrupted: it comes up, and goes down clean."""
    log = folder / "up.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fosp_bringup.cli", *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not re.search(r"lifecycle_manager.*: active$", log.read_text(), re.MULTILINE):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
    assert code == 0, log.read_text()


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


@pytest.mark.parametrize("page", [name for name, found in HERE.items() if found])
def test_the_commands_of_a_page_run_one_after_the_other(page: str, checkout: Path, ros_environment: Any) -> None:
    done = []
    for command in HERE[page]:
        words = command.words
        if words[0] == "make":
            if words[1] not in ("demo", "bench"):
                continue
            words = ["./fosp", words[1]]
        arguments = [word.replace("~", str(checkout / "home")) for word in made_small(words)]
        if arguments not in done:
            RUNS_ON.get(arguments[0], run)(arguments, checkout)
        done.append(arguments)


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
