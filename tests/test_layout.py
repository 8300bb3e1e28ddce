"""The ground plan of src: rooms that a reader can survey, and docstrings that are sentences."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("src/*/setup.py"))
MODULES = sorted(path for package in PACKAGES for path in (package / package.name).rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
FRAGMENT = re.compile(r"(Of|What|Whether)\b|\.\.\.")
"""Beginnings of docstrings that are no sentence, or that go on with the one above."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src"))


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_has_at_most_fifteen_rooms(folder: Path) -> None:
    rooms = [path.name for path in folder.iterdir() if path.suffix == ".py" and path.name != "__init__.py"]
    rooms += [path.name for path in folder.iterdir() if (path / "__init__.py").is_file()]
    assert len(rooms) <= 15, sorted(rooms)


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_a_module_is_long_enough_to_be_a_subject() -> None:
    lengths = [len(path.read_text().splitlines()) for path in MODULES if path.name != "__init__.py"]
    assert 120 <= median(lengths) <= 250


def test_a_class_name_exists_once() -> None:
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_docstring_is_a_fragment() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value.value[:60]!r}"
        for path in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("scripts/*.py")])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if FRAGMENT.match(node.value.value)
    ]
    assert found == []


@pytest.mark.parametrize("package", [*PACKAGES, ROOT / "src/fosp_msgs"], ids=lambda path: path.name)
def test_a_package_says_what_it_is_for(package: Path) -> None:
    assert (package / "README.md").is_file()
