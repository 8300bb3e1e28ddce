"""A thread that calls a function at absolute monotonic deadlines, and so gives the command stream its rate. No ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fosp_core.processes import STREAM_PRIORITY, claim_realtime_priority, pin_to_cpu

SLEW = 0.05
"""Largest share of a period by which one tick may shift to keep step with the decisions."""
_CREEP = 1 / 30
"""Share of the slew by which ticks creep earlier. A smaller share lets fewer decisions miss their tick."""


@dataclass(frozen=True)
class StreamStatistics:
    """Timing of the stream since its start."""

    ticks: int = 0
    late_ticks: int = 0
    """Ticks that were skipped, or came later than half a period."""
    worst_lateness_s: float = 0.0


def alignment_shift_s(wait_s: float, period_s: float) -> float:
    """Return by how many seconds the next tick is to come later (> 0) or earlier, at most SLEW of a period.

    `wait_s` is the time from a decision to its tick. More than half a period means that it just missed the tick before.
    """
    slew_s = SLEW * period_s
    if wait_s > 0.5 * period_s:
        return slew_s
    if wait_s > 0.4 * period_s:
        return -slew_s
    return -_CREEP * slew_s


class CommandStream:
    """Calls `tick` every `period_s`. A deadline that has passed is skipped and counted, never made up for.

    The thread ends when `tick` returns False or raises; then it has called `on_failure` with the error. `cpu` is the
    core that the thread is pinned to; -1: none.
    """

    def __init__(
        self,
        period_s: float,
        tick: Callable[[], bool],
        on_failure: Callable[[BaseException], None],
        cpu: int = -1,
    ) -> None:
        self._period_s = period_s
        self._cpu = cpu
        self.scheduling = "not started"
        """Scheduling of the thread in words, with the reason why it is not better."""
        self._tick = tick
        self._on_failure = on_failure
        self._statistics = StreamStatistics()
        self._next_s = 0.0
        self._shift_s = 0.0
        self._ticked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="command_stream", daemon=True)

    @property
    def statistics(self) -> StreamStatistics:
        return self._statistics

    def start(self) -> None:
        self._thread.start()

    def align(self, decided_s: float) -> None:
        """Shift the ticks to come just after decisions, given that one was made at `decided_s` (monotonic).

        Otherwise a decision would wait half a period for its tick on average. The last call between two ticks counts,
        and bends the period by at most SLEW, so the stream stays regular whatever the decisions do.
        """
        self._shift_s = alignment_shift_s(self._next_s - decided_s, self._period_s)

    def let_tick(self) -> None:
        """Wait for a tick that is due within a tenth of a period; return at once when none is.

        Call it before work that can wait: otherwise that work and the tick would contend for the interpreter.
        """
        self._ticked.clear()
        if self._next_s - time.monotonic() < 0.1 * self._period_s:
            self._ticked.wait(0.2 * self._period_s)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, and return True when it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            realtime = claim_realtime_priority(STREAM_PRIORITY)
            said = ["SCHED_FIFO" if realtime else "no SCHED_FIFO: rtprio 20 in /etc/security/limits.d would grant it"]
            if self._cpu >= 0:
                refused = pin_to_cpu(self._cpu)
                said.append(f"not pinned: {refused}" if refused else f"pinned to core {self._cpu}")
            self.scheduling = ", ".join(said)
            self._loop()
        except BaseException as error:  # the thread's last chance to report
            self._on_failure(error)

    def _loop(self) -> None:
        period_s = self._period_s
        deadline = time.monotonic()
        while True:
            lateness = time.monotonic() - deadline
            skipped = int(lateness / period_s)
            before = self._statistics
            self._statistics = StreamStatistics(
                before.ticks + 1,
                before.late_ticks + skipped + (lateness - skipped * period_s > 0.5 * period_s),
                max(before.worst_lateness_s, lateness),
            )
            deadline += skipped * period_s
            if not self._tick():
                return
            self._ticked.set()
            deadline += period_s + self._shift_s
            self._shift_s = 0.0
            self._next_s = deadline
            time.sleep(max(0.0, deadline - time.monotonic()))
