"""Who sends what: emergency stops, publishers of the inputs, and commands that are not the monitor's own. No ROS.

A message that is fresh and well-formed may still come from somebody else than the node that it is expected from.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig
from fosp_safety_monitor.judge.verdict import Finding

COMMANDS_KEPT = 256
"""Own commands that are remembered: more than the subscription that hears them may queue (qos.COMMAND_HISTORY)."""
LEASE_S = 30.0
"""Time for which a publisher of a process that was killed may still be counted: the discovery drops it after 20 s."""
UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"
"""ROS calls a node by this whose publisher was discovered before its name."""


# -- checks ------------------------------------------------------------------------------------------
def check_strangers(strangers: Sequence[str], moved: bool) -> Finding | None:
    """LATCH when an input comes from another node than the one that it is to come from; STOP while nothing has `moved`.

    `strangers` name these inputs and their publishers in words.
    """
    if not strangers:
        return None
    text = f"inputs come from other nodes than they should: {'; '.join(strangers)}; end those that do not belong here"
    return Finding(Decision.LATCH if moved else Decision.STOP, Reason.FOREIGN_INPUT, text)


def foreign_command(publishers: Sequence[str]) -> Finding:
    """Return the LATCH for a command on the robot's topic that is not the monitor's; `publishers` can have sent it."""
    who = f"from one of {', '.join(publishers)}" if publishers else "from a node that is gone already"
    text = f"a command that this node did not send reached the robot, {who}: end it or cut it off"
    return Finding(Decision.LATCH, Reason.FOREIGN_COMMAND, text)


# -- emergency stops ---------------------------------------------------------------------------------
def allowed_publishers(robot: RobotConfig, others: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of publishers that each input may have, by topic: the robot's own ones, and `others`."""
    single = [robot.pose_topic, robot.wrench_topic, *robot.estop_topics, *(ready.topic for ready in robot.ready)]
    single += [source.topic for source in robot.sources]
    if robot.joints is not None:
        single.append(robot.joints.topic)
    if robot.enabling is not None:
        single.append(robot.enabling.topic)
    if robot.gripper is not None:
        single.append(robot.gripper.feedback_topic)
    return {**{topic: 1 for topic in (*single, *others) if topic}, robot.state_topic: robot.state_publishers}


@dataclass(frozen=True)
class EstopHeard:
    """The last message of one emergency stop."""

    topic: str
    pressed: bool
    receipt_s: float | None
    """Monotonic clock; None: never received."""


class EmergencyStops:
    """The last message of each emergency stop, of which the worst counts."""

    def __init__(self, topics: Sequence[str] = ()) -> None:
        self._heard = {topic: EstopHeard(topic, False, None) for topic in topics}

    def heard(self, topic: str, pressed: bool, receipt_s: float) -> EstopHeard:
        """Take in one message. Return the worst of all: one that is pressed, else the one silent for longest."""
        self._heard[topic] = EstopHeard(topic, pressed, receipt_s)
        return min(self._heard.values(), key=_worst_first)


def _worst_first(one: EstopHeard) -> tuple[bool, bool, float]:
    return not one.pressed, one.receipt_s is not None, one.receipt_s or 0.0


# -- publishers of the inputs ------------------------------------------------------------------------
class Publishers:
    """The nodes that publish each input, held against how many there may be, and against those that came first.

    `allowed` is the number of publishers by topic. The names of the nodes cost more to look up than their number, so
    they are looked up when the number changes, and of one topic after the other in turn.
    """

    def __init__(self, allowed: Mapping[str, int]) -> None:
        self._allowed = dict(allowed)
        self._counts: dict[str, int] = dict.fromkeys(allowed, -1)
        self._known: dict[str, set[str]] = {topic: set() for topic in allowed}
        self._strangers: dict[str, str] = {}
        self._turn = 0

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(self._allowed)

    @property
    def strangers(self) -> tuple[str, ...]:
        """The inputs with publishers that do not belong there, in words."""
        return tuple(self._strangers.values())

    def to_look_at(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        """Return the topics whose publishers are to be looked up, given the number of publishers of each topic now."""
        changed = [topic for topic in self._allowed if counts[topic] != self._counts[topic] or topic in self._strangers]
        self._counts.update(counts)
        if self._allowed:
            self._turn = (self._turn + 1) % len(self._allowed)
            turn = self.topics[self._turn]
            changed += [turn] if turn not in changed else []
        return tuple(changed)

    def look(self, topic: str, nodes: Sequence[str]) -> None:
        """Take in the names of the nodes that publish `topic` now, one for each publisher."""
        self._strangers.pop(topic, None)
        allowed, known = self._allowed[topic], self._known[topic]
        named = {node for node in nodes if UNKNOWN_NODE not in node}
        if len(nodes) > allowed:
            only = f"{allowed} may" if allowed > 1 else "one may"
            self._strangers[topic] = f"{topic} is published by {_listed(nodes)}, and only {only}"
            return
        new = named - known
        if new and len(known) + len(new) > allowed:
            self._strangers[topic] = f"{topic} is published by {_listed(new)}, and came from {_listed(known)} before"
            return
        known |= named


class Restarts:
    """The processes of the nodes by their heartbeats: a publisher of one that died is counted for some time yet.

    That a node came back latches by itself (monitor.HeartbeatWatch); the reset need not wait for the discovery as well.
    A node without heartbeats has no such excuse.
    """

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._until_s: dict[str, list[float]] = {}

    def heard(self, node: str, pid: int, now_s: float) -> None:
        """Take in a heartbeat of a node by its full name; `now_s` on the monotonic clock."""
        before = self._pids.get(node, pid)
        self._pids[node] = pid
        if before != pid:
            self._until_s.setdefault(node, []).append(now_s + LEASE_S)

    def without_dead(self, nodes: Sequence[str], now_s: float) -> list[str]:
        """Return the nodes of some publishers without those that can be of processes that died."""
        living = list(nodes)
        for node, ends in self._until_s.items():
            ends[:] = [end_s for end_s in ends if end_s > now_s]
            for _ in range(min(len(ends), living.count(node) - 1)):
                living.remove(node)
        return living


def in_words(node: str) -> str:
    """Return the full name of a node, or words in its place while ROS does not know the name yet."""
    return "a node whose name is not known yet" if UNKNOWN_NODE in node else node


def _listed(nodes: Iterable[str]) -> str:
    return ", ".join(sorted(in_words(node) for node in nodes))


# -- commands ----------------------------------------------------------------------------------------
class OwnCommands:
    """The commands that were sent and not heard yet, as bytes: what is heard and was not sent is somebody else's.

    rclpy does not tell which publisher a message came from. But a topic delivers every message of a publisher once and
    in order, so each one that is heard must be one of those sent: a repetition of a command of ours is foreign as well.
    One thread sends, another may hear.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: deque[bytes] = deque(maxlen=COMMANDS_KEPT)

    def sending(self, command: bytes) -> None:
        """Remember a command; call it before the command is published."""
        with self._lock:
            self._sent.append(command)

    def hear(self, command: bytes) -> bool:
        """Return True when the command is our own. Those sent before it are lost, and are no longer expected."""
        with self._lock:
            try:
                lost = self._sent.index(command)
            except ValueError:
                return False
            for _ in range(lost + 1):
                self._sent.popleft()
            return True
