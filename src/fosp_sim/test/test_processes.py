"""The processes that setup.py installs are modules of the package, which `fosp up` starts by the same names."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

SETUP = (Path(__file__).parents[1] / "setup.py").read_text()
NAMES = re.findall(r'"(\w+)"', SETUP.split("for name in (")[1].split(")")[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_installed_process_is_a_module_with_a_main(name: str) -> None:
    found = find_spec(f"fosp_sim.{name}")
    assert found is not None
    assert found.origin is not None
    assert "\ndef main() -> None:" in Path(found.origin).read_text()
