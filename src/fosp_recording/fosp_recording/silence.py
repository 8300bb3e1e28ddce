"""Whether the safety monitor fell silent without a word: what a process that is killed or hangs cannot tell. No ROS."""

from __future__ import annotations

import math

LEAST_SILENCE_S = 0.1
"""Of the commands: who listens is no real-time process."""
HEARTBEAT_GAP_S = 0.5
"""Without a heartbeat the monitor hangs, even if its command thread goes on."""
SETTLE_S = 0.5
"""After a deactivation: what was under way may be read later than the word of it."""


class Vigil:
    """Follows the command stream and the heartbeats of an active monitor. Times are monotonic, s, of the reading.

    `command_timeout_s`: the robot's. `simulated_time`: heartbeats are no sign then, for they stand still with it.
    """

    def __init__(self, command_timeout_s: float, simulated_time: bool = False) -> None:
        self._silence_s = max(command_timeout_s, LEAST_SILENCE_S)
        self._gap_s = math.inf if simulated_time else HEARTBEAT_GAP_S
        self._command_s: float | None = None
        self._beat_s: float | None = None
        self._ended_s = -math.inf

    @property
    def on(self) -> bool:
        """Whether an active monitor sends commands, as far as was heard."""
        return self._command_s is not None and self._beat_s is not None

    def command(self, now_s: float) -> None:
        """A command was read."""
        if now_s - self._ended_s > SETTLE_S:
            self._command_s = now_s

    def beat(self, active: bool, now_s: float) -> None:
        """A heartbeat of the monitor was read."""
        if not active:
            self.end(now_s)
        elif now_s - self._ended_s > SETTLE_S:
            self._beat_s = now_s

    def end(self, now_s: float) -> None:
        """The monitor said that it was deactivated: it may fall silent."""
        self._command_s = self._beat_s = None
        self._ended_s = now_s

    def silence(self, now_s: float) -> str:
        """What ceased, in words, told once; empty while nothing did."""
        if self._command_s is None or self._beat_s is None:
            return ""
        if now_s - self._command_s >= self._silence_s:
            text = f"no command for {now_s - self._command_s:.2f} s"
        elif now_s - self._beat_s >= self._gap_s:
            text = f"no heartbeat of the safety monitor for {now_s - self._beat_s:.2f} s"
        else:
            return ""
        self._command_s = self._beat_s = None
        return f"{text}, and no word of a deactivation: it was killed or hangs"
