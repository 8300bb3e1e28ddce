"""The commands that serve the console: each prints the address with its token, and ends cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLI = "fosp_cli.cli"


@pytest.mark.parametrize(
    "arguments",
    [["console"], pytest.param(["up", "sim", "--console"], marks=pytest.mark.long)],
    ids=lambda words: " ".join(words),
)
def test_a_command_that_serves_the_console_prints_its_address_and_ends_on_ctrl_c(
    arguments: list[str], ros_environment: Any, wait_until: Any, tmp_path: Path
) -> None:
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", CLI, *arguments],
            cwd=tmp_path,
            env=ros_environment.variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "#token=" in output.read_text(), 60.0, "the address of the console")
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0, output.read_text()
    finally:
        process.kill()
