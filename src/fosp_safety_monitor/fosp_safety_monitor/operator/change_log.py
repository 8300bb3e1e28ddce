"""Lines for the log about a state that is looked at a hundred times per second."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf

PAUSE_S = 0.5
"""Least time between two lines, s."""


class ChangeLog:
    """Tells each change of a state once, and a state that flickers at most every PAUSE_S.

    A text that holds a number changes all the time, so the state is told apart by a key.
    """

    def __init__(self, key: Hashable = None) -> None:
        """`key` is the state that needs no telling."""
        self._told, self._told_s = key, -inf

    def is_news(self, key: Hashable, now_s: float) -> bool:
        """Return whether the state `key` is to be told now, which then counts as told."""
        if key == self._told or now_s - self._told_s < PAUSE_S:
            return False
        self._told, self._told_s = key, now_s
        return True
