"""fosp_bringup installs the launch files, configurations and models of the repository, however the repository came."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = ("launch", "config", "models")
PACKAGE = "src/fosp_bringup"


def files(folder: Path) -> set[str]:
    """Relative paths of all files below, those of Python's cache apart."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


def unpacked(out: Path, *folders: str) -> Path:
    """These folders of the checkout from a zip, as it is unpacked where there are no links: one becomes a text file."""
    with zipfile.ZipFile(out / "checkout.zip", "w") as archive:
        for folder in folders:
            for path in (ROOT / folder).rglob("*"):
                name = str(path.relative_to(ROOT))
                if path.is_symlink():
                    archive.writestr(name, os.readlink(path))
                elif path.is_file() and "__pycache__" not in path.parts:
                    archive.write(path, name)
    with zipfile.ZipFile(out / "checkout.zip") as archive:
        archive.extractall(out / "checkout")
    return out / "checkout"


def colcon_build(workspace: Path, sources: Path, *options: str) -> subprocess.CompletedProcess[str]:
    workspace.mkdir()
    command = ["colcon", "build", "--base-paths", str(sources), "--packages-select", "fosp_bringup", *options]
    return subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(autouse=True)
def needs_colcon() -> None:
    if shutil.which("colcon") is None:
        pytest.skip("colcon is not installed")


@pytest.mark.parametrize("options", [(), ("--symlink-install",)], ids=["copied", "linked"])
def test_a_build_from_an_unpacked_zip_installs_what_the_stack_reads(tmp_path: Path, options: tuple[str, ...]) -> None:
    sources = unpacked(tmp_path, PACKAGE, *INSTALLED)
    done = colcon_build(tmp_path / "workspace", sources, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    share = tmp_path / "workspace/install/fosp_bringup/share/fosp_bringup"
    for folder in INSTALLED:
        assert files(share / folder) == files(ROOT / folder) != set()
    assert {path.name for path in (tmp_path / "workspace").iterdir()} == {"build", "install", "log"}


@pytest.mark.parametrize(("others", "missing"), [((), "launch"), (("launch", "config"), "models")])
def test_a_build_without_the_rest_of_the_repository_fails_in_one_line(
    tmp_path: Path, others: tuple[str, ...], missing: str
) -> None:
    sources = unpacked(tmp_path, PACKAGE, *others)
    if others:
        (sources / missing).mkdir()  # an empty folder is as bad as none
    done = colcon_build(tmp_path / "workspace", sources)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: {sources / missing} is missing or empty")
    assert line.endswith("build fosp_bringup inside of the whole repository, as src/fosp_bringup")


def test_no_source_of_a_package_is_a_link() -> None:
    assert [path for path in (ROOT / "src").rglob("*") if path.is_symlink()] == []
