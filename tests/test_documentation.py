"""Every command in the documentation is run as it stands there, made small; or it says what it needs to run.

The commands of a page run one after the other in one folder, so a page reads as it runs (tests/documented.py).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from documented import (
    PAGES,
    RESULTS,
    ROOT,
    SETTINGS,
    Command,
    commands,
    is_run_in,
    made_small,
    name_of,
    run,
    run_until,
    spans,
)
from typer.main import get_command

from fosp_cli.cli import app
from fosp_core.bundle.bundle import read_manifest, write_bundle

pytestmark = pytest.mark.timeout(1500)

EVERY = [command for page in PAGES for command in commands(page)]
SPANS = [command for page in PAGES for command in spans(page)]
DAY_ONE = "docs/day_one.md"
"""A page with a test of its own, which runs its commands exactly as they stand."""
HERE = {name_of(page): [c for c in commands(page) if not c.needs and not c.run_by] for page in PAGES}
MAKE_FOSP = ("demo", "bench")
"""Targets that are the fosp command of that name; they run here as such."""
LONG = (["bench"], ["commission"], ["eval"], ["pretrain"], ["finetune"], ["experiment"])
"""Commands of fosp that train, evaluate, or measure for minutes."""
MAKE_ELSEWHERE = {
    "test": ".ci/run",
    "test-all": ".ci/run",
    "day-one": ".github/workflows/weekly.yml",
    "faults": ".github/workflows/weekly.yml",
    "stream-test": ".github/workflows/weekly.yml",
    "bench-peers": ".github/workflows/weekly.yml",
    "soak": ".github/workflows/weekly.yml",
}
"""Target -> the file that runs it."""
MAKE_PARTS = {"test-unit": "test", "mutants": "test-all", "test-kilted": "test-all"}
"""Target -> the target that runs all that it runs, too."""
TIME = re.compile(r"\b(minutes?|hours?|days?)\b")
"""A command that needs time alone."""
MAPS = ("docs/architecture.md", "docs/algorithm.md")
"""Pages that lead a reader to files by their names."""


def named(command: Command) -> str:
    return f"{command.page}:{command.line} {command.text[:50]}"


def copy_bundle(bundle: Path, out: Path) -> None:
    """Write the networks of `bundle` to `out` under an id of its own."""
    manifest = read_manifest(bundle)
    changed = manifest.model_copy(update={"training": {**manifest.training, "copied_to": out.name}})
    write_bundle(out, changed, {name: bundle / name for name in manifest.files})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder as a reader of the page has it: a checkout, bundles of one's own and a robot of one's own."""
    for folder in ("config", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("my_bundle", "baseline", "other_baseline"):
        copy_bundle(ROOT / "models" / "safe_reach", tmp_path / "runs" / name)
    (tmp_path / SETTINGS).write_text(LITTLE)
    shutil.copy(ROOT / "config/robots/sim_arm.yaml", tmp_path / "config/robots/my_robot.yaml")
    return tmp_path


def run_until_active(arguments: list[str], folder: Path) -> None:
    """Assert that the graph comes up, and goes down clean when it is interrupted."""
    run_until(arguments, folder, lambda log: re.search(r"lifecycle_manager.*: active$", log, re.MULTILINE) is not None)


def run_doctor(arguments: list[str], folder: Path) -> None:
    """Assert that the doctor ends with its table: exit code 1 says that this machine lacks something."""
    run(arguments, folder, codes=(0, 1))


ANYWHERE = ("bench", "demo", "doctor")
"""Commands that need nothing that a page made before, and take long: what two pages name is run once."""


@pytest.fixture(scope="module")
def done_anywhere() -> list[list[str]]:
    return []


BAGS = {"docs/finetuning.md": ("runs/new_bags", "runs/bags")}
"""Page -> bags that its reader has recorded before."""
LITTLE = """
batch_size: 4
settling: {updates: 2, episodes: 4, batch_size: 4}
gate: {episodes: 4, calibration_episodes: 4, starts: 4, horizon: 2}
"""
"""Settings of fine-tuning: every part of it runs, for a moment."""
RUNS_ON: dict[str, Callable[[list[str], Path], None]] = {"up": run_until_active, "doctor": run_doctor}


def target(command: Command) -> str:
    """Return the target of a make command. AssertionError when the Makefile has none of it, or nothing runs it."""
    name = command.words[1]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{name}:", makefile, re.MULTILINE), f"the Makefile has no target {name}"
    if name in MAKE_FOSP:
        assert re.search(rf"^{name}: (setup|ready)\n\t@\./fosp {name}$", makefile, re.MULTILINE)
    else:
        whole = MAKE_PARTS.get(name, name)
        assert whole in MAKE_ELSEWHERE, f"no test and no workflow runs make {name}"
        runs = re.compile(rf"^[^#\n]*\bmake\b[^#\n]* {whole}(?![\w-])", re.MULTILINE)
        assert runs.search((ROOT / MAKE_ELSEWHERE[whole]).read_text()), f"{MAKE_ELSEWHERE[whole]} runs no make {whole}"
    return name


def command_of(arguments: list[str]) -> tuple[Any, list[str], list[str]]:
    """Return the parser of a fosp command, the command's names, and the arguments that are left for it to parse."""
    parser: Any = get_command(app)
    names: list[str] = []
    left = list(arguments)
    while hasattr(parser, "commands") and left and not left[0].startswith("-"):
        assert left[0] in parser.commands, f"fosp {' '.join(names)} has no command {left[0]}"
        names.append(left[0])
        parser = parser.commands[left.pop(0)]
    return parser, names, left


@pytest.mark.parametrize("command", [c for c in EVERY if not c.needs], ids=named)
def test_a_command_that_needs_something_says_so(command: Command) -> None:
    """`./fosp` and `make` run in a checkout, torchrun in its environment; before any other there has to be `needs`."""
    assert command.words[0] in ("./fosp", "make", "torchrun")
    if command.words[0] == "make":
        target(command)


@pytest.mark.parametrize("command", [c for c in EVERY if TIME.search(c.needs)], ids=named)
def test_only_a_page_of_results_has_commands_that_are_not_run_because_they_take_long(command: Command) -> None:
    assert command.page.startswith(RESULTS)


LINKING = [*PAGES, *(page for name in ("CONTRIBUTING.md", "CHANGELOG.md") if (page := ROOT / name).exists())]
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_every_link_leads_to_a_page_that_is_shipped_and_to_a_heading_of_it(page: Path) -> None:
    for path, heading in _LINK.findall(page.read_text()):
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), f"{path} is not shipped"
        assert linked.exists(), f"there is no {path}"
        assert not heading or heading in headings(linked), f"{linked.name} has no heading #{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", MAPS)
def test_every_file_that_a_map_of_the_code_names_exists(page: str) -> None:
    """A name may leave out the folders before it, and may hold `*`."""
    named = set(re.findall(r"(?<![\w./*-])[\w./*-]+\.(?:py|msg|yaml|toml)\b", (ROOT / page).read_text()))
    assert named
    missing = {name for name in named if not any((ROOT).glob(name)) and not any(_below_src(name))}
    assert not missing


def _below_src(name: str) -> Iterator[Path]:
    """Yield the files of the packages and the tests whose path ends in `name`."""
    for folder in ("src", "tests", "config"):
        yield from (ROOT / folder).rglob(name)


@pytest.mark.parametrize("command", [c for c in EVERY if c.parts[1]], ids=named)
def test_a_documented_command_has_the_options_that_it_is_given(command: Command) -> None:
    parser, names, left = command_of(made_small(command.parts[1]))
    parser.make_context(" ".join(names), left)


@pytest.mark.parametrize("command", SPANS, ids=named)
def test_a_command_in_a_sentence_has_the_options_that_it_is_given(command: Command) -> None:
    if command.words[0] == "make":
        target(command)
        return
    parser, _, left = command_of(command.parts[1])
    known = {option for parameter in parser.params for option in parameter.opts}
    assert {word for word in left if word.startswith("-")} <= known


@pytest.mark.parametrize("command", [c for c in EVERY if c.run_by], ids=named)
def test_the_test_that_is_said_to_run_a_command_runs_it(command: Command) -> None:
    assert is_run_in(command.parts[1], ROOT / command.run_by), f"{command.run_by} does not run {command.text}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six short episodes of the simulated arm."""
    folder = tmp_path_factory.mktemp("recorded")
    record = ["record", "--scenario", "safe_reach_train", "--demonstrator", "mixed", "--episodes", "6"]
    run([*record, "--out", "bags"], folder)
    return folder / "bags"


LONG_PAGES = ("docs/troubleshooting.md", "docs/lerobot.md")
"""Pages whose commands take long because there are many."""


def is_long(page: str, found: list[Command]) -> bool:
    """Return True for a page with a command that trains, evaluates or measures for minutes, even when made small."""
    return page in LONG_PAGES or any(c.words[0] == "torchrun" or c.parts[1][:1] in LONG for c in found)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=[pytest.mark.long] if is_long(name, found) else [])
        for name, found in HERE.items()
        if found and name != DAY_ONE
    ],
)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: str, checkout: Path, ros_environment: Any, done_anywhere: list[list[str]], request: pytest.FixtureRequest
) -> None:
    for bags in BAGS.get(page, ()):
        shutil.copytree(request.getfixturevalue("recorded"), checkout / bags)
    done: list[list[str]] = []
    for command in HERE[page]:
        program, given = command.parts
        if command.words[0] == "make":
            if target(command) not in MAKE_FOSP:
                continue  # MAKE_ELSEWHERE says what runs it
            program, given = ["./fosp"], [target(command)]
        arguments = [word.replace("~", str(checkout / "home")) for word in made_small(given)]
        if program != ["./fosp"]:
            run(arguments, checkout, program)
            continue
        seen = done_anywhere if arguments[0] in ANYWHERE else done
        if arguments not in seen:
            RUNS_ON.get(arguments[0], run)(arguments, checkout)
        seen.append(arguments)


def test_a_block_that_needs_something_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "    ./fosp a \\\n      b   # why\n    ./fosp c\n\n"
        "<!-- needs: a robot -->\n\n    ros2 launch x\n\n"
        "<!-- run by: tests/test_x.py -->\n\n    ./fosp d\n\n"
        "```yaml\n    no: command\n```\n\n<!-- no commands -->\n\n    output\n\n    a ──▶ b\n"
    )
    found = commands(page)
    assert [c.words for c in found] == [["./fosp", "a", "b"], ["./fosp", "c"], ["ros2", "launch", "x"], ["./fosp", "d"]]
    assert [c.needs for c in found] == ["", "", "a robot", ""]
    assert [c.run_by for c in found] == ["", "", "", "tests/test_x.py"]
    assert [c.line for c in found] == [1, 3, 7, 11]


def test_commands_in_sentences_are_found_and_those_in_blocks_are_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Say `./fosp a --b\nc ... d`, or `make x`;\n`fosp/topic` is none.\n\n    `fosp e`\n\n```\n`fosp f`\n```\n"
    )
    assert [(c.line, c.words) for c in spans(page)] == [(1, ["./fosp", "a", "--b", "c"]), (2, ["make", "x"])]


def test_what_starts_fosp_is_told_from_its_arguments() -> None:
    for text, program in (("./fosp a b", 1), ("torchrun -m fosp_cli.cli a b", 3), ("X=1 run robot fosp a b", 4)):
        words, arguments = Command("page", 1, text).parts
        assert (len(words), arguments) == (program, ["a", "b"])
    assert Command("page", 1, "ros2 run fosp_learner learner_node").parts == ([], [])


def test_a_test_that_runs_another_command_is_told_from_one_that_runs_it(tmp_path: Path) -> None:
    test = tmp_path / "test_x.py"
    test.write_text('CLI = "fosp_cli.cli"\nfosp("bundle", "announce", good)\nrun(["eval", "--bundle", x])\n')
    assert is_run_in(["bundle", "announce", "runs/x"], test)
    assert is_run_in(["eval", "--bundle", "runs/x"], test)
    assert not is_run_in(["bundle", "log"], test)
    assert not is_run_in(["eval", "--bundle", "runs/x", "--compare", "y"], test)


@pytest.mark.parametrize("name", ["nothing", "clean"])
def test_a_target_that_nothing_runs_is_none_to_tell_of(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        target(Command("page", 1, f"make {name}"))


def test_a_command_is_made_small_without_changing_what_it_does() -> None:
    given = ["record", "--scenario", "s.yaml", "--episodes", "4000", "--out", "runs/x"]
    assert made_small(given) == ["record", "--scenario", "s.yaml", "--out", "runs/x", "--episodes", "4"]
    assert made_small(["bench", "--quick"]) == ["bench", "--quick"]
    assert made_small(["pretrain", "a", "--out", "models/b"]) == [
        *("pretrain", "a", "--out", "runs/again_b"),
        *("--steps", "2"),
    ]
