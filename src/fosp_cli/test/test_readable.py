"""Everything that commands print can be read at 80 columns, in a pipe and on a dumb terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from fosp_bringup.stack import default_bundle
from fosp_cli.cli import run
from fosp_cli.commands.bundle import nested_rows
from fosp_cli.live_line import PIPE_COLUMNS, LiveLine, is_rich_terminal, show_table
from fosp_learner.training.run_log import RunLog


@pytest.mark.parametrize(("columns", "most"), [("80", 80), ("", PIPE_COLUMNS)])
def test_a_table_in_a_pipe_is_plain_text_that_loses_nothing(
    columns: str, most: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table = Table("name", "value")
    table.add_column(overflow="fold")
    table.add_row("long", "word " * 40, "0123456789" * 20)
    show_table(table)
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= most
    assert sum(shown.count(digit) for digit in "0123456789") == 200


def test_the_manifest_of_a_bundle_is_shown_line_by_line_within_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["bundle", "show", str(default_bundle("safe_reach"))]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "{" not in shown
    assert "…" not in shown
    assert "training config.actor.beta" in shown


def test_nested_settings_become_a_row_for_each_value() -> None:
    settings = {"size": "nano", "actor": {"beta": 0.1, "layers": [1, 2]}, "keys": []}
    assert nested_rows(settings, "training ") == [
        ("training size", "nano"),
        ("training actor.beta", "0.1"),
        ("training actor.layers", "1, 2"),
        ("training keys", "none"),
    ]


@pytest.mark.parametrize(("term", "rich"), [("xterm-256color", True), ("dumb", False), ("", False)])
def test_a_dumb_terminal_gets_lines_and_no_codes(
    term: str, rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert is_rich_terminal() is rich
    line = LiveLine()
    line.show("one", key="a")
    line.show("two", key="a")
    line.clear()
    shown = capsys.readouterr().out
    assert shown == ("\rone\x1b[K\rtwo\x1b[K\r\x1b[K" if rich else "one\n")


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_of_a_training_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    with (tmp_path / "shown.txt").open("w+") as file:
        console = Console(file=file, width=columns, force_terminal=False)
        with RunLog(tmp_path, [("world model", 100)], every=1, console=console) as log:
            log.step(1, {"world_model/reconstruction": 123.456, "behaviour/q_h": 0.1, "gradient/world_model": 1.0})
            console.print(log.table())
        file.seek(0)
        table = [line for line in file.read().splitlines() if not line.startswith("step 1/100")]
    assert max(map(len, table)) <= columns
    assert any("squared pixel error" in line for line in table)


def test_the_end_of_a_round_tells_how_far_it_is_where_there_is_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "shown.txt").open("w+") as file:
        with RunLog(tmp_path, [("fine-tuning", 10)], console=Console(file=file, width=80)) as log:
            for update in range(100):
                log.aside("settling the critics", update, 100)
            log.aside("")
        file.seek(0)
        lines = file.read().splitlines()
    assert lines == [f"settling the critics  {done} of 100" for done in (0, 20, 40, 60, 80)]
