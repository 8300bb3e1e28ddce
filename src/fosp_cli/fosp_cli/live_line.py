"""A terminal: a line of progress that is overwritten, and tables that fit where they are read."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

PIPE_COLUMNS = 100
"""Width of a table that is read by a program or from a file, where COLUMNS does not say another."""


def is_rich_terminal() -> bool:
    """Return whether stdout is a terminal that moves its cursor and draws boxes."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def show_table(table: Table) -> None:
    """Print a table within the terminal's width, and in plain letters where stdout is none that draws boxes."""
    from rich import box
    from rich.console import Console

    if is_rich_terminal():
        Console().print(table)
        return
    table.box = box.ASCII
    Console(width=shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns, color_system=None).print(table)


class LiveLine:
    """One line on stdout that each update overwrites. Where stdout is no such terminal, each update prints a line."""

    def __init__(self) -> None:
        self._terminal = is_rich_terminal()
        self._key: str | None = None

    def show(self, line: str, key: str | None = None) -> None:
        """Show `line`, cut to the terminal's width.

        Where the line cannot be overwritten, an update whose `key` is that of the last update is not printed.
        """
        if self._terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        elif key is None or key != self._key:
            print(line, flush=True)
        self._key = key

    def clear(self) -> None:
        """Erase the line, so that other output can take its place."""
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)
