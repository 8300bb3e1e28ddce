"""A line of progress that is overwritten in a terminal."""

from __future__ import annotations

import shutil
import sys


class LiveLine:
    """One line on stdout that each update overwrites. Where stdout is no terminal, each update prints a line."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._key: str | None = None

    def show(self, line: str, key: str | None = None) -> None:
        """Show `line`, cut to the terminal's width.

        Where stdout is no terminal, an update whose `key` is that of the last update is not printed.
        """
        if self._terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        elif key is None or key != self._key:
            print(line, flush=True)
        self._key = key

    def clear(self) -> None:
        """Erase the line, so that other output can take its place."""
        if self._terminal:
            print("\r\x1b[K", end="")
