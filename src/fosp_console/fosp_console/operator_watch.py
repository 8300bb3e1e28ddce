"""The watch of the operator who engaged at a page: while it lasts the console beats, and the robot may move.

It ends for good when the page goes, falls silent or disengages, and when the robot was stopped for good. The safety
monitor ends the consent to motion when the beats stop, so the death of this process ends it, too. No ROS; times are of
a monotonic clock, s.
"""

from __future__ import annotations

from dataclasses import dataclass

SILENCE_S = 2.0
"""Silence of the page that ends its watch. A page in the background may beat but once per second."""


@dataclass
class OperatorWatch:
    """Which page has engaged, and when it was last heard."""

    session: str = ""
    """The page; empty while nobody watches."""
    heard_s: float = 0.0
    granted: bool = False
    """The safety monitor has granted the consent; until then the page only asks for it."""

    def begin(self, session: str, now_s: float) -> str:
        """Let a page begin to watch, and return an empty text, or why it may not."""
        if self.session and self.session != session:
            return "another page has engaged the robot: it has to disengage first"
        self.session, self.heard_s, self.granted = session, now_s, False
        return ""

    def grant(self, session: str) -> bool:
        """Note that the consent was granted to `session`; return False when its watch has ended meanwhile."""
        if not session or self.session != session:
            return False
        self.granted = True
        return True

    def hear(self, session: str, now_s: float) -> None:
        """Take in that a page is alive."""
        if session and session == self.session:
            self.heard_s = now_s

    def left(self, session: str) -> bool:
        """Take in that a page has gone; return True when it was the one that watched."""
        if not session or session != self.session:
            return False
        self.end()
        return True

    def lapsed(self, now_s: float) -> bool:
        """End the watch of a page that has fallen silent, and return True when it did."""
        if not self.session or 0.0 <= now_s - self.heard_s <= SILENCE_S:
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the watch."""
        self.session, self.granted = "", False
