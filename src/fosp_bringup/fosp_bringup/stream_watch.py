"""Watches the command stream from outside, and holds what it sees against what the safety monitor says of it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor

from fosp_core import topics
from fosp_core.realtime import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import RobotConfig
from fosp_safety_monitor.command_stream import SLEW

_REPORT_TIMEOUT_S = 5.0
"""The monitor reports every second."""


@dataclass
class Lateness:
    """How late the commands of a stream come, from their stamps alone. Pure: no ROS.

    The stream bends its period by up to SLEW of it, so a deadline is known to within that: each is taken as one period
    after the one before, earlier when a command comes earlier, and later by at most SLEW of a period when one comes
    late. A command counts as late when it is so by more than half a period and what the deadline is uncertain by; whole
    periods without a command count as one each, as the monitor counts them.
    """

    period_s: float
    lateness_s: list[float] = field(default_factory=list)
    lost: int = 0
    """Commands that never came here; nothing is known of their time."""
    late: int = 0
    number: int = -1
    """Of the newest command; -1 before the first."""
    _deadline_s: float = 0.0
    _late_at: list[tuple[int, int]] = field(default_factory=list)
    """(number of the command, late so far)."""

    def see(self, number: int, stamp_s: float) -> None:
        """Command `number` (counted by who publishes it) was stamped `stamp_s`."""
        if self.number < 0:
            self.number, self._deadline_s = number, stamp_s
            return
        steps = number - self.number
        self.lost += steps - 1
        expected_s = self._deadline_s + steps * self.period_s
        over = stamp_s - expected_s
        slack_s = SLEW * self.period_s
        skipped = max(0, int(over / self.period_s))
        rest_s = over - skipped * self.period_s
        late = skipped + (rest_s > 0.5 * self.period_s + slack_s)
        if late:
            self.late += late
            self._late_at.append((number, self.late))
        self.lateness_s.append(max(0.0, over))
        self.number, self._deadline_s = number, expected_s + skipped * self.period_s + min(rest_s, steps * slack_s)

    def late_until(self, number: int) -> int:
        """Late ones up to command `number`."""
        seen = bisect_right(self._late_at, number, key=lambda entry: entry[0])
        return self._late_at[seen - 1][1] if seen else 0


@dataclass(frozen=True)
class Report:
    """What the monitor says on /diagnostics, since its activation."""

    ticks: int
    late_ticks: int


class StreamWatch:
    """A client in a context and a thread of its own; use as a context manager, before the graph is activated."""

    def __init__(self, robot: RobotConfig) -> None:
        self.seen = Lateness(1.0 / robot.command_rate_hz)
        self.report: Report | None = None
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("stream_watch", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.RECORD)
        self._node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._diagnostics, qos.STEP)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> StreamWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_report(self) -> Report | None:
        """The next report, once the last command that it counts has come; None when that takes too long."""
        self.report, until = None, time.monotonic() + _REPORT_TIMEOUT_S
        while time.monotonic() < until:
            report = self.report
            if report is not None and self.seen.number >= report.ticks:
                return report
            time.sleep(0.05)
        return None

    def _spin(self) -> None:
        claim_realtime_priority(CONTROL_PRIORITY)  # late itself, it would lose commands
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _command(self, message: TwistStamped, info: Any) -> None:
        self.seen.see(int(info["publication_sequence_number"]), seconds(message.header.stamp))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if "command ticks" in values:
                self.report = Report(int(values["command ticks"]), int(values["late ticks"]))
