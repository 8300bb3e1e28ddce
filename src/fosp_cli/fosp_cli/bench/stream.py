"""The command stream for minutes on end, next to everything that a robot's computer may have to do.

The stream is watched from outside, and what is seen is compared with what the safety monitor reports of it.
"""

from __future__ import annotations

import multiprocessing
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.bench.training import train_until_killed
from fosp_cli.evaluation.live_graph import LiveGraph, RunFailed
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.processes import CONTROL_PRIORITY, end_with_parent
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_sim.task.scenario import read_scenario

STAMPED = 0.05
"""Share of a period by which the stamp of a command may lie beside the end of its tick."""
_REPORT_TIMEOUT_S = 5.0
"""Time to wait for a report, s. The monitor reports every second."""


@dataclass
class Lateness:
    """The lateness of the commands of a stream, from their stamps alone. It is pure: it knows no ROS.

    Commands with verdicts come between the ticks of the stream, and nothing tells them apart, so a command is due one
    period after the one before, whatever that was. It is late when it misses that by more than half a period and the
    share STAMPED of one. Each whole period without a command counts as one late command, as the monitor counts it. (A
    late tick after which no longer gap is left, because a verdict's command went out meanwhile, is seen by the monitor
    only.)
    """

    period_s: float
    lateness_s: list[float] = field(default_factory=list)
    lost: int = 0
    """Number of commands that were lost on the way here; their lateness is unknown."""
    late: int = 0
    number: int = -1
    """Number of the newest command; -1 before the first."""
    _stamp_s: float = 0.0
    _late_at: list[tuple[int, int]] = field(default_factory=list)
    """(number of a late command, number of late commands so far)."""

    def see(self, number: int, stamp_s: float) -> None:
        """Take command `number`, as its publisher counts, with its stamp."""
        (before, self.number), (before_s, self._stamp_s) = (self.number, number), (self._stamp_s, stamp_s)
        if before < 0:
            return
        steps = number - before
        self.lost += steps - 1
        over_s = stamp_s - before_s - steps * self.period_s
        skipped = max(0, int(over_s / self.period_s))
        late = skipped + (over_s - skipped * self.period_s > (0.5 + STAMPED) * self.period_s)
        if late:
            self.late += late
            self._late_at.append((number, self.late))
        self.lateness_s.append(max(0.0, over_s))

    def late_until(self, number: int) -> int:
        """Return the number of late commands up to command `number`."""
        seen = bisect_right(self._late_at, number, key=lambda entry: entry[0])
        return self._late_at[seen - 1][1] if seen else 0


@dataclass(frozen=True)
class StreamReport:
    """The safety monitor's count of its commands and late ticks on /diagnostics, since its activation."""

    commands: int
    late_ticks: int


class StreamWatch(GraphClient):
    """Watches the command topic and the monitor's report of it. Create it before the graph is activated."""

    def __init__(self, robot: RobotConfig) -> None:
        super().__init__("stream_watch")
        self.seen = Lateness(1.0 / robot.command_rate_hz)
        self.report: StreamReport | None = None
        self.node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.RECORD)
        self.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._diagnostics, qos.STEP)
        self.spin_in_thread(CONTROL_PRIORITY)  # a late watcher loses commands

    def wait_report(self) -> StreamReport | None:
        """Return the next report once the last command that it counts has come, or None when that takes too long."""
        self.report, until = None, time.monotonic() + _REPORT_TIMEOUT_S
        while time.monotonic() < until:
            report = self.report
            if report is not None and self.seen.number >= report.commands:
                return report
            time.sleep(0.05)
        return None

    def _command(self, message: TwistStamped, info: Any) -> None:
        self.seen.see(int(info["publication_sequence_number"]), seconds(message.header.stamp))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if "commands" in values:
                self.report = StreamReport(int(values["commands"]), int(values["late ticks"]))


def stream_under_load(bundle: Path, out: Path, minutes: float) -> dict[str, Any]:
    """Run episodes of safe_reach on the live graph next to a learner and a busy process, and return `figures`.

    Raise RunFailed when the graph fails or does not report its commands.
    """
    out.mkdir(parents=True, exist_ok=True)
    scenario = scenario_path("safe_reach")
    robot = read_robot(robot_path(read_scenario(scenario).robot))
    log = out / "stream.log"
    with LiveGraph(bundle, scenario, log=log) as live, StreamWatch(robot) as watch, _load():
        live.run_episode(0)
        before = _report(watch, log)
        episode, until = 1, time.monotonic() + 60.0 * minutes
        while time.monotonic() < until:
            live.run_episode(episode)
            episode += 1
        after = _report(watch, log)
    return {"minutes": minutes, "episodes": episode - 1, **figures(watch.seen, before, after)}


def _report(watch: StreamWatch, log: Path) -> StreamReport:
    report = watch.wait_report()
    if report is None:
        raise RunFailed(f"the safety monitor does not report its commands; {log} may say why")
    return report


def figures(seen: Lateness, before: StreamReport, after: StreamReport) -> dict[str, Any]:
    """Return the observed lateness, and the late commands between two reports: observed, reported and unreported."""
    observed = seen.late_until(after.commands) - seen.late_until(before.commands)
    reported = after.late_ticks - before.late_ticks
    p = np.percentile(np.array(seen.lateness_s) * 1e3, [50, 99, 99.9, 100]) if seen.lateness_s else np.zeros(4)
    return {
        "commands": len(seen.lateness_s),
        "lost_on_the_way": seen.lost,
        "lateness_ms": dict(zip(("p50", "p99", "p99.9", "max"), (round(float(x), 3) for x in p), strict=True)),
        "late_observed": observed,
        "late_reported": reported,
        "late_unreported": max(0, observed - reported),
    }


@contextmanager
def _load() -> Iterator[None]:
    """Run a learner at idle priority and a process that keeps one core busy."""
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=work, daemon=True) for work in (train_until_killed, _compute)]
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()


def _compute() -> None:
    end_with_parent()
    while True:
        sum(range(100_000))
