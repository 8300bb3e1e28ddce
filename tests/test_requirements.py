"""Every list of requirements resolves under its pins, for every Python and in every combination that is documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
WHEELS, UBUNTU = "constraints.txt", "constraints-ubuntu.txt"
"""The two sets of pins: for ROS from wheels on a Python of one's own, and for ROS from apt on Ubuntu 24.04."""
UBUNTU_NUMPY = "1.26.4"
"""The version of python3-numpy in Ubuntu 24.04."""
_PARTS = ("learner", "realsense", "sim", "lerobot", "console", "arm", "dev")
RESOLVED: dict[tuple[str, str], list[tuple[str, ...]]] = {
    **{(WHEELS, f"3.{minor}"): [("ros", "robot", "messages", *_PARTS), ("ros", "robot", "sim", "console")]
       for minor in (11, 12, 13)},
    (UBUNTU, "3.12"): [("ubuntu",), ("ubuntu", "realsense"), ("ubuntu", *_PARTS)],
}  # fmt: skip
"""(Pins, Python) -> lists that are installed together. All pins are alike, so a part of a set resolves as the whole."""
SOURCE_ONLY = {"empy": "3.3.4"}
"""Packages without a wheel, which pip cannot judge for another Python: an empty wheel of that version stands in."""
INSTALLING = [ROOT / "docker/Dockerfile", ROOT / ".github/workflows/ros.yml", *sorted((ROOT / "docs").rglob("*.md"))]
_COMMAND = re.compile(r"pip install (?P<lists>(?:[^`\n]|\\\n)*?)\s+-c\s+\S*?(?P<pins>constraints[\w-]*\.txt)")


def pins(name: str) -> dict[str, str]:
    """Return package -> version of a file of pins, in which a later line wins over an earlier one."""
    found: dict[str, str] = {}
    for line in (REQUIREMENTS / name).read_text().splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-c "):
            found.update(pins(text[3:].strip()))
        elif text:
            package, _, version = text.partition("==")
            found[package.strip().lower().replace("_", "-")] = version.strip()
    return found


def needed(name: str) -> dict[str, str]:
    """Return package -> what a list says of its version."""
    lines = (line.split("#")[0].strip() for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines())
    found = (re.match(r"([\w.-]+)(?:\[\w,]+\])?(.*)", line) for line in lines if line)
    return {match[1].lower().replace("_", "-"): match[2].strip() for match in found if match}


def commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return file, pins and lists of each pip command of pages, images and workflows."""
    return [
        (str(path.relative_to(ROOT)), found["pins"], tuple(re.findall(r"-r\s+\S*?(\w+)\.txt", found["lists"])))
        for path in INSTALLING
        for found in _COMMAND.finditer(path.read_text())
    ]


def test_ubuntus_pins_are_all_others_and_its_own_numpy() -> None:
    ubuntu, wheels = pins(UBUNTU), pins(WHEELS)
    assert {name: version for name, version in ubuntu.items() if wheels.get(name) != version} == {"numpy": UBUNTU_NUMPY}
    assert "numpy" not in wheels
    assert needed("ubuntu")["numpy"] == "<2"


def test_every_list_is_resolved_in_some_combination() -> None:
    lists = {path.stem for path in REQUIREMENTS.glob("*.txt") if not path.stem.startswith("constraints")}
    assert lists == {name for combinations in RESOLVED.values() for names in combinations for name in names}


def test_every_pip_command_of_pages_images_and_workflows_is_resolved() -> None:
    found = commands()
    assert {"docker/Dockerfile", ".github/workflows/ros.yml", "docs/robots/generic.md"} <= {
        path for path, _, _ in found
    }
    for path, constraints, lists in found:
        together = {
            name for (kind, _), some in RESOLVED.items() if kind == constraints for names in some for name in names
        }
        assert lists, path
        assert set(lists) <= together | {"LIST"}, f"{path}: nothing resolves {lists} under {constraints}"


def test_whatever_is_installed_for_ros_from_apt_keeps_its_numpy() -> None:
    """The robot's page, the images and the workflow of ROS from apt share one set of pins."""
    wrong = [
        (path, lists) for path, constraints, lists in commands()
        if (constraints != UBUNTU) != (path in ("docs/camera.md", "docs/lerobot.md"))
    ]  # fmt: skip
    assert not wrong
    for name in ("realsense", "lerobot"):
        assert "numpy" not in needed(name), "its pages serve both environments"


def test_each_package_is_pinned() -> None:
    pinned = pins(WHEELS)
    for name in ("learner", "realsense", "sim", "lerobot", "dev", "console", "robot", "ubuntu"):
        assert set(needed(name)) - {"numpy"} <= set(pinned), name


def stand_in(folder: Path, name: str, version: str) -> None:
    """Write a wheel without content."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        information = f"{name}-{version}.dist-info"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")


def resolve(lists: tuple[str, ...], constraints: str, python: str, folder: Path) -> Mapping[str, str]:
    """Return what pip would install. AssertionError when there is no answer; skip where no registry can be reached."""
    for name, version in SOURCE_ONLY.items():
        stand_in(folder, name, version)
    report = folder / "report.json"
    named = [word for name in lists for word in ("-r", str(REQUIREMENTS / f"{name}.txt"))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"),
            *("--only-binary=:all:", "--python-version", python, "--target", str(folder / "target")),
            *("--find-links", str(folder), "--report", str(report), *named, "-c", str(REQUIREMENTS / constraints)),
        ],
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    if done.returncode and "Failed to establish a new connection" in done.stderr:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "WARNING" not in line)
    found = (item["metadata"] for item in json.loads(report.read_text())["install"])
    return {item["name"].lower().replace("_", "-"): item["version"].split("+")[0] for item in found}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("constraints", "python", "lists"),
    [(constraints, python, lists) for (constraints, python), some in RESOLVED.items() for lists in some],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_pip_finds_an_answer(constraints: str, python: str, lists: tuple[str, ...], tmp_path: Path) -> None:
    found = resolve(lists, constraints, python, tmp_path)
    numpy = UBUNTU_NUMPY if constraints == UBUNTU else needed("ros")["numpy"].removeprefix("==")
    assert found["numpy"] == numpy
    pinned = pins(constraints)
    assert {name: version for name, version in found.items() if pinned.get(name, version) != version} == {}
