"""The command that installs a list of requirements under the pins that fit this environment."""

from __future__ import annotations

from importlib import metadata


def pip_install(part: str, ubuntu: bool | None = None) -> str:
    """Return the pip command for requirements/`part`.txt.

    The pins of `ubuntu` keep numpy 1 of ROS from apt, for which cv_bridge is built. By default an environment that has
    numpy 1 now keeps it.
    """
    keeps = _has_numpy_1() if ubuntu is None else ubuntu
    return f"pip install -r requirements/{part}.txt -c requirements/constraints{'-ubuntu' if keeps else ''}.txt"


def _has_numpy_1() -> bool:
    try:
        return metadata.version("numpy").startswith("1.")
    except metadata.PackageNotFoundError:
        return False
