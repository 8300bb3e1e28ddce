"""The messages of vendors' drivers (vendor_messages/), built once for the tests that need them, by colcon.

Where a driver is installed, its own messages are used instead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).with_name("vendor_messages")
TOOLS = ("colcon", "cmake", "c++")
BUILT_S = 1800.0
"""Time that a build may take on a busy machine; it takes two minutes on an idle one."""


def missing_tools() -> list[str]:
    """Return what is needed for the build and not installed; nothing where the vendors' own messages are installed."""
    return [] if installed() else [tool for tool in TOOLS if shutil.which(tool) is None]


def installed() -> bool:
    """Return whether all of the packages are installed already, with their drivers."""
    return all(importlib.util.find_spec(path.name) is not None for path in SOURCES.iterdir() if path.is_dir())


def vendor_variables() -> dict[str, str]:
    """Return the environment variables with which a process finds the messages, after building them where needed.

    They are built below runs/, and again when a source changes. Raise CalledProcessError when the build fails.
    """
    if installed():
        return {}
    files = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files) + sys.version.encode()).hexdigest()
    folder = ROOT / "runs" / "vendor_messages" / digest[:12]
    if not (folder / "complete").is_file():
        _build(folder)
        (folder / "complete").touch()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = {
        "PYTHONPATH": folder / "install" / "lib" / version / "site-packages",
        "LD_LIBRARY_PATH": folder / "install" / "lib",
        "AMENT_PREFIX_PATH": folder / "install",
    }
    return {name: os.pathsep.join(filter(None, [str(path), os.environ.get(name)])) for name, path in found.items()}


def _build(folder: Path) -> None:
    base = ["colcon", "--log-base", str(folder / "log"), "build", "--merge-install", "--base-paths", str(SOURCES)]
    places = ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    settings = {"CMAKE_POLICY_VERSION_MINIMUM": "3.5", "BUILD_TESTING": "OFF", "Python3_EXECUTABLE": sys.executable}
    options = [f"-D{name}={value}" for name, value in settings.items()]
    subprocess.run([*base, *places, "--cmake-args", *options], check=True, timeout=BUILT_S, stdout=subprocess.DEVNULL)
