"""The rate of the command stream: a thread that ticks at absolute monotonic deadlines, and ticks in between. No ROS.

A tick computes and sends one command. The thread keeps its grid of deadlines whatever happens in between, so that the
robot's watchdog is fed and the robot brakes at a rate that no other node can shift, and a late tick is late by a
deadline that is known. `tick_now` adds a tick between two of the grid, in the thread that has made a decision. All
ticks exclude one another, so commands leave in the order in which they were computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fosp_core.processes import STREAM_PRIORITY, claim_realtime_priority, pin_to_cpu
from fosp_safety_monitor.replacing import replaced

LEAST_GAP = 0.05
"""Share of a period for which a command stays in force at least.

A shorter command would move nothing, and a speed computed from two stamps that are closer would be noise.
"""


@dataclass(frozen=True)
class StreamStatistics:
    """Timing of the stream since its start."""

    ticks: int = 0
    """Ticks of the grid."""
    between: int = 0
    """Ticks between those of the grid, each with a decision."""
    late_ticks: int = 0
    """Ticks of the grid that were skipped, or had sent their command later than half a period after their deadline."""
    worst_lateness_s: float = 0.0

    @property
    def commands(self) -> int:
        """Number of commands: one with each tick."""
        return self.ticks + self.between


class CommandStream:
    """Calls `tick` every `period_s`. A deadline that has passed is skipped and counted, never made up for.

    The thread ends when `tick` returns False or raises. After an error there are no ticks, and `on_failure` has been
    called with it, once, in the thread whose tick raised it.
    `cpu` is the core that the thread is pinned to; -1: none.
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
        self._ticking = threading.Lock()
        """Held for the whole of a tick."""
        self._open = False
        """Other threads may tick."""
        self._failed = False
        """A tick raised an error, so there are no more."""
        self._filled = False
        """There was a tick since the last one of the grid."""
        self._ticked_s = 0.0
        """End of the last tick, monotonic clock."""
        self._thread = threading.Thread(target=self._run, name="command_stream", daemon=True)

    @property
    def statistics(self) -> StreamStatistics:
        """The statistics of all ticks that are over."""
        return self._statistics

    def start(self) -> None:
        self._thread.start()

    def tick_now(self) -> bool:
        """Tick at once in the calling thread; return False when the stream takes no tick.

        It takes none before its first tick, after `close`, after its thread has ended, and when there was one since the
        last tick of the grid: decisions, however many, at most double the rate. An error of the tick ends the stream,
        as one of its own thread does.
        """
        try:
            with self._ticking:
                if not self._open or self._filled:
                    return False
                self._filled = True
                self._keep_apart()
                self._tick_or_end()
                self._ticked_s = time.monotonic()
                self._statistics = replaced(self._statistics, between=self._statistics.between + 1)
                return True
        except Exception as error:
            self._on_failure(error)
            return False

    def close(self) -> None:
        """Take no more ticks from other threads. When this returns, none is being made."""
        with self._ticking:
            self._open = False

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
        deadline_s, goes_on = time.monotonic(), True
        while goes_on:
            with self._ticking:
                if self._failed:
                    return
                self._keep_apart()
                goes_on = self._tick_or_end()
                self._ticked_s = time.monotonic()
                self._open = goes_on and (self._open or self._statistics.ticks == 0)
                self._filled = False
                deadline_s = self._count(self._ticked_s - deadline_s) + deadline_s + self._period_s
            time.sleep(max(0.0, deadline_s - time.monotonic()))

    def _tick_or_end(self) -> bool:
        """Tick and return whether the stream goes on; after an error no thread feeds the robot's watchdog any more."""
        try:
            return self._tick()
        except BaseException:
            self._failed, self._open = True, False
            raise

    def _keep_apart(self) -> None:
        """Wait until the last command has been in force for the least gap; its tick may have been another thread's."""
        left_s = self._ticked_s + LEAST_GAP * self._period_s - time.monotonic()
        if left_s > 0.0:
            time.sleep(left_s)

    def _count(self, lateness_s: float) -> float:
        """Count a tick of the grid, which is over `lateness_s` after its deadline; return the time that it skips, s."""
        skipped = int(lateness_s / self._period_s)
        late = skipped + (lateness_s - skipped * self._period_s > 0.5 * self._period_s)
        before = self._statistics
        self._statistics = replaced(
            before,
            ticks=before.ticks + 1,
            late_ticks=before.late_ticks + late,
            worst_lateness_s=max(before.worst_lateness_s, lateness_s),
        )
        return skipped * self._period_s
