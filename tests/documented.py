"""Commands in the documentation: found, told from those that cannot run here, made small, and run.

In Markdown a command is a line of an indented code block. A block that cannot run on a machine without robot, ROS or
Docker has `<!-- needs: WHAT -->` on a line before it, one that another test runs `<!-- run by: tests/... -->`, and one
that holds no commands at all `<!-- no commands -->`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "src").glob("*/README.md")))

_MARK = re.compile(r"<!-- (?:needs: (?P<needs>.+)|run by: (?P<test>\S+)|no commands) -->")
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
        if mark is not None and mark["test"] is not None:
            assert (ROOT / mark["test"]).is_file(), f"{page}: {mark['test']} is to run a command, but is not there"
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
            if shlex.split(text, comments=True):
                found.append(Command(name_of(page), number, text, needs))
            text, number = "", first + offset + 1
    return found


def name_of(page: Path) -> str:
    """Path of a page from the root of the checkout."""
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


def run(arguments: list[str], folder: Path) -> None:
    """One fosp command that ends by itself, in `folder`; AssertionError with its output when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "fosp_bringup.cli", *arguments],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def run_until(arguments: list[str], folder: Path, done: Callable[[str], bool], timeout_s: float = 120.0) -> None:
    """One that runs until it is interrupted, which it is when `done`, called with its output so far, says so."""
    log = folder / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fosp_bringup.cli", *arguments],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + timeout_s
            while process.poll() is None and not done(log.read_text(errors="replace")):
                assert time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(0.1)
        finally:
            ended = process.poll() is not None
            if not ended:
                process.send_signal(signal.SIGINT)
            code = process.wait(60)
    assert code == 0, log.read_text()[-4000:]
    assert not ended or done(log.read_text(errors="replace")), "ended by itself: " + log.read_text()[-4000:]


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
