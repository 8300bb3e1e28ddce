"""What the robot was told to move since its pose was measured: a pose is milliseconds old when it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fosp_core.clock import Now, Received

REMEMBERED_S = 0.5
"""Longer than a pose may be old."""


@dataclass(frozen=True)
class Travel:
    """The commands (n,) sent lately, m/s and rad/s, each with its time on the monotonic clock, s; oldest first."""

    sent: tuple[tuple[float, tuple[float, ...]], ...] = ()

    def after(self, command: tuple[float, ...], now_s: float) -> Travel:
        """With one more `command`, sent at `now_s`."""
        begin = 0
        while begin + 1 < len(self.sent) and self.sent[begin + 1][0] < now_s - REMEMBERED_S:
            begin += 1
        return Travel((*self.sent[begin:], (now_s, command)))

    def since(self, measured: Received | None, now: Now) -> tuple[float, ...] | None:
        """Integral (n,) in m and rad of the commands since a pose was measured; None before the first command.

        Of its stamp and its receipt the one that makes it older counts.
        """
        if not self.sent or measured is None:
            return None
        now_s = now.monotonic_s
        then_s = now_s - max(now.ros_s - measured.stamp_s, now_s - measured.receipt_s)
        moved = [0.0] * len(self.sent[-1][1])
        for (begin_s, command), (end_s, _) in pairwise((*self.sent, (now_s, ()))):
            span_s = end_s - max(begin_s, then_s)
            if span_s > 0.0:
                moved = [m + span_s * c for m, c in zip(moved, command, strict=True)]
        return tuple(moved)


NOTHING_SENT = Travel()


@dataclass(frozen=True)
class Unseen:
    """What the robot was told to move while its pose stayed the same to the last bit."""

    position: tuple[float, float, float] | None = None
    """m; None: no pose came yet."""
    since_s: float = 0.0
    """Receipt of the first pose that was the same, monotonic clock."""
    until_s: float = 0.0
    """Receipt of the last one: a pose that does not come any more is stale, not frozen."""
    moved: tuple[float, ...] = ()
    """Integral (n,) in m and rad of the commands since then."""

    def after(
        self,
        position: tuple[float, float, float] | None,
        measured: Received | None,
        command: tuple[float, ...],
        elapsed_s: float,
    ) -> Unseen:
        """A tick later, `command` (n,) m/s and rad/s having been in force for `elapsed_s`."""
        receipt_s = 0.0 if measured is None else measured.receipt_s
        if position is None or position != self.position:
            return Unseen(position, receipt_s, receipt_s, (0.0,) * len(command))
        moved = tuple(m + elapsed_s * c for m, c in zip(self.moved, command, strict=True))
        return Unseen(position, self.since_s, receipt_s, moved)


NOTHING_UNSEEN = Unseen()
