"""The newest message of a fast stream: a robot that publishes at 1 kHz costs hardly more than one that does at 200 Hz.

A message that comes within LEAST_GAP_S of the last one that was read waits, serialised, and replaces the one that
waited. It is read when the next command is computed, or with the next message. So no command is computed without the
newest message, and of a stream slower than 1 / LEAST_GAP_S each message is read when it comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LEAST_GAP_S = 0.004
"""Least time, s, between two messages that are read on receipt."""


class NewestMessage:
    """Reads the messages of one topic; `read` is called with a serialised one and its receipt, monotonic clock, s.

    One thread calls `receive`, any thread `settle`; `read` runs in the thread that calls, one call at a time.
    """

    def __init__(self, read: Callable[[bytes, float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._reading = threading.Lock()
        self._waiting: tuple[bytes, float] | None = None
        self._read_s = float("-inf")

    def receive(self, data: bytes) -> None:
        """Read a message, or let it wait in place of an older one; raise what `read` raises."""
        now_s = self._clock()
        with self._reading:
            if now_s - self._read_s < LEAST_GAP_S:
                self._waiting = data, now_s
                return
            self._waiting, self._read_s = None, now_s
            self._read(data, now_s)

    def forget(self) -> None:
        """Drop the message that waits."""
        with self._reading:
            self._waiting = None

    def settle(self) -> None:
        """Read the message that waits, if there is one; raise what `read` raises.

        It does not wait for a thread that is reading: what that one reads is the newest.
        """
        if self._waiting is None or not self._reading.acquire(blocking=False):
            return
        try:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._read_s = self._clock()
                self._read(*waiting)
        finally:
            self._reading.release()
