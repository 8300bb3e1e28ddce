"""The package.xml of each package: who keeps the package, and on what it depends. rosdep and colcon believe it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("src/*/setup.py"))
MANIFESTS = sorted(ROOT.glob("src/**/package.xml"))
PYTHON = {
    "aiohttp": "python3-aiohttp",
    "cryptography": "python3-cryptography",
    "cv2": "python3-opencv",
    "hypothesis": "python3-hypothesis",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "PIL": "python3-pil",
    "pytest": "python3-pytest",
    "scipy": "python3-scipy",
    "yaml": "python3-yaml",
}
"""Module -> key of rosdep. What else is imported comes from PyPI (requirements/ubuntu.txt)."""
BESIDE_THE_WHEELS = {"launch", "launch_ros", "tf2_msgs", "control_msgs"}
OPTIONAL = {"ros_gz_interfaces"}
"""Packages without which a node says what is missing."""
ABOVE = {"fosp_console": {"fosp_bringup"}, "fosp_recording": {"fosp_learner"}, "fosp_sim": {"fosp_cli", "fosp_learner"}}
"""Packages that tests use of those that depend on theirs: colcon would take a declaration for a circle."""


def ros_packages() -> set[str]:
    """Names of the ROS packages that a module can be of: those that are installed here, and our own."""
    shares = [
        Path(prefix, "share/ament_index/resource_index/packages")
        for prefix in os.environ["AMENT_PREFIX_PATH"].split(":")
    ]
    installed = {path.name for share in shares if share.is_dir() for path in share.iterdir()}
    assert {"rclpy", "sensor_msgs"} <= installed
    return installed | {package.name for package in PACKAGES} | BESIDE_THE_WHEELS


def imported(files: list[Path]) -> set[str]:
    """The first parts of the modules that the files import, by statement or by importlib."""
    found = set()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {str(name.value).partition(".")[0] for name in node.args if isinstance(name, ast.Constant)}
    return found


def named(files: list[Path]) -> set[str]:
    """Packages of the modules that the files start, and of the topics' types that they look up, by name."""
    text = "\n".join(path.read_text() for path in files)
    return set(re.findall(r'"([a-z][a-z0-9_]*)\.\w+', text)) | set(re.findall(r'"([a-z][a-z0-9_]*)/msg/', text))


def declared(package: Path, *kinds: str) -> set[str]:
    return {
        str(element.text) for element in ElementTree.parse(package / "package.xml").getroot() if element.tag in kinds
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_declares_what_it_imports_and_nothing_else(package: Path) -> None:
    known = ros_packages()

    def keys(modules: set[str]) -> set[str]:
        ours = {name for name in modules if name in known and name not in OPTIONAL} - {package.name}
        return ours | {PYTHON[name] for name in modules if name in PYTHON}

    sources = sorted((package / package.name).rglob("*.py"))
    if package.name == "fosp_bringup":
        sources += sorted(ROOT.glob("launch/*.py"))
    needed, stated = keys(imported(sources)), declared(package, "depend", "exec_depend")
    assert sorted(needed - stated) == [], "not declared"
    assert sorted(stated - needed - keys(named(sources))) == [], "declared, and not used"
    tests = keys(imported(sorted((package / "test").rglob("*.py"))))
    assert (
        sorted(tests - declared(package, "depend", "exec_depend", "test_depend") - ABOVE.get(package.name, set())) == []
    )


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_a_dependency_stands_once(manifest: Path) -> None:
    stated = [
        (element.tag, element.text) for element in ElementTree.parse(manifest).getroot() if "depend" in element.tag
    ]
    assert len(set(stated)) == len(stated), sorted(stated)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_a_package_is_kept_by_those_who_keep_the_repository(manifest: Path) -> None:
    (maintainer,) = ElementTree.parse(manifest).getroot().findall("maintainer")
    said = f"{maintainer.text} <{maintainer.get('email')}>"
    setup = manifest.parent / "setup.py"
    if setup.exists():
        stated = dict(re.findall(r'(maintainer|maintainer_email)="([^"]+)"', setup.read_text()))
        assert f"{stated['maintainer']} <{stated['maintainer_email']}>" == said
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: who wrote it is not known")
    log = subprocess.run(["git", "log", "--format=%an <%ae>"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said in log.stdout.splitlines()
