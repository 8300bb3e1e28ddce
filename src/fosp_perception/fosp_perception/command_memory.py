"""The newest commands of the stream, in arrays that need no copying when a frame comes. No ROS."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

COMMAND_MEMORY = 400
"""Number of commands kept: at 100 Hz and more they cover any interval between two steps of an episode."""


class CommandMemory:
    """The last COMMAND_MEMORY commands (n,), m/s and rad/s, with ascending stamps, s."""

    def __init__(self, size: int) -> None:
        self._stamps_s = np.zeros(2 * COMMAND_MEMORY)
        self._commands = np.zeros((2 * COMMAND_MEMORY, size))
        self._begin = self._end = 0

    @property
    def newest_s(self) -> float:
        """Stamp of the newest command, s; minus infinity when there is none."""
        return float(self._stamps_s[self._end - 1]) if self._end > self._begin else -math.inf

    def append(self, stamp_s: float, command: NDArray[np.float64]) -> None:
        """Remember one more command, whose stamp is not before that of the newest one."""
        if self._end == len(self._stamps_s):
            for kept in (self._stamps_s, self._commands):
                kept[: self._end - self._begin] = kept[self._begin : self._end].copy()
            self._begin, self._end = 0, self._end - self._begin
        self._stamps_s[self._end], self._commands[self._end] = stamp_s, command
        self._end += 1
        self._begin = max(self._begin, self._end - COMMAND_MEMORY)

    def since(self, begin_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the stamps (N,) and commands (N, n) from `begin_s` on, as views that hold until the next `append`."""
        begin = self._begin + int(np.searchsorted(self._stamps_s[self._begin : self._end], begin_s, "left"))
        return self._stamps_s[begin : self._end], self._commands[begin : self._end]

    def clear(self) -> None:
        """Forget all commands."""
        self._begin = self._end = 0
