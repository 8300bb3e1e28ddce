"""Find the commands in the documentation, tell those that cannot run here, make the others small, and run them.

In Markdown a command is a line of an indented code block. A block that cannot run on a machine without robot, ROS or
Docker has `<!-- needs: WHAT -->` on a line before it, one that another test runs `<!-- run by: tests/... -->`, and one
that holds no commands at all `<!-- no commands -->`. In a sentence a command is a `span` that begins with fosp or make.
A page of docs/results may also need time: `<!-- needs: hours -->`. A guide may not.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "src").glob("*/README.md")))
RESULTS = "docs/results/"
"""Pages below it tell what was measured; their commands may take hours."""

_MARK = re.compile(r"<!-- (?:needs: (?P<needs>.+)|run by: (?P<test>\S+)|no commands) -->")
_DRAWING = re.compile(r"[─▶▲│]|--\+|-->")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    .*$", re.MULTILINE)
_SPAN = re.compile(r"`((?:(?:\./)?fosp|make) [^`]+)`")
CLI = "fosp_cli.cli"
_STARTS_FOSP = re.compile(rf"(?:\.\.?/)*fosp|{re.escape(CLI)}")

SETTINGS = "small.yaml"
"""Settings of fine-tuning by which it does little; the folder that the commands run in holds it."""
SMALL = {
    "record": {"--episodes": "4"},
    "pretrain": {"--steps": "2"},
    "finetune": {"--steps": "2", "--config": SETTINGS},
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
    needs: str = ""
    """Needed by the command, and not there in a checkout; empty when it can run here."""
    run_by: str = ""
    """The test that runs it, a path from the root of the checkout; empty when its page is run."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def parts(self) -> tuple[list[str], list[str]]:
        """Return the words that start fosp, and fosp's arguments; both are empty for another command."""
        words = self.words
        number = next((n for n, word in enumerate(words) if _STARTS_FOSP.fullmatch(word)), None)
        return ([], []) if number is None else (words[: number + 1], words[number + 1 :])


def commands(page: Path) -> list[Command]:
    """Return all commands of a page, in their order; continued lines are joined."""
    found: list[Command] = []
    for first, lines, mark in _blocks(page.read_text()):
        if (mark is not None and mark["needs"] is mark["test"] is None) or any(map(_DRAWING.search, lines)):
            continue
        needs, run_by = ("", "") if mark is None else (mark["needs"] or "", mark["test"] or "")
        text, number = "", first
        for offset, line in enumerate(lines):
            text = f"{text} {line.strip()}".strip()
            if text.endswith("\\"):
                text = text[:-1].rstrip()
                continue
            if shlex.split(text, comments=True):
                found.append(Command(name_of(page), number, text, needs, run_by))
            text, number = "", first + offset + 1
    return found


def spans(page: Path) -> list[Command]:
    """Return the commands inside of sentences, up to the `...` that stands for what is left out."""
    prose = _INDENTED.sub("", _FENCED.sub(lambda block: "\n" * block[0].count("\n"), page.read_text()))
    return [
        Command(name_of(page), prose.count("\n", 0, found.start()) + 1, " ".join(found[1].split("...")[0].split()))
        for found in _SPAN.finditer(prose)
    ]


def is_run_in(arguments: list[str], test: Path) -> bool:
    """Return whether one call, list or tuple of a test holds fosp's sub-commands and options in `arguments`."""
    source = test.read_text()
    names = list(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), arguments))
    options = {word for word in arguments if word.startswith("--")}
    for node in ast.walk(ast.parse(source)):
        parts = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.List | ast.Tuple) else []
        texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
        starts = (texts[n : n + len(names)] == names for n in range(len(texts)))
        if CLI in source and any(starts) and options <= set(texts):
            return True
    return False


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the checkout."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def _blocks(markdown: str) -> Iterator[tuple[int, list[str], re.Match[str] | None]]:
    """Yield line number, lines and mark of each indented code block; fenced ones hold files, not commands."""
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


def made_small(given: list[str]) -> list[str]:
    """Return arguments of fosp with less to do, placeholders replaced, and shipped models left alone."""
    arguments = [PLACEHOLDERS.get(word, word) for word in given]
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


FOSP = (sys.executable, "-m", CLI)


def run(arguments: list[str], folder: Path, program: Sequence[str] = FOSP, codes: Sequence[int] = (0,)) -> None:
    """Run a fosp command that ends by itself, in `folder`.

    AssertionError, with its output, when its exit code is none of `codes`.
    """
    done = subprocess.run(
        [*program, *arguments],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode in codes, f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def run_until(
    arguments: list[str],
    folder: Path,
    done: Callable[[str], bool],
    timeout_s: float = 120.0,
    program: Sequence[str] = FOSP,
) -> None:
    """Run a command until `done`, called with its output so far, returns True; then interrupt it."""
    log = folder / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*program, *arguments],
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
