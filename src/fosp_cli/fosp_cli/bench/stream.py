"""Watches the command stream from outside, and holds what it sees against what the safety monitor says of it."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped

from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.realtime import CONTROL_PRIORITY
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import RobotConfig
from fosp_safety_monitor.command.command_stream import SLEW

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


class StreamWatch(GraphClient):
    """What comes on the command topic, and what the monitor reports of it. Use it before the graph is activated."""

    def __init__(self, robot: RobotConfig) -> None:
        super().__init__("stream_watch")
        self.seen = Lateness(1.0 / robot.command_rate_hz)
        self.report: Report | None = None
        self.node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.RECORD)
        self.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._diagnostics, qos.STEP)
        self.spin_in_thread(CONTROL_PRIORITY)  # late itself, it would lose commands

    def wait_report(self) -> Report | None:
        """The next report, once the last command that it counts has come; None when that takes too long."""
        self.report, until = None, time.monotonic() + _REPORT_TIMEOUT_S
        while time.monotonic() < until:
            report = self.report
            if report is not None and self.seen.number >= report.ticks:
                return report
            time.sleep(0.05)
        return None

    def _command(self, message: TwistStamped, info: Any) -> None:
        self.seen.see(int(info["publication_sequence_number"]), seconds(message.header.stamp))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if "command ticks" in values:
                self.report = Report(int(values["command ticks"]), int(values["late ticks"]))
