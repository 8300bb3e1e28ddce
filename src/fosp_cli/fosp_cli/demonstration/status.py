"""The status of a running graph at its terminal: one live line, and of the nodes' output what a person must know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fosp_bringup.neighbours import MANAGER
from fosp_bringup.stack import MONITOR, Stack
from fosp_bringup.supervisor import Supervisor
from fosp_cli.graph_client import GraphClient
from fosp_cli.live_line import LiveLine
from fosp_core import topics
from fosp_core.decisions import Decision
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import events_executor
from fosp_msgs.msg import SafetyEvent, SafetyVerdict, StepFeedback

PERIOD_S = 0.5
"""Time between two updates of the line, s."""
SILENT_S = 2.0
"""Age, s, from which on the newest verdict is not shown as the present one."""
_NO_EPISODE = "no episode runs"
"""Beginning of the reason of a stop that is nothing to mend."""
_QUIET = ("[INFO]", "[DEBUG]")
_TOLD = (MANAGER, "recorder_node", "black_box_node", "learner_node", "feedback_node", "fosp")
"""Nodes whose every line is worth reading: they speak seldom, and of what a person asked for."""


def is_worth_reading(line: str) -> bool:
    """Return whether a line of a node's output is for a person who looks on: warnings, errors, and seldom events."""
    name = line[1 : line.find("]")] if line.startswith("[") else ""
    if f"STOP: {_NO_EPISODE}" in line:
        return False
    return name in _TOLD or not any(level in line for level in _QUIET)


@dataclass
class GraphStatus:
    """The state of a graph as its topics have told it so far; all times are monotonic, in s."""

    episode: int | None = None
    running: bool = False
    begun_s: float = 0.0
    ended: int = 0
    reached: int = 0
    violated: int = 0
    decision: str = ""
    risk: float = 0.0
    eps: float = 0.0
    decided_s: float = field(default=float("-inf"))
    operated: bool = False
    """A person drives."""
    stopped: str = ""
    """Reason why the robot is held; empty while it may move."""
    _costly: bool = False

    def on_feedback(self, message: StepFeedback, now_s: float) -> None:
        if message.is_first or self.episode != message.episode:
            self.episode, self.running, self.begun_s, self._costly = int(message.episode), True, now_s, False
        self._costly = self._costly or message.cost > 0
        if message.is_last and self.running:
            self.running, self.ended = False, self.ended + 1
            self.reached += bool(message.success)
            self.violated += self._costly

    def on_verdict(self, message: SafetyVerdict, now_s: float) -> None:
        self.decision, self.decided_s = Decision(message.decision).name, now_s
        self.risk, self.eps = message.q_h, message.eps
        self.operated = message.source == SafetyVerdict.SOURCE_OPERATOR

    def on_event(self, message: SafetyEvent) -> None:
        if message.kind == SafetyEvent.MOVING or message.text.startswith(_NO_EPISODE):
            self.stopped = ""
        elif message.kind in (SafetyEvent.STOPPED, SafetyEvent.LATCHED):
            latched = message.kind == SafetyEvent.LATCHED
            self.stopped = f"LATCHED: {message.text} (./fosp reset)" if latched else f"stopped: {message.text}"

    def line(self, now_s: float) -> str:
        """Return the status in one line, the most important first, because a narrow terminal cuts it."""
        episode = f"episode {self.episode}, {now_s - self.begun_s:.0f} s" if self.running else "no episode runs"
        parts = [episode, f"{self.ended} ended: {self.reached} reached, {self.violated} violated"]
        if now_s - self.decided_s < SILENT_S:
            who = "operator: " if self.operated else ""
            parts.insert(1, f"{who}{self.decision} risk {self.risk:.3f}/{self.eps:.3f}")
        if self.stopped:
            parts.insert(0, self.stopped)
        return "  ".join(parts)


class _StatusClient(GraphClient):
    """A node that listens to the topics of the status."""

    def __init__(self, status: GraphStatus, namespace: str) -> None:
        super().__init__("status", namespace, make_executor=events_executor)
        self.node.create_subscription(
            StepFeedback, topics.FEEDBACK, lambda message: status.on_feedback(message, time.monotonic()), qos.STEP
        )
        self.node.create_subscription(
            SafetyVerdict, topics.VERDICT, lambda message: status.on_verdict(message, time.monotonic()), qos.STEP
        )
        self.node.create_subscription(SafetyEvent, topics.SAFETY_EVENT, status.on_event, qos.LATCHED_EVENTS)


def run_with_status(described: Stack, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> int:
    """Run a stack in the foreground until Ctrl-C with a live line in place of its output; return the exit code.

    The line comes from a client of the graph in a thread of its own: the graph does not depend on it.
    """
    live, status, drawing, ended = LiveLine(), GraphStatus(), threading.Lock(), threading.Event()

    def pass_on(line: str) -> None:
        if is_worth_reading(line):
            with drawing:
                live.clear()
                write(line)

    def show() -> None:
        with _StatusClient(status, described.namespace) as client:
            client.spin_in_thread()
            while not ended.wait(PERIOD_S):
                with drawing:
                    live.show(status.line(time.monotonic()))
        live.clear()

    thread = threading.Thread(target=show, name="status", daemon=True)
    write(hints(described))
    thread.start()
    try:
        return Supervisor(described, write=pass_on, colour=False).run()
    finally:
        ended.set()
        thread.join(PERIOD_S + 5.0)


def hints(described: Stack) -> str:
    """Return how to look at the graph, how to command it, and how to end it."""
    names = [process.name for process in described.processes]
    consent = "" if described.stays_here or MONITOR not in names else "\n  move   ./fosp engage, in another terminal"
    return (
        'look   eval "$(./fosp env)" in another terminal, then rviz2 -d config/rviz/fosp.rviz or Foxglove'
        f"{consent}\n  stop   Ctrl-C here; to see every line of the {len(names)} nodes start with --verbose"
    ).replace("look   eval", "  look   eval", 1)
